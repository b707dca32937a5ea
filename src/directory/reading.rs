//! `accounts.toml` → records.
//!
//! Called at start, by `check`, and when the file changes. Every fault of the file is noted; a file with a
//! fault gives no records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::spanned::Spanned;
use schemars::JsonSchema;
use serde::Deserialize;
use time::OffsetDateTime;
use toml::value::Datetime;

use super::phc::{self, Costs, PhcFault};
use super::proof::Proof;
use super::records::{Credential, LastUsed, Records, User, Vocabulary, canonical_email};
use super::wire::mark;
use crate::config::block::Block;
use crate::config::diag::{Faults, Source, suggest};
use crate::config::schema::texts::{Email, Id, KeyDigest, Moment, PasswordRecord};
use crate::policy::principal::{Account, Lineage, MAX_LEVELS, is_id};

/// Reads the text of an accounts file. `None`, with every fault noted, when it has one.
pub fn parse(source: &Arc<Source>, known: &Vocabulary, faults: &mut Faults) -> Option<Records> {
    let mut found = Faults::default();
    let records = Reader { source, known, faults: &mut found }.read();
    let good = !found.any_fault();
    faults.append(found);
    records.filter(|_| good)
}

/// Accounts and credentials of a Portcullis gateway: `accounts.toml`.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its shape is used, for the schema")]
struct AccountsFile {
    /// The nodes of the tree.
    account: Option<Vec<RawAccount>>,
    /// What accounts call with: API id and API key.
    credential: Option<Vec<RawCredential>>,
}

/// The JSON Schema of an accounts file.
#[must_use]
pub fn schema() -> serde_json::Value {
    crate::config::schema::of::<AccountsFile>("accounts")
}

/// `[[account]]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawAccount {
    /// 1 to 64 of `A-Z a-z 0-9 . _ ~ -`; compared byte by byte.
    #[schemars(with = "Id")]
    id: Spanned<String>,
    /// A role of the realms that it uses.
    #[schemars(with = "Id")]
    role: Spanned<String>,
    /// The account above it; left out for a root.
    #[schemars(with = "Option<Id>")]
    parent: Option<Spanned<String>>,
    /// `"active"`, or `"suspended"`, which suspends everything below too. Default `"active"`.
    status: Option<Status>,
    /// Unique; for login.
    #[schemars(with = "Option<Email>")]
    email: Option<Spanned<String>>,
    /// argon2id PHC string, as `portcullis password` prints it.
    #[schemars(with = "Option<PasswordRecord>")]
    password: Option<Spanned<String>>,
}

/// `account.status`
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[schemars(inline)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// May call.
    #[default]
    Active,
    /// May not, nor may what lies below it.
    Suspended,
}

/// `[[credential]]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawCredential {
    /// The API id.
    #[schemars(with = "Id")]
    id: Spanned<String>,
    /// Whose it is.
    #[schemars(with = "Id")]
    account: Spanned<String>,
    /// Over the bytes of the API key: `sha256:` and 64 hexadecimal digits, or `hmac-sha256:`, the id of a pepper, `:`, digits.
    #[schemars(with = "KeyDigest")]
    key: Spanned<String>,
    /// Where it is good. Left out: in every realm.
    realms: Option<Vec<String>>,
    /// Good from then on.
    #[schemars(with = "Option<Moment>")]
    not_before: Option<Spanned<Datetime>>,
    /// Good before then.
    #[schemars(with = "Option<Moment>")]
    not_after: Option<Spanned<Datetime>>,
    /// For operators.
    #[serde(default)]
    #[allow(dead_code, reason = "read by people and by `credential list`")]
    label: Option<String>,
}

struct Reader<'s, 'f> {
    source: &'s Arc<Source>,
    known: &'s Vocabulary,
    faults: &'f mut Faults,
}

impl Reader<'_, '_> {
    fn read(mut self) -> Option<Records> {
        let mut root = Block::parse(self.source, self.faults)?;
        let accounts = root.take_tables("account", self.faults);
        let accounts: Vec<RawAccount> = accounts.into_iter().filter_map(|block| block.read(self.faults)).collect();
        let credentials = root.take_tables("credential", self.faults);
        let credentials: Vec<RawCredential> =
            credentials.into_iter().filter_map(|block| block.read(self.faults)).collect();
        root.refuse_rest(&["account", "credential"], self.faults);
        let mut records = Records::default();
        self.tree(&accounts, &mut records);
        for account in &accounts {
            self.user(account, &mut records);
        }
        let ids: BTreeSet<&str> = accounts.iter().map(|account| account.id.get_ref().as_str()).collect();
        for credential in credentials {
            self.credential(credential, &ids, &mut records);
        }
        Some(records)
    }

    fn tree(&mut self, accounts: &[RawAccount], records: &mut Records) {
        let mut by_id: BTreeMap<&str, &RawAccount> = BTreeMap::new();
        for account in accounts {
            let id = account.id.get_ref().as_str();
            self.check_id(&account.id, "account");
            if !is_id(account.role.get_ref()) {
                self.faults.fault(self.source, account.role.span(), "a role is 1 to 64 of A-Z a-z 0-9 . _ ~ -", "");
            } else if !knows(&self.known.roles, account.role.get_ref()) {
                let hint = suggest(account.role.get_ref(), self.known.roles.iter().map(|role| &**role));
                let message =
                    format!("no realm has a role `{}`, so the account may call nothing", account.role.get_ref());
                self.faults.warn(self.source, account.role.span(), message, hint);
            }
            if let Some(first) = by_id.insert(id, account) {
                let (line, _) = self.source.position(first.id.span().start);
                let message = format!("account `{id}` stands twice, first in line {line}");
                self.faults.fault(self.source, account.id.span(), message, "");
            }
        }
        for account in accounts {
            if let Some(parent) =
                account.parent.as_ref().filter(|parent| !by_id.contains_key(parent.get_ref().as_str()))
            {
                let hint = suggest(parent.get_ref(), by_id.keys().copied());
                self.faults.fault(self.source, parent.span(), format!("no account `{}`", parent.get_ref()), hint);
                continue;
            }
            match line_up(account, &by_id) {
                Ok((None, _)) => {}
                Ok((Some(lineage), suspended)) => {
                    let record = Arc::new(Account { lineage, suspended, password_mark: marked(account) });
                    records.accounts.insert(account.id.get_ref().as_str().into(), record);
                }
                Err(message) => {
                    let place = account.parent.as_ref().unwrap_or(&account.id);
                    self.faults.fault(self.source, place.span(), message, "accounts form one tree");
                }
            }
        }
    }

    fn user(&mut self, account: &RawAccount, records: &mut Records) {
        if let Some(password) = &account.password {
            self.check_password(password);
            if account.email.is_none() {
                let hint = "add `email`, or drop `password`";
                self.faults.warn(self.source, password.span(), "a password without `email` is of no use", hint);
            }
        }
        let Some(email) = &account.email else { return };
        let Some(canonical) = canonical_email(email.get_ref()) else {
            let message = format!("`{}` is no e-mail", email.get_ref());
            self.faults.fault(self.source, email.span(), message, "ASCII, at most 254 characters, one @, no blanks");
            return;
        };
        if let Some(first) = records.users.get(&*canonical) {
            let message = format!("e-mail `{canonical}` belongs to account `{}` already", first.account);
            self.faults.fault(self.source, email.span(), message, "e-mails are unique, whatever their letter case");
        }
        // An e-mail without a password is kept, so that it stays taken; nobody can log in with it.
        let password = account.password.as_ref().map_or("", |password| password.get_ref());
        let user = User {
            account: account.id.get_ref().as_str().into(),
            email: canonical.clone().into(),
            password: password.into(),
            password_mark: marked(account),
        };
        records.users.insert(canonical.into(), Arc::new(user));
    }

    fn check_password(&mut self, password: &Spanned<String>) {
        let hint = "make one with `portcullis password`";
        match phc::judge(password.get_ref()) {
            Ok(Costs::Usual) => {}
            Ok(Costs::Other) => {
                let message = "other costs than m=19456,t=2,p=1 can tell this e-mail apart by time";
                self.faults.warn(self.source, password.span(), message, hint);
            }
            Err(fault @ PhcFault::TooCostly) => {
                let hint = "at most m=65536 (64 MiB), t=10, p=16";
                self.faults.fault(self.source, password.span(), fault.to_string(), hint);
            }
            Err(fault) => self.faults.fault(self.source, password.span(), fault.to_string(), hint),
        }
    }

    fn credential(&mut self, raw: RawCredential, ids: &BTreeSet<&str>, records: &mut Records) {
        self.check_id(&raw.id, "API");
        if !ids.contains(raw.account.get_ref().as_str()) {
            let hint = suggest(raw.account.get_ref(), ids.iter().copied());
            self.faults.fault(self.source, raw.account.span(), format!("no account `{}`", raw.account.get_ref()), hint);
        }
        if raw.realms.is_none() {
            let message = format!("credential `{}` is good in every realm", raw.id.get_ref());
            self.faults.warn(self.source, raw.id.span(), message, "realms = [\"ucaas\"] narrows it");
        }
        for realm in raw.realms.iter().flatten().filter(|realm| !knows(&self.known.realms, realm)) {
            let hint = suggest(realm, self.known.realms.iter().map(|realm| &**realm));
            self.faults.warn(self.source, raw.id.span(), format!("there is no realm `{realm}`"), hint);
        }
        if raw.realms.as_ref().is_some_and(Vec::is_empty) {
            let message = format!("credential `{}` is good in no realm", raw.id.get_ref());
            self.faults.warn(self.source, raw.id.span(), message, "leave `realms` out, or name one");
        }
        let proof = self.proof(&raw.key);
        let not_before = raw.not_before.and_then(|time| self.time(&time));
        let until = raw.not_after.as_ref().map_or(0..0, Spanned::span);
        let not_after = raw.not_after.and_then(|time| self.time(&time));
        if not_before.zip(not_after).is_some_and(|(from, until)| from >= until) {
            self.faults.fault(
                self.source,
                until,
                "`not_after` is not later than `not_before`",
                "the key would never be good",
            );
        }
        let Some(proof) = proof else { return };
        let id: Arc<str> = raw.id.get_ref().as_str().into();
        let account = raw.account.get_ref().as_str().into();
        let realms = raw.realms;
        let last_used = LastUsed::default();
        let credential = Credential { id: Arc::clone(&id), account, proof, realms, not_before, not_after, last_used };
        if let Some(first) = records.credentials.insert(Arc::clone(&id), Arc::new(credential)) {
            let message = format!("API id `{id}` stands twice, first for account `{}`", first.account);
            self.faults.fault(self.source, raw.id.span(), message, "give each credential an id of its own");
        }
    }

    /// The value is never repeated: a key pasted by mistake would end up in a log.
    fn proof(&mut self, key: &Spanned<String>) -> Option<Proof> {
        let Some(proof) = Proof::parse(key.get_ref()) else {
            let message = "`key` is no digest of an API key";
            let hint = "write \"sha256:\" and 64 hexadecimal digits; `portcullis credential new` does it";
            self.faults.fault(self.source, key.span(), message, hint);
            return None;
        };
        if let Some((pepper, known)) = proof.pepper().zip(self.known.peppers.as_ref())
            && !known.iter().any(|known| **known == *pepper)
        {
            let near = suggest(pepper, known.iter().map(|known| &**known));
            let hint = format!("add it to `peppers` in [directory], or rotate the credential; {near}");
            let message = format!("`peppers` in [directory] has no `{pepper}`");
            self.faults.fault(self.source, key.span(), message, hint.trim_end_matches("; "));
        }
        Some(proof)
    }

    fn time(&mut self, time: &Spanned<Datetime>) -> Option<i64> {
        let parsed = seconds(time.get_ref());
        if parsed.is_none() {
            let hint = "write 2027-01-01T00:00:00Z";
            self.faults.fault(self.source, time.span(), "a time with date and offset is needed", hint);
        }
        parsed
    }

    fn check_id(&mut self, id: &Spanned<String>, kind: &str) {
        if !is_id(id.get_ref()) {
            let message = format!("an {kind} id is 1 to 64 of A-Z a-z 0-9 . _ ~ -");
            self.faults.fault(self.source, id.span(), message, "");
        }
    }
}

/// Tells the account's password from the next; 0 without one.
fn marked(account: &RawAccount) -> u64 {
    account.password.as_ref().map_or(0, |password| mark(password.get_ref()))
}

fn knows(known: &[Box<str>], name: &str) -> bool {
    known.is_empty() || known.iter().any(|known| **known == *name)
}

/// The lineage of an account, `None` where an id in it is none, and whether it or one above it is suspended.
fn line_up(account: &RawAccount, by_id: &BTreeMap<&str, &RawAccount>) -> Result<(Option<Lineage>, bool), String> {
    let mut nodes = Vec::new();
    let mut suspended = false;
    let mut next = Some(account);
    while let Some(current) = next {
        if nodes.len() == MAX_LEVELS {
            let id = account.id.get_ref();
            return Err(format!("account `{id}` is its own ancestor, or lies deeper than {MAX_LEVELS} levels"));
        }
        nodes.push((current.id.get_ref().as_str(), current.role.get_ref().as_str()));
        suspended |= current.status == Some(Status::Suspended);
        next = current.parent.as_ref().and_then(|parent| by_id.get(parent.get_ref().as_str()).copied());
    }
    Ok((Lineage::new(nodes.into_iter().rev()), suspended))
}

fn seconds(time: &Datetime) -> Option<i64> {
    time.offset?;
    let parsed = OffsetDateTime::parse(&time.to_string(), &time::format_description::well_known::Rfc3339).ok()?;
    Some(parsed.unix_timestamp())
}

#[cfg(test)]
mod tests;
