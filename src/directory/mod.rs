//! Accounts and credentials, as the gateway knows them now.
//!
//! Asked by `identity` and `proxy::admit` on every request. One source so far: a file, kept in memory and
//! read again when it changes. It knows no scheme and no password check; it only holds the records.

pub mod edit;
pub mod file;
pub mod reading;
pub mod records;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use self::records::{Credential, Records, User};
use crate::policy::principal::Account;

/// The directory could not tell; the private cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable(pub &'static str);

/// The directory; cheap to ask, swapped whole when its source changes.
pub struct Directory {
    records: ArcSwap<Records>,
    up: AtomicBool,
}

impl Directory {
    /// A directory with these records.
    #[must_use]
    pub fn new(records: Records) -> Self {
        Self { records: ArcSwap::from_pointee(records), up: AtomicBool::new(true) }
    }

    /// An account by its id.
    ///
    /// # Errors
    /// The source could not tell; never read as "unknown".
    pub async fn account(&self, id: &str) -> Result<Option<Arc<Account>>, Unavailable> {
        Ok(self.records.load().account(id).cloned())
    }

    /// A credential by its API id.
    ///
    /// # Errors
    /// As above.
    pub async fn credential(&self, id: &str) -> Result<Option<Arc<Credential>>, Unavailable> {
        Ok(self.records.load().credential(id).cloned())
    }

    /// A user by the canonical e-mail.
    ///
    /// # Errors
    /// As above.
    pub async fn user(&self, email: &str) -> Result<Option<Arc<User>>, Unavailable> {
        Ok(self.records.load().user(email).cloned())
    }

    /// Whether it holds no account at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.load().is_empty()
    }

    /// Whether the source could be read last time; the records before stay in use when it could not.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Takes newer records over.
    pub fn replace(&self, records: Records) {
        self.records.store(Arc::new(records));
        self.up.store(true, Ordering::Relaxed);
    }

    /// Notes that the source cannot be read.
    pub fn note_unreadable(&self) {
        self.up.store(false, Ordering::Relaxed);
    }
}
