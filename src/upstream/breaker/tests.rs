//! The breaker under a clock that the tests drive, alone and with many threads at once.

use std::sync::Barrier;
use std::thread;

use super::*;

const WITHIN: Duration = Duration::from_secs(10);
const OPEN_FOR: Duration = Duration::from_secs(5);

/// A breaker and its clock.
struct Bench {
    breaker: Arc<Breaker>,
    begun: Instant,
}

impl Bench {
    fn of(failures: u32) -> Self {
        let begun = Instant::now();
        let settings = settings::Breaker { failures, within: WITHIN, open_for: OPEN_FOR };
        Self { breaker: Arc::new(Breaker::new("lab", settings, begun)), begun }
    }

    fn at(&self, milliseconds: u64) -> Instant {
        self.begun + Duration::from_millis(milliseconds)
    }

    fn ask(&self, milliseconds: u64) -> Result<Pass, u32> {
        self.breaker.ask(|| self.at(milliseconds))
    }

    fn fail(&self, pass: Pass, milliseconds: u64) {
        self.breaker.failed(pass, self.at(milliseconds));
    }

    fn answer(&self, pass: Pass, milliseconds: u64) {
        pass.answered(|| self.at(milliseconds));
    }

    /// A request that fails as soon as it is let through.
    fn fail_at(&self, milliseconds: u64) {
        let pass = self.ask(milliseconds).unwrap();
        self.fail(pass, milliseconds);
    }

    fn is_closed(&self) -> bool {
        matches!(self.state(), State::Closed { .. })
    }

    fn state(&self) -> State {
        State::of(self.breaker.state.load(Ordering::Relaxed))
    }

    /// Open since then.
    fn opened_at(milliseconds: u64) -> Self {
        let bench = Self::of(1);
        bench.fail_at(milliseconds);
        assert!(!bench.is_closed());
        bench
    }
}

#[test]
fn the_last_of_too_many_failures_opens_it_and_none_before() {
    for most in 1..6_u32 {
        let bench = Bench::of(most);
        for failure in 1..most {
            bench.fail_at(u64::from(failure));
            assert!(bench.is_closed(), "after {failure} of {most}");
        }
        bench.fail_at(9000);
        assert_eq!(bench.ask(9000).unwrap_err(), 5, "after {most}");
    }
}

#[test]
fn failures_that_lie_further_apart_never_open_it() {
    let bench = Bench::of(3);
    for moment in [0, 5001, 10_001, 15_002, 20_002] {
        bench.fail_at(moment);
        assert!(bench.is_closed(), "at {moment}");
    }
    // The last three lie within ten seconds to the millisecond.
    bench.fail_at(25_002);
    assert!(!bench.is_closed());
}

#[test]
fn answers_between_failures_change_nothing() {
    let bench = Bench::of(2);
    bench.fail_at(0);
    for moment in 1..100 {
        bench.answer(bench.ask(moment).unwrap(), moment);
    }
    bench.fail_at(100);
    assert!(!bench.is_closed());
}

#[test]
fn the_window_is_exact() {
    let (mut random, mut openings) = (Random(0x5eed), 0);
    for round in 0..300 {
        let most = 1 + random.below(9);
        let bench = Bench::of(u32::try_from(most).unwrap());
        let (mut now, mut known) = (0, Vec::new());
        for _ in 0..200 {
            now += random.below(4000);
            match bench.ask(now) {
                Ok(pass) if bench.is_closed() => {
                    bench.fail(pass, now);
                    known.push(now);
                    known.retain(|failure| now - failure <= 10_000);
                    assert_eq!(bench.is_closed(), (known.len() as u64) < most, "round {round}: {most} of {known:?}");
                }
                Ok(trial) => {
                    bench.answer(trial, now);
                    assert!(bench.is_closed());
                    known.clear();
                    openings += 1;
                }
                Err(_) => assert!(!bench.is_closed()),
            }
        }
    }
    assert!(openings > 100, "only {openings}");
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn a_state_is_the_same_after_it_was_packed() {
    for moment in [0, 1, 4, u64::MAX >> BITS] {
        for state in [State::Closed { since: moment }, State::Open { until: moment }, State::Trying { until: moment }] {
            assert_eq!(State::of(state.word()), state);
        }
    }
    assert_eq!(later(5, Duration::MAX), u64::MAX >> BITS);
}

#[test]
fn the_wait_is_told_in_whole_seconds_rounded_up_and_never_0() {
    let bench = Bench::opened_at(0);
    for (moment, wait) in [(0, 5), (1, 5), (1000, 4), (1001, 4), (4000, 1), (4999, 1)] {
        assert_eq!(bench.ask(moment).unwrap_err(), wait, "at {moment}");
    }
    let trial = bench.ask(5000).unwrap();
    assert_eq!(bench.ask(5000).unwrap_err(), 1, "while one tries");
    bench.fail(trial, 5001);
}

#[test]
fn a_trial_that_is_answered_closes_it_and_all_failures_are_forgotten() {
    let bench = Bench::of(3);
    (0..3).for_each(|moment| bench.fail_at(moment));
    bench.answer(bench.ask(5002).unwrap(), 5003);
    // The three of before lie within the ten seconds still.
    bench.fail_at(5004);
    bench.fail_at(5005);
    assert!(bench.is_closed());
    bench.fail_at(5006);
    assert_eq!(bench.ask(5006).unwrap_err(), 5);
}

#[test]
fn a_trial_that_fails_opens_it_for_the_whole_time_again() {
    let bench = Bench::opened_at(0);
    bench.fail(bench.ask(5000).unwrap(), 6000);
    assert_eq!((bench.ask(6000).unwrap_err(), bench.ask(10_999).unwrap_err()), (5, 1));
    drop(bench.ask(11_000).unwrap());
}

#[test]
fn a_trial_without_a_verdict_lets_the_next_one_try_at_once() {
    let bench = Bench::opened_at(0);
    for moment in [5000, 5000, 5001] {
        let trial = bench.ask(moment).unwrap();
        assert_eq!(bench.ask(moment).unwrap_err(), 1);
        drop(trial);
    }
    let panicked = thread::scope(|scope| {
        let trial = bench.ask(5002).unwrap();
        let panicking = scope.spawn(move || {
            let _trial = trial;
            panic!("a request that ends by a panic");
        });
        panicking.join()
    });
    assert!(panicked.is_err());
    bench.answer(bench.ask(5003).unwrap(), 5003);
    assert!(bench.is_closed());
}

#[test]
fn a_trial_that_takes_longer_than_it_was_open_shares_its_place() {
    let bench = Bench::opened_at(0);
    let slow = bench.ask(5000).unwrap();
    assert_eq!(bench.ask(9999).unwrap_err(), 1);
    let second = bench.ask(10_000).unwrap();
    assert_eq!(bench.ask(10_000).unwrap_err(), 1, "two are enough");
    // What becomes of the first is nobody's business, unless it is answered.
    bench.fail(slow, 10_001);
    assert_eq!(bench.state(), State::Trying { until: bench.breaker.moment(bench.at(15_000)) });
    let third = bench.ask(15_000).unwrap();
    bench.answer(second, 15_001);
    assert!(bench.is_closed());
    bench.fail(third, 15_002);
    assert!(bench.is_closed(), "it tried an upstream that answers by now");
}

#[test]
fn a_late_answer_closes_it_although_another_trial_has_failed_meanwhile() {
    let bench = Bench::opened_at(0);
    let slow = bench.ask(5000).unwrap();
    let quick = bench.ask(10_000).unwrap();
    bench.fail(quick, 10_001);
    assert_eq!(bench.ask(10_002).unwrap_err(), 5);
    bench.answer(slow, 10_003);
    assert!(bench.is_closed());
}

#[test]
fn what_was_sent_before_it_opened_tells_nothing_of_the_time_after() {
    let bench = Bench::of(2);
    let slow: Vec<Pass> = (0..10).map(|_| bench.ask(0).unwrap()).collect();
    let mut slow = slow.into_iter();
    bench.fail_at(0);
    bench.fail_at(1);
    // While it is open, while one tries, and after it has closed.
    bench.fail(slow.next().unwrap(), 2);
    assert_eq!(bench.ask(5000).unwrap_err(), 1, "it was open for 5 s from the second failure");
    let trial = bench.ask(5001).unwrap();
    slow.by_ref().take(3).for_each(|pass| bench.fail(pass, 5002));
    bench.answer(slow.next().unwrap(), 5002);
    assert!(matches!(bench.state(), State::Trying { .. }), "only the trial's answer counts");
    bench.answer(trial, 5003);
    slow.for_each(|pass| bench.fail(pass, 5004));
    assert!(bench.is_closed());
}

/// Enough that they meet, and few enough for two cores.
const THREADS: usize = 8;

#[test]
fn of_many_threads_exactly_one_tries() {
    let bench = Bench::opened_at(0);
    for round in 1..=200_u64 {
        let (now, barrier) = (round * 5000, Barrier::new(THREADS));
        let ask = || {
            barrier.wait();
            bench.ask(now)
        };
        let asked: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (mut trials, refused): (Vec<_>, Vec<_>) = asked.into_iter().partition(Result::is_ok);
        assert_eq!(trials.len(), 1, "in round {round}");
        assert!(refused.iter().all(|refused| matches!(refused, Err(1))), "{refused:?}");
        bench.fail(trials.remove(0).unwrap(), now);
    }
}

#[test]
fn failures_of_many_threads_are_counted_each() {
    const EACH: u32 = 50;
    for _ in 0..20 {
        // One more than all threads together have.
        let bench = Bench::of(u32::try_from(THREADS).unwrap() * EACH + 1);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| (0..EACH).for_each(|moment| bench.fail_at(u64::from(moment))));
            }
        });
        assert!(bench.is_closed());
        bench.fail_at(100);
        assert_eq!(bench.ask(100).unwrap_err(), 5);
    }
}
