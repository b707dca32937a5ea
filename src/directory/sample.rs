//! A sample of the far side of `https:`: the three calls of `deploy/directory-openapi.yaml`, answered from records.
//!
//! Plain values in and out; whoever carries them over a socket is no part of it: the tests, `demo`, and
//! `deploy/directory-sample.rs`, which the description is checked against. It compares passwords on the caller's thread, so it is no service to run.

use arc_swap::ArcSwap;
use argon2::{Argon2, PasswordHash, PasswordVerifier as _};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::records::{Credential, Records, User, canonical_email};
use crate::policy::principal::Account;

/// What a request says.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// As in the request line.
    pub method: &'a str,
    /// The path below the directory's URL, with its slash.
    pub path: &'a str,
    /// `Authorization`
    pub authorization: Option<&'a [u8]>,
    /// `Content-Type`
    pub content_type: Option<&'a str>,
    /// The whole body.
    pub body: &'a [u8],
}

/// What it is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// `Allow`, for 405.
    pub allow: Option<&'static str>,
    /// JSON.
    pub body: Vec<u8>,
}

/// A directory that answers calls.
pub struct Sample {
    records: ArcSwap<Records>,
    token: Option<Box<str>>,
}

#[derive(Deserialize)]
struct Login {
    email: String,
    password: String,
}

impl Sample {
    /// With these records; `token` is the bearer token that it asks for.
    #[must_use]
    pub fn new(records: Records, token: Option<&str>) -> Self {
        Self { records: ArcSwap::from_pointee(records), token: token.map(Into::into) }
    }

    /// Takes other records over.
    pub fn replace(&self, records: Records) {
        self.records.store(records.into());
    }

    /// Answers a call.
    #[must_use]
    pub fn answer(&self, call: &Call<'_>) -> Reply {
        let path = call.path.split('?').next().unwrap_or_default();
        let records = self.records.load();
        let found = if let Some(id) = path.strip_prefix("/accounts/").filter(|id| !id.contains('/')) {
            ("GET", records.account(id).map(|account| account_record(account, &records)))
        } else if let Some(id) = path.strip_prefix("/credentials/").filter(|id| !id.contains('/')) {
            ("GET", records.credential(id).map(|credential| credential_record(credential)))
        } else if path == "/passwords/verify" {
            ("POST", None)
        } else {
            return problem(404, "there is no such call");
        };
        let (method, record) = found;
        if call.method != method {
            return Reply { allow: Some(method), ..problem(405, "the call has another method") };
        }
        if !self.admits(call.authorization) {
            return problem(403, "the bearer token is missing or wrong");
        }
        match (method, record) {
            ("POST", _) => verify(call, &records),
            (_, Some(record)) => Reply { status: 200, allow: None, body: record.to_string().into_bytes() },
            (_, None) => problem(404, "there is no such record"),
        }
    }

    fn admits(&self, authorization: Option<&[u8]>) -> bool {
        let Some(token) = &self.token else { return true };
        let presented = authorization.and_then(|value| value.strip_prefix(b"Bearer ")).unwrap_or_default();
        presented.ct_eq(token.as_bytes()).into()
    }
}

fn verify(call: &Call<'_>, records: &Records) -> Reply {
    let essence = call.content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return problem(415, "the body has to be application/json");
    }
    let object = call.body.trim_ascii_start().first() == Some(&b'{');
    let login = serde_json::from_slice::<Login>(call.body).ok().filter(|_| object);
    let Some(Login { email, password }) = login else {
        return problem(400, "the body is not an object with email and password, each once and a string");
    };
    let user = canonical_email(&email).and_then(|email| records.user(&email).cloned());
    let user = user.filter(|user| !user.password.is_empty());
    // Somebody unknown takes the same time.
    let record = user.as_ref().map_or(NOBODY, |user| &*user.password);
    let right = PasswordHash::new(record)
        .is_ok_and(|record| Argon2::default().verify_password(password.as_bytes(), &record).is_ok());
    match user.filter(|_| right) {
        Some(user) => {
            let version = format!("{:016x}", user.password_mark);
            let body = json!({ "account": &*user.account, "password_version": version }).to_string().into_bytes();
            Reply { status: 200, allow: None, body }
        }
        None => problem(401, "unknown e-mail or wrong password"),
    }
}

fn account_record(account: &Account, records: &Records) -> Value {
    let nodes: Vec<(&str, &str)> = account.lineage.nodes().collect();
    let mut record = Map::new();
    record.insert("id".to_owned(), account.lineage.id().into());
    record.insert("role".to_owned(), account.lineage.role().into());
    if let Some((parent, _)) = nodes.len().checked_sub(2).and_then(|above| nodes.get(above)) {
        record.insert("parent".to_owned(), (*parent).into());
    }
    record.insert("status".to_owned(), if account.suspended { "suspended" } else { "active" }.into());
    if let Some(user) = email_of(account.lineage.id(), records) {
        record.insert("email".to_owned(), (*user.email).into());
    }
    if account.password_mark != 0 {
        record.insert("password_version".to_owned(), format!("{:016x}", account.password_mark).into());
    }
    record.into()
}

fn email_of<'r>(id: &str, records: &'r Records) -> Option<&'r User> {
    records.users.values().map(|user| &**user).find(|user| *user.account == *id)
}

fn credential_record(credential: &Credential) -> Value {
    let mut record = Map::new();
    record.insert("id".to_owned(), (*credential.id).into());
    record.insert("account".to_owned(), (*credential.account).into());
    record.insert("key".to_owned(), credential.proof.to_string().into());
    if let Some(realms) = &credential.realms {
        record.insert("realms".to_owned(), realms.clone().into());
    }
    for (name, time) in [("not_before", credential.not_before), ("not_after", credential.not_after)] {
        let text = time.and_then(|time| OffsetDateTime::from_unix_timestamp(time).ok()?.format(&Rfc3339).ok());
        if let Some(text) = text {
            record.insert(name.to_owned(), text.into());
        }
    }
    record.into()
}

fn problem(status: u16, cause: &str) -> Reply {
    Reply { status, allow: None, body: json!({ "error": cause }).to_string().into_bytes() }
}

/// A record at the usual costs that no password fits.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$cG9ydGN1bGxpcy1ub2JvZHk$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
