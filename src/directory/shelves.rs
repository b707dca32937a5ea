//! The shelves of all kinds of records, and what each kind is read into.
//!
//! Used by `remote`. It asks nobody and judges no age; how a shelf works is `shelf`'s part, what a record says `wire`'s.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use quick_cache::sync::Cache;

use super::records::{Credential, LastUsed};
use super::shelf::Shelf;
use super::source::Kind;
use super::tree::Node;
use super::wire::{self, Unreadable};

/// One kind of record on its shelf.
pub(super) trait Record: PartialEq + Sized + Send + Sync + 'static {
    const KIND: Kind;
    fn read(shelves: &Shelves, id: &str, bytes: &[u8]) -> Result<Self, Unreadable>;
    fn shelf(shelves: &Shelves) -> &Shelf<Self>;
}

/// What is held. The records of all three kinds together are bounded.
pub(super) struct Shelves {
    pub(super) accounts: Shelf<Node>,
    pub(super) credentials: Shelf<Arc<Credential>>,
    pub(super) emails: Shelf<Box<str>>,
    /// When keys were used, apart from the records: those are replaced, and may be dropped in between.
    pub(super) uses: Cache<Arc<str>, LastUsed>,
    /// How many changes of accounts there were.
    pub(super) generation: AtomicU64,
}

impl Shelves {
    pub(super) fn new(entries: usize) -> Self {
        let (accounts, emails) = (entries / 2, entries / 8);
        let credentials = entries - accounts - emails;
        Self {
            accounts: Shelf::new(accounts),
            credentials: Shelf::new(credentials),
            emails: Shelf::new(emails),
            uses: Cache::new(credentials.max(1)),
            generation: AtomicU64::new(0),
        }
    }

    /// How many records are held.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.accounts.len() + self.credentials.len() + self.emails.len()
    }
}

impl Record for Node {
    const KIND: Kind = Kind::Account;

    fn read(_: &Shelves, id: &str, bytes: &[u8]) -> Result<Self, Unreadable> {
        wire::account(id, bytes).map(Self::new)
    }

    fn shelf(shelves: &Shelves) -> &Shelf<Self> {
        &shelves.accounts
    }
}

impl Record for Arc<Credential> {
    const KIND: Kind = Kind::Credential;

    fn read(shelves: &Shelves, id: &str, bytes: &[u8]) -> Result<Self, Unreadable> {
        let mut record = wire::credential(id, bytes)?;
        let known = shelves.uses.get_or_insert_with::<_, Unreadable>(&record.id, || Ok(LastUsed::default()));
        record.last_used = known?;
        Ok(Arc::new(record))
    }

    fn shelf(shelves: &Shelves) -> &Shelf<Self> {
        &shelves.credentials
    }
}

/// The account that an e-mail belongs to.
impl Record for Box<str> {
    const KIND: Kind = Kind::Email;

    fn read(_: &Shelves, _: &str, bytes: &[u8]) -> Result<Self, Unreadable> {
        wire::email(bytes)
    }

    fn shelf(shelves: &Shelves) -> &Shelf<Self> {
        &shelves.emails
    }
}
