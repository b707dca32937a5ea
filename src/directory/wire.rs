//! JSON records, as the store's server and the provisioning service keep them, into what the directory holds.
//!
//! Called by `remote` for every record that was read. Members are those of the accounts file; unknown ones are skipped,
//! a repeated, missing or ill-typed one makes the record unreadable, never unknown. No error repeats a value.

use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::phc::{PhcFault, judge};
use super::proof::Proof;
use super::records::{Credential, LastUsed, canonical_email};
use crate::policy::principal::is_id;

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Unreadable {
    /// Not an object with the members it needs, each once and of its type.
    #[error("not the JSON object that it should be, at line {line}, column {column}")]
    Json {
        /// From 1.
        line: usize,
        /// From 1; 0 at the end.
        column: usize,
    },
    /// A member breaks its grammar.
    #[error("`{0}` breaks its grammar")]
    Grammar(&'static str),
    /// It says that it is another's.
    #[error("`id` is not the one that was asked for")]
    Stranger,
    /// See there.
    #[error("{0}")]
    Password(#[from] PhcFault),
    /// Larger than what is read.
    #[error("more than 64 KiB")]
    TooLarge,
}

/// An account as its own record tells it, without those above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AccountRecord {
    /// Its own id.
    pub(super) id: Box<str>,
    /// A role of the realms that it uses.
    pub(super) role: Box<str>,
    /// `None` for a root.
    pub(super) parent: Option<Box<str>>,
    /// By its own status.
    pub(super) suspended: bool,
    /// Canonical.
    pub(super) email: Option<Box<str>>,
    /// PHC string; empty without one.
    pub(super) password: Box<str>,
    /// Tells one password from the next; 0 without one.
    pub(super) password_mark: u64,
}

#[derive(Deserialize)]
struct RawAccount {
    id: String,
    role: String,
    #[serde(default, deserialize_with = "there")]
    parent: Option<String>,
    #[serde(default)]
    status: Status,
    #[serde(default, deserialize_with = "there")]
    email: Option<String>,
    #[serde(default, deserialize_with = "there")]
    password: Option<String>,
    #[serde(default, deserialize_with = "there")]
    password_version: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Status {
    #[default]
    Active,
    Suspended,
}

#[derive(Deserialize)]
struct RawCredential {
    id: String,
    account: String,
    key: String,
    #[serde(default, deserialize_with = "there")]
    realms: Option<Vec<String>>,
    #[serde(default, deserialize_with = "there")]
    not_before: Option<String>,
    #[serde(default, deserialize_with = "there")]
    not_after: Option<String>,
    /// For operators; read so that an ill-typed one is seen.
    #[serde(default, rename = "label", deserialize_with = "there")]
    _label: Option<String>,
}

/// A member that is there has to be of its type: `null` is not taken for "left out", since that would widen a realm or
/// a time without anybody having said so.
fn there<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Whether an answer is a record of this id at all, whatever else is wrong with it.
///
/// # Errors
/// What it is instead.
pub(super) fn is_of(id: &str, json: &[u8]) -> Result<(), Unreadable> {
    #[derive(Deserialize)]
    struct Named {
        id: String,
    }
    let raw: Named = object(json)?;
    own(id, &raw.id)
}

/// Reads the record of the account with this id.
///
/// # Errors
/// What is wrong with it.
pub(super) fn account(id: &str, json: &[u8]) -> Result<AccountRecord, Unreadable> {
    let raw: RawAccount = object(json)?;
    own(id, &raw.id)?;
    if !is_id(&raw.role) {
        return Err(Unreadable::Grammar("role"));
    }
    if raw.parent.as_deref().is_some_and(|parent| !is_id(parent)) {
        return Err(Unreadable::Grammar("parent"));
    }
    let email = match raw.email {
        Some(email) => Some(canonical_email(&email).ok_or(Unreadable::Grammar("email"))?.into()),
        None => None,
    };
    if let Some(password) = &raw.password {
        judge(password)?;
    }
    let marked = raw.password_version.as_deref().or(raw.password.as_deref());
    Ok(AccountRecord {
        id: id.into(),
        role: raw.role.into(),
        parent: raw.parent.map(Into::into),
        suspended: raw.status == Status::Suspended,
        email,
        password_mark: marked.map_or(0, mark),
        password: raw.password.unwrap_or_default().into(),
    })
}

/// Reads the record of the credential with this API id.
///
/// # Errors
/// What is wrong with it.
pub(super) fn credential(id: &str, json: &[u8]) -> Result<Credential, Unreadable> {
    let raw: RawCredential = object(json)?;
    own(id, &raw.id)?;
    if !is_id(&raw.account) {
        return Err(Unreadable::Grammar("account"));
    }
    let time = |name, text: Option<String>| match text {
        Some(text) => OffsetDateTime::parse(&text, &Rfc3339)
            .map(|time| Some(time.unix_timestamp()))
            .map_err(|_| Unreadable::Grammar(name)),
        None => Ok(None),
    };
    Ok(Credential {
        id: Arc::from(id),
        account: raw.account.into(),
        proof: Proof::parse(&raw.key).ok_or(Unreadable::Grammar("key"))?,
        realms: raw.realms,
        not_before: time("not_before", raw.not_before)?,
        not_after: time("not_after", raw.not_after)?,
        last_used: LastUsed::default(),
    })
}

/// Reads what stands under an e-mail: the id of its account.
///
/// # Errors
/// What is wrong with it.
pub(super) fn email(text: &[u8]) -> Result<Box<str>, Unreadable> {
    let id = std::str::from_utf8(text).ok().filter(|id| is_id(id));
    id.map(Into::into).ok_or(Unreadable::Grammar("account id"))
}

/// Whose a password is that proved right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verified {
    pub(super) account: Box<str>,
    /// Of the password that was compared, where the directory says it.
    pub(super) password_mark: Option<u64>,
}

/// Reads the answer to a password that proved right.
///
/// # Errors
/// What is wrong with it.
pub(super) fn verified(json: &[u8]) -> Result<Verified, Unreadable> {
    #[derive(Deserialize)]
    struct Raw {
        account: String,
        password_version: Option<String>,
    }
    let raw: Raw = object(json)?;
    let password_mark = raw.password_version.as_deref().map(mark);
    Ok(Verified { account: email(raw.account.as_bytes())?, password_mark })
}

/// The first bits of the record's hash: enough to see that it changed, too few to learn anything from.
pub(super) fn mark(password: &str) -> u64 {
    let digest = Sha256::digest(password.as_bytes());
    digest.iter().take(8).fold(0, |mark, byte| (mark << 8) | u64::from(*byte))
}

fn object<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, Unreadable> {
    // serde would take an array for a structure as well.
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(Unreadable::Json { line: 1, column: 1 });
    }
    serde_json::from_slice(json).map_err(|error| Unreadable::Json { line: error.line(), column: error.column() })
}

fn own(asked: &str, said: &str) -> Result<(), Unreadable> {
    if asked == said { Ok(()) } else { Err(Unreadable::Stranger) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    const PHC: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21l$MDEyMzQ1Njc4OWFiY2RlZg";

    #[test]
    fn an_account_is_read_and_its_unknown_members_are_skipped() {
        let json = format!(
            r#" {{"id":"c","role":"customer","parent":"r","status":"suspended","email":"Ops@Example.com","password":"{PHC}","x":{{"y":[1]}},"x":2}}"#
        );
        let record = account("c", json.as_bytes()).unwrap();
        assert_eq!((&*record.role, record.parent.as_deref(), record.suspended), ("customer", Some("r"), true));
        assert_eq!((record.email.as_deref(), &*record.password), (Some("ops@example.com"), PHC));
        let root = account("r", br#"{"id":"r","role":"root"}"#).unwrap();
        assert_eq!((root.parent, root.suspended, root.password_mark), (None, false, 0));
    }

    #[test]
    fn another_password_or_version_is_another_mark() {
        let with = |members: &str| account("c", format!(r#"{{"id":"c","role":"r",{members}}}"#).as_bytes()).unwrap();
        let marks = [
            with(r#""password_version":"1""#).password_mark,
            with(r#""password_version":"2""#).password_mark,
            with(&format!(r#""password":"{PHC}""#)).password_mark,
            0,
        ];
        for (place, mark) in marks.iter().enumerate() {
            assert!(!marks[place + 1..].contains(mark), "{marks:?}");
        }
    }

    #[test]
    fn an_odd_account_is_unreadable_and_its_values_are_not_told() {
        let odd = [
            r#"["c","r","p"]"#,
            "",
            "null",
            r#"{"id":"c""#,
            r#"{"id":"c"}"#,
            r#"{"role":"r"}"#,
            r#"{"id":"d","role":"r"}"#,
            r#"{"id":"c","role":"r","role":"r"}"#,
            r#"{"id":"c","role":"a b"}"#,
            r#"{"id":"c","role":"r","parent":null}"#,
            r#"{"id":"c","role":"r","parent":"a/b"}"#,
            r#"{"id":"c","role":"r","status":"gone"}"#,
            r#"{"id":"c","role":"r","status":true}"#,
            r#"{"id":"c","role":"r","email":"hunter2"}"#,
            r#"{"id":"c","role":"r","password":"hunter2"}"#,
            r#"{"id":"c","role":"r","password":["hunter2"]}"#,
            r#"{"id":"c","role":"r"} x"#,
        ];
        for json in odd {
            let error = account("c", json.as_bytes()).expect_err(json);
            assert!(!error.to_string().contains("hunter2") && !error.to_string().contains("gone"), "{error}");
        }
        assert!(account("c", b"{\"id\":\"c\",\"role\":\"\xff\"}").is_err());
    }

    #[test]
    fn a_record_that_breaks_its_rules_is_still_told_from_what_is_no_record() {
        for record in [r#"{"id":"c"}"#, r#"{"x":[{}],"id":"c","role":"r","role":"r"}"#, r#"{"id":"c","status":"gone"}"#]
        {
            assert_eq!(is_of("c", record.as_bytes()), Ok(()), "{record}");
        }
        let others =
            ["", "<html>", "null", r#"["c"]"#, r#"{"id":"c""#, r#"{"error":"away"}"#, r#"{"id":"d"}"#, r#"{"id":7}"#];
        for other in others {
            assert!(is_of("c", other.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn a_credential_is_read_with_its_times() {
        let json = format!(
            r#"{{"id":"k","account":"c","key":"{KEY}","realms":["ucaas"],"not_before":"2026-01-01T01:00:00+01:00","not_after":"2027-01-01T00:00:00Z","label":"x"}}"#
        );
        let record = credential("k", json.as_bytes()).unwrap();
        assert_eq!((record.not_before, record.not_after), (Some(1_767_225_600), Some(1_798_761_600)));
        assert!(record.is_for("ucaas") && !record.is_for("cpaas"));
        assert_eq!(record.proof.to_string(), KEY);
    }

    #[test]
    fn an_odd_credential_is_unreadable() {
        let with = |members: &str| {
            let json = format!(r#"{{"id":"k","account":"c","key":"{KEY}"{members}}}"#);
            credential("k", json.as_bytes())
        };
        assert!(with("").is_ok_and(|record| record.realms.is_none()));
        for members in [
            r#","realms":null"#,
            r#","realms":"ucaas""#,
            r#","not_after":"2027-01-01""#,
            r#","not_after":1798761600"#,
            r#","not_before":"tomorrow""#,
            r#","label":7"#,
            r#","id":"k""#,
        ] {
            assert!(with(members).is_err(), "{members}");
        }
        assert_eq!(
            credential("l", format!(r#"{{"id":"k","account":"c","key":"{KEY}"}}"#).as_bytes()).unwrap_err(),
            Unreadable::Stranger
        );
        assert_eq!(
            credential("k", br#"{"id":"k","account":"c","key":"hunter2"}"#).unwrap_err(),
            Unreadable::Grammar("key")
        );
    }

    #[test]
    fn what_stands_under_an_e_mail_is_an_id() {
        assert_eq!(&*email(b"usr-1").unwrap(), "usr-1");
        let right = verified(br#"{"account":"usr-1","more":1}"#).unwrap();
        assert_eq!((&*right.account, right.password_mark), ("usr-1", None));
        let right = verified(br#"{"account":"usr-1","password_version":"7"}"#).unwrap();
        assert_eq!(right.password_mark, Some(mark("7")));
        for odd in [&b""[..], b"\"usr-1\"", b"usr 1", b"\xff", b"usr-1\n"] {
            assert!(email(odd).is_err());
        }
        assert!(verified(br#"{"account":""}"#).is_err() && verified(br#"{"account":null}"#).is_err());
    }
}
