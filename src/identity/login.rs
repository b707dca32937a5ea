//! `POST {base}/login`: e-mail and password for a token.
//!
//! Called by `proxy::builtin`. An unknown e-mail, a wrong password and a tenant that is not the user's do
//! the same work and say the same.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::Resolver;
use super::lockout::{Attempt, Entry};
use super::password::{Check, Passwords};
use crate::directory::records::{User, canonical_email};
use crate::directory::{PasswordCheck, Unavailable};
use crate::policy::credential::Scheme;
use crate::policy::decision::Hint;
use crate::policy::principal::{Account, Principal, is_id};
use crate::policy::route::Realm;
use crate::reason::Reason;
use crate::store::Patience;

/// What a login was asked with.
pub struct LoginRequest<'a> {
    /// The media type of the body, parameters included.
    pub content_type: Option<&'a [u8]>,
    /// The tenant: `X-Api-Id`, once; `None` when it stands twice.
    pub api_id: Option<&'a [u8]>,
    /// The whole body.
    pub body: &'a [u8],
}

/// A login that is well-formed. Whether it may go on is judged by its quotas first: nothing was looked up yet.
pub struct LoginForm {
    api_id: String,
    email: Option<String>,
    password: String,
}

impl LoginForm {
    /// Reads what was sent.
    ///
    /// # Errors
    /// It is not well-formed.
    pub fn read(request: &LoginRequest<'_>) -> Result<Self, Refusal> {
        let api_id = request.api_id.and_then(|id| std::str::from_utf8(id).ok()).filter(|id| is_id(id));
        let api_id = api_id.ok_or((Reason::HeaderInvalid, "X-Api-Id is no id"))?.to_owned();
        let form = read_form(request.content_type, request.body).map_err(|cause| (Reason::ValidationFailed, cause))?;
        Ok(Self { api_id, email: canonical_email(&form.email), password: form.password })
    }

    /// The canonical e-mail; `None` for what nobody's can be.
    #[must_use]
    pub fn email(&self) -> Option<&str> {
        self.email.as_deref()
    }
}

/// A login that succeeded: the reply's body.
#[derive(Debug, Serialize)]
pub struct Grant {
    result: &'static str,
    token: String,
    expires_in: u64,
    user: Profile,
    /// Who logged in, with the new session; for the log only.
    #[serde(skip)]
    pub principal: Principal,
}

#[derive(Debug, Serialize)]
struct Profile {
    user_id: String,
    role: String,
    customer_id: Option<String>,
    email: String,
}

/// A login that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the client is told.
    pub reason: Reason,
    /// Why; private.
    pub cause: &'static str,
    /// When to come back, for one that is locked or has no quota left.
    pub hint: Hint,
}

impl From<(Reason, &'static str)> for Refusal {
    fn from((reason, cause): (Reason, &'static str)) -> Self {
        Self { reason, cause, hint: Hint::None }
    }
}

impl Resolver {
    /// Logs a user in, from this client; it waits for the store only so long.
    ///
    /// # Errors
    /// Why not.
    pub async fn login(
        &self,
        passwords: &Passwords,
        realm: &Realm,
        form: LoginForm,
        (client, patience): (IpAddr, &Patience),
    ) -> Result<Grant, Refusal> {
        let LoginForm { api_id, email, password } = form;
        if let Some(seconds) = self.lockout.login_locked(email.as_deref(), client) {
            return Err(locked(seconds));
        }
        // Whom the pool would turn away in the end is turned away before the store is asked for anything: of a crowd, the
        // requests of those who are logged in feel nothing then.
        let Some(turn) = passwords.turn().await else {
            return Err((Reason::Overloaded, "the password pool is full").into());
        };
        // Before anything is looked up: a session that starts by what was true before a revocation has to look older.
        // Before the wait for a place, too, so that a login that has waited is older still.
        let started = async {
            let started = self.sessions.time(patience).await.map_err(store_unavailable);
            drop(turn); // The other question is on the same way; that it may wait for a place is nobody else's matter.
            started
        };
        let entry = async { Ok(self.lockout.enter(email.as_deref(), client, patience).await) };
        let (started, entry) = tokio::try_join!(started, entry)?;
        let attempt = match entry {
            Entry::Open(attempt) => attempt,
            Entry::Locked(seconds) => return Err(locked(seconds)),
            Entry::Crowded => return Err((Reason::Overloaded, "too many logins of one user at once").into()),
        };
        match self.authenticate(passwords, realm, &api_id, email.as_deref(), password).await? {
            Ok(account) => {
                attempt.succeeded().await.map_err(locked)?;
                self.grant(realm, email.as_deref().unwrap_or_default(), account, (started, patience)).await
            }
            Err(cause) => Err(failed(attempt, cause).await),
        }
    }

    /// Whose e-mail and password these are, if the tenant is theirs. Outside: what has nothing to do with the client's
    /// guess. Inside: why it fails; all of it is told alike, so all of it counts alike.
    async fn authenticate(
        &self,
        passwords: &Passwords,
        realm: &Realm,
        api_id: &str,
        email: Option<&str>,
        password: String,
    ) -> Result<Result<Arc<Account>, &'static str>, Refusal> {
        let away = |Unavailable(cause)| (Reason::DirectoryUnavailable, cause);
        // Everything is looked up before anything is judged, and a password is always checked.
        let tenant = self.tenant(api_id, realm).await.map_err(away)?;
        let found = match email {
            Some(email) => self.directory.check_password(email, &password).await.map_err(away)?,
            None => PasswordCheck::Here(None),
        };
        let account = match found {
            PasswordCheck::There(account) => account,
            PasswordCheck::Here(user) => self.check(passwords, user.as_deref(), password).await?,
        };
        Ok(belongs(realm, tenant.as_deref(), account))
    }

    /// The account of a user whose password this is.
    async fn check(
        &self,
        passwords: &Passwords,
        user: Option<&User>,
        password: String,
    ) -> Result<Option<Arc<Account>>, Refusal> {
        let user = user.filter(|user| !user.password.is_empty());
        // For nobody an account is looked up as well: an unknown e-mail must not be quicker than a known one.
        let id = user.map_or(NO_ACCOUNT, |user| &user.account);
        let account = self.directory.account(id).await;
        let account = account.map_err(|Unavailable(cause)| (Reason::DirectoryUnavailable, cause))?;
        match passwords.check(password, user.map(|user| &*user.password)).await {
            // The password may have been changed between the two look-ups. A session of the account's would then begin
            // by the new one's mark, and go on although the old one opened it.
            Check::Right => {
                Ok(account.filter(|account| user.is_some_and(|user| user.password_mark == account.password_mark)))
            }
            Check::Wrong => Ok(None),
            Check::Busy => Err((Reason::Overloaded, "the password pool is full").into()),
            Check::Failed => Err((Reason::Internal, "a password check failed").into()),
        }
    }

    /// The account that `X-Api-Id` stands for.
    async fn tenant(&self, api_id: &str, realm: &Realm) -> Result<Option<Arc<Account>>, Unavailable> {
        let credential = self.directory.credential(api_id).await?;
        let id = credential.as_ref().map_or(NO_ACCOUNT, |credential| &credential.account);
        let (Some(account), Some(credential)) = (self.directory.account(id).await?, credential) else {
            return Ok(None);
        };
        let now = i64::try_from(self.sessions.now_s()).unwrap_or(i64::MAX);
        let good = credential.is_for(&realm.name) && credential.is_current(now) && !account.suspended;
        Ok(good.then_some(account))
    }

    async fn grant(
        &self,
        realm: &Realm,
        email: &str,
        account: Arc<Account>,
        (started_ms, patience): (u64, &Patience),
    ) -> Result<Grant, Refusal> {
        let issued = self.tokens.issue(&account, &realm.name, started_ms);
        let (token, session) = issued.map_err(|cause| (Reason::Internal, cause))?;
        self.sessions.start(&session, patience).await.map_err(store_unavailable)?;
        let profile = Profile {
            user_id: account.lineage.id().to_owned(),
            role: account.lineage.role().to_owned(),
            customer_id: account.lineage.nearest("customer").map(str::to_owned),
            email: email.to_owned(),
        };
        let principal = Principal { account, scheme: Scheme::Token, credential: session.jti.into() };
        Ok(Grant { result: "1", token, expires_in: self.tokens.ttl_s(), user: profile, principal })
    }
}

/// The account, if it may log in to the realm through this tenant.
fn belongs(
    realm: &Realm,
    tenant: Option<&Account>,
    account: Option<Arc<Account>>,
) -> Result<Arc<Account>, &'static str> {
    let account = account.ok_or("unknown e-mail, wrong password, or the account is gone")?;
    let tenant = tenant.ok_or("X-Api-Id is unknown, expired, suspended or of another realm")?;
    if tenant.lineage != account.lineage && !tenant.lineage.contains(&account.lineage) {
        return Err("the user lies outside the tenant");
    }
    if account.suspended {
        return Err("the account is suspended");
    }
    if realm.role(account.lineage.role()).is_none() {
        return Err("the realm does not know the user's role");
    }
    Ok(account)
}

/// A login that failed, once the lock-out knows: the pair may be locked by now.
async fn failed(attempt: Attempt<'_>, cause: &'static str) -> Refusal {
    match attempt.failed().await {
        Ok(()) => (Reason::LoginFailed, cause).into(),
        Err(seconds) => locked(seconds),
    }
}

fn store_unavailable(cause: &'static str) -> Refusal {
    (Reason::StoreUnavailable, cause).into()
}

fn locked(seconds: u32) -> Refusal {
    let cause = "too many failed attempts of this e-mail from this network, of this network, or of this e-mail";
    Refusal { reason: Reason::LockedOut, cause, hint: Hint::RetryAfter(seconds) }
}

/// What is looked up for whoever has no account, so that it takes as long. It keeps the grammar of an id; whoever has it
/// gains nothing by it.
const NO_ACCOUNT: &str = "~nobody~";

/// E-mail and password as the client wrote them.
struct Form {
    email: String,
    password: String,
}

fn read_form(content_type: Option<&[u8]>, body: &[u8]) -> Result<Form, &'static str> {
    let media_type = content_type.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err("the content type is not application/json");
    }
    let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8")?;
    serde_json::from_str(text).map_err(|_| "the body is not an object with email and password, each once and a string")
}

impl<'de> Deserialize<'de> for Form {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Form;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with email and password")
            }
            // Unknown members are ignored, but a repeated one means that two readers could differ.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Form, A::Error> {
                let (mut email, mut password) = (None, None);
                let mut seen = HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "email" => email = Some(map.next_value()?),
                        "password" => password = Some(map.next_value()?),
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                    if !seen.insert(name) {
                        return Err(A::Error::custom("a member stands twice"));
                    }
                }
                Ok(Form {
                    email: email.ok_or_else(|| A::Error::missing_field("email"))?,
                    password: password.ok_or_else(|| A::Error::missing_field("password"))?,
                })
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::sessions::Sessions;
    use super::super::token::Tokens;
    use super::super::{Lockout, Resolver};
    use super::*;
    use crate::config::diag::{Faults, Source};
    use crate::config::secret::Secret;
    use crate::config::settings;
    use crate::directory::records::{Records, Vocabulary};
    use crate::directory::{Directory, reading};
    use crate::store::Store;
    use crate::telemetry::metrics::Metrics;

    /// One user with this password.
    fn records(password: &str) -> Records {
        let phc = super::super::password::hash(password.as_bytes()).unwrap();
        let text = format!("[[account]]\nid = \"usr-1\"\nrole = \"user\"\nemail = \"a@b\"\npassword = \"{phc}\"\n");
        let source = Arc::new(Source { name: "accounts".into(), text });
        reading::parse(&source, &Vocabulary::default(), &mut Faults::default()).unwrap()
    }

    fn resolver(records: Records) -> Resolver {
        let (store, metrics) = (Arc::new(Store::memory()), Arc::new(Metrics::new().unwrap()));
        let rules = settings::Lockout { attempts: 5, network_attempts: 100, within: Duration::from_secs(900) };
        let token = settings::Token {
            issuer: "portcullis".into(),
            ttl: Duration::from_secs(1200),
            keys: vec![("k".into(), Secret::new(vec![7; 40]))],
            cache: 16,
            stale: Duration::ZERO,
            sessions_per_account: 9,
        };
        let tokens = Tokens::new(&token, &metrics);
        let lockout = Arc::new(Lockout::new(Arc::clone(&store), rules, Arc::clone(&metrics)));
        let sessions = Sessions::new(store, 100, Arc::clone(&metrics));
        let directory = Arc::new(Directory::new(records));
        Resolver::new(directory, sessions, tokens, lockout, (16, Duration::ZERO), &metrics)
    }

    #[tokio::test]
    async fn a_password_that_is_changed_between_the_two_look_ups_opens_nothing() {
        let (resolver, passwords) = (resolver(records("old")), Passwords::new(1).unwrap());
        let found = resolver.directory.user("a@b").await.unwrap();
        let right = async || resolver.check(&passwords, found.as_deref(), "old".into()).await;
        assert_eq!(right().await.unwrap().unwrap().lineage.id(), "usr-1");
        resolver.directory.replace(records("new"));
        assert_eq!(right().await, Ok(None), "the account has another password by now");
        let found = resolver.directory.user("a@b").await.unwrap();
        assert!(resolver.check(&passwords, found.as_deref(), "new".into()).await.unwrap().is_some());
    }

    #[test]
    fn a_form_has_each_member_once_and_of_its_type() {
        let read = |body: &str| read_form(Some(b"application/json; charset=utf-8"), body.as_bytes());
        let form =
            read(r#"{"email":"a@b","password":"x","jti":1,"role":{"a":1}}"#).unwrap_or_else(|cause| panic!("{cause}"));
        assert_eq!((form.email.as_str(), form.password.as_str()), ("a@b", "x"));
        for bad in [
            "",
            "[]",
            "{}",
            "null",
            r#"{"email":"a@b"}"#,
            r#"{"email":"a@b","password":{"$ne":null}}"#,
            r#"{"email":"a@b","email":"c@d","password":"x"}"#,
            r#"{"email":"a@b","password":"x","z":1,"z":1}"#,
            r#"{"email":"a@b","password":"x"}x"#,
            r#"{"email":"a@b","pass"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_json_is_a_form() {
        let body = br#"{"email":"a@b","password":"x"}"#;
        for content_type in [None, Some(&b"text/plain"[..]), Some(b"application/x-www-form-urlencoded"), Some(b"\xff")]
        {
            assert!(read_form(content_type, body).is_err());
        }
        assert!(read_form(Some(b"Application/JSON"), body).is_ok());
    }
}
