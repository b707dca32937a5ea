//! WHO: from a presented credential to an identity.
//!
//! [`Resolver::resolve`] is asked by `proxy::admit`, `login` and `logout` by `proxy::builtin`. What an
//! answer means for the request is decided in the core; here it is only found out.

pub mod basic;
pub mod lockout;
pub mod login;
pub mod password;
pub mod sessions;
pub mod token;

use std::net::IpAddr;
use std::sync::Arc;

use self::lockout::Lockout;
use self::sessions::Sessions;
use self::token::{Claims, Tokens, Verdict};
use crate::directory::{Directory, Unavailable};
use crate::policy::credential::{Presented, Scheme};
use crate::policy::principal::{Account, Identity, Principal};
use crate::store::Found;

/// Resolves credentials. One for the whole process.
pub struct Resolver {
    directory: Arc<Directory>,
    sessions: Sessions,
    tokens: Tokens,
    lockout: Arc<Lockout>,
}

impl Resolver {
    /// From its parts.
    #[must_use]
    pub fn new(directory: Arc<Directory>, sessions: Sessions, tokens: Tokens, lockout: Arc<Lockout>) -> Self {
        Self { directory, sessions, tokens, lockout }
    }

    /// The directory, for targets and logins.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The sessions, for login and logout.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The tokens, for login.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Who has failed too often.
    #[must_use]
    pub const fn lockout(&self) -> &Arc<Lockout> {
        &self.lockout
    }

    /// Finds out whose a credential is, in the realm of this name, and settles it with the lock-out.
    pub async fn resolve(&self, presented: &Presented<'_>, realm: &str, client: IpAddr) -> Identity {
        match presented {
            Presented::Nothing => Identity::Invalid("nothing presented"),
            Presented::Unreadable(_, cause) => Identity::Invalid(cause),
            Presented::Basic(key) => {
                let found = basic::resolve(&self.directory, key, realm, self.sessions.now_s()).await;
                self.lockout.settle(key, client, found)
            }
            Presented::Token(token) => match self.tokens.verify(token, realm, self.sessions.now_s()) {
                Verdict::Good(claims) => self.session_of(&claims).await,
                Verdict::Expired => Identity::Expired("exp is past"),
                Verdict::Bad(cause) => Identity::Invalid(cause),
            },
        }
    }

    /// A genuine token still needs its session, and an account that is what it was.
    async fn session_of(&self, claims: &Claims<'_>) -> Identity {
        match self.sessions.look_up(&claims.jti, &claims.lineage).await {
            Err(cause) => Identity::StoreUnavailable(cause),
            Ok(Found::Missing) => {
                Identity::Revoked("the session is gone: logged out, evicted, or the store was emptied")
            }
            Ok(Found::Live(session)) if *session.jti != *claims.jti || *session.sub != *claims.sub => {
                tracing::error!(jti = %claims.jti, "the store holds another session's record under this id");
                Identity::Invalid("the session record belongs to another token")
            }
            Ok(Found::Revoked) => Identity::Revoked("the session began before a revocation"),
            Ok(Found::Live(session)) => self.account_of(claims, session.password_mark).await,
        }
    }

    async fn account_of(&self, claims: &Claims<'_>, password_mark: u64) -> Identity {
        let account = match self.directory.account(&claims.sub).await {
            Ok(Some(account)) => account,
            Ok(None) => return Identity::Revoked("the account is gone"),
            Err(Unavailable(cause)) => return Identity::DirectoryUnavailable(cause),
        };
        if account.lineage.role() != claims.role || account.lineage.as_str() != claims.lineage {
            return Identity::Revoked("the account has another role or place than at login");
        }
        if account.password_mark != password_mark {
            return Identity::Revoked("the password was changed since the login");
        }
        identified(account, Scheme::Token, claims.jti.as_ref().into())
    }
}

/// The last question of both schemes: is the account suspended?
fn identified(account: Arc<Account>, scheme: Scheme, credential: Arc<str>) -> Identity {
    let suspended = account.suspended;
    let principal = Principal { account, scheme, credential };
    if suspended { Identity::Suspended(principal) } else { Identity::Valid(principal) }
}
