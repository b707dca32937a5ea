//! Requests that run: how many under a key, released when the last thing that knows of the request is dropped.
//!
//! `limits` counts them up when a request passes; the shell holds what was occupied until the request is over, however it
//! ends. Memory is bounded by what runs: a count of nothing is forgotten at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::key::Key;

/// Requests of different keys rarely meet in one of so many.
const SHARDS: usize = 64;

/// So much of a shard's memory is kept, however little runs.
const KEPT: usize = 16;

/// How many run, by key.
#[derive(Debug)]
pub(super) struct InFlight {
    shards: Box<[Mutex<HashTable<Count>>]>,
}

#[derive(Debug)]
struct Count {
    hash: [u64; 2],
    /// At least 1.
    running: u32,
}

impl InFlight {
    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    fn lock(&self, key: Key) -> MutexGuard<'_, HashTable<Count>> {
        // The table uses the other half of the hash.
        let shard = &self.shards[key.hash[1] as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes the counts take.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).allocation_size()).sum()
    }

    pub(super) fn running(&self, key: Key) -> u32 {
        self.lock(key).find(place_of(key), |count| count.hash == key.hash).map_or(0, |count| count.running)
    }

    /// One more, if fewer than `most` run.
    fn begin(&self, key: Key, most: u32) -> bool {
        let mut counts = self.lock(key);
        match counts.entry(place_of(key), |count| count.hash == key.hash, place) {
            Entry::Occupied(mut known) if known.get().running < most => known.get_mut().running += 1,
            Entry::Vacant(free) if most > 0 => drop(free.insert(Count { hash: key.hash, running: 1 })),
            Entry::Occupied(_) | Entry::Vacant(_) => return false,
        }
        true
    }

    fn end(&self, key: Key) {
        let mut counts = self.lock(key);
        let Ok(mut count) = counts.find_entry(place_of(key), |count| count.hash == key.hash) else { return };
        if count.get().running > 1 {
            count.get_mut().running -= 1;
            return;
        }
        count.remove();
        if counts.capacity() > KEPT.max(4 * counts.len()) {
            let most = 2 * counts.len();
            counts.shrink_to(most, place);
        }
    }
}

fn place(count: &Count) -> u64 {
    count.hash[0]
}

const fn place_of(key: Key) -> u64 {
    key.hash[0]
}

/// What one request occupies; free again when this is dropped.
#[derive(Debug, Default)]
pub struct Running(Vec<(Arc<InFlight>, Key)>);

impl Running {
    /// Whether there was room.
    pub(super) fn add(&mut self, counters: &Arc<InFlight>, key: Key, most: u32) -> bool {
        let begun = counters.begin(key, most);
        if begun {
            self.0.push((Arc::clone(counters), key));
        }
        begun
    }

    /// Occupies what the other does, too.
    pub fn join(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for (counters, key) in &self.0 {
            counters.end(*key);
        }
    }
}
