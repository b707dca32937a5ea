//! What bounded memory costs, counted by the allocator. A binary of its own: the count is of the whole process.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails loudly")]

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;

use portcullis::config::secret::Secret;
use portcullis::config::settings;
use portcullis::identity::cache::{Asked, Cache, Known, Times};
use portcullis::identity::token::Tokens;
use portcullis::limits::{Limits, MAX_KEYS, Taken};
use portcullis::policy::principal::{Account, Lineage};
use portcullis::policy::quota::{Charge, Charges, Limit, Per, Quota, QuotaIndex, Rate, Subject};
use portcullis::policy::route::Location;
use portcullis::store::{Patience, Store};
use portcullis::telemetry::metrics::Metrics;
use tracking_allocator::{AllocationGroupId, AllocationRegistry, AllocationTracker, Allocator};

#[global_allocator]
static ALLOCATOR: Allocator<mimalloc::MiMalloc> = Allocator::from_allocator(mimalloc::MiMalloc);

static HELD: AtomicUsize = AtomicUsize::new(0);

struct Counter;

impl AllocationTracker for Counter {
    fn allocated(&self, _: usize, size: usize, _: usize, _: AllocationGroupId) {
        // What the allocator hands out is rounded up: mimalloc wastes at most an eighth.
        HELD.fetch_add(size + size / 8, Ordering::Relaxed);
    }

    fn deallocated(&self, _: usize, size: usize, _: usize, _: AllocationGroupId, _: AllocationGroupId) {
        HELD.fetch_sub(size + size / 8, Ordering::Relaxed);
    }
}

const TOKENS: usize = 100_000;
const BOUND: usize = 64 << 20;

#[test]
fn a_hundred_thousand_verified_tokens_take_less_than_64_mib() {
    let settings = settings::Token {
        issuer: "portcullis".into(),
        ttl: Duration::from_secs(1200),
        keys: vec![("2026-11".into(), Secret::new(*b"0123456789abcdef0123456789abcdef"))],
        cache: 262_144,
        stale: Duration::from_secs(1200),
        sessions_per_account: 100,
    };
    let tokens = Tokens::new(&settings, &Metrics::new().unwrap());
    let store = Store::memory();
    // The directory's own records: an entry shares them, and costs only what it adds.
    let accounts: Vec<Arc<Account>> = (0..TOKENS).map(account).collect();
    AllocationRegistry::set_global_tracker(Counter).unwrap();
    AllocationRegistry::enable_tracking();
    let before = HELD.load(Ordering::Relaxed);
    let cache = Cache::new(settings.cache);
    let mut longest = 0;
    for account in &accounts {
        let (token, session) = tokens.issue(account, "ucaas", 1_000_000).unwrap();
        longest = longest.max(token.len());
        let times = Times { started: session.started, expires: session.expires };
        let known =
            Known::new(&token, "ucaas", (*session.jti).into(), Arc::clone(account), times, Asked::now(store.feed()));
        cache.insert(known, cache.since(store.feed()), store.feed(), 1000);
    }
    let held = HELD.load(Ordering::Relaxed) - before;
    AllocationRegistry::disable_tracking();
    println!(
        "{TOKENS} tokens of up to {longest} bytes: {:.1} MiB, {} bytes each",
        held as f64 / (1 << 20) as f64,
        held / TOKENS
    );
    assert_eq!(cache.len(), TOKENS, "nothing was left out");
    assert!(longest > 300, "tokens as they are issued");
    assert!(held < BOUND, "{held} bytes");
}

/// Every session is of another account, four levels deep.
fn account(n: usize) -> Arc<Account> {
    let (customer, user) = (format!("customer-{}", n / 50), format!("user-{n:08}"));
    let nodes = [
        ("root", "administrator"),
        ("reseller-north-7", "reseller"),
        (customer.as_str(), "customer"),
        (user.as_str(), "user"),
    ];
    Arc::new(Account { lineage: Lineage::new(nodes).unwrap(), suspended: false, password_mark: n as u64 })
}

#[test]
fn a_million_keys_of_local_quotas_take_less_than_64_mib_and_more_of_them_take_nothing() {
    // In a process of its own: what the other test gave back would be used again, and not count as resident.
    const ALONE: &str = "PORTCULLIS_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "a_million_keys_of_local_quotas_take_less_than_64_mib_and_more_of_them_take_nothing";
        let mut alone = Command::new(std::env::current_exe().unwrap());
        let output = alone.args([name, "--exact", "--nocapture"]).env(ALONE, "1").output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        println!("{told}{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && told.contains("1 passed"));
        return;
    }
    let quota = quota();
    let (limits, patience) = (Limits::new(Arc::new(Store::memory())), Patience::new(Duration::from_secs(1)));
    let started = Instant::now();
    let take = |client: usize| {
        let client = IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(client).unwrap()));
        let charge = Charge { index: QuotaIndex(0), quota: &quota, subject: Subject::Network(client) };
        let charges = Charges::of("ucaas", [charge]);
        matches!(limits.take(&charges, started, &patience, |_, _| {}).now_or_never(), Some(Taken::All { .. }))
    };
    AllocationRegistry::set_global_tracker(Counter).unwrap();
    AllocationRegistry::enable_tracking();
    let (before, resident_before) = (HELD.load(Ordering::Relaxed), resident());
    assert_eq!((0..MAX_KEYS).filter(|client| take(*client)).count(), MAX_KEYS);
    assert_eq!(limits.kept(), MAX_KEYS, "nobody was left out");
    let held = HELD.load(Ordering::Relaxed) - before;
    let more = (MAX_KEYS..MAX_KEYS + 100_000).filter(|client| take(*client)).count();
    let held_after = HELD.load(Ordering::Relaxed) - before;
    AllocationRegistry::disable_tracking();
    let resident = resident() - resident_before;
    let mib = |bytes: usize| bytes as f64 / (1 << 20) as f64;
    println!("{MAX_KEYS} keys: {:.1} MiB allocated, {:.1} MiB resident", mib(held), mib(resident));
    assert!(held < BOUND && held > 16 * MAX_KEYS, "{held} bytes");
    assert!(resident < BOUND && resident > 16 * MAX_KEYS, "{resident} bytes resident");
    assert_eq!((more, limits.kept()), (2, MAX_KEYS + 1), "all others share one bucket");
    assert!(held_after < held + (1 << 20), "{held} bytes, then {held_after}");
    // Those that are there keep what they have left.
    assert!(take(0) && !take(0) && take(MAX_KEYS - 1) && !take(MAX_KEYS - 1));
}

/// Two at once, and another one after an hour.
fn quota() -> Quota {
    Quota {
        name: "address".into(),
        location: Location { file: "ucaas.toml".into(), line: 1 },
        per: Per::Address,
        limit: Limit::Rate(Rate { interval: 3_600_000_000_000, burst: 2, shared: false }),
        written: "1/h, burst 2".into(),
        mark: 1,
    }
}

/// Bytes of memory that the process really has.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = pages.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
