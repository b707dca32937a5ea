//! Local quotas beside the plainest model: verdicts, what a refusal leaves, which quota is named.

use std::collections::HashMap;

use super::{Dice, Fixture, MS, SECOND, charges, index, quota, rate};
use crate::limits::spent::Spent;
use crate::limits::{Refused, Standing, Taken, bucket};
use crate::policy::quota::{Limit, Quota, Rate, Subject};

const SUBJECTS: [&str; 5] = ["usr-1", "usr-2", "cus-1", "cus-2", "res-1"];

struct Nested {
    quota: Quota,
    rate: Rate,
}

fn nested(dice: &mut Dice) -> Vec<Nested> {
    let count = dice.within(1, 6);
    let one = |mark| {
        let rate = rate(dice.of_any_size(MS / 100, 10 * SECOND), dice.of_any_size(1, 40) as u32);
        Nested { quota: quota(mark, Limit::Rate(rate)), rate }
    };
    (1..=count as u16).map(one).collect()
}

#[test]
fn a_request_takes_of_every_quota_or_of_none_and_is_told_of_the_one_to_wait_for_longest() {
    let (mut admitted, mut refused, mut refused_by_several) = (0, 0, 0);
    for seed in 0..300 {
        let (mut dice, fixture) = (Dice(seed), Fixture::new());
        let quotas = nested(&mut dice);
        let mut model: HashMap<(u64, &str), u64> = HashMap::new();
        for _ in 0..200 {
            fixture.advance(dice.of_any_size(1, SECOND));
            let now = fixture.limits.now();
            let subjects: Vec<&str> = quotas.iter().map(|_| SUBJECTS[dice.within(0, 5) as usize]).collect();
            let chosen: Vec<(&Nested, &str)> = quotas.iter().zip(subjects).filter(|_| !dice.is_one_in(4)).collect();
            let wanted: Vec<_> = chosen.iter().map(|(one, subject)| (&one.quota, Subject::Account(subject))).collect();
            let after: Vec<Result<u64, u64>> = chosen
                .iter()
                .map(|(one, subject)| {
                    let tat = model.get(&(one.quota.mark, *subject)).copied().unwrap_or(0);
                    bucket::conform(tat, now, &one.rate, 1)
                })
                .collect();
            let before = fixture.peek(&wanted);
            let waits: Vec<u64> = before.iter().map(|standing| standing.wait).collect();
            assert_eq!(waits, after.iter().map(|after| after.err().unwrap_or(0)).collect::<Vec<_>>(), "seed {seed}");
            let foreseen = fixture.limits.foresee(&charges(&wanted));
            match fixture.take(&wanted) {
                Taken::All { reading, .. } => {
                    assert_eq!(foreseen, Ok(reading), "seed {seed}: who only looks");
                    assert!(after.iter().all(Result::is_ok), "seed {seed}: {waits:?}");
                    for ((one, subject), after) in chosen.iter().zip(&after) {
                        model.insert((one.quota.mark, subject), after.unwrap());
                    }
                    let least = fixture.peek(&wanted).iter().map(|standing| standing.remaining).min();
                    assert_eq!(reading.map(|reading| reading.remaining), least, "seed {seed}");
                    admitted += 1;
                }
                Taken::Nothing(Refused { quota, retry_after, reading }) => {
                    let longest = waits.iter().copied().max().unwrap();
                    let (named, _) = wanted.iter().find(|(one, _)| index(one) == quota).unwrap();
                    let standing = before.iter().find(|standing| standing.quota == quota).unwrap();
                    assert_eq!(standing.wait, longest, "seed {seed}: {}", named.name);
                    assert_eq!(Standing::refusing(&before).as_ref(), Some(standing), "seed {seed}: who only looks");
                    assert_eq!(foreseen, Err(Refused { quota, retry_after, reading: None }), "seed {seed}");
                    assert_eq!(u64::from(retry_after), longest.div_ceil(SECOND), "seed {seed}");
                    assert!(retry_after > 0 && longest > 0, "seed {seed}");
                    assert_eq!(reading.map(|reading| (reading.quota, reading.remaining)), Some((quota, 0)));
                    assert_eq!(fixture.peek(&wanted), before, "seed {seed}: a refusal changed something");
                    refused += 1;
                    refused_by_several += u32::from(waits.iter().filter(|wait| **wait > 0).count() > 1);
                }
            }
        }
    }
    assert!(admitted > 10_000 && refused > 10_000, "{admitted} admitted, {refused} refused");
    assert!(refused_by_several > 1000, "{refused_by_several}");
}

#[test]
fn subjects_kinds_and_changed_quotas_have_buckets_of_their_own() {
    let fixture = Fixture::new();
    let one = Limit::Rate(rate(SECOND, 1));
    let (first, changed) = (quota(1, one.clone()), quota(2, one));
    let subjects = [
        Subject::Account("a"),
        Subject::Account("b"),
        Subject::Login("a"),
        Subject::Route("a"),
        Subject::Realm,
        Subject::Network("192.0.2.1".parse().unwrap()),
        Subject::Network("2001:db8::".parse().unwrap()),
        Subject::Upstream("a"),
        Subject::Upstream("b"),
    ];
    for quota in [&first, &changed] {
        for subject in subjects {
            assert!(fixture.is_taken(&[(quota, subject)]), "{subject:?}");
            assert!(!fixture.is_taken(&[(quota, subject)]), "{subject:?}");
        }
    }
    assert_eq!(fixture.limits.kept(), 18);
}

#[test]
fn what_was_taken_before_another_was_quicker_is_taken_back() {
    let (fixture, user) = (Fixture::new(), Subject::Account("usr-1"));
    let [plenty, single] = [(1, 5), (2, 1)].map(|(mark, burst)| quota(mark, Limit::Rate(rate(SECOND, burst))));
    let running = quota(3, Limit::InFlight(1));
    let wanted = [(&plenty, user), (&running, user), (&single, user)];
    let free = fixture.peek(&wanted);
    assert_eq!(free.iter().map(|standing| standing.remaining).collect::<Vec<_>>(), [5, 1, 1]);
    // Another request takes the last cell between the reading and the taking.
    assert!(fixture.is_taken(&[(&single, user)]));
    let before = fixture.peek(&wanted);
    let charges = charges(&wanted);
    let mut spent = Spent::new(&fixture.limits, &charges);
    assert!(spent.change_local(fixture.limits.now()).is_err());
    assert_eq!(fixture.peek(&wanted)[0].remaining, 4, "it was taken");
    drop(spent);
    assert_eq!(fixture.peek(&wanted), before);
}
