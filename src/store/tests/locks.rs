//! The lock-out's keys: how they lock, double, open and are forgotten, and who was seen where.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::cmd;

use super::server::Server;
use super::{CALM, Ear};
use crate::store::{Lock, Memory, Store, StoreError};

const QUARTER: Duration = Duration::from_secs(15 * 60);

const OPEN: Lock = Lock { failures: 0, until: 0 };

/// Keys that have tripped others up before.
const ODD_KEYS: [&str; 8] = ["", " ", "a b", "{", "}{", "a\r\nDEL x\0", "pair:💥:::ffff:1.2.3.4/32", "*"];

mod facts {
    use super::*;

    pub(super) async fn from_the_limit_on_a_lock_doubles_up_to_fifteen_minutes(store: Arc<Store>) {
        for failures in 1..=40_u32 {
            let before = store.time().await.unwrap();
            let lock = store.count_failure("k", 5, QUARTER).await.unwrap();
            let after = store.time().await.unwrap();
            assert_eq!(lock.failures, failures);
            if failures < 5 {
                assert_eq!(lock.until, 0, "{failures}");
                continue;
            }
            let locked = 1000 * 2_u64.pow((failures - 5).min(20));
            let locked = locked.min(900_000);
            assert!((before + locked..=after + locked).contains(&lock.until), "{failures}: {lock:?} at {before}");
            assert_eq!(store.locks(&["k"]).await, Ok(vec![lock]));
        }
    }

    pub(super) async fn failures_below_the_limit_are_forgotten_after_the_window(store: Arc<Store>) {
        let (begun, begun_ms) = (Instant::now(), store.time().await.unwrap());
        let window = Duration::from_millis(1200);
        assert_eq!(store.count_failure("k", 3, window).await.unwrap().failures, 1);
        tokio::time::sleep(window / 2).await;
        assert_eq!(store.count_failure("k", 3, window).await.unwrap().failures, 2);
        while store.locks(&["k"]).await.unwrap() != [OPEN] {
            assert!(begun.elapsed() < CALM);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // By the store's clock, which counts whole milliseconds.
        let took = Duration::from_millis(store.time().await.unwrap() - begun_ms);
        assert!(took >= window, "no earlier than the window after the first: {took:?}");
        assert_eq!(store.count_failure("k", 3, window).await.unwrap().failures, 1);
    }

    pub(super) async fn a_lock_that_is_over_is_open_and_still_counts(store: Arc<Store>) {
        let begun = Instant::now();
        let lock = store.count_failure("k", 1, QUARTER).await.unwrap();
        assert!(lock.until > 0);
        while store.locks(&["k"]).await.unwrap()[0].until > 0 {
            assert!(begun.elapsed() < CALM);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(begun.elapsed() >= Duration::from_millis(900));
        assert_eq!(store.locks(&["k"]).await, Ok(vec![Lock { failures: 1, until: 0 }]));
        let before = store.time().await.unwrap();
        let again = store.count_failure("k", 1, QUARTER).await.unwrap();
        assert_eq!(again.failures, 2);
        assert!(again.until >= before + 2000, "it doubles though the first was over");
    }

    pub(super) async fn clearing_forgets_failures_and_lock_and_is_told(store: Arc<Store>) {
        let ear = Ear::at(&store);
        for _ in 0..3 {
            store.count_failure("k", 2, QUARTER).await.unwrap();
        }
        store.clear_lock("k").await.unwrap();
        assert_eq!(store.locks(&["k"]).await, Ok(vec![OPEN]));
        assert!(ear.heard_at(r#"Lock("k", Lock { failures: 0, until: 0 })"#).is_some());
        assert_eq!(store.count_failure("k", 2, QUARTER).await, Ok(Lock { failures: 1, until: 0 }));
        store.clear_lock("never").await.unwrap();
    }

    pub(super) async fn failures_that_race_are_all_counted(store: Arc<Store>) {
        let count = || {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.count_failure("k", 10, QUARTER).await.unwrap().failures })
        };
        let tasks: Vec<_> = (0..50).map(|_| count()).collect();
        let mut counts = BTreeSet::new();
        for task in tasks {
            counts.insert(task.await.unwrap());
        }
        assert_eq!(counts, (1..=50).collect(), "each count once");
    }

    pub(super) async fn any_text_is_a_key_and_no_other(store: Arc<Store>) {
        for (count, key) in (1..).zip(ODD_KEYS) {
            for _ in 0..count {
                store.count_failure(key, 100, QUARTER).await.unwrap();
            }
            store.note_seen(key, key, QUARTER).await.unwrap();
        }
        let locks = store.locks(&ODD_KEYS).await.unwrap();
        let failures: Vec<u32> = locks.iter().map(|lock| lock.failures).collect();
        assert_eq!(failures, [1, 2, 3, 4, 5, 6, 7, 8]);
        for key in ODD_KEYS {
            assert!(store.seen(key, key).await.unwrap().is_some(), "{key:?}");
            assert_eq!(store.seen(key, "another").await, Ok(None));
        }
        assert_eq!(store.locks(&[]).await, Ok(vec![]));
        assert!(store.is_up());
    }

    pub(super) async fn of_those_seen_the_sixty_four_newest_are_kept_for_their_time(store: Arc<Store>) {
        let before = store.time().await.unwrap();
        for number in 0..70 {
            store.note_seen("k", &format!("m{number}"), QUARTER).await.unwrap();
            // The first one is seen again and again, and so stays.
            store.note_seen("k", "m0", QUARTER).await.unwrap();
            // What was noted within one millisecond has no order.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let mut kept = 0;
        for number in 0..70 {
            let seen = store.seen("k", &format!("m{number}")).await.unwrap();
            assert_eq!(seen.is_some(), number == 0 || number > 6, "m{number}");
            assert!(seen.is_none_or(|at| at >= before));
            kept += u32::from(seen.is_some());
        }
        assert_eq!(kept, 64);
        let begun = Instant::now();
        store.note_seen("k", "brief", Duration::from_secs(1)).await.unwrap();
        assert!(store.seen("k", "brief").await.unwrap().is_some());
        while store.seen("k", "brief").await.unwrap().is_some() {
            assert!(begun.elapsed() < CALM);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert!(begun.elapsed() >= Duration::from_millis(900));
        assert!(store.seen("k", "m69").await.unwrap().is_some(), "the others have longer");
    }
}

every_backend! {
    from_the_limit_on_a_lock_doubles_up_to_fifteen_minutes,
    failures_below_the_limit_are_forgotten_after_the_window,
    a_lock_that_is_over_is_open_and_still_counts,
    clearing_forgets_failures_and_lock_and_is_told,
    failures_that_race_are_all_counted,
    any_text_is_a_key_and_no_other,
    of_those_seen_the_sixty_four_newest_are_kept_for_their_time,
}

#[tokio::test]
async fn memory_holds_a_hundred_thousand_keys_and_locked_ones_stay() {
    let now = Arc::new(AtomicU64::new(1_000_000_000));
    let memory = Memory::with_clock(Arc::clone(&now));
    let within = Duration::from_secs(900);
    for number in 0..20 {
        memory.count_failure(&format!("locked{number}"), 1, within);
    }
    for number in 0..150_000 {
        memory.count_failure(&format!("open{number}"), 5, within);
        memory.note_seen(&format!("open{number}"), "m", within);
    }
    assert_eq!(memory.held_beside(), (0, 100_000, 100_000));
    let keys: Vec<String> = (0..20).map(|number| format!("locked{number}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    assert!(memory.locks(&keys).iter().all(|lock| lock.until == 1_000_001_000));
    assert_eq!(memory.locks(&["open149999"])[0].failures, 1, "a new key is taken");
    now.fetch_add(900_000, Ordering::Relaxed);
    memory.sweep().await;
    assert_eq!(memory.held_beside(), (0, 20, 0), "a lock is forgotten a window after its end");
    now.fetch_add(1_000, Ordering::Relaxed);
    memory.sweep().await;
    assert_eq!(memory.held_beside(), (0, 0, 0));
}

#[tokio::test]
async fn memory_that_is_full_of_locked_keys_takes_no_new_one() {
    let memory = Memory::with_clock(Arc::new(AtomicU64::new(1_000_000_000)));
    for number in 0..100_000 {
        memory.count_failure(&format!("locked{number}"), 1, QUARTER);
    }
    assert_eq!(memory.count_failure("new", 5, QUARTER).failures, 1);
    assert_eq!(memory.locks(&["new", "locked0"]).map_failures(), [0, 1]);
}

/// Only the counts.
trait Failures {
    fn map_failures(&self) -> Vec<u32>;
}

impl Failures for Vec<Lock> {
    fn map_failures(&self) -> Vec<u32> {
        self.iter().map(|lock| lock.failures).collect()
    }
}

#[tokio::test]
async fn a_lock_in_redis_forgets_itself_a_window_after_its_end() {
    let server = Server::start();
    let store = server.reached_store(CALM).await;
    let window = Duration::from_secs(100);
    for (failures, due) in [(1, 100_000_u64), (2, 101_000), (3, 102_000)] {
        store.count_failure("k", 2, window).await.unwrap();
        let left: u64 = server.tell(cmd("PTTL").arg("portcullis:lockout:{k}")).await;
        assert!(left <= due && left + 900 > due, "{failures}: {left} ms");
    }
}

#[tokio::test]
async fn a_lock_that_cannot_be_read_is_unreadable() {
    let server = Server::start();
    let store = server.reached_store(CALM).await;
    let () = server.tell(cmd("HSET").arg("portcullis:lockout:{k}").arg("failures").arg("many")).await;
    assert_eq!(store.locks(&["other", "k"]).await, Err(StoreError::Unreadable));
    let () = server.tell(cmd("SET").arg("portcullis:lockout:{l}").arg("text")).await;
    assert_eq!(store.locks(&["l"]).await, Err(StoreError::Unreadable));
    assert_eq!(store.count_failure("l", 5, QUARTER).await, Err(StoreError::Unreadable));
    store.clear_lock("k").await.unwrap();
    store.clear_lock("l").await.unwrap();
    assert_eq!(store.locks(&["k", "l"]).await, Ok(vec![OPEN, OPEN]));
    let () = server.tell(cmd("HSET").arg("portcullis:seen:{k}").arg("m").arg("once")).await;
    assert_eq!(store.seen("k", "m").await, Err(StoreError::Unreadable));
    assert!(store.is_up());
}
