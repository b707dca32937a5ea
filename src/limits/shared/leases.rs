//! The leases of one gateway by key: sharded and bounded.
//!
//! `shared` takes from it on the hot path, where it allocates nothing. Beyond its room keys have no lease, and of the own
//! share of a quota all of them use one bucket. It asks no store.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::super::bucket::conform;
use super::super::key::Key;
use super::Wanted;
use super::lease::{Lease, share_of, told};

/// The most keys with a lease; each takes below 300 bytes.
const ROOM: usize = 65_536;
const SHARDS: usize = 64;

/// Leases by key.
pub(super) struct Leases {
    shards: Box<[Mutex<HashTable<Lease>>]>,
    /// The most in each.
    room: usize,
    /// The own share of those that found no room, by the quota's mark.
    beyond: Mutex<HashMap<u64, u64>>,
}

impl Leases {
    pub(super) fn new() -> Self {
        Self::with_room(ROOM)
    }

    pub(super) fn with_room(room: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, room: room / SHARDS, beyond: Mutex::default() }
    }

    /// Does something with the lease of a key, if there is one.
    pub(super) fn with<T>(&self, key: Key, work: impl FnOnce(&mut Lease) -> T) -> Option<T> {
        self.shard(key).find_mut(key.hash[0], |lease| lease.key == key).map(work)
    }

    /// The same with a new one where there is none; `None` when there is no room for it.
    pub(super) fn with_new<T>(
        &self,
        key: Key,
        new: impl FnOnce() -> Lease,
        work: impl FnOnce(&mut Lease) -> T,
    ) -> Option<T> {
        let mut shard = self.shard(key);
        let is_full = shard.len() >= self.room;
        match shard.entry(key.hash[0], |lease| lease.key == key, |lease| lease.key.hash[0]) {
            Entry::Occupied(mut known) => Some(work(known.get_mut())),
            Entry::Vacant(_) if is_full => None,
            Entry::Vacant(free) => Some(work(free.insert(new()).get_mut())),
        }
    }

    /// Takes a cell of the own share for a key without a lease: they have one bucket together.
    pub(super) fn take_share_beyond(&self, wanted: &Wanted<'_>, gateways: u32, now: u64) -> Result<u64, (u64, u64)> {
        let rate = share_of(&wanted.rate, gateways);
        let mut beyond = lock(&self.beyond);
        let tat = beyond.get(&wanted.key.mark).copied().unwrap_or(0);
        let next = conform(tat, now, &rate, 1).map_err(|wait| (wait, told(tat, now, &wanted.rate, &rate)))?;
        beyond.insert(wanted.key.mark, next);
        Ok(told(next, now, &wanted.rate, &rate))
    }

    /// Looks at every lease, one shard at a time.
    pub(super) fn each(&self, mut work: impl FnMut(&mut Lease)) {
        for shard in &self.shards {
            lock(shard).iter_mut().for_each(&mut work);
        }
    }

    /// Forgets what says nothing any more.
    pub(super) fn forget(&self, now: u64) {
        for shard in &self.shards {
            lock(shard).retain(|lease| !lease.is_forgettable(now));
        }
        lock(&self.beyond).retain(|_, tat| *tat > now);
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, HashTable<Lease>> {
        lock(&self.shards[usize::try_from(key.hash[1] % SHARDS as u64).unwrap_or(0)])
    }
}

/// Every lease is whole between any two operations, so a panic elsewhere while it was locked does not make it unusable.
fn lock<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}
