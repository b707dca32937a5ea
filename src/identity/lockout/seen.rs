//! Which pairs have succeeded, and when: what lets them try while their network, or their e-mail, is locked. And which
//! pairs the store was asked about.
//!
//! Used by the ledger. Bounded: the longest unseen go first, and before them what was asked about and never succeeded. It
//! asks no store; it remembers what the store answered.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

/// A store is told of a pair's success again after so many milliseconds.
const NOTE_EVERY: u64 = 60 * 60 * 1000;

/// How long "the store has not seen it" is believed, in milliseconds.
const ASK_EVERY: u64 = 10 * 1000;

const SHARDS: usize = 64;

/// One part in so many is freed at once.
const BATCH: usize = 16;

/// Successes by pair. Times are milliseconds since the epoch.
pub(super) struct Successes {
    shards: Box<[Mutex<HashMap<u64, Sighting, RandomState>>]>,
    shard_size: usize,
}

#[derive(Clone, Copy, Default)]
struct Sighting {
    /// The last success; 0 for none that is known.
    at: u64,
    /// When the store was last told.
    noted: u64,
    /// When the store was last asked whether it succeeded.
    asked: u64,
    /// Under which subscription the store last said where the pair stands.
    stood: Option<u64>,
}

/// What is known of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It succeeded lately enough.
    Seen,
    /// It did not.
    Unseen,
    /// Another gateway may know.
    Unasked,
}

impl Successes {
    /// For at most `size` pairs.
    pub(super) fn new(size: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, shard_size: (size / SHARDS).max(1) }
    }

    /// Whether a pair succeeded no longer ago than `life`.
    pub(super) fn known(&self, pair: u64, now: u64, life: u64) -> Known {
        match self.shard(pair).get(&pair) {
            Some(sighting) if sighting.at > 0 && sighting.at.saturating_add(life) > now => Known::Seen,
            Some(sighting) if sighting.asked.saturating_add(ASK_EVERY) > now => Known::Unseen,
            Some(_) | None => Known::Unasked,
        }
    }

    /// A pair succeeds. True when the store is to be told, at most once an hour.
    pub(super) fn note(&self, pair: u64, now: u64) -> bool {
        self.change(pair, |sighting| {
            sighting.at = now;
            let due = sighting.noted == 0 || sighting.noted.saturating_add(NOTE_EVERY) <= now;
            if due {
                sighting.noted = now;
            }
            due
        })
    }

    /// The store could not be told: the next success tells it.
    pub(super) fn untold(&self, pair: u64) {
        if let Some(sighting) = self.shard(pair).get_mut(&pair) {
            sighting.noted = 0;
        }
    }

    /// What the store knows of a pair.
    pub(super) fn learn(&self, pair: u64, now: u64, seen: Option<u64>) {
        self.change(pair, |sighting| {
            sighting.asked = now;
            sighting.at = sighting.at.max(seen.unwrap_or(0).min(now));
        });
    }

    /// Under which subscription the store last said where a pair stands.
    pub(super) fn stood(&self, pair: u64) -> Option<u64> {
        self.shard(pair).get(&pair).and_then(|sighting| sighting.stood)
    }

    /// The store has said where a pair stands, asked under this subscription.
    pub(super) fn note_stood(&self, pair: u64, epoch: u64) {
        self.change(pair, |sighting| sighting.stood = Some(epoch));
    }

    fn change<T>(&self, pair: u64, change: impl FnOnce(&mut Sighting) -> T) -> T {
        let mut shard = self.shard(pair);
        if shard.len() >= self.shard_size && !shard.contains_key(&pair) {
            let mut all: Vec<_> = shard.iter().map(|(key, sighting)| (sighting.at, *key)).collect();
            let victims = (self.shard_size / BATCH).clamp(1, all.len());
            all.select_nth_unstable(victims - 1);
            for (_, key) in &all[..victims] {
                shard.remove(key);
            }
        }
        change(shard.entry(pair).or_default())
    }

    fn shard(&self, pair: u64) -> MutexGuard<'_, HashMap<u64, Sighting, RandomState>> {
        self.shards[(pair >> 32) as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60 * 1000;

    #[test]
    fn a_success_is_remembered_for_its_life_and_told_once_an_hour() {
        let seen = Successes::new(640);
        assert_eq!(seen.known(1, 5 * DAY, DAY), Known::Unasked);
        assert!(seen.note(1, 5 * DAY));
        assert!(!seen.note(1, 5 * DAY + NOTE_EVERY - 1));
        assert!(seen.note(1, 5 * DAY + NOTE_EVERY));
        seen.untold(1);
        assert!(seen.note(1, 5 * DAY + NOTE_EVERY + 1), "what the store missed is told again");
        assert_eq!(seen.known(1, 6 * DAY, DAY), Known::Seen);
        assert_eq!(seen.known(1, 7 * DAY, DAY), Known::Unasked);
        assert_eq!(seen.known(1, 7 * DAY, 30 * DAY), Known::Seen);
    }

    #[test]
    fn the_store_is_not_asked_twice_in_ten_seconds() {
        let seen = Successes::new(640);
        seen.learn(1, DAY, None);
        assert_eq!(seen.known(1, DAY + ASK_EVERY - 1, DAY), Known::Unseen);
        assert_eq!(seen.known(1, DAY + ASK_EVERY, DAY), Known::Unasked);
        seen.learn(1, DAY, Some(DAY - 5));
        assert_eq!(seen.known(1, DAY, DAY), Known::Seen);
    }

    #[test]
    fn that_the_store_said_where_a_pair_stands_outlives_its_success() {
        let seen = Successes::new(640);
        assert_eq!(seen.stood(1), None);
        seen.note_stood(1, 3);
        assert!(seen.note(1, DAY));
        assert_eq!((seen.stood(1), seen.stood(2)), (Some(3), None));
        assert_eq!(seen.known(1, DAY, DAY), Known::Seen);
    }

    #[test]
    fn unknown_pairs_do_not_push_out_those_that_succeeded() {
        let seen = Successes::new(6400);
        let spread = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for n in 0..2000 {
            seen.note(spread(n), DAY);
        }
        for n in 10_000..110_000 {
            seen.learn(spread(n), DAY, None);
            seen.note_stood(spread(n + 200_000), 1);
        }
        assert!((0..2000).all(|n| seen.known(spread(n), DAY, DAY) == Known::Seen));
        assert!(seen.shards.iter().map(|shard| shard.lock().unwrap().len()).sum::<usize>() <= 6400);
    }
}
