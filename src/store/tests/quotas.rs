//! Shared quotas: cells by lease and one by one, all buckets of a call or none, what is owed, what comes back; on every
//! backend. `limits` holds all of it against plain arithmetic.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::CALM;
use crate::store::{Bucket, Draw, Drawn, Memory, Store};

pub(super) const SECOND: u64 = 1_000_000_000;

/// So long between two cells that none comes back during a test.
const NEVER: u64 = 1000 * SECOND;

pub(super) const fn bucket(key: &str, interval: u64, burst: u32) -> Bucket<'_> {
    Bucket { realm: "ucaas", key, interval, burst }
}

pub(super) const fn draw(bucket: Bucket<'_>) -> Draw<'_> {
    Draw { bucket, lease: 1, owed: 0 }
}

async fn granted(store: &Store, draws: &[Draw<'_>]) -> Vec<u32> {
    store.draw(draws).await.unwrap().iter().map(|drawn| drawn.granted).collect()
}

/// Whether a debt is that of so many cells, but for the time that passed since `begun`.
fn is_debt_of(drawn: Drawn, cells: u64, interval: u64, begun: Instant) -> bool {
    let passed = u64::try_from(begun.elapsed().as_nanos()).unwrap() + 2_000;
    (cells * interval - passed.min(cells * interval)..=cells * interval).contains(&drawn.debt)
}

mod facts {
    use super::*;

    pub(super) async fn a_bucket_gives_its_burst_and_no_more(store: Arc<Store>) {
        let (wish, begun) = (draw(bucket("k", NEVER, 5)), Instant::now());
        for cells in 1..=5 {
            let drawn = store.draw(&[wish]).await.unwrap()[0];
            assert!(drawn.granted == 1 && is_debt_of(drawn, cells, NEVER, begun), "{cells}: {drawn:?}");
        }
        for _ in 0..3 {
            let drawn = store.draw(&[wish]).await.unwrap()[0];
            assert!(drawn.granted == 0 && is_debt_of(drawn, 5, NEVER, begun), "{drawn:?}");
        }
        assert_eq!(store.draw(&[]).await, Ok(vec![]));
    }

    pub(super) async fn a_cell_comes_back_when_its_time_is_over_and_not_before(store: Arc<Store>) {
        let interval = 200_000_000;
        let wish = draw(bucket("k", interval, 2));
        let begun = Instant::now();
        assert_eq!(granted(&store, &[wish]).await, [1]);
        assert_eq!(granted(&store, &[wish]).await, [1]);
        for cell in 1..=3_u32 {
            while granted(&store, &[wish]).await == [0] {
                assert!(begun.elapsed() < CALM);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert!(begun.elapsed() >= Duration::from_nanos(interval) * cell, "{cell}");
        }
    }

    pub(super) async fn all_buckets_of_a_call_give_or_none_does(store: Arc<Store>) {
        let [small, large] = [draw(bucket("small", NEVER, 2)), draw(bucket("large", NEVER, 5))];
        for _ in 0..2 {
            assert_eq!(granted(&store, &[large, small]).await, [1, 1]);
        }
        for _ in 0..5 {
            assert_eq!(granted(&store, &[large, small]).await, [0, 0]);
            assert_eq!(granted(&store, &[small, large]).await, [0, 0]);
        }
        for _ in 0..3 {
            assert_eq!(granted(&store, &[large]).await, [1], "what was refused cost nothing");
        }
        assert_eq!(granted(&store, &[large]).await, [0]);
    }

    pub(super) async fn leases_are_given_while_ten_are_left_and_single_cells_after_that(store: Arc<Store>) {
        let wish = Draw { lease: 7, ..draw(bucket("k", NEVER, 100)) };
        for left in [100_u32, 93, 86, 79, 72] {
            assert_eq!(granted(&store, &[wish]).await, [7], "{left}");
        }
        for left in (1..=65).rev() {
            assert_eq!(granted(&store, &[wish]).await, [1], "{left}");
        }
        assert_eq!(granted(&store, &[wish]).await, [0]);
        // Of two buckets each has leases of its own.
        let [few, many] = [Draw { lease: 5, ..draw(bucket("few", NEVER, 20)) }, draw(bucket("many", NEVER, 20))];
        assert_eq!(granted(&store, &[few, Draw { lease: 2, ..many }]).await, [1, 2]);
        let huge = Draw { lease: u32::MAX, ..draw(bucket("huge", 1, u32::MAX)) };
        assert_eq!(granted(&store, &[huge]).await, [1]);
        assert_eq!(granted(&store, &[Draw { lease: 0, ..many }]).await, [1], "at least one");
    }

    pub(super) async fn what_is_owed_is_taken_in_any_case_and_as_far_as_there_is_room(store: Arc<Store>) {
        let (wish, begun) = (draw(bucket("k", NEVER, 10)), Instant::now());
        let drawn = store.draw(&[Draw { owed: 4, ..wish }]).await.unwrap()[0];
        assert!(drawn.granted == 1 && is_debt_of(drawn, 5, NEVER, begun), "{drawn:?}");
        let empty = draw(bucket("empty", NEVER, 1));
        assert_eq!(granted(&store, &[empty]).await, [1]);
        let drawn = store.draw(&[Draw { owed: 2, ..wish }, empty]).await.unwrap();
        assert!(drawn[0].granted == 0 && is_debt_of(drawn[0], 7, NEVER, begun), "{drawn:?}");
        let drawn = store.draw(&[Draw { owed: u32::MAX, ..wish }]).await.unwrap()[0];
        assert!(drawn.granted == 0 && is_debt_of(drawn, 10, NEVER, begun), "{drawn:?}");
        store.give_back(&[(wish.bucket, 3)]).await.unwrap();
        let drawn = store.draw(&[wish]).await.unwrap()[0];
        assert!(drawn.granted == 1 && is_debt_of(drawn, 8, NEVER, begun), "no more than the bucket was owed");
    }

    pub(super) async fn what_comes_back_can_be_drawn_again_and_never_more_than_the_burst(store: Arc<Store>) {
        let [wish, other] = [draw(bucket("k", NEVER, 20)), draw(bucket("l", NEVER, 20))];
        assert_eq!(granted(&store, &[Draw { lease: 2, ..wish }, Draw { lease: 2, ..other }]).await, [2, 2]);
        store.give_back(&[(wish.bucket, 1), (other.bucket, 2), (bucket("never", NEVER, 3), 3)]).await.unwrap();
        for (wish, left) in [(wish, 19), (other, 20), (draw(bucket("never", NEVER, 3)), 3)] {
            for _ in 0..left {
                assert_eq!(granted(&store, &[wish]).await, [1]);
            }
            assert_eq!(granted(&store, &[wish]).await, [0]);
        }
        store.give_back(&[(wish.bucket, 1000)]).await.unwrap();
        for _ in 0..20 {
            assert_eq!(granted(&store, &[wish]).await, [1]);
        }
        assert_eq!(granted(&store, &[wish]).await, [0]);
        store.give_back(&[]).await.unwrap();
    }

    pub(super) async fn of_many_that_draw_at_once_as_many_as_there_are_cells_get_one(store: Arc<Store>) {
        let task = |number: usize| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let (own, both) = (["a", "b", "c"][number % 3], draw(bucket("all", NEVER, 40)));
                let mut got = 0;
                for _ in 0..10 {
                    got += granted(&store, &[draw(bucket(own, NEVER, 15)), both]).await[1];
                }
                got
            })
        };
        let tasks: Vec<_> = (0..30).map(task).collect();
        let mut got = 0;
        for task in tasks {
            got += task.await.unwrap();
        }
        assert_eq!(got, 40, "of 3 * 15");
        let mut left = 0;
        for own in ["a", "b", "c"] {
            while granted(&store, &[draw(bucket(own, NEVER, 15))]).await == [1] {
                left += 1;
            }
        }
        assert_eq!(left, 5, "what was refused cost nothing");
    }

    pub(super) async fn any_text_is_a_bucket_and_no_other(store: Arc<Store>) {
        let keys = ["", " ", "a b", "{", "}{", "a\r\nDEL x\0", "standard:00ff:💥", "*", "login:1:a@b.example"];
        let draws: Vec<Draw<'_>> = keys.iter().map(|key| draw(bucket(key, NEVER, 1))).collect();
        assert_eq!(granted(&store, &draws).await, [1; 9]);
        for wish in &draws {
            assert_eq!(granted(&store, &[*wish]).await, [0]);
            let elsewhere = Bucket { realm: "cpaas", ..wish.bucket };
            assert_eq!(granted(&store, &[draw(elsewhere)]).await, [1], "another realm's");
        }
    }

    pub(super) async fn a_bucket_of_thirty_days_is_counted_to_the_nanosecond(store: Arc<Store>) {
        let month = 30 * 86_400 * SECOND;
        let begun = Instant::now();
        let slow = draw(bucket("slow", month, 1));
        let drawn = store.draw(&[slow]).await.unwrap()[0];
        assert_eq!(drawn, Drawn { granted: 1, debt: month });
        let drawn = store.draw(&[slow]).await.unwrap()[0];
        assert!(drawn.granted == 0 && is_debt_of(drawn, 1, month, begun));
        let odd = draw(bucket("odd", 603_457_891, 4_000_003));
        let drawn = store.draw(&[Draw { owed: 3_999_999, lease: 3, ..odd }]).await.unwrap()[0];
        assert_eq!(drawn, Drawn { granted: 1, debt: 603_457_891 * 4_000_000 });
    }
}

every_backend! {
    a_bucket_gives_its_burst_and_no_more,
    a_cell_comes_back_when_its_time_is_over_and_not_before,
    all_buckets_of_a_call_give_or_none_does,
    leases_are_given_while_ten_are_left_and_single_cells_after_that,
    what_is_owed_is_taken_in_any_case_and_as_far_as_there_is_room,
    what_comes_back_can_be_drawn_again_and_never_more_than_the_burst,
    of_many_that_draw_at_once_as_many_as_there_are_cells_get_one,
    any_text_is_a_bucket_and_no_other,
    a_bucket_of_thirty_days_is_counted_to_the_nanosecond,
}

/// Names of buckets, `many` of them.
fn names(many: usize) -> Vec<String> {
    (0..many).map(|number| format!("k{number}")).collect()
}

#[test]
fn memory_keeps_a_hundred_thousand_buckets_apart_and_forgets_none_that_is_in_debt() {
    let now = Arc::new(AtomicU64::new(1_000_000_000_000));
    let memory = Memory::with_fine_clock(Arc::clone(&now));
    let names = names(100_003);
    for name in &names[..100_000] {
        assert_eq!(memory.draw(&[draw(bucket(name, SECOND, 2))])[0].granted, 1);
    }
    assert_eq!(memory.held_buckets(), (100_000, 0));
    // Two of the new ones are of one kind, and the third of another.
    let [one, other, third] =
        [(100_000, 2), (100_001, 2), (100_002, 3)].map(|(n, burst)| bucket(&names[n], SECOND, burst));
    assert_eq!(memory.draw(&[draw(one)])[0], Drawn { granted: 1, debt: SECOND });
    assert_eq!(memory.draw(&[draw(other)])[0], Drawn { granted: 1, debt: 2 * SECOND });
    assert_eq!(memory.draw(&[draw(one)])[0].granted, 0, "it is shared with the other");
    memory.give_back(&[(one, 1)]);
    assert_eq!(memory.draw(&[draw(other)])[0].granted, 0);
    let both = memory.draw(&[draw(third), draw(Bucket { key: "x", ..third })]);
    assert_eq!(both, [Drawn { granted: 1, debt: SECOND }; 2], "two of one call are two");
    assert_eq!(memory.held_buckets(), (100_000, 3));
    for name in &names[..100_000] {
        let drawn = memory.draw(&[draw(bucket(name, SECOND, 2))])[0];
        assert_eq!(drawn, Drawn { granted: 1, debt: 2 * SECOND }, "still known");
    }
    // Those that are full again make room by themselves.
    now.fetch_add(2_000_000, Ordering::Relaxed);
    assert_eq!(memory.draw(&[draw(one)])[0], Drawn { granted: 1, debt: SECOND });
    assert_eq!(memory.draw(&[draw(other)])[0], Drawn { granted: 1, debt: SECOND });
    assert!(memory.held_buckets().0 < 100_000);
}

#[tokio::test]
async fn memory_sweeps_buckets_that_are_full_again_and_counts_in_microseconds() {
    let now = Arc::new(AtomicU64::new(1_000_000_000_000));
    let memory = Memory::with_fine_clock(Arc::clone(&now));
    for (number, name) in (1..).zip(names(1000)) {
        memory.draw(&[draw(bucket(&name, number * 1_000, 2))]);
    }
    for (later, left) in [(0, 1000), (1, 999), (498, 501), (1, 500), (500, 0)] {
        now.fetch_add(later, Ordering::Relaxed);
        memory.sweep().await;
        assert_eq!(memory.held_buckets(), (left, 0));
    }
}

#[test]
fn a_clock_that_went_back_gives_no_more_than_one_that_stands() {
    let now = Arc::new(AtomicU64::new(1_000_000_000_000));
    let memory = Memory::with_fine_clock(Arc::clone(&now));
    let wish = draw(bucket("k", SECOND, 3));
    let take = |moved: i64| {
        now.fetch_add(moved.cast_unsigned(), Ordering::Relaxed);
        memory.draw(&[wish])[0]
    };
    assert_eq!(take(0), Drawn { granted: 1, debt: SECOND });
    assert_eq!(take(-5_000_000), Drawn { granted: 1, debt: 2 * SECOND });
    assert_eq!(take(4_000_000), Drawn { granted: 1, debt: 3 * SECOND });
    assert_eq!(take(1_000_000), Drawn { granted: 0, debt: 3 * SECOND });
    assert_eq!(take(1_000_000), Drawn { granted: 1, debt: 3 * SECOND }, "from where it was before");
}
