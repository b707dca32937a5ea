//! The storage of buckets beside a plain map: crowded lines, growth, what is forgotten.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::Ordering;

use super::Dice;
use crate::limits::lines::Lines;

fn found(lines: &Lines, tag: u64) -> Option<u64> {
    lines.find(tag).map(|tat| tat.load(Ordering::Relaxed))
}

#[test]
fn whatever_is_added_and_forgotten_the_same_buckets_are_found_as_in_a_plain_map() {
    let (mut added, mut forgotten_at_all, mut spared, mut most) = (0, 0, 0, 0);
    for seed in 0..200 {
        let (mut dice, mut lines, mut model) = (Dice(seed), Lines::default(), HashMap::new());
        // Of half the traces, all tags belong in a few neighbouring lines: the last and the first ones.
        let crowded = seed % 2 == 0;
        let tag = |dice: &mut Dice| {
            let number = 1 + dice.below(500);
            if crowded { number << 32 | (0xffff_ffff - dice.below(3)) } else { Dice(number).roll() }
        };
        for now in 1..600 {
            let (new, sought) = (tag(&mut dice), tag(&mut dice));
            assert_eq!(found(&lines, new), model.get(&new).copied(), "seed {seed}, {now}");
            if let Entry::Vacant(free) = model.entry(new) {
                let tat = *free.insert(now + dice.of_any_size(1, 2000));
                lines.insert(new, tat);
                added += 1;
            }
            assert_eq!(found(&lines, sought), model.get(&sought).copied(), "seed {seed}, {now}");
            if dice.is_one_in(50) {
                let (due, fewest) = (model.values().filter(|tat| **tat <= now).count(), dice.below(40) as usize);
                let is_due = due > 0 && due >= fewest;
                model.retain(|_, tat| *tat > now || !is_due);
                let earliest = model.values().copied().min().unwrap_or(u64::MAX);
                let forgotten = if is_due { due } else { 0 };
                assert_eq!(lines.forget(now, fewest), (forgotten, earliest), "seed {seed}, {now}");
                (forgotten_at_all, spared) = (forgotten_at_all + forgotten, spared + due - forgotten);
            }
            most = most.max(model.len());
        }
        assert!(model.iter().all(|(tag, tat)| found(&lines, *tag) == Some(*tat)), "seed {seed}");
        assert!(lines.size() <= 64 * 512, "seed {seed}: {} bytes", lines.size());
        assert_eq!(lines.forget(u64::MAX - 1, 1), (model.len(), u64::MAX), "seed {seed}");
        assert_eq!(lines.size(), 0, "nothing is kept of nothing");
    }
    assert!(
        added > 20_000 && forgotten_at_all > 10_000 && spared > 1000 && most > 100,
        "{added} {forgotten_at_all} {spared} {most}"
    );
}
