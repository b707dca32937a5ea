//! What the directory holds: a tree of accounts, credentials, users.
//!
//! `reading` makes them from a file; `identity` asks for them. They are plain records without behaviour
//! of their own.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;

use super::proof::Proof;
use crate::policy::principal::Account;

/// An API id with what proves its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The API id.
    pub id: Arc<str>,
    /// Whose it is.
    pub account: Box<str>,
    /// What proves its key.
    pub proof: Proof,
    /// `None`: good everywhere.
    pub realms: Option<Vec<String>>,
    /// Seconds since the epoch.
    pub not_before: Option<i64>,
    /// Seconds since the epoch.
    pub not_after: Option<i64>,
    /// When its key was used last; handed on from record to record.
    pub last_used: LastUsed,
}

/// When something was used last, by this process. Copies share it.
#[derive(Clone, Debug, Default)]
pub struct LastUsed(Arc<AtomicU64>);

/// When a credential was used makes no other credential of it.
impl PartialEq for LastUsed {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for LastUsed {}

impl LastUsed {
    /// Notes a use: seconds since the epoch.
    pub fn note(&self, now: u64) {
        // Most uses fall into a second that is noted already; only reading keeps the cache line shared.
        if self.0.load(Ordering::Relaxed) != now {
            self.0.store(now, Ordering::Relaxed);
        }
    }

    /// Seconds since the epoch; `None` when it was not used since the process began.
    #[must_use]
    pub fn seconds(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|seconds| *seconds > 0)
    }
}

impl Credential {
    /// Whether it is good in this realm.
    #[must_use]
    pub fn is_for(&self, realm: &str) -> bool {
        self.realms.as_ref().is_none_or(|realms| realms.iter().any(|known| known == realm))
    }

    /// Whether it is good at this time, in seconds since the epoch.
    #[must_use]
    pub fn is_current(&self, now: i64) -> bool {
        self.not_before.is_none_or(|from| from <= now) && self.not_after.is_none_or(|until| now < until)
    }
}

/// Who may log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The account.
    pub account: Box<str>,
    /// Canonical: lower-case.
    pub email: Box<str>,
    /// PHC string.
    pub password: Box<str>,
    /// Which password that is, as the account's record marks it.
    pub password_mark: u64,
}

/// Everything the directory holds.
#[derive(Clone, Debug, Default)]
pub struct Records {
    pub(super) accounts: HashMap<Box<str>, Arc<Account>, RandomState>,
    pub(super) credentials: HashMap<Arc<str>, Arc<Credential>, RandomState>,
    pub(super) users: HashMap<Box<str>, Arc<User>, RandomState>,
}

impl Records {
    /// An account by its id.
    #[must_use]
    pub fn account(&self, id: &str) -> Option<&Arc<Account>> {
        self.accounts.get(id)
    }

    /// Whether it holds no account at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// All accounts, in no order.
    pub fn accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.accounts.values()
    }

    /// A credential by its API id.
    #[must_use]
    pub fn credential(&self, id: &str) -> Option<&Arc<Credential>> {
        self.credentials.get(id)
    }

    /// All credentials, in no order.
    pub fn credentials(&self) -> impl Iterator<Item = &Arc<Credential>> {
        self.credentials.values()
    }

    /// Credentials that both hold go on with the earlier one's use.
    pub(super) fn take_over_uses(&mut self, earlier: &Records) {
        for (id, credential) in &mut self.credentials {
            if let Some(known) = earlier.credentials.get(id) {
                Arc::make_mut(credential).last_used = known.last_used.clone();
            }
        }
    }

    /// A user by the canonical e-mail.
    #[must_use]
    pub fn user(&self, email: &str) -> Option<&Arc<User>> {
        self.users.get(email)
    }
}

/// The roles and realms that policies have, where empty lists say nothing, and the peppers of the settings.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    /// Of all realms together.
    pub roles: Vec<Box<str>>,
    /// Their names.
    pub realms: Vec<Box<str>>,
    /// The ids of `directory.peppers`; `None` where the settings are not known.
    pub peppers: Option<Vec<Box<str>>>,
}

/// ASCII, at most 254, one `@` with something on both sides, no blanks; lower-cased, never trimmed.
#[must_use]
pub fn canonical_email(text: &str) -> Option<String> {
    let (local, domain) = text.split_once('@')?;
    let fits = text.len() <= 254
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && !local.is_empty()
        && !domain.is_empty()
        && !domain.contains('@');
    fits.then(|| text.to_ascii_lowercase())
}
