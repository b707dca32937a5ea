//! What a look-up in the directory's cache allocates, counted by the allocator. A binary of its own: the count is of the
//! whole process.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails loudly")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use portcullis::config::diag::{Faults, Source};
use portcullis::config::settings::{self, DirectoryCalls, DirectorySource, TlsFiles};
use portcullis::directory::records::Vocabulary;
use portcullis::directory::sample::{Call, Sample};
use portcullis::directory::{Directory, Surroundings, reading};
use portcullis::store::Store;
use portcullis::telemetry::metrics::Metrics;
use tracking_allocator::{AllocationGroupId, AllocationRegistry, AllocationTracker, Allocator};

#[global_allocator]
static ALLOCATOR: Allocator<mimalloc::MiMalloc> = Allocator::from_allocator(mimalloc::MiMalloc);

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

struct Counter;

impl AllocationTracker for Counter {
    fn allocated(&self, _: usize, _: usize, _: usize, _: AllocationGroupId) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }

    fn deallocated(&self, _: usize, _: usize, _: usize, _: AllocationGroupId, _: AllocationGroupId) {}
}

const ACCOUNTS: &str = "[[account]]\nid = 'root'\nrole = 'administrator'\n[[account]]\nid = 'c'\nrole = 'customer'\n\
    parent = 'root'\n[[account]]\nid = 'u'\nrole = 'user'\nparent = 'c'\n[[credential]]\nid = 'k'\naccount = 'u'\n\
    key = 'sha256:0000000000000000000000000000000000000000000000000000000000000000'\n";

#[test]
fn a_lookup_that_the_cache_answers_allocates_nothing_and_waits_for_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let directory = directory();
    let look_up = || {
        let account = directory.account("u").now_or_never().unwrap().unwrap();
        let credential = directory.credential("k").now_or_never().unwrap().unwrap();
        let nobody = directory.account("nobody").now_or_never().unwrap().unwrap();
        (account.is_some_and(|account| account.lineage.as_str() == "root/c/u"), credential.is_some(), nobody.is_none())
    };
    runtime.block_on(async {
        directory.account("u").await.unwrap();
        directory.credential("k").await.unwrap();
        directory.account("nobody").await.unwrap();
    });
    assert_eq!(look_up(), (true, true, true));
    AllocationRegistry::set_global_tracker(Counter).unwrap();
    AllocationRegistry::enable_tracking();
    let seen = String::from("counted").len() + ALLOCATIONS.load(Ordering::Relaxed);
    assert!(seen > "counted".len(), "the counter counts");
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let good = (0..1000).filter(|_| look_up() == (true, true, true)).count();
    let allocated = ALLOCATIONS.load(Ordering::Relaxed) - before;
    AllocationRegistry::disable_tracking();
    assert_eq!((good, allocated), (1000, 0));
}

fn directory() -> Directory {
    let source = Arc::new(Source { name: "accounts".into(), text: ACCOUNTS.into() });
    let records = reading::parse(&source, &Vocabulary::default(), &mut Faults::default()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let sample = Sample::new(records, None);
    std::thread::spawn(move || listener.incoming().for_each(|connection| answer(connection.unwrap(), &sample)));
    let settings = settings::Directory {
        source: DirectorySource::Redis,
        budget: Duration::from_secs(10),
        cache: Duration::from_secs(600),
        cache_entries: 1000,
        negative: Duration::from_secs(600),
        peppers: Vec::new(),
    };
    let (store, metrics) = (Arc::new(Store::memory()), Metrics::new().unwrap());
    let stale = Duration::from_secs(600);
    let around = Surroundings { store: &store, prefix: "portcullis:", stale, metrics: &metrics };
    let calls = DirectoryCalls { url, token: None, tls: TlsFiles::default() };
    Directory::https(&settings, &calls, around).unwrap()
}

/// One reply a connection; the calls have no body.
fn answer(mut connection: TcpStream, sample: &Sample) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && connection.read(&mut byte).is_ok_and(|length| length == 1) {
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let Some(path) = head.split(' ').nth(1) else { return };
    let reply = sample.answer(&Call { method: "GET", path, authorization: None, content_type: None, body: b"" });
    let head =
        format!("HTTP/1.1 {} x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", reply.status, reply.body.len());
    connection.write_all(&[head.as_bytes(), &reply.body].concat()).unwrap();
}
