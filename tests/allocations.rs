//! What a look-up in the directory's cache and a check of local quotas allocate, counted by the allocator. A binary of
//! its own: the allocator is the whole process's.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails loudly")]

use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Once};
use std::time::Duration;
use std::time::Instant;

use futures_util::FutureExt as _;
use portcullis::config::diag::{Faults, Source};
use portcullis::config::settings::{self, DirectoryCalls, DirectorySource, TlsFiles};
use portcullis::directory::records::Vocabulary;
use portcullis::directory::sample::{Call, Sample};
use portcullis::directory::{Directory, Surroundings, reading};
use portcullis::limits::{Limits, Taken};
use portcullis::policy::quota::{Charge, Charges, Limit, Per, Quota, QuotaIndex, Rate, Subject};
use portcullis::policy::route::Location;
use portcullis::store::{Patience, Store};
use portcullis::telemetry::metrics::Metrics;
use tracking_allocator::{AllocationGroupId, AllocationRegistry, AllocationTracker, Allocator};

#[global_allocator]
static ALLOCATOR: Allocator<mimalloc::MiMalloc> = Allocator::from_allocator(mimalloc::MiMalloc);

thread_local! {
    /// Of this thread alone: tests run side by side.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// How often the allocator was asked by this thread.
fn allocations(work: impl FnOnce()) -> usize {
    static COUNTING: Once = Once::new();
    COUNTING.call_once(|| {
        AllocationRegistry::set_global_tracker(Counter).unwrap();
        AllocationRegistry::enable_tracking();
    });
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

struct Counter;

impl AllocationTracker for Counter {
    fn allocated(&self, _: usize, _: usize, _: usize, _: AllocationGroupId) {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
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
    assert!(allocations(|| drop(String::from("counted"))) > 0, "the counter counts");
    let mut good = 0;
    let allocated = allocations(|| good = (0..1000).filter(|_| look_up() == (true, true, true)).count());
    assert_eq!((good, allocated), (1000, 0));
}

#[test]
fn a_check_of_local_quotas_allocates_nothing_whether_it_takes_or_refuses() {
    let limits = Limits::new(Arc::new(Store::memory()));
    let patience = Patience::new(Duration::from_secs(1));
    let [user, customer, realm] = [(1, 10_000), (2, 500), (3, 20_000)].map(|(mark, burst)| quota(mark, burst));
    let charge = |quota, subject| Charge { index: QuotaIndex(0), quota, subject };
    let charges = [
        Charges::of("ucaas", [charge(&user, Subject::Account("usr-1"))]),
        Charges::of(
            "ucaas",
            [
                charge(&user, Subject::Login("someone@example.com")),
                charge(&customer, Subject::Account("cus-42")),
                charge(&realm, Subject::Realm),
            ],
        ),
    ];
    let take = |charges| {
        matches!(limits.take(charges, Instant::now(), &patience, |_, _| {}).now_or_never(), Some(Taken::All { .. }))
    };
    // The first of each subject makes its bucket.
    assert!(charges.iter().all(take));
    let (mut taken, mut refused) = (0, 0);
    let allocated = allocations(|| {
        for charges in charges.iter().cycle().take(2000) {
            if take(charges) { taken += 1 } else { refused += 1 }
        }
    });
    assert_eq!((taken, refused, allocated), (1499, 501, 0));
}

#[test]
fn a_leased_check_of_a_shared_quota_allocates_nothing() {
    let limits = Limits::new(Arc::new(Store::memory()));
    let patience = Patience::new(Duration::from_secs(1));
    // A thousand are leased at a time.
    let limit = Limit::Rate(Rate { interval: 1_000_000_000, burst: 100_000, shared: true });
    let shared = Quota { limit, ..quota(4, 1) };
    let subject = Subject::Account("cus-42");
    let charges = Charges::of("ucaas", [Charge { index: QuotaIndex(0), quota: &shared, subject }]);
    let take = || {
        matches!(limits.take(&charges, Instant::now(), &patience, |_, _| {}).now_or_never(), Some(Taken::All { .. }))
    };
    assert!(take(), "which asks the store for the lease");
    let mut taken = 0;
    let allocated = allocations(|| taken = (0..900).filter(|_| take()).count());
    assert_eq!((taken, allocated), (900, 0));
}

/// Nothing comes back while the test runs.
fn quota(mark: u64, burst: u32) -> Quota {
    Quota {
        name: "standard".into(),
        location: Location { file: "ucaas.toml".into(), line: 1 },
        per: Per::Principal,
        limit: Limit::Rate(Rate { interval: 3_600_000_000_000, burst, shared: false }),
        written: "1/h".into(),
        mark,
    }
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
