//! Records as a test writes them, whatever source they are put into: as TOML for the file, as JSON for the others.

use std::collections::BTreeMap;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, CustomizedPasswordHasher as _, Params, PasswordVerifier as _, Version};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::config::secret::Secret;

pub(super) const PASSWORD: &str = "correct horse battery staple";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AccountRow {
    pub(super) role: &'static str,
    pub(super) parent: Option<&'static str>,
    pub(super) suspended: bool,
    pub(super) email: Option<String>,
    pub(super) password: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CredentialRow {
    pub(super) account: String,
    pub(super) key: String,
    pub(super) realms: Option<Vec<String>>,
    pub(super) not_before: Option<&'static str>,
    pub(super) not_after: Option<&'static str>,
}

/// Accounts and credentials by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Book {
    accounts: BTreeMap<String, AccountRow>,
    credentials: BTreeMap<String, CredentialRow>,
}

impl Book {
    pub(super) fn root(mut self, id: &str) -> Self {
        self.accounts.insert(id.to_owned(), AccountRow { role: "administrator", ..AccountRow::default() });
        self
    }

    pub(super) fn with(mut self, id: &str, role: &'static str, parent: &str) -> Self {
        // A test's few ids may live as long as the test.
        let parent = Some(&*parent.to_owned().leak());
        self.accounts.insert(id.to_owned(), AccountRow { role, parent, ..AccountRow::default() });
        self
    }

    pub(super) fn account(mut self, id: &str, change: impl FnOnce(&mut AccountRow)) -> Self {
        change(self.accounts.get_mut(id).unwrap());
        self
    }

    pub(super) fn with_credential(mut self, id: &str, account: &str) -> Self {
        let key = format!("sha256:{}", hex(&Sha256::digest(key_of(id))));
        let row = CredentialRow { account: account.to_owned(), key, ..CredentialRow::default() };
        self.credentials.insert(id.to_owned(), row);
        self
    }

    pub(super) fn credential(mut self, id: &str, change: impl FnOnce(&mut CredentialRow)) -> Self {
        change(self.credentials.get_mut(id).unwrap());
        self
    }

    pub(super) fn toml(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                text.push_str(&format!("{name} = {value:?}\n"));
            }
        };
        for (id, row) in &self.accounts {
            line("[[account]]\nid", Some(id));
            line("role", Some(row.role));
            line("parent", row.parent);
            line("status", row.suspended.then_some("suspended"));
            line("email", row.email.as_deref());
            line("password", row.password.as_deref());
        }
        for (id, row) in &self.credentials {
            text.push_str(&format!("[[credential]]\nid = {id:?}\naccount = {:?}\nkey = {:?}\n", row.account, row.key));
            if let Some(realms) = &row.realms {
                text.push_str(&format!("realms = {realms:?}\n"));
            }
            for (name, time) in [("not_before", row.not_before), ("not_after", row.not_after)] {
                text.push_str(&time.map(|time| format!("{name} = {time}\n")).unwrap_or_default());
            }
        }
        text
    }

    /// Key without the prefix, and value, as the store's server holds them.
    pub(super) fn keys(&self) -> BTreeMap<String, String> {
        let mut keys = BTreeMap::new();
        let put = |map: &mut Map<String, Value>, name: &str, value: Option<&str>| {
            if let Some(value) = value {
                map.insert(name.to_owned(), value.into());
            }
        };
        for (id, row) in &self.accounts {
            let mut map = Map::new();
            let status = row.suspended.then_some("suspended");
            let members = [("id", Some(id.as_str())), ("role", Some(row.role)), ("parent", row.parent)];
            let more = [("status", status), ("email", row.email.as_deref()), ("password", row.password.as_deref())];
            members.into_iter().chain(more).for_each(|(name, value)| put(&mut map, name, value));
            keys.insert(format!("account:{id}"), Value::from(map).to_string());
            if let Some(email) = &row.email {
                keys.insert(format!("email:{}", email.to_lowercase()), id.clone());
            }
        }
        for (id, row) in &self.credentials {
            let mut map = Map::new();
            let members = [("id", Some(id.as_str())), ("account", Some(&*row.account)), ("key", Some(&*row.key))];
            let times = [("not_before", row.not_before), ("not_after", row.not_after)];
            members.into_iter().chain(times).for_each(|(name, value)| put(&mut map, name, value));
            if let Some(realms) = &row.realms {
                map.insert("realms".to_owned(), realms.clone().into());
            }
            keys.insert(format!("credential:{id}"), Value::from(map).to_string());
        }
        keys
    }

    /// The keys whose values differ from another book's.
    pub(super) fn differences(&self, other: &Self) -> Vec<String> {
        let (mine, others) = (self.keys(), other.keys());
        let keys = mine.keys().chain(others.keys().filter(|key| !mine.contains_key(*key)));
        keys.filter(|key| mine.get(*key) != others.get(*key)).cloned().collect()
    }
}

/// The API key of a credential of the tests.
pub(super) fn key_of(id: &str) -> String {
    format!("the key of {id}")
}

/// `directory.peppers` of the tests.
pub(super) fn peppers() -> Vec<(String, Secret)> {
    vec![("p1".to_owned(), Secret::new(*b"a pepper of at least 32 bytes...."))]
}

/// The digest of a credential's key under the tests' pepper.
pub(super) fn peppered(id: &str) -> String {
    let (name, secret) = &peppers()[0];
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.reveal()).unwrap();
    mac.update(key_of(id).as_bytes());
    format!("hmac-sha256:{name}:{}", hex(&mac.finalize().into_bytes()))
}

/// A password's record, at costs that suit a test.
pub(super) fn record_of(password: &str) -> String {
    let params = Params::new(64, 1, 1, None).unwrap();
    let argon = Argon2::new(argon2::Algorithm::Argon2id, Version::V0x13, params.clone());
    let hash: PasswordHash =
        argon.hash_password_customized(password.as_bytes(), b"a salt for tests", None, Some(0x13), params).unwrap();
    hash.to_string()
}

/// Whether a password fits a record.
pub(super) fn fits(password: &str, record: &str) -> bool {
    PasswordHash::new(record)
        .is_ok_and(|record| Argon2::default().verify_password(password.as_bytes(), &record).is_ok())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
