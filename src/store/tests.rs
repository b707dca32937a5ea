//! The one suite both backends have to pass, and what only one of them can show. `tests/outage.rs` takes the Redis
//! server away in every way we could think of, `tests/wire.rs` looks at what is in it and how we get there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

/// Runs facts of the calling file's `facts` on every backend: memory, a server, and a cluster of one server, which
/// refuses whatever touches keys of two slots.
macro_rules! every_backend {
    ($($fact:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $fact() {
                super::facts::$fact(std::sync::Arc::new($crate::store::Store::memory())).await;
            })+
        }
        mod redis_server {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $fact() {
                let server = $crate::store::tests::server::Server::start();
                super::facts::$fact(server.reached_store($crate::store::tests::CALM).await).await;
            })+
        }
        /// One after the other, since a cluster takes seconds to start; each with keys of its own.
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn all_of_it_holds_on_a_cluster() {
            let server = $crate::store::tests::server::Server::start_as(&["--cluster-enabled", "yes"]);
            $(eprintln!("{}", stringify!($fact));
            facts::$fact($crate::store::tests::cluster_of_one(&server, stringify!($fact)).await).await;)+
        }
    };
}

mod address;
mod certificates;
mod cluster;
mod failover;
mod feed;
mod lag;
mod link;
mod load;
mod locks;
mod logins;
mod model;
mod outage;
mod quotas;
mod quotas_in_redis;
mod records;
mod sentinel;
pub(crate) mod server;
mod sessions;
mod slots;
mod wire;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::server::Server;
use super::clock::RemoteClock;
use super::feed::{Listener, News};
use super::{Found, Memory, RedisSettings, Session, Store, StoreError};

/// Generous: the machine also compiles while it tests. What depends on the budget is in `outage`.
const CALM: Duration = Duration::from_secs(5);

/// More than any test starts for one account that does not test the limit.
const KEEP: u32 = 1000;

const LINEAGE: &str = "root/res-7/cus-42";

/// Waits until `holds`, at most `within`.
async fn eventually(fact: &str, within: Duration, holds: impl Fn() -> bool) {
    let give_up = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < give_up, "not within {within:?}: {fact}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A store on a cluster whose only server is this one.
async fn cluster_of_one(server: &Server, prefix: &str) -> Arc<Store> {
    let slots: Vec<redis::Value> = server.tell(redis::cmd("CLUSTER").arg("SLOTS")).await;
    if slots.is_empty() {
        let () = server.tell(redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(0).arg(16383)).await;
    }
    let url = server.url().replace("redis:", "redis+cluster:");
    let settings = RedisSettings { url, prefix: format!("{prefix}:"), budget: CALM, replicas: 0, tls: None };
    let store = Arc::new(Store::redis(settings).unwrap());
    let keeper = Arc::clone(&store);
    tokio::spawn(async move { keeper.run(std::future::pending()).await });
    eventually("the cluster is up", Duration::from_secs(20), || store.is_up()).await;
    store
}

/// Hears what the feed says.
#[derive(Default)]
struct Ear(Mutex<Vec<(Instant, String)>>);

impl Ear {
    /// An ear that listens to `store`.
    fn at(store: &Store) -> Arc<Self> {
        let ear = Arc::new(Self::default());
        store.listen(Arc::clone(&ear) as Arc<dyn Listener>);
        ear
    }

    /// Everything heard so far, as it would be printed.
    fn heard(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(_, news)| news.clone()).collect()
    }

    /// When this was heard first.
    fn heard_at(&self, news: &str) -> Option<Instant> {
        self.0.lock().unwrap().iter().find(|(_, heard)| heard == news).map(|(at, _)| *at)
    }
}

impl Listener for Ear {
    fn hear(&self, news: &News<'_>) {
        self.0.lock().unwrap().push((Instant::now(), format!("{news:?}")));
    }
}

fn system_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Starts a session, and waits until those that are too many for it have ended; which did.
async fn start(store: &Store, session: &Session, keep: u32) -> Result<Vec<Box<str>>, StoreError> {
    Ok(store.start_session(session, keep).await?.ended().await)
}

/// A session that expires `in_s` seconds from now.
fn session_for(jti: &str, in_s: u64) -> Session {
    let started = system_ms();
    Session { jti: jti.into(), sub: "cus-42".into(), started, expires: started / 1000 + in_s, password_mark: u64::MAX }
}

fn session(jti: &str) -> Session {
    session_for(jti, 1200)
}

/// What holds for every backend.
mod facts {
    use super::*;

    pub(super) async fn a_session_comes_back_as_it_was_started(store: Arc<Store>) {
        let session = session("j1.~_-A");
        store.start_session(&session, KEEP).await.unwrap();
        assert_eq!(store.session(&session.jti, LINEAGE).await, Ok(Found::Live(session)));
    }

    pub(super) async fn a_missing_session_is_missing(store: Arc<Store>) {
        assert_eq!(store.session("never", LINEAGE).await, Ok(Found::Missing));
    }

    pub(super) async fn ending_a_session_is_true_once(store: Arc<Store>) {
        store.start_session(&session("j"), KEEP).await.unwrap();
        assert_eq!(store.end_session("j", "cus-42").await, Ok(true));
        assert_eq!(store.end_session("j", "cus-42").await, Ok(false));
        assert_eq!(store.session("j", LINEAGE).await, Ok(Found::Missing));
    }

    pub(super) async fn of_two_that_end_a_session_one_gets_true(store: Arc<Store>) {
        for round in 0..100 {
            let jti = format!("j{round}");
            store.start_session(&session(&jti), KEEP).await.unwrap();
            let end = || {
                let (store, jti) = (Arc::clone(&store), jti.clone());
                tokio::spawn(async move { store.end_session(&jti, "cus-42").await.unwrap() })
            };
            let (one, other) = (end(), end());
            assert_eq!(u8::from(one.await.unwrap()) + u8::from(other.await.unwrap()), 1);
        }
    }

    pub(super) async fn a_second_start_replaces_the_first(store: Arc<Store>) {
        let first = session("j");
        let second = Session { sub: "res-7".into(), started: first.started + 5, ..session_for("j", 7200) };
        store.start_session(&first, KEEP).await.unwrap();
        store.start_session(&second, KEEP).await.unwrap();
        assert_eq!(store.session("j", LINEAGE).await, Ok(Found::Live(second)));
        assert_eq!(store.end_session("j", "cus-42").await, Ok(true));
        assert_eq!(store.end_session("j", "cus-42").await, Ok(false));
    }

    pub(super) async fn a_session_whose_time_is_long_over_leaves_no_record(store: Arc<Store>) {
        let over = Session { expires: system_ms() / 1000 - 3600, ..session("j") };
        store.start_session(&session("j"), KEEP).await.unwrap();
        store.start_session(&over, KEEP).await.unwrap();
        assert_eq!(store.session("j", LINEAGE).await, Ok(Found::Missing));
        assert_eq!(store.end_session("j", "cus-42").await, Ok(false));
    }

    pub(super) async fn a_session_that_expired_a_moment_ago_is_still_there(store: Arc<Store>) {
        let expired = Session { expires: system_ms() / 1000 - 30, ..session("j") };
        store.start_session(&expired, KEEP).await.unwrap();
        assert_eq!(store.session("j", LINEAGE).await, Ok(Found::Live(expired)));
    }

    pub(super) async fn an_expiry_at_the_end_of_time_is_no_error(store: Arc<Store>) {
        let forever = Session { expires: u64::MAX, ..session("j") };
        store.start_session(&forever, KEEP).await.unwrap();
        assert_eq!(store.session("j", LINEAGE).await, Ok(Found::Live(forever)));
    }

    pub(super) async fn the_clock_is_within_a_second_of_the_system(store: Arc<Store>) {
        assert!(store.now_ms().abs_diff(system_ms()) <= 1000);
    }

    pub(super) async fn a_running_store_is_up_and_was_reached(store: Arc<Store>) {
        assert!(store.is_up() && store.was_reached());
    }

    pub(super) async fn run_ends_when_told(store: Arc<Store>) {
        let ended = tokio::time::timeout(CALM, store.run(std::future::ready(()))).await;
        assert_eq!(ended, Ok(()));
    }
}

every_backend! {
    a_session_comes_back_as_it_was_started,
    a_missing_session_is_missing,
    ending_a_session_is_true_once,
    of_two_that_end_a_session_one_gets_true,
    a_second_start_replaces_the_first,
    a_session_whose_time_is_long_over_leaves_no_record,
    a_session_that_expired_a_moment_ago_is_still_there,
    an_expiry_at_the_end_of_time_is_no_error,
    the_clock_is_within_a_second_of_the_system,
    a_running_store_is_up_and_was_reached,
    run_ends_when_told,
}

#[tokio::test]
async fn memory_keeps_a_record_for_sixty_seconds_after_its_expiry() {
    let now = Arc::new(AtomicU64::new(1_000_000_000));
    let store = Store::Memory(Memory::with_clock(Arc::clone(&now)));
    let session =
        Session { jti: "j".into(), sub: "a".into(), started: 1_000_000_000, expires: 1_000_020, password_mark: 0 };
    store.start_session(&session, KEEP).await.unwrap();
    now.store(1_000_079_999, Ordering::Relaxed);
    assert_eq!(store.now_ms(), 1_000_079_999);
    assert_eq!(store.session("j", LINEAGE).await, Ok(Found::Live(session)));
    now.store(1_000_080_000, Ordering::Relaxed);
    assert_eq!(store.session("j", LINEAGE).await, Ok(Found::Missing));
    assert_eq!(store.end_session("j", "cus-42").await, Ok(false));
}

#[tokio::test]
async fn memory_sweeps_what_is_over_and_nothing_else() {
    let now = Arc::new(AtomicU64::new(1_000_000_000));
    let memory = Memory::with_clock(Arc::clone(&now));
    for number in 0..10_000_u64 {
        let jti = format!("j{number}").into();
        let expires = 1_000_000 + number % 2 * 100;
        let sub = format!("a{}", number / 10).into();
        memory.start_session(&Session { jti, sub, started: 0, expires, password_mark: 0 }, KEEP);
    }
    assert_eq!(memory.held(), 10_000);
    memory.sweep().await;
    assert_eq!(memory.held(), 10_000);
    now.fetch_add(60_000, Ordering::Relaxed);
    memory.sweep().await;
    assert_eq!(memory.held(), 5_000);
    assert!(matches!(memory.session("j1", ""), Found::Live(_)) && memory.session("j2", "") == Found::Missing);
    assert_eq!(memory.sessions_of("a0").len(), 5);
    now.fetch_add(100_000, Ordering::Relaxed);
    memory.sweep().await;
    assert_eq!(memory.held(), 0);
}

#[test]
fn the_remote_clock_is_corrected_by_what_is_proven_only() {
    let clock = RemoteClock::new();
    let off = |clock: &RemoteClock, by_ms: u64| clock.now_ms().abs_diff(system_ms() + by_ms);
    let remote_us = |by_ms: u64| i64::try_from((system_ms() + by_ms) * 1000).unwrap();
    assert!(off(&clock, 0) <= 50);
    let now = Instant::now();
    clock.measured(remote_us(7_200_000), now, now + Duration::from_millis(2));
    assert!(off(&clock, 7_200_000) <= 50, "a quick answer is believed");
    let now = Instant::now();
    clock.measured(remote_us(7_200_000) + 300_000, now, now + Duration::from_secs(2));
    assert!(off(&clock, 7_200_000) <= 50, "a slow one does not outweigh it while it fits");
    let now = Instant::now();
    clock.measured(remote_us(0), now, now + Duration::from_millis(2));
    assert!(off(&clock, 0) <= 50, "and a clock set back is followed");
}
