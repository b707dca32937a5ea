//! Shared quotas of one process: the same buckets as in Redis, by the same arithmetic. [`super::Memory`] passes its verbs
//! on to here.
//!
//! So many buckets are kept apart; while all of them are in debt, new ones share a bucket with others of their kind. One
//! short lock guards them all, since a call takes of several or of none.

use std::sync::{Mutex, MutexGuard};

use super::super::quota::{Bucket, Draw, Drawn};
use super::bounded::Bounded;
use super::lock;

/// Every bucket that is not full.
pub(super) struct Buckets(Mutex<Held>);

struct Held {
    /// By realm and key.
    own: Bounded<Level>,
    /// Of those that found no room: by realm, kind and place in the call, so that two of a call are never the same.
    overflow: Bounded<Level>,
}

/// How full a bucket was at some time.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    /// Microseconds of the store's clock.
    at: u64,
    /// Nanoseconds until it was full, then.
    debt: u64,
}

/// Where a bucket is kept.
enum Place {
    Own(String),
    Overflow(String),
}

impl Buckets {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Held { own: Bounded::new(BUCKETS), overflow: Bounded::new(KINDS) }))
    }

    pub(super) fn draw(&self, draws: &[Draw<'_>], now: u64) -> Vec<Drawn> {
        let mut held = self.lock();
        let room = held.own.has_room(draws.len(), now);
        let found: Vec<(Place, Level)> =
            draws.iter().enumerate().map(|(index, draw)| held.find(index, draw, room, now)).collect();
        let has_one = |(draw, (_, level)): (&Draw<'_>, &(Place, Level))| {
            level.debt + draw.bucket.interval <= draw.bucket.capacity()
        };
        let enough = draws.iter().zip(&found).all(has_one);
        let take = |(draw, (place, mut level)): (&Draw<'_>, (Place, Level))| {
            let left = draw.bucket.capacity() - level.debt;
            let granted = match (enough, left >= draw.room_for_lease()) {
                (false, _) => 0,
                (true, true) => draw.lease.max(1),
                (true, false) => 1,
            };
            level.debt += draw.bucket.debt_of(granted);
            if granted > 0 || draw.owed > 0 {
                held.put(&place, level);
            }
            Drawn { granted, debt: level.debt }
        };
        draws.iter().zip(found).map(take).collect()
    }

    /// What was drawn of a shared bucket stays drawn: nobody knows any more who drew it.
    pub(super) fn give_back(&self, unused: &[(Bucket<'_>, u32)], now: u64) {
        let mut held = self.lock();
        for (bucket, cells) in unused {
            let name = own_name(bucket);
            let Some((known, _)) = held.own.find(&name, now) else { continue };
            let mut level = known.by(now);
            level.debt = level.debt.saturating_sub(bucket.debt_of(*cells));
            held.put(&Place::Own(name), level);
        }
    }

    /// Forgets up to `batch` that are full; whether there may be more.
    pub(super) fn forget(&self, now: u64, batch: usize) -> bool {
        let mut held = self.lock();
        held.own.forget(now, batch).max(held.overflow.forget(now, batch)) == batch
    }

    /// How many buckets are held: of their own, and shared.
    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        let held = self.lock();
        (held.own.held(), held.overflow.held())
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        lock(&self.0)
    }
}

impl Held {
    /// The bucket with what is owed, as far as there is room for debt.
    fn find(&self, index: usize, draw: &Draw<'_>, room: bool, now: u64) -> (Place, Level) {
        let bucket = &draw.bucket;
        let name = own_name(bucket);
        let known = self.own.find(&name, now);
        let (place, known) = if known.is_some() || room {
            (Place::Own(name), known)
        } else {
            let name = format!("{}\0{index} {} {}", bucket.realm, bucket.interval, bucket.burst);
            let known = self.overflow.find(&name, now);
            (Place::Overflow(name), known)
        };
        let level = known.map_or(Level { at: now, debt: 0 }, |(level, _)| level.by(now));
        let debt = level.debt.saturating_add(draw.debt_owed()).min(bucket.capacity());
        (place, Level { debt, ..level })
    }

    fn put(&mut self, place: &Place, level: Level) {
        let ends = level.at.saturating_add(level.debt.div_ceil(1000));
        match place {
            Place::Own(name) => self.own.put(name, level, ends, |_| false),
            Place::Overflow(name) => self.overflow.put(name, level, ends, |_| true),
        }
    }
}

impl Level {
    /// The same bucket, looked at now; no time passes for it while the clock is behind.
    fn by(self, now: u64) -> Self {
        let passed = now.saturating_sub(self.at).saturating_mul(1000);
        Self { at: self.at.max(now), debt: self.debt.saturating_sub(passed) }
    }
}

fn own_name(bucket: &Bucket<'_>) -> String {
    format!("{}\0{}", bucket.realm, bucket.key)
}

/// How many buckets are kept apart.
const BUCKETS: usize = 100_000;

/// How many are shared: a few for each quota of the policies.
const KINDS: usize = 10_000;
