//! Failures by key, bounded, spread over locked shards.
//!
//! Used by the ledger, one table for each kind of key. A flood of made-up keys costs it what is worth least: what is
//! over, then what has failed least and longest ago. What is locked stays; when nothing else is left, it says so.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;

use super::tally::{Allowance, Tally};
use crate::store::Lock;

/// A table of one kind of key. Keys are 64 bits of a keyed hash; a name is kept for operators and the store.
pub(super) struct Table {
    shards: Box<[Mutex<Shard>]>,
    shard_size: usize,
    /// No key of it is locked after this moment, so that callers need not look while nobody is.
    locked_until: AtomicU64,
}

#[derive(Default)]
struct Shard {
    entries: HashMap<u64, Entry, RandomState>,
    /// Until then every entry was locked when there was last need for room.
    full_until: u64,
}

struct Entry {
    name: Box<str>,
    tally: Tally,
}

/// Where a key stands before anything is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Free to try.
    Open,
    /// Locked for so many milliseconds more.
    Locked(u64),
    /// Never failed as far as is known, and could not be counted either.
    Full,
}

/// What became of a failure or a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// It counts. For a failure: whether it locked the key. For a success: whether it made failures forgotten.
    Done(bool),
    /// It came too late: the key is locked for so many milliseconds more, and nothing was counted.
    Locked(u64),
    /// There is no room to count it.
    Full,
}

impl Table {
    /// For at most `size` keys.
    pub(super) fn new(size: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, shard_size: (size / SHARDS).max(1), locked_until: AtomicU64::new(0) }
    }

    /// Whether no key at all is locked.
    pub(super) fn is_quiet(&self, now: u64) -> bool {
        self.locked_until.load(Ordering::Relaxed) <= now
    }

    /// Where a key stands.
    pub(super) fn standing(&self, key: u64, now: u64) -> Standing {
        if self.is_quiet(now) {
            return Standing::Open;
        }
        let shard = self.shard(key);
        match shard.entries.get(&key) {
            Some(entry) => entry.tally.left(now).map_or(Standing::Open, Standing::Locked),
            None if shard.full_until > now => Standing::Full,
            None => Standing::Open,
        }
    }

    /// Failures of a key that count now, and its lock.
    pub(super) fn tally(&self, key: u64, now: u64) -> (u32, Option<u64>) {
        let shard = self.shard(key);
        shard.entries.get(&key).map_or((0, None), |entry| (entry.tally.failures_at(now), entry.tally.left(now)))
    }

    /// Counts a failure, unless the key is locked by now; `although` counts it all the same.
    pub(super) fn fail(
        &self,
        key: u64,
        name: &dyn Fn() -> Box<str>,
        now: u64,
        allowance: Allowance,
        although: bool,
    ) -> Settled {
        let mut shard = self.shard(key);
        let Some(entry) = shard.entry(key, name, now, self.shard_size) else { return Settled::Full };
        if let Some(left) = entry.tally.left(now).filter(|_| !although) {
            return Settled::Locked(left);
        }
        let locked = entry.tally.fail(now, allowance);
        self.locked_until.fetch_max(entry.tally.until, Ordering::Relaxed);
        Settled::Done(locked)
    }

    /// Forgets a key's failures, unless it is locked by now.
    pub(super) fn succeed(&self, key: u64, now: u64) -> Settled {
        let mut shard = self.shard(key);
        let Some(entry) = shard.entries.get(&key) else { return Settled::Done(false) };
        if let Some(left) = entry.tally.left(now) {
            return Settled::Locked(left);
        }
        let failed = entry.tally.failures_at(now) > 0;
        shard.remove(key);
        Settled::Done(failed)
    }

    /// Takes over what the store knows of a key.
    pub(super) fn follow(&self, key: u64, name: &dyn Fn() -> Box<str>, lock: Lock, now: u64, within: Duration) {
        let mut shard = self.shard(key);
        if lock == Lock::default() {
            shard.remove(key);
            return;
        }
        if let Some(entry) = shard.entry(key, name, now, self.shard_size) {
            entry.tally.follow(lock, now, within);
            self.locked_until.fetch_max(entry.tally.until, Ordering::Relaxed);
        }
    }

    /// Forgets a key; whether it was there.
    pub(super) fn forget(&self, key: u64) -> bool {
        self.shard(key).remove(key)
    }

    /// Everything that is remembered: name, failures, and until when it is locked.
    pub(super) fn list(&self, now: u64) -> Vec<(Box<str>, u32, u64)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            let live = shard.entries.values().filter(|entry| !entry.tally.is_over(now));
            all.extend(live.map(|entry| {
                let until = entry.tally.left(now).map_or(0, |_| entry.tally.until);
                (entry.name.clone(), entry.tally.failures, until)
            }));
        }
        all
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        lock(&self.shards[(key >> 32) as usize % SHARDS])
    }
}

impl Shard {
    /// The entry of a key, made when there is room.
    fn entry(&mut self, key: u64, name: &dyn Fn() -> Box<str>, now: u64, size: usize) -> Option<&mut Entry> {
        if !self.entries.contains_key(&key) && self.entries.len() >= size && !self.make_room(now, size) {
            return None;
        }
        Some(self.entries.entry(key).or_insert_with(|| Entry { name: name(), tally: Tally::default() }))
    }

    fn remove(&mut self, key: u64) -> bool {
        self.full_until = 0;
        self.entries.remove(&key).is_some()
    }

    /// Frees a part of the shard at once, so that a flood pays for a look at all of it only now and then.
    fn make_room(&mut self, now: u64, size: usize) -> bool {
        if self.full_until > now {
            return false;
        }
        self.entries.retain(|_, entry| !entry.tally.is_over(now));
        if self.entries.len() < size {
            return true;
        }
        let open = self.entries.iter().filter(|(_, entry)| entry.tally.left(now).is_none());
        let mut open: Vec<_> = open.map(|(key, entry)| (entry.tally.worth(), *key)).collect();
        if open.is_empty() {
            self.full_until = self.entries.values().map(|entry| entry.tally.until).min().unwrap_or(0);
            return false;
        }
        let victims = (size / BATCH).clamp(1, open.len());
        open.select_nth_unstable(victims - 1);
        for (_, key) in &open[..victims] {
            self.entries.remove(key);
        }
        true
    }
}

/// A shard is whole between any two of its operations, so a panic elsewhere does not make it unusable.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

const SHARDS: usize = 64;

/// One part in so many is freed at once.
const BATCH: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: Allowance = Allowance { failures: 2, within: Duration::from_secs(900) };

    fn name() -> Box<str> {
        "n".into()
    }

    /// Keys that spread over all shards.
    fn keys(count: u64) -> impl Iterator<Item = u64> {
        (0..count).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    #[test]
    fn a_flood_of_new_keys_stays_bounded_and_unlocks_nobody() {
        let table = Table::new(6400);
        let victims: Vec<u64> = keys(1 << 21).skip(1 << 20).take(500).collect();
        for key in &victims {
            for _ in 0..2 {
                table.fail(*key, &name, 1000, TWO, false);
            }
        }
        for key in keys(100_000) {
            table.fail(key, &name, 1001, TWO, false);
        }
        assert!(table.list(1001).len() <= 6400);
        for key in victims {
            assert_eq!(table.standing(key, 1001), Standing::Locked(999));
        }
    }

    #[test]
    fn what_has_failed_more_outlives_what_has_failed_less() {
        let table = Table::new(6400);
        let busy = Allowance { failures: 9, ..TWO };
        let victim = 7 << 32;
        for _ in 0..3 {
            table.fail(victim, &name, 1000, busy, false);
        }
        for key in keys(50_000) {
            table.fail(key, &name, 1001, busy, false);
        }
        assert_eq!(table.tally(victim, 1001).0, 3);
    }

    #[test]
    fn a_table_of_locked_keys_is_full_until_the_first_opens() {
        let table = Table::new(64);
        let (first, second) = (1, 2);
        table.fail(first, &name, 1000, TWO, false);
        table.fail(first, &name, 1000, TWO, false);
        assert_eq!(table.fail(second, &name, 1000, TWO, false), Settled::Full);
        assert_eq!(
            (table.standing(first, 1500), table.standing(second, 1500)),
            (Standing::Locked(500), Standing::Full)
        );
        assert_eq!(table.standing(second, 2000), Standing::Open);
        assert_eq!(table.fail(second, &name, 2000, TWO, false), Settled::Done(false));
    }

    #[test]
    fn a_result_that_comes_when_the_key_is_locked_does_not_count() {
        let table = Table::new(640);
        assert_eq!(table.fail(1, &name, 1000, TWO, false), Settled::Done(false));
        assert_eq!(table.fail(1, &name, 1000, TWO, false), Settled::Done(true));
        assert_eq!(table.fail(1, &name, 1400, TWO, false), Settled::Locked(600));
        assert_eq!(table.succeed(1, 1400), Settled::Locked(600));
        assert_eq!(table.tally(1, 1400).0, 2);
        assert_eq!(table.succeed(1, 2000), Settled::Done(true));
        assert_eq!((table.tally(1, 2000), table.succeed(1, 2000)), ((0, None), Settled::Done(false)));
    }
}
