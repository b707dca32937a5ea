//! What bounded memory costs, counted by the allocator. A binary of its own: the count is of the whole process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use portcullis::config::secret::Secret;
use portcullis::config::settings;
use portcullis::identity::cache::{Cache, Known, Times};
use portcullis::identity::token::Tokens;
use portcullis::policy::principal::{Account, Lineage};
use portcullis::store::Store;
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
        let known = Known::new(&token, "ucaas", (*session.jti).into(), Arc::clone(account), times, 0);
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
