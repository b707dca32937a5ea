//! The buckets of local quotas: a number each, found by its key, at most so many.
//!
//! `limits` takes from them and gives back. A bucket that was used before is changed under its shard's read lock by
//! compare-and-set, so that requests that meet in one bucket do not queue; only a new bucket and the sweep take the write
//! lock, for some microseconds. A bucket that is full again is forgotten, one in debt never: where no room is left, the
//! subjects that are new share one bucket per quota. It is a state store of governor's, too, and knows no clock.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use governor::nanos::Nanos;
use governor::state::StateStore;

use super::bucket::conform;
use super::key::Key;
use super::lines::Lines;
use crate::policy::quota::Rate;

/// So many that a sweep of one takes microseconds and that a million buckets nearly fill the shards' lines, which double
/// in number: 16 bytes each in use, 21 with what is free.
const SHARDS: usize = 640;

/// How often buckets that are full again are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Shards that are swept before others get their turn.
const SWEPT_AT_ONCE: usize = 16;

/// Buckets by key.
pub(super) struct Table {
    shards: Box<[Shard]>,
    /// How many buckets there are in all shards.
    held: AtomicUsize,
    room: usize,
    /// The latest time that the table was told.
    latest: AtomicU64,
}

/// On cache lines of its own: who uses one shard does not slow the next.
#[repr(align(128))]
#[derive(Default)]
struct Shard(RwLock<Buckets>);

struct Buckets {
    lines: Lines,
    /// Before this, none is looked for that is full again.
    earliest: u64,
}

impl Default for Buckets {
    fn default() -> Self {
        Self { lines: Lines::default(), earliest: u64::MAX }
    }
}

/// A cell that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    /// The bucket that it came from: the subject's own, or the one that many share.
    pub key: Key,
    /// The bucket after it.
    pub tat: u64,
}

impl Table {
    pub(super) fn new(room: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        Self { shards, held: AtomicUsize::new(0), room, latest: AtomicU64::new(0) }
    }

    /// How many buckets there are.
    pub(super) fn len(&self) -> usize {
        self.held.load(Relaxed)
    }

    /// How many bytes the buckets take.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().lines.size()).sum()
    }

    /// The bucket that a cell would be taken from as it stands; 0 where nobody used it.
    pub(super) fn read(&self, key: Key, now: u64) -> u64 {
        let shard = self.shard(key);
        {
            let buckets = shard.read();
            if let Some(bucket) = buckets.find(key) {
                return bucket.load(Relaxed);
            }
            if !self.is_full() {
                return 0;
            }
            if buckets.earliest > now {
                drop(buckets);
                return self.read_overflow(key);
            }
        }
        // Who asks first makes the room that the taking would make.
        if self.forget(&mut shard.write(), now, 1) > 0 { 0 } else { self.read_overflow(key) }
    }

    fn read_overflow(&self, key: Key) -> u64 {
        let key = key.overflow();
        self.shard(key).read().find(key).map_or(0, |bucket| bucket.load(Relaxed))
    }

    /// Takes a cell, or gives the nanoseconds to wait for one.
    pub(super) fn take(&self, key: Key, rate: &Rate, now: u64) -> Result<Cell, u64> {
        let (key, taken) = self.change(key, now, |tat| {
            let tat = conform(tat.unwrap_or(0), now, rate, 1)?;
            Ok((tat, tat))
        });
        taken.map(|tat| Cell { key, tat })
    }

    /// Takes a cell back that was not used: of its interval, what did not trickle back in the meantime.
    pub(super) fn refund(&self, cell: Cell, interval: u64, now: u64) {
        let due = interval.min(cell.tat.saturating_sub(now));
        if let Some(bucket) = self.shard(cell.key).read().find(cell.key) {
            // There is always a next number, so this does not fail.
            let _ = bucket.fetch_update(Relaxed, Relaxed, |tat| Some(tat.saturating_sub(due)));
        }
    }

    /// Changes a bucket by what `change` makes of it; a refusal changes nothing. Gives the bucket's own key, too.
    fn change<T, E>(&self, key: Key, now: u64, change: impl Change<T, E>) -> (Key, Result<T, E>) {
        if let Some(done) = self.change_known(key, &change).or_else(|| self.add(key, now, &change)) {
            return (key, done);
        }
        let key = key.overflow();
        let done = self.change_known(key, &change).unwrap_or_else(|| self.add_overflow(key, &change));
        (key, done)
    }

    fn change_known<T, E>(&self, key: Key, change: impl Change<T, E>) -> Option<Result<T, E>> {
        Some(spend(self.shard(key).read().find(key)?, change))
    }

    /// Adds a bucket that nobody used; `None` where no room is left.
    fn add<T, E>(&self, key: Key, now: u64, change: impl Change<T, E>) -> Option<Result<T, E>> {
        let shard = self.shard(key);
        if self.is_full() && shard.read().earliest > now {
            return None;
        }
        let mut buckets = shard.write();
        if let Some(bucket) = buckets.find(key) {
            return Some(spend(bucket, change));
        }
        let has_room = self.reserve() || (self.forget(&mut buckets, now, 1) > 0 && self.reserve());
        has_room.then(|| self.insert(&mut buckets, key, change))
    }

    /// The same for a bucket that many share: there is one per quota, and room for each.
    fn add_overflow<T, E>(&self, key: Key, change: impl Change<T, E>) -> Result<T, E> {
        let mut buckets = self.shard(key).write();
        if let Some(bucket) = buckets.find(key) {
            return spend(bucket, change);
        }
        self.held.fetch_add(1, Relaxed);
        self.insert(&mut buckets, key, change)
    }

    /// The bucket is counted already, and not there.
    fn insert<T, E>(&self, buckets: &mut Buckets, key: Key, change: impl Change<T, E>) -> Result<T, E> {
        let (told, tat) = change(None).inspect_err(|_| {
            self.held.fetch_sub(1, Relaxed);
        })?;
        buckets.earliest = buckets.earliest.min(tat);
        buckets.lines.insert(key.tag(), tat);
        Ok(told)
    }

    fn is_full(&self) -> bool {
        self.len() >= self.room
    }

    /// Room for one more, if there is some.
    fn reserve(&self) -> bool {
        self.held.fetch_update(Relaxed, Relaxed, |held| (held < self.room).then_some(held + 1)).is_ok()
    }

    /// Forgets the shard's buckets that are full again, where those are so many; gives how many it forgot.
    fn forget(&self, buckets: &mut Buckets, now: u64, fewest: usize) -> usize {
        if buckets.earliest > now {
            return 0;
        }
        let (forgotten, earliest) = buckets.lines.forget(now, fewest);
        buckets.earliest = earliest;
        self.held.fetch_sub(forgotten, Relaxed);
        forgotten
    }

    /// Forgets buckets that are full again, now and then. Never returns.
    pub(super) async fn run(&self, now: impl Fn() -> u64) {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            for shards in self.shards.chunks(SWEPT_AT_ONCE) {
                self.sweep(shards, now());
                tokio::task::yield_now().await;
            }
        }
    }

    fn sweep(&self, shards: &[Shard], now: u64) {
        self.latest.fetch_max(now, Relaxed);
        for shard in shards {
            // Often there is nothing to forget, and nobody has to be kept out.
            if shard.read().earliest > now {
                continue;
            }
            let mut buckets = shard.write();
            // For a few it is not worth the work of laying the others anew.
            let fewest = buckets.lines.held() / 8;
            self.forget(&mut buckets, now, fewest);
        }
    }

    fn shard(&self, key: Key) -> &Shard {
        // The upper half of a product spreads a hash over any number of shards. The other half of the hash is the tag.
        let place = (u128::from(key.hash[1]) * self.shards.len() as u128) >> 64;
        &self.shards[place as usize]
    }
}

impl Shard {
    fn read(&self) -> RwLockReadGuard<'_, Buckets> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Buckets> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buckets {
    fn find(&self, key: Key) -> Option<&AtomicU64> {
        self.lines.find(key.tag())
    }
}

fn spend<T, E>(bucket: &AtomicU64, change: impl Change<T, E>) -> Result<T, E> {
    let mut seen = bucket.load(Relaxed);
    loop {
        let (told, next) = change(Some(seen))?;
        match bucket.compare_exchange_weak(seen, next, Relaxed, Relaxed) {
            Ok(_) => return Ok(told),
            Err(other) => seen = other,
        }
    }
}

/// Makes of a bucket, or of none that was used before, something to tell and the bucket after it; or refuses.
trait Change<T, E>: Fn(Option<u64>) -> Result<(T, u64), E> {}

impl<T, E, C: Fn(Option<u64>) -> Result<(T, u64), E>> Change<T, E> for C {}

impl StateStore for Table {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let change = |tat: Option<u64>| measure(tat.map(Nanos::new)).map(|(told, tat)| (told, tat.into()));
        self.change(*key, self.latest.load(Relaxed), change).1
    }
}
