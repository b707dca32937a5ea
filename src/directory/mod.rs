//! Accounts and credentials, as the gateway knows them now.
//!
//! Asked by `identity` and `proxy::admit` on every request. Records come from a file that is kept in memory and read
//! again when it changes, from the store's server, or from calls to the provisioning service; what is asked and what
//! is answered is the same. It knows no scheme; it holds the records, and what proves a key.

pub mod edit;
pub mod file;
mod gauges;
mod hearing;
pub mod https;
pub mod phc;
pub mod proof;
pub mod reading;
pub mod records;
mod remote;
pub mod sample;
mod shelf;
mod shelves;
mod source;
mod tree;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use self::gauges::Gauges;
use self::hearing::Hearing;
use self::https::{Calls, CallsError, NewSecrets};
use self::proof::Peppers;
use self::records::{Credential, Records, User};
use self::remote::{Ear, Remote};
use self::shelves::Shelves;
use self::source::{Kind, Origin, Outage};
use crate::config::secret::Secret;
use crate::config::settings::{self, DirectorySource};
use crate::policy::principal::Account;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;

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

/// What a directory that is no file stands between.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// Tells of changed records, and keeps the records of `redis:`.
    pub store: &'a Arc<Store>,
    /// `store.prefix`
    pub prefix: &'a str,
    /// `token.stale`: how long a known record stays in use while the source is away.
    pub stale: Duration,
    /// Counted in.
    pub metrics: &'a Metrics,
}

/// The directory; cheap to ask.
pub struct Directory {
    source: Source,
    peppers: ArcSwap<Peppers>,
}

enum Source {
    /// Everything in memory, swapped whole.
    File { records: ArcSwap<Records>, up: AtomicBool },
    /// Record by record.
    Remote(Arc<Remote>),
}

impl Directory {
    /// The source of a file: a directory with these records, without peppers.
    #[must_use]
    pub fn new(records: Records) -> Self {
        let source = Source::File { records: ArcSwap::from_pointee(records), up: AtomicBool::new(true) };
        Self { source, peppers: ArcSwap::default() }
    }

    /// The source `redis:`; to be made before [`Store::run`]. Makes no connection.
    #[must_use]
    pub fn redis(settings: &settings::Directory, around: Surroundings<'_>) -> Self {
        Self::remote(Origin::Store(Arc::clone(around.store)), true, settings, around)
    }

    /// The source `https:`; as above.
    ///
    /// # Errors
    /// Token or certificates cannot be used.
    pub fn https(
        settings: &settings::Directory,
        calls: &settings::DirectoryCalls,
        around: Surroundings<'_>,
    ) -> Result<Self, CallsError> {
        Ok(Self::remote(Origin::Calls(Calls::new(calls)?), false, settings, around))
    }

    fn remote(origin: Origin, announced: bool, settings: &settings::Directory, around: Surroundings<'_>) -> Self {
        let Surroundings { store, prefix, stale, metrics } = around;
        let remote = Arc::new(Remote {
            origin,
            hearing: Hearing::new(Arc::clone(store), announced, settings.cache, settings.negative, stale),
            budget: settings.budget,
            prefix: prefix.into(),
            gauges: Gauges::new(metrics),
            shelves: Shelves::new(settings.cache_entries),
            outage: Outage::default(),
        });
        store.listen(Arc::new(Ear(Arc::downgrade(&remote))));
        let peppers = ArcSwap::from_pointee(Peppers::new(&settings.peppers));
        Self { source: Source::Remote(remote), peppers }
    }

    /// An account by its id.
    ///
    /// # Errors
    /// The source could not tell; never read as "unknown".
    pub async fn account(&self, id: &str) -> Result<Option<Arc<Account>>, Unavailable> {
        match (self.account_at_hand(id), &self.source) {
            (Some(known), _) => Ok(known),
            // Boxed, so that the many look-ups that need no source carry no room for it.
            (None, Source::Remote(remote)) => Box::pin(remote.account(id)).await,
            (None, Source::File { .. }) => Ok(None),
        }
    }

    /// An account by its id, as far as that can be told without asking the source: `None` where it cannot.
    #[must_use]
    pub fn account_at_hand(&self, id: &str) -> Option<Option<Arc<Account>>> {
        match &self.source {
            Source::File { records, .. } => Some(records.load().account(id).cloned()),
            Source::Remote(remote) => remote.known_account(id),
        }
    }

    /// A credential by its API id.
    ///
    /// # Errors
    /// As above; also when its key could not be compared, for want of the pepper.
    pub async fn credential(&self, id: &str) -> Result<Option<Arc<Credential>>, Unavailable> {
        let known = match &self.source {
            Source::File { records, .. } => records.load().credential(id).cloned(),
            Source::Remote(remote) => match remote.known_credential(id) {
                Some(known) => known,
                None => Box::pin(remote.credential(id)).await?,
            },
        };
        // Looked at for an unknown id as well, which must not be quicker than a known one.
        let peppers = self.peppers.load();
        let lacks = known.as_ref().is_some_and(|credential| !peppers.know(&credential.proof));
        if lacks { Err(NO_PEPPER) } else { Ok(known) }
    }

    /// Compares a password, or says with what the caller has to: `email` is canonical.
    ///
    /// # Errors
    /// As above; never read as a wrong password.
    pub async fn check_password(&self, email: &str, password: &str) -> Result<PasswordCheck, Unavailable> {
        match &self.source {
            Source::File { .. } => self.user(email).await.map(PasswordCheck::Here),
            Source::Remote(remote) => remote.check_password(email, password).await,
        }
    }

    /// A user by the canonical e-mail.
    ///
    /// # Errors
    /// As above; always where the source compares passwords itself and shows no records, see
    /// [`Directory::check_password`].
    pub async fn user(&self, email: &str) -> Result<Option<Arc<User>>, Unavailable> {
        match &self.source {
            Source::File { records, .. } => Ok(records.load().user(email).cloned()),
            Source::Remote(remote) => remote.user(email).await,
        }
    }

    /// Whether `key` is this credential's, in constant time, and in the same time for `None`.
    #[must_use]
    pub fn proves(&self, credential: Option<&Credential>, key: &[u8]) -> bool {
        self.peppers.load().verify(credential.map(|credential| &credential.proof), key).into()
    }

    /// Which credentials were used in this process, and when last: API id, seconds since the epoch.
    #[must_use]
    pub fn last_used(&self) -> Vec<(Arc<str>, u64)> {
        match &self.source {
            Source::File { records, .. } => {
                let records = records.load();
                let used = |known: &Arc<Credential>| Some((Arc::clone(&known.id), known.last_used.seconds()?));
                records.credentials().filter_map(used).collect()
            }
            Source::Remote(remote) => remote.last_used(),
        }
    }

    /// Drops what is cached of records that changed: `account:cus-42`, `credential:…`, `email:…`, each with or without
    /// the store's prefix. Returns how many keys can name a record, cached or not.
    pub fn forget<'k>(&self, keys: impl IntoIterator<Item = &'k str>) -> usize {
        let mut named = 0;
        for key in keys {
            let prefix = match &self.source {
                Source::File { .. } => "",
                Source::Remote(remote) => &remote.prefix,
            };
            let Some((kind, id)) = Kind::of_key(key, prefix) else { continue };
            named += 1;
            if let Source::Remote(remote) = &self.source {
                remote.forget(kind, id);
            }
        }
        named
    }

    /// Takes other peppers over: `directory.peppers`.
    pub fn replace_peppers(&self, peppers: &[(String, Secret)]) {
        self.peppers.store(Arc::new(Peppers::new(peppers)));
    }

    /// Looks whether token and certificates of other calls can be used, and changes nothing yet; `None` where this
    /// directory makes no calls.
    ///
    /// # Errors
    /// They cannot.
    pub fn prepare_calls(&self, source: &DirectorySource) -> Result<Option<NewSecrets>, CallsError> {
        match (&self.source, source) {
            (Source::Remote(remote), DirectorySource::Https(calls)) if matches!(remote.origin, Origin::Calls(_)) => {
                NewSecrets::prepare(calls).map(Some)
            }
            (Source::File { .. } | Source::Remote(_), _) => Ok(None),
        }
    }

    /// Takes them over: `directory.token`, `client_certificate`, `client_key` and `ca`. What is known stays known.
    pub fn replace_secrets(&self, secrets: NewSecrets) {
        if let Source::Remote(remote) = &self.source
            && let Origin::Calls(calls) = &remote.origin
        {
            calls.replace(secrets);
        }
    }

    /// Whether it is known to hold no account at all; only a file can be known for that.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.source {
            Source::File { records, .. } => records.load().is_empty(),
            Source::Remote(_) => false,
        }
    }

    /// Whether the source could be read last time; the records before stay in use when it could not.
    #[must_use]
    pub fn is_up(&self) -> bool {
        match &self.source {
            Source::File { up, .. } => up.load(Ordering::Relaxed),
            Source::Remote(remote) => remote.is_up(),
        }
    }

    /// What a source that is no file needs in the background: an end of an outage is seen without a request, and the
    /// age of what is known is counted from when changes were heard last. Never ends.
    pub async fn watch(&self) {
        match &self.source {
            Source::File { .. } => std::future::pending().await,
            Source::Remote(remote) => remote.watch().await,
        }
    }

    /// How many records are held.
    #[cfg(test)]
    fn held(&self) -> usize {
        match &self.source {
            Source::File { records, .. } => records.load().accounts().count(),
            Source::Remote(remote) => remote.shelves.held(),
        }
    }

    /// Takes newer records of the file over.
    pub fn replace(&self, mut newer: Records) {
        if let Source::File { records, up } = &self.source {
            newer.take_over_uses(&records.load());
            records.store(Arc::new(newer));
            up.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that the file cannot be read.
    pub fn note_unreadable(&self) {
        if let Source::File { up, .. } = &self.source {
            up.store(false, Ordering::Relaxed);
        }
    }
}

const NO_PEPPER: Unavailable = Unavailable("the pepper of the credential's digest is not configured");

#[cfg(test)]
mod tests;
