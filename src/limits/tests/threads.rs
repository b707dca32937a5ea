//! Many threads at once: what passes stays within every quota, and nothing that was undone leaks.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::{Dice, Fixture, MS, SECOND, quota, rate};
use crate::limits::Taken;
use crate::policy::quota::{Limit, Quota, Rate, Subject};

const THREADS: u64 = 8;
const USERS: [&str; 6] = ["usr-0", "usr-1", "usr-2", "usr-3", "usr-4", "usr-5"];
const CUSTOMERS: [&str; 2] = ["cus-0", "cus-1"];

/// User ≤ customer ≤ realm, and some that run.
struct Nested {
    rates: [Rate; 3],
    quotas: [Quota; 3],
    running: Quota,
    /// What passed, by quota and subject.
    passed: [Vec<AtomicU32>; 3],
}

impl Nested {
    fn new(rates: [Rate; 3]) -> Self {
        let mut mark = 0;
        let quotas = rates.map(|rate| {
            mark += 1;
            quota(mark, Limit::Rate(rate))
        });
        let passed = [USERS.len(), CUSTOMERS.len(), 1].map(|many| (0..many).map(|_| AtomicU32::new(0)).collect());
        Self { rates, quotas, running: quota(9, Limit::InFlight(3)), passed }
    }

    fn wanted(&self, user: usize, is_turned: bool) -> [(&Quota, Subject<'_>); 4] {
        let [per_user, per_customer, per_realm] = &self.quotas;
        let mut wanted = [
            (per_user, Subject::Account(USERS[user])),
            (per_customer, Subject::Account(CUSTOMERS[user % 2])),
            (per_realm, Subject::Realm),
            (&self.running, Subject::Account(CUSTOMERS[user % 2])),
        ];
        // Routes name quotas in any order.
        if is_turned {
            wanted.reverse();
        }
        wanted
    }

    fn try_one(&self, fixture: &Fixture, dice: &mut Dice) {
        let user = dice.within(0, USERS.len() as u64) as usize;
        if let Taken::All { running, .. } = fixture.take(&self.wanted(user, dice.is_one_in(2))) {
            for (passed, subject) in self.passed.iter().zip([user, user % 2, 0]) {
                passed[subject].fetch_add(1, Ordering::Relaxed);
            }
            thread::yield_now();
            drop(running);
        }
    }

    /// By quota and subject: what passed and what is left.
    fn results(&self, fixture: &Fixture) -> Vec<(&Rate, u32, u32)> {
        let mut results = Vec::new();
        for ((quota, rate), passed) in self.quotas.iter().zip(&self.rates).zip(&self.passed) {
            let subjects: Vec<Subject<'_>> = match quota.mark {
                1 => USERS.map(Subject::Account).into(),
                2 => CUSTOMERS.map(Subject::Account).into(),
                _ => vec![Subject::Realm],
            };
            assert_eq!(subjects.len(), passed.len());
            for (subject, passed) in subjects.into_iter().zip(passed) {
                let remaining = fixture.peek(&[(quota, subject)])[0].remaining;
                results.push((rate, passed.load(Ordering::Relaxed), remaining));
            }
        }
        for customer in CUSTOMERS {
            assert_eq!(fixture.peek(&[(&self.running, Subject::Account(customer))])[0].remaining, 3);
        }
        results
    }
}

/// The same on every thread, at once, each with dice of its own.
fn on_threads(round: u64, work: impl Fn(&mut Dice) + Sync) {
    let (start, work) = (Barrier::new(THREADS as usize), &work);
    thread::scope(|scope| {
        for seed in 0..THREADS {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                work(&mut Dice(round << 8 | seed));
            });
        }
    });
}

#[test]
fn while_time_stands_the_buckets_hold_exactly_what_the_admitted_requests_took() {
    let mut full = 0;
    for round in 0..40 {
        let mut dice = Dice(round);
        let mut burst = |least, end| rate(SECOND, dice.within(least, end) as u32);
        let nested = Nested::new([burst(1, 30), burst(20, 60), burst(30, 120)]);
        let fixture = Fixture::new();
        on_threads(round, |dice| (0..100).for_each(|_| nested.try_one(&fixture, dice)));
        for (rate, passed, remaining) in nested.results(&fixture) {
            assert!(passed <= rate.burst, "round {round}: {passed} passed of {}", rate.burst);
            assert_eq!(remaining, rate.burst - passed, "round {round}: something leaked");
            full += u32::from(remaining == 0);
        }
    }
    assert!(full > 40, "only {full} buckets were ever used up");
}

#[test]
fn while_time_runs_no_quota_lets_more_pass_than_its_burst_and_its_rate() {
    for round in 0..8 {
        let nested = Nested::new([rate(MS, 5), rate(MS / 2, 8), rate(MS / 3, 10)]);
        let fixture = Fixture::new();
        on_threads(round, |dice| {
            for _ in 0..1000 {
                nested.try_one(&fixture, dice);
                if dice.is_one_in(8) {
                    fixture.advance(dice.within(1, MS / 4));
                }
            }
        });
        let elapsed = fixture.now();
        let mut passed_at_all = 0;
        for (rate, passed, _) in nested.results(&fixture) {
            let most = u64::from(rate.burst) + elapsed / rate.interval;
            assert!(u64::from(passed) <= most, "round {round}: {passed} passed, at most {most} may");
            passed_at_all += passed;
        }
        assert!(passed_at_all > 100, "only {passed_at_all}");
    }
}
