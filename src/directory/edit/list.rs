//! What an accounts file holds, row by row.
//!
//! Called by `account list` and `credential list`, which print or serialize the rows. No row has a password hash or a
//! digest.

use std::collections::HashMap;
use std::time::SystemTime;

use toml_edit::{Datetime, Item, Table, Value};

use super::grammar::unix_seconds;
use super::keys::{read_digest, seconds};
use super::{ACCOUNT, ACTIVE, AccountFile, CREDENTIAL, string};

/// May an account call?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It may.
    Active,
    /// It may not.
    Suspended,
}

/// One line of `account list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    /// Account id.
    pub id: String,
    /// Role name.
    pub role: String,
    /// `None` for a root.
    pub parent: Option<String>,
    /// What the account's own block says.
    pub status: Status,
    /// What the gateway goes by: suspended when the account or any ancestor is.
    pub effective: Status,
    /// Login e-mail, as written in the file.
    pub email: Option<String>,
    /// Level in the tree: 1 for a root, at most 16.
    pub depth: usize,
    /// How many credentials belong to it, expired ones included.
    pub credentials: usize,
}

/// One line of `credential list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialRow {
    /// API ID.
    pub id: String,
    /// The account it belongs to.
    pub account: String,
    /// Realms it is good for; `None` = all.
    pub realms: Option<Vec<String>>,
    /// RFC 3339.
    pub not_before: Option<String>,
    /// RFC 3339.
    pub not_after: Option<String>,
    /// Id of the pepper that its digest was made with; `None` for a plain digest.
    pub pepper: Option<String>,
    /// The operator's note.
    pub label: Option<String>,
    /// `not_after` is reached.
    pub expired: bool,
}

impl AccountFile {
    /// The accounts in the file's order.
    pub fn accounts(&self) -> Vec<AccountRow> {
        let tree = self.tree();
        let mut owned = HashMap::<&str, usize>::new();
        for owner in self.blocks(CREDENTIAL).filter_map(|block| string(block, "account")) {
            *owned.entry(owner).or_default() += 1;
        }
        let row = |account| {
            let id = string(account, "id")?;
            let suspended = tree.climb(id).any(|above| status_of(above) == Status::Suspended);
            Some(AccountRow {
                id: id.to_owned(),
                role: string(account, "role")?.to_owned(),
                parent: string(account, "parent").map(str::to_owned),
                status: status_of(account),
                effective: if suspended { Status::Suspended } else { Status::Active },
                email: string(account, "email").map(str::to_owned),
                depth: tree.depth(id),
                credentials: owned.get(id).copied().unwrap_or_default(),
            })
        };
        self.blocks(ACCOUNT).filter_map(row).collect()
    }

    /// The credentials in the file's order, with what has expired at `now`.
    pub fn credentials(&self, now: SystemTime) -> Vec<CredentialRow> {
        let now = seconds(now);
        let row = |block| {
            let time = |key| Table::get(block, key).and_then(Item::as_datetime);
            let realms = block.get("realms").and_then(Item::as_array);
            Some(CredentialRow {
                id: string(block, "id")?.to_owned(),
                account: string(block, "account")?.to_owned(),
                realms: realms.map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
                not_before: time("not_before").map(Datetime::to_string),
                not_after: time("not_after").map(Datetime::to_string),
                pepper: string(block, "key").and_then(|key| read_digest(key).ok().flatten()).map(str::to_owned),
                label: string(block, "label").map(str::to_owned),
                expired: time("not_after").and_then(unix_seconds).is_some_and(|end| now >= end),
            })
        };
        self.blocks(CREDENTIAL).filter_map(row).collect()
    }
}

pub(super) fn status_of(account: &Table) -> Status {
    match string(account, "status") {
        None | Some(ACTIVE) => Status::Active,
        Some(_) => Status::Suspended,
    }
}
