//! The account tree of the lab and the directory file made from it, so that a test changes a field and not a text.
//! Password records come from `portcullis password` itself, made once a run.

use std::sync::OnceLock;

use argon2::{Algorithm, Argon2, CustomizedPasswordHasher as _, Params, Version};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::harness::gateway::password_record;

/// The password of every account.
pub(crate) const PASSWORD: &str = "correct horse alice";

/// A directory.
#[derive(Clone)]
pub(crate) struct Accounts {
    accounts: Vec<Account>,
    credentials: Vec<Credential>,
}

/// One account; its e-mail is [`email`] of its id.
#[derive(Clone)]
pub(crate) struct Account {
    id: String,
    /// Its role's name.
    pub(crate) role: String,
    /// Nobody for a root.
    pub(crate) parent: Option<String>,
    /// `active` or `suspended`.
    pub(crate) status: String,
    /// The argon2id record of its password.
    pub(crate) password: String,
}

/// One credential; its key is [`key_of`] its id.
#[derive(Clone)]
pub(crate) struct Credential {
    id: String,
    account: String,
    /// Further lines of TOML: `realms`, `not_before`, `not_after`.
    extra: String,
}

impl Accounts {
    /// Nobody.
    pub(crate) fn none() -> Self {
        Self { accounts: Vec::new(), credentials: Vec::new() }
    }

    /// The lab's tree: `root` over two users and two resellers with a customer and its users each, and `lone`, a user
    /// without a parent. Every account has one credential, named by [`api_id`].
    pub(crate) fn lab() -> Self {
        Self::none()
            .with("root", "administrator", None)
            .with("alice", "user", Some("root"))
            .with("bob", "user", Some("root"))
            .with("res-7", "reseller", Some("root"))
            .with("cus-42", "customer", Some("res-7"))
            .with("usr-1", "user", Some("cus-42"))
            .with("usr-2", "user", Some("cus-42"))
            .with("res-8", "reseller", Some("root"))
            .with("cus-9", "customer", Some("res-8"))
            .with("usr-9", "user", Some("cus-9"))
            .with("lone", "user", None)
    }

    /// One more account with its credential.
    pub(crate) fn with(mut self, id: &str, role: &str, parent: Option<&str>) -> Self {
        static RECORD: OnceLock<String> = OnceLock::new();
        let password = RECORD.get_or_init(|| password_record(PASSWORD)).clone();
        let (status, parent) = ("active".to_owned(), parent.map(str::to_owned));
        self.accounts.push(Account { id: id.to_owned(), role: role.to_owned(), parent, status, password });
        self.credential(&api_id(id), id, "")
    }

    /// One more credential, with further lines of TOML.
    pub(crate) fn credential(mut self, id: &str, account: &str, extra: &str) -> Self {
        self.credentials.push(Credential { id: id.to_owned(), account: account.to_owned(), extra: extra.to_owned() });
        self
    }

    /// The same with one account changed.
    pub(crate) fn change(mut self, id: &str, change: impl FnOnce(&mut Account)) -> Self {
        change(self.accounts.iter_mut().find(|account| account.id == id).unwrap_or_else(|| panic!("no account {id}")));
        self
    }

    /// The same with an account (and whatever is below it) suspended.
    pub(crate) fn suspend(self, id: &str) -> Self {
        self.change(id, |account| account.status = "suspended".to_owned())
    }

    /// The same with records of [`PASSWORD`] that cost next to nothing to check, for what measures other waits: password
    /// checks step back, and take a second on a machine that is busy all over.
    pub(crate) fn quick_to_check(mut self) -> Self {
        let params = Params::new(Params::MIN_M_COST, 1, 1, None).expect("the least that argon2 takes");
        let record = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
            .hash_password_with_params(PASSWORD.as_bytes(), b"a salt for tests", params)
            .expect("a hash")
            .to_string();
        self.accounts.iter_mut().for_each(|account| account.password.clone_from(&record));
        self
    }

    /// The same as commands that write the records of a `redis:` directory.
    pub(crate) fn commands(&self, prefix: &str) -> Vec<Vec<String>> {
        let set = |(key, value)| vec!["SET".to_owned(), format!("{prefix}{key}"), value];
        self.records().into_iter().map(set).collect()
    }

    /// `accounts.toml`.
    pub(crate) fn toml(&self) -> String {
        let mut text = String::new();
        for Account { id, role, parent, status, password } in &self.accounts {
            let parent = parent.as_ref().map_or(String::new(), |parent| format!("parent = \"{parent}\"\n"));
            text.push_str(&format!(
                "[[account]]\nid = \"{id}\"\nrole = \"{role}\"\n{parent}status = \"{status}\"\nemail = \"{}\"\npassword = \"{password}\"\n\n",
                email(id)
            ));
        }
        for Credential { id, account, extra } in &self.credentials {
            let key = digest(&key_of(id));
            text.push_str(&format!(
                "[[credential]]\nid = \"{id}\"\naccount = \"{account}\"\nkey = \"{key}\"\n{extra}\n\n"
            ));
        }
        text
    }
}

impl Accounts {
    /// Key without the prefix, and value, as a `redis:` directory holds them. Without times, which JSON writes otherwise.
    pub(crate) fn records(&self) -> Vec<(String, String)> {
        let mut records = Vec::new();
        let tables: Value = toml::from_str(&self.toml()).expect("TOML of our own");
        let rows = |kind: &str| tables[kind].as_array().cloned().unwrap_or_default();
        for kind in ["account", "credential"] {
            for row in rows(kind) {
                let id = row["id"].as_str().expect("an id").to_owned();
                if let Some(email) = row["email"].as_str() {
                    records.push((format!("email:{email}"), id.clone()));
                }
                records.push((format!("{kind}:{id}"), row.to_string()));
            }
        }
        records
    }
}

/// The e-mail of an account.
pub(crate) fn email(account: &str) -> String {
    format!("{account}@lab.example")
}

/// The API id of an account's own credential.
pub(crate) fn api_id(account: &str) -> String {
    format!("ak_{account}")
}

/// What a directory keeps of an API key.
pub(crate) fn digest(key: &str) -> String {
    let digest: String = Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digest}")
}

/// The API key of a credential.
pub(crate) fn key_of(api_id: &str) -> String {
    format!("key-of-{api_id}:0123456789abcdef")
}
