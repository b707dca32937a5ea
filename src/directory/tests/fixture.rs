//! One directory of each kind, with what it takes its records from.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::book::{Book, peppers};
use super::far::Far;
use super::redis_server::{PREFIX, RedisServer};
use super::usual;
use crate::config::diag::{Faults, Source};
use crate::config::secret::Secret;
use crate::config::settings::{self, DirectoryCalls, DirectorySource, TlsFiles};
use crate::config::watched::Version;
use crate::directory::file::{self, Followed};
use crate::directory::records::{Records, Vocabulary};
use crate::directory::sample::Sample;
use crate::directory::{Directory, Surroundings, reading};
use crate::store::Store;
use crate::telemetry::metrics::Metrics;

/// How old a record may be in the tests where no change is heard of.
pub(super) const CACHE: Duration = Duration::from_millis(300);
pub(super) const BUDGET: Duration = Duration::from_millis(800);
/// What a busy machine may add to a bound; less than would hide a second wait.
pub(super) const SLACK: Duration = Duration::from_millis(400);
pub(super) const TOKEN: &str = "the-bearer-token-of-the-tests";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Redis,
    Https,
}

/// What a directory takes its records from.
pub(super) enum Origin {
    File(tempfile::TempDir),
    Redis(RedisServer),
    Https(Box<Far>),
}

pub(super) struct Fixture {
    pub(super) directory: Arc<Directory>,
    pub(super) origin: Origin,
    pub(super) store: Arc<Store>,
    pub(super) metrics: Arc<Metrics>,
    book: Book,
}

impl Fixture {
    pub(super) async fn start(kind: Kind) -> Self {
        Self::with(kind, |_| {}).await
    }

    /// With other settings than the tests' usual ones.
    pub(super) async fn with(kind: Kind, change: impl FnOnce(&mut settings::Directory)) -> Self {
        Self::with_stale(kind, Duration::from_secs(20), change).await
    }

    /// The tests' usual settings.
    pub(super) fn settings() -> settings::Directory {
        settings::Directory {
            source: DirectorySource::Redis,
            budget: BUDGET,
            cache: CACHE,
            cache_entries: 1000,
            negative: Duration::from_secs(5),
            peppers: peppers(),
        }
    }

    /// With another bound of what is used in an outage.
    pub(super) async fn with_stale(kind: Kind, stale: Duration, change: impl FnOnce(&mut settings::Directory)) -> Self {
        let (book, metrics) = (usual(), Arc::new(Metrics::new().unwrap()));
        let mut settings = Self::settings();
        change(&mut settings);
        let (origin, store) = match kind {
            Kind::File => (Origin::File(tempfile::tempdir().unwrap()), Arc::new(Store::memory())),
            Kind::Redis => {
                let server = RedisServer::start();
                book.keys().iter().for_each(|(key, value)| server.put(key, Some(value)));
                let store = server.store();
                (Origin::Redis(server), store)
            }
            Kind::Https => {
                let far = Far::start(Sample::new(records(&book), Some(TOKEN))).await;
                (Origin::Https(Box::new(far)), Arc::new(Store::memory()))
            }
        };
        let around = Surroundings { store: &store, prefix: PREFIX, stale, metrics: &metrics };
        let directory = Arc::new(match &origin {
            Origin::File(folder) => follow(folder, &book),
            Origin::Redis(_) => Directory::redis(&settings, around),
            Origin::Https(far) => {
                let calls = calls(&format!("http://{}", far.address));
                Directory::https(&settings, &calls, around).unwrap()
            }
        });
        let fixture = Self { directory, origin, store, metrics, book };
        fixture.run().await;
        fixture
    }

    async fn run(&self) {
        let (directory, store) = (Arc::clone(&self.directory), Arc::clone(&self.store));
        tokio::spawn(async move { store.run(std::future::pending()).await });
        tokio::spawn(async move { directory.watch().await });
        match &self.origin {
            Origin::File(folder) => {
                let path = folder.path().join("accounts.toml");
                let followed = Followed { version: Version::of(&path), path, known: Vocabulary::default() };
                let directory = Arc::clone(&self.directory);
                directory.replace_peppers(&peppers());
                tokio::spawn(async move { file::follow(&directory, followed).await });
            }
            Origin::Redis(_) => self.hears().await,
            Origin::Https(_) => {}
        }
    }

    /// Waits until changes are heard.
    pub(super) async fn hears(&self) {
        let give_up = Instant::now() + Duration::from_secs(10);
        while !self.store.feed().is_alive() {
            assert!(Instant::now() < give_up, "no feed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) fn book(&self) -> Book {
        self.book.clone()
    }

    /// Puts other records in the place of those that are there, and announces what changed as its owner would.
    pub(super) async fn put(&mut self, book: Book) {
        let changed = book.differences(&self.book);
        assert!(!changed.is_empty(), "nothing changes");
        let keys = book.keys();
        self.book = book;
        match &self.origin {
            Origin::File(folder) => write(folder, &self.book.toml()),
            Origin::Redis(server) => {
                changed.iter().for_each(|key| server.put(key, keys.get(key).map(String::as_str)));
                changed.iter().for_each(|key| server.announce(key));
            }
            Origin::Https(far) => {
                far.sample().replace(records(&self.book));
                assert_eq!(self.directory.forget(changed.iter().map(String::as_str)), changed.len());
            }
        }
    }

    /// Takes the source away.
    pub(super) async fn cut(&mut self) {
        match &mut self.origin {
            Origin::File(folder) => write(folder, "[[account]\n"),
            Origin::Redis(server) => server.kill(),
            Origin::Https(far) => far.cut().await,
        }
    }

    /// Brings it back as it was.
    pub(super) async fn mend(&mut self) {
        match &mut self.origin {
            Origin::File(folder) => write(folder, &self.book.toml()),
            Origin::Redis(server) => {
                assert!(server.launch(), "the port was taken");
                self.book.keys().iter().for_each(|(key, value)| server.put(key, Some(value)));
            }
            Origin::Https(far) => far.mend().await,
        }
    }

    /// Whether it needs to ask nobody.
    pub(super) fn knows_everything(&self) -> bool {
        matches!(self.origin, Origin::File(_))
    }

    pub(super) fn far(&mut self) -> &mut Far {
        let Origin::Https(far) = &mut self.origin else { panic!("no far side") };
        far
    }

    pub(super) fn server(&mut self) -> &mut RedisServer {
        let Origin::Redis(server) = &mut self.origin else { panic!("no redis-server") };
        server
    }

    /// How often the shelves were asked, with this result.
    pub(super) fn came(&self, result: &str) -> u64 {
        self.metrics.directory_cache.with_label_values(&[result]).get()
    }
}

/// How the far side at this address is called.
pub(super) fn calls(url: &str) -> DirectoryCalls {
    let token = Some(Secret::new(TOKEN.as_bytes()));
    DirectoryCalls { url: url.to_owned(), token, tls: TlsFiles::default() }
}

fn follow(folder: &tempfile::TempDir, book: &Book) -> Directory {
    write(folder, &book.toml());
    Directory::new(records(book))
}

fn write(folder: &tempfile::TempDir, text: &str) {
    let new = folder.path().join("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, folder.path().join("accounts.toml")).unwrap();
}

pub(super) fn records(book: &Book) -> Records {
    let source = Arc::new(Source { name: "accounts.toml".into(), text: book.toml() });
    let mut faults = Faults::default();
    let records = reading::parse(&source, &Vocabulary::default(), &mut faults);
    records.unwrap_or_else(|| panic!("{:#?}", faults.iter().map(ToString::to_string).collect::<Vec<_>>()))
}
