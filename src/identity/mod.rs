//! WHO: from a presented credential to an identity.
//!
//! [`Resolver::resolve`] is asked by `proxy::admit`, `login` and `logout` by `proxy::builtin`. What an
//! answer means for the request is decided in the core; here it is only found out.

pub mod basic;
pub mod cache;
pub mod flights;
pub mod lockout;
pub mod login;
pub mod password;
pub mod sessions;
pub mod token;
pub mod usage;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;

use self::cache::{Asked, Cache, Known, Since, Times};
use self::flights::Flights;
use self::lockout::Lockout;
use self::sessions::Sessions;
use self::token::{Claims, Tokens, Verdict};
use crate::config::secret::Secret;
use crate::directory::{Directory, Unavailable};
use crate::policy::credential::{Presented, Scheme};
use crate::policy::principal::{Account, Identity, Principal};
use crate::store::{Found, Patience};
use crate::telemetry::metrics::Metrics;

/// Resolves credentials. One for the whole process.
pub struct Resolver {
    directory: Arc<Directory>,
    sessions: Sessions,
    tokens: Tokens,
    lockout: Arc<Lockout>,
    cache: Arc<Cache>,
    flights: Flights<Reading>,
    /// How long a known token is honoured while the store is away.
    stale: Duration,
    counters: Counters,
}

/// One read of a session, and where things stood when it began.
#[derive(Clone)]
struct Reading {
    since: Since,
    asked: Asked,
    found: Result<Found, &'static str>,
}

/// `token_cache_total`, by result.
struct Counters {
    hit: IntCounter,
    miss: IntCounter,
    revalidated: IntCounter,
    stale: IntCounter,
}

impl Resolver {
    /// From its parts. `entries`: verified tokens that are kept; `stale`: how long they are honoured while the store
    /// is away.
    #[must_use]
    pub fn new(
        directory: Arc<Directory>,
        sessions: Sessions,
        tokens: Tokens,
        lockout: Arc<Lockout>,
        (entries, stale): (usize, Duration),
        metrics: &Metrics,
    ) -> Self {
        let counter = |result| metrics.token_cache.with_label_values(&[result]);
        let counters = Counters {
            hit: counter("hit"),
            miss: counter("miss"),
            revalidated: counter("revalidated"),
            stale: counter("stale"),
        };
        let cache = Arc::new(Cache::new(entries));
        sessions.store().listen(Arc::clone(&cache) as _);
        Self { directory, sessions, tokens, lockout, cache, flights: Flights::new(), stale, counters }
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

    /// How many verified tokens are kept.
    #[must_use]
    pub fn tokens_kept(&self) -> usize {
        self.cache.len()
    }

    /// Who has failed too often.
    #[must_use]
    pub const fn lockout(&self) -> &Arc<Lockout> {
        &self.lockout
    }

    /// Takes other signing keys over: `token.keys`. Tokens of a key that is not among them end at once, also those that
    /// are known here.
    pub fn replace_token_keys(&self, keys: &[(String, Secret)]) {
        // In this order: what was verified by the old keys is dropped after the last moment it could have been.
        self.tokens.replace_keys(keys);
        self.cache.rekey();
    }

    /// Finds out whose a credential is, in the realm of this name, and settles it with the lock-out.
    pub async fn resolve(
        &self,
        presented: &Presented<'_>,
        realm: &str,
        client: IpAddr,
        patience: &Patience,
    ) -> Identity {
        match presented {
            Presented::Nothing => Identity::Invalid("nothing presented"),
            Presented::Unreadable(_, cause) => Identity::Invalid(cause),
            Presented::Basic(key) => {
                let found = basic::resolve(&self.directory, key, realm, self.sessions.now_s()).await;
                self.lockout.settle(key, client, found)
            }
            Presented::Token(token) => self.token(token, realm, client, patience).await,
        }
    }

    async fn token(&self, token: &str, realm: &str, client: IpAddr, patience: &Patience) -> Identity {
        let now = self.sessions.now_s();
        match self.cache.find(token, realm) {
            Some(known) if known.expires <= now => Identity::Expired("exp is past"),
            Some(known) => match self.vouch(&known, patience).await {
                Ok(()) => self.holder(&known).await,
                Err(identity) => identity,
            },
            None => {
                self.counters.miss.inc();
                // Taken before the signature is judged: keys that are replaced meanwhile must not leave a trace.
                let since = self.cache.since(self.sessions.feed());
                match self.tokens.verify(token, realm, now) {
                    Verdict::Good(claims) => self.newcomer((token, realm), &claims, since, patience).await,
                    Verdict::Expired => Identity::Expired("exp is past"),
                    Verdict::Forged => {
                        self.lockout.bad_signature(client);
                        Identity::Invalid("wrong signature")
                    }
                    Verdict::Bad(cause) => Identity::Invalid(cause),
                }
            }
        }
    }

    /// Whether a known token can be believed now. While invalidations are heard it can; otherwise the store is asked;
    /// and when that is away too, the token is honoured for a while.
    async fn vouch(&self, known: &Known, patience: &Patience) -> Result<(), Identity> {
        let feed = self.sessions.feed();
        if feed.is_alive() && known.epoch() == feed.epoch() {
            self.counters.hit.inc();
            return Ok(());
        }
        let account = Arc::clone(&known.account());
        let session = (&*known.jti, known.started);
        let reading = self.read(session, account.lineage.as_str(), self.cache.since(feed), patience).await;
        match reading.found {
            Ok(Found::Live(session))
                if *session.jti == *known.jti
                    && *session.sub == *account.lineage.id()
                    && session.password_mark == account.password_mark =>
            {
                known.confirm(reading.asked);
                self.counters.revalidated.inc();
                Ok(())
            }
            Ok(Found::Live(_) | Found::Missing | Found::Revoked) => {
                self.cache.forget(&known.jti);
                Err(Identity::Revoked(SESSION_OVER))
            }
            Err(_) if known.age(feed) < self.stale => {
                self.counters.stale.inc();
                Ok(())
            }
            Err(cause) => Err(Identity::StoreUnavailable(cause)),
        }
    }

    /// Who holds a token that can be believed: role, place and status as the directory has them now.
    async fn holder(&self, known: &Known) -> Identity {
        let then = Arc::clone(&known.account());
        let account = match self.directory.account(then.lineage.id()).await {
            Ok(Some(account)) => account,
            Ok(None) => return Identity::Revoked(ACCOUNT_GONE),
            Err(Unavailable(cause)) => return Identity::DirectoryUnavailable(cause),
        };
        // The same record, in nearly every case.
        if !Arc::ptr_eq(&account, &then) {
            if account.lineage != then.lineage {
                return Identity::Revoked(ACCOUNT_MOVED);
            }
            if account.password_mark != then.password_mark {
                return Identity::Revoked(PASSWORD_CHANGED);
            }
            known.adopt(&account);
        }
        identified(account, Scheme::Token, Arc::clone(&known.jti))
    }

    /// A genuine token that is not known here still needs its session, and an account that is what it was.
    async fn newcomer(
        &self,
        (token, realm): (&str, &str),
        claims: &Claims<'_>,
        since: Since,
        patience: &Patience,
    ) -> Identity {
        // `iat` is in whole seconds, rounded down.
        let began = claims.iat.saturating_add(1).saturating_mul(1000);
        let reading = self.read((&claims.jti, began), &claims.lineage, since, patience).await;
        let session = match reading.found {
            Err(cause) => return Identity::StoreUnavailable(cause),
            Ok(Found::Missing) => return Identity::Revoked(SESSION_OVER),
            Ok(Found::Revoked) => return Identity::Revoked("the session began before a revocation"),
            Ok(Found::Live(session)) => session,
        };
        if *session.jti != *claims.jti || *session.sub != *claims.sub {
            tracing::error!(jti = %claims.jti, "the store holds another session's record under this id");
            return Identity::Invalid("the session record belongs to another token");
        }
        let account = match self.directory.account(&claims.sub).await {
            Ok(Some(account)) => account,
            Ok(None) => return Identity::Revoked(ACCOUNT_GONE),
            Err(Unavailable(cause)) => return Identity::DirectoryUnavailable(cause),
        };
        if account.lineage.role() != claims.role || account.lineage.as_str() != claims.lineage {
            return Identity::Revoked(ACCOUNT_MOVED);
        }
        if account.password_mark != session.password_mark {
            return Identity::Revoked(PASSWORD_CHANGED);
        }
        let jti: Arc<str> = claims.jti.as_ref().into();
        let times = Times { started: session.started, expires: claims.exp };
        let known = Known::new(token, realm, Arc::clone(&jti), Arc::clone(&account), times, reading.asked);
        self.cache.insert(known, since, self.sessions.feed(), self.sessions.now_s());
        identified(account, Scheme::Token, jti)
    }

    /// Reads a session, by its jti and when it began at the latest; one call for all who ask at a time. The answer is
    /// from a read that began no earlier than `since`: what ended a session before this request came is never overlooked
    /// by joining an older read. Nor does it wait longer than the request may, whoever made the call.
    async fn read(&self, (jti, began_ms): (&str, u64), lineage: &str, since: Since, patience: &Patience) -> Reading {
        let asked = Asked::now(self.sessions.feed());
        let reading = patience.wait(async {
            loop {
                let call = async {
                    let feed = self.sessions.feed();
                    let (since, asked) = (self.cache.since(feed), Asked::now(feed));
                    Reading { since, asked, found: self.sessions.look_up(jti, lineage, began_ms).await }
                };
                let reading = self.flights.join(jti, call).await;
                if reading.found.is_err() || !reading.since.is_before(&since) {
                    return Ok(reading);
                }
            }
        });
        match reading.await {
            Ok(reading) => reading,
            Err(error) => Reading { since, asked, found: Err(self.sessions.note("session", error)) },
        }
    }
}

const SESSION_OVER: &str = "the session is gone: logged out, revoked, evicted, or the store was emptied";
const ACCOUNT_GONE: &str = "the account is gone";
const ACCOUNT_MOVED: &str = "the account has another role or place than at login";
const PASSWORD_CHANGED: &str = "the password was changed since the login";

/// The last question of both schemes: is the account suspended?
fn identified(account: Arc<Account>, scheme: Scheme, credential: Arc<str>) -> Identity {
    let suspended = account.suspended;
    let principal = Principal { account, scheme, credential };
    if suspended { Identity::Suspended(principal) } else { Identity::Valid(principal) }
}
