//! What clients are promised: who heeds the answers is never refused, and no span of time sees more than burst and rate.

use super::{Dice, Fixture, MS, SECOND, quota, rate};
use crate::limits::{Reading, Taken};
use crate::policy::quota::{Limit, Quota, Rate, Subject};

const USER: Subject<'static> = Subject::Account("usr-1");

/// One client of several quotas; those of arrival are charged first, as the ladder does.
struct Client {
    fixture: Fixture,
    arrival: Vec<Quota>,
    permitted: Vec<Quota>,
}

impl Client {
    fn new(dice: &mut Dice) -> Self {
        let mut mark = 0;
        let mut some = |least, end| -> Vec<Quota> {
            let count = dice.within(least, end);
            let one = |_| {
                mark += 1;
                let rate = rate(dice.of_any_size(40 * MS, 40 * SECOND), dice.of_any_size(1, 60) as u32);
                let shared = dice.is_one_in(3);
                quota(mark, Limit::Rate(Rate { shared, ..rate }))
            };
            (0..count).map(one).collect()
        };
        let (arrival, permitted) = (some(0, 3), some(1, 5));
        Self { fixture: Fixture::new(), arrival, permitted }
    }

    /// What the answer tells, or the seconds to wait.
    fn send(&self) -> Result<Reading, u32> {
        let mut told: Option<Reading> = None;
        for stage in [&self.arrival, &self.permitted] {
            if stage.is_empty() {
                continue;
            }
            let wanted: Vec<_> = stage.iter().map(|quota| (quota, USER)).collect();
            match self.fixture.take(&wanted) {
                Taken::All { reading, .. } => {
                    let reading = reading.unwrap();
                    told = Some(told.map_or(reading, |known| known.tighter(reading)));
                }
                Taken::Nothing(refused) => return Err(refused.after(told).retry_after),
            }
        }
        Ok(told.unwrap())
    }

    fn wait(&self, seconds: u32) {
        self.fixture.advance(u64::from(seconds) * SECOND);
    }

    /// Sends no more than the answer allows, in one go or spread over its time, without looking at the answers between.
    fn obey(&self, told: Reading, dice: &mut Dice) -> (u32, Result<Reading, u32>) {
        if told.remaining == 0 {
            assert!(told.more_in > 0);
            self.wait(told.more_in);
            return (1, self.send());
        }
        let mut left = u64::from(told.more_in) * SECOND;
        let many = if dice.is_one_in(3) { told.remaining } else { dice.within(1, told.remaining as u64 + 1) as u32 };
        let in_one_go = dice.is_one_in(2);
        for sent in 1..many {
            if let Err(wait) = self.send() {
                return (sent, Err(wait));
            }
            if !in_one_go && left > 1 {
                let pause = dice.within(0, left.min(2 * left / u64::from(many) + 1));
                left -= pause;
                self.fixture.advance(pause);
            }
        }
        (many, self.send())
    }
}

#[test]
fn a_client_that_heeds_what_it_is_told_is_not_refused_in_five_minutes() {
    let (mut sent, mut waited, mut never_waited) = (0_u64, 0, 0);
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let client = Client::new(&mut dice);
        let mut told = client.send().unwrap();
        let before = waited;
        while client.fixture.now() < 300 * SECOND {
            waited += u64::from(told.remaining == 0);
            let (many, answer) = client.obey(told, &mut dice);
            sent += u64::from(many);
            told = answer.unwrap_or_else(|wait| panic!("seed {seed}: {told:?}, then refused for {wait} s"));
            // Steady clients are slower than they might be.
            if seed % 4 == 0 {
                client.fixture.advance(dice.of_any_size(MS, 10 * SECOND));
            }
        }
        never_waited += u32::from(waited == before);
    }
    assert!(sent > 50_000 && waited > 10_000, "{sent} sent, {waited} waits");
    assert!(never_waited < 100, "{never_waited} of 400 were never at an end");
}

#[test]
fn a_client_that_was_refused_and_waits_as_it_was_told_is_not_refused_again() {
    let mut refused = 0;
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let mut client = Client::new(&mut dice);
        // Its one stage names the longest wait; a second would have been charged by the refused ones of the first.
        client.arrival.clear();
        for _ in 0..20 {
            let wait = (0..10_000).find_map(|_| client.send().err());
            let Some(wait) = wait else { panic!("seed {seed}: nothing stops it") };
            refused += 1;
            client.wait(wait);
            let mut told = client.send().unwrap_or_else(|again| panic!("seed {seed}: waited {wait} s, then {again} s"));
            for _ in 0..dice.within(0, 20) {
                let (_, answer) = client.obey(told, &mut dice);
                told = answer.unwrap_or_else(|again| panic!("seed {seed}: {told:?}, then refused for {again} s"));
            }
        }
    }
    assert_eq!(refused, 8000);
}

#[test]
fn a_refusal_after_arrival_tells_the_longer_wait_of_both() {
    let one_in = |mark, interval| vec![quota(mark, Limit::Rate(rate(interval, 1)))];
    let (arrival, permitted) = (one_in(1, 10 * SECOND), one_in(2, SECOND));
    let client = Client { fixture: Fixture::new(), arrival, permitted };
    assert!(matches!(client.fixture.take(&[(&client.permitted[0], USER)]), Taken::All { .. }));
    assert_eq!(client.send(), Err(10), "one second for the quota that refuses, ten for the one that has paid");
    client.wait(10);
    assert!(client.send().is_ok());
}

/// The most that passed within any span of that length.
fn most_within(passed: &[u64], span: u64) -> u64 {
    let mut first = 0;
    let mut most = 0;
    for (last, at) in passed.iter().enumerate() {
        while at - passed[first] > span {
            first += 1;
        }
        most = most.max(last - first + 1);
    }
    most as u64
}

#[test]
fn in_any_span_as_long_as_the_window_at_most_burst_and_rate_pass() {
    let mut closest = 0.0_f64;
    for seed in 0..200 {
        let (mut dice, fixture) = (Dice(seed), Fixture::new());
        let rate @ Rate { interval, burst, .. } = rate(dice.of_any_size(MS, SECOND), dice.of_any_size(1, 50) as u32);
        let (quota, window) = (quota(1, Limit::Rate(rate)), rate.capacity());
        let mut passed = Vec::new();
        for _ in 0..3000 {
            // Silence for long, then as much as goes through: just before a window ends, and just after.
            fixture.advance(match dice.within(0, 40) {
                0 => dice.within(0, 2 * window),
                1 => window - interval.min(window) / 20,
                _ => dice.within(0, interval / 4 + 1),
            });
            if fixture.is_taken(&[(&quota, USER)]) {
                passed.push(fixture.now());
            }
        }
        let (within, bound) = (most_within(&passed, window), u64::from(burst) + window / interval);
        assert!(within <= bound, "seed {seed}: {within} in one window, {rate:?}");
        assert!(passed.len() as u64 > bound, "seed {seed}: only {} passed", passed.len());
        // The same for every other span.
        for span in [interval, window / 3 + 1, 5 * window] {
            let bound = u64::from(burst) + span / interval;
            assert!(most_within(&passed, span) <= bound, "seed {seed}: within {span} ns, {rate:?}");
        }
        closest = closest.max(within as f64 / bound as f64);
    }
    assert!(closest > 0.95, "the bound is never near: {closest}");
}
