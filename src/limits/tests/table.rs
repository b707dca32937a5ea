//! The table of buckets: governor's verdicts, its bound, what is forgotten and what is not.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, FakeRelativeClock};
use governor::middleware::NoOpMiddleware;
use governor::{Quota, RateLimiter};

use super::{Dice, MS, SECOND, rate};
use crate::limits::bucket::conform;
use crate::limits::key::Key;
use crate::limits::table::Table;

fn key(mark: u64, subject: u64) -> Key {
    let mut dice = Dice(mark << 32 | subject);
    Key { mark, hash: [dice.roll(), dice.roll()] }
}

#[test]
fn governors_limiter_over_our_table_says_what_our_arithmetic_says() {
    let (mut admitted, mut refused) = (0, 0);
    for seed in 0..1000 {
        let mut dice = Dice(seed);
        let rate = rate(dice.of_any_size(1, 100 * SECOND), dice.of_any_size(1, 100) as u32);
        let quota = Quota::with_period(Duration::from_nanos(rate.interval)).unwrap();
        let quota = quota.allow_burst(NonZeroU32::new(rate.burst).unwrap());
        let clock = FakeRelativeClock::default();
        let governor: RateLimiter<_, _, _, NoOpMiddleware<_>> = RateLimiter::new(quota, Table::new(100), clock.clone());
        let (ours, mut now, mut tats) = (Table::new(100), 0, [0; 3]);
        for _ in 0..300 {
            // Bursts at one moment, and pauses about as long as it takes to have one more, or many.
            let pause = match dice.within(0, 30) {
                0 => dice.within(0, 2 + rate.capacity() / 8),
                1..10 => dice.within(0, rate.interval + 2),
                _ => 0,
            };
            now += pause;
            clock.advance(Duration::from_nanos(pause));
            let subject = dice.within(0, 3);
            let verdict = conform(tats[subject as usize], now, &rate, 1);
            let said = governor.check_key(&key(1, subject));
            let said = said.map_err(|until| until.wait_time_from(clock.now()).as_nanos() as u64);
            assert_eq!(said.err(), verdict.err(), "seed {seed}, {rate:?}, at {now}");
            assert_eq!(ours.take(key(1, subject), &rate, now).map(|cell| cell.tat), verdict, "seed {seed}");
            match verdict {
                Ok(tat) => {
                    tats[subject as usize] = tat;
                    admitted += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(admitted > 50_000 && refused > 50_000, "{admitted} admitted, {refused} refused");
}

#[test]
fn beyond_its_room_new_subjects_share_one_bucket_per_quota_and_known_ones_keep_theirs() {
    let (table, rate, now) = (Table::new(1000), rate(SECOND, 3), SECOND);
    for subject in 0..1000 {
        assert!(table.take(key(1, subject), &rate, now).is_ok());
    }
    for (mark, subjects) in [(1, 1000..), (2, 0..)] {
        let taken = subjects.take(50).filter(|subject| table.take(key(mark, *subject), &rate, now).is_ok()).count();
        assert_eq!(taken, 3, "fifty subjects of quota {mark} have one bucket");
        assert_eq!(table.read(key(mark, 77_777), now), now + 3 * SECOND);
    }
    assert_eq!(table.len(), 1002);
    for subject in 0..1000 {
        assert_eq!(table.read(key(1, subject), now), now + SECOND);
        assert!(table.take(key(1, subject), &rate, now).is_ok());
    }
    assert_eq!(table.len(), 1002);
}

#[test]
fn a_bucket_in_debt_is_never_forgotten_and_one_that_is_full_again_makes_room() {
    let table = Table::new(1000);
    let (slow, quick) = (rate(100 * SECOND, 2), rate(SECOND, 1));
    for subject in 0..500 {
        assert!(table.take(key(1, subject), &slow, SECOND).is_ok());
        assert!(table.take(key(2, subject), &quick, SECOND).is_ok());
    }
    // The quick ones are full again; whoever is new finds room in time, also where nobody swept.
    let later = 3 * SECOND;
    let own = (0..2000)
        .filter(|subject| table.take(key(3, *subject), &slow, later).is_ok_and(|cell| cell.key == key(3, *subject)));
    let own: Vec<u64> = own.take(500).collect();
    assert!(own.len() >= 450, "{} of 500 found a place", own.len());
    for subject in 0..500 {
        assert_eq!(table.read(key(1, subject), later), 101 * SECOND, "in debt");
    }
    for subject in own {
        assert_eq!(table.read(key(3, subject), later), 103 * SECOND, "in debt");
    }
    assert!(table.len() <= 1001, "{}", table.len());
}

#[tokio::test(start_paused = true)]
async fn what_is_full_again_is_swept_with_its_memory_and_what_is_in_debt_stays() {
    let table = Table::new(100_000);
    for subject in 0..50_000 {
        assert!(table.take(key(1, subject), &rate(MS, 1), SECOND).is_ok());
    }
    for subject in 0..100 {
        assert!(table.take(key(2, subject), &rate(10 * SECOND, 1), SECOND).is_ok());
    }
    assert_eq!(table.len(), 50_100);
    let most = table.size();
    let swept = tokio::time::timeout(Duration::from_millis(1500), table.run(|| 2 * SECOND)).await;
    assert!(swept.is_err(), "it goes on for ever");
    assert_eq!(table.len(), 100);
    assert!(table.size() < most / 20, "{} of {most} bytes", table.size());
    for subject in 0..100 {
        assert_eq!(table.read(key(2, subject), 2 * SECOND), 11 * SECOND);
    }
}

#[test]
fn a_cell_taken_back_leaves_the_bucket_as_it_would_be_without_it() {
    let (table, rate) = (Table::new(10), rate(SECOND, 5));
    let take = |now| table.take(key(1, 1), &rate, now).unwrap();
    let first = take(10 * SECOND);
    let second = take(10 * SECOND);
    table.refund(first, rate.interval, 10 * SECOND);
    assert_eq!(table.read(key(1, 1), 10 * SECOND), second.tat - SECOND);
    // Half of it trickled back before: only the other half is given back, and never what others paid.
    let third = take(20 * SECOND);
    let late = 20 * SECOND + SECOND / 2;
    table.refund(third, rate.interval, late);
    assert_eq!(table.read(key(1, 1), late), late);
    let fourth = take(30 * SECOND);
    let fifth = take(40 * SECOND);
    table.refund(fourth, rate.interval, 40 * SECOND);
    assert_eq!(table.read(key(1, 1), 40 * SECOND), fifth.tat);
}
