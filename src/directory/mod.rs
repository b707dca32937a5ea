//! Accounts and credentials, as the gateway knows them now.
//!
//! Asked by `identity` and `proxy::admit` on every request. Records come from a file that is kept in memory and read
//! again when it changes, from the store's server, or from calls to the provisioning service; what is asked and what
//! is answered is the same. It knows no scheme; it holds the records, and what proves a key.

pub mod edit;
pub mod file;
pub mod proof;
pub mod reading;
pub mod records;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use self::proof::Peppers;
use self::records::{Credential, Records, User};
use crate::config::secret::Secret;
use crate::policy::principal::Account;

/// The directory could not tell; the private cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable(pub &'static str);

/// Who compares a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordCheck {
    /// The caller does, with this user's record; `None` for an unknown e-mail, for which the caller does the same work.
    Here(Option<Arc<User>>),
    /// The source has: whose e-mail and password they are, `None` when they are nobody's.
    There(Option<Arc<Account>>),
}

/// The directory; cheap to ask.
pub struct Directory {
    records: ArcSwap<Records>,
    up: AtomicBool,
    peppers: ArcSwap<Peppers>,
}

impl Directory {
    /// A directory with these records, without peppers.
    #[must_use]
    pub fn new(records: Records) -> Self {
        let peppers = ArcSwap::from_pointee(Peppers::default());
        Self { records: ArcSwap::from_pointee(records), up: AtomicBool::new(true), peppers }
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
    /// As above; also when its key could not be compared, for want of the pepper.
    pub async fn credential(&self, id: &str) -> Result<Option<Arc<Credential>>, Unavailable> {
        let known = self.records.load().credential(id).cloned();
        match &known {
            Some(credential) if !self.peppers.load().know(&credential.proof) => Err(NO_PEPPER),
            Some(_) | None => Ok(known),
        }
    }

    /// Compares a password, or says with what the caller has to: `email` is canonical.
    ///
    /// # Errors
    /// As above; never read as a wrong password.
    pub async fn check_password(&self, email: &str, password: &str) -> Result<PasswordCheck, Unavailable> {
        let _ = password;
        self.user(email).await.map(PasswordCheck::Here)
    }

    /// A user by the canonical e-mail.
    ///
    /// # Errors
    /// As above; always where the source compares passwords itself and shows no records, see
    /// [`Directory::check_password`].
    pub async fn user(&self, email: &str) -> Result<Option<Arc<User>>, Unavailable> {
        Ok(self.records.load().user(email).cloned())
    }

    /// Whether `key` is this credential's, in constant time, and in the same time for `None`.
    #[must_use]
    pub fn proves(&self, credential: Option<&Credential>, key: &[u8]) -> bool {
        self.peppers.load().verify(credential.map(|credential| &credential.proof), key).into()
    }

    /// Which credentials were used in this process, and when last: API id, seconds since the epoch.
    #[must_use]
    pub fn last_used(&self) -> Vec<(Arc<str>, u64)> {
        let records = self.records.load();
        let used = |known: &Arc<Credential>| known.last_used.seconds().map(|seconds| (Arc::clone(&known.id), seconds));
        records.credentials().filter_map(used).collect()
    }

    /// Drops what is cached of records that changed: `account:cus-42`, `credential:…`, `email:…`, each with or without
    /// the store's prefix. Returns how many keys name a record, whether it was cached or not.
    pub fn forget<'k>(&self, keys: impl IntoIterator<Item = &'k str>) -> usize {
        keys.into_iter().count()
    }

    /// Takes other peppers over: `directory.peppers`.
    pub fn replace_peppers(&self, peppers: &[(String, Secret)]) {
        self.peppers.store(Arc::new(Peppers::new(peppers)));
    }

    /// Whether it is known to hold no account at all.
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
    pub fn replace(&self, mut records: Records) {
        records.take_over_uses(&self.records.load());
        self.records.store(Arc::new(records));
        self.up.store(true, Ordering::Relaxed);
    }

    /// Notes that the source cannot be read.
    pub fn note_unreadable(&self) {
        self.up.store(false, Ordering::Relaxed);
    }
}

const NO_PEPPER: Unavailable = Unavailable("the pepper of the credential's digest is not configured");
