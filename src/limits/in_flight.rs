//! Requests that run: how many under a key, released when the last thing that knows of the request is dropped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::key::Key;

/// How many run, by key.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    running: Mutex<HashMap<Key, u32>>,
}

impl InFlight {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, u32>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn running(&self, key: Key) -> u32 {
        self.lock().get(&key).copied().unwrap_or(0)
    }
}

/// What one request occupies; free again when this is dropped.
#[derive(Debug, Default)]
pub struct Running(Vec<(Arc<InFlight>, Key)>);

impl Running {
    /// Whether there was room.
    pub(super) fn add(&mut self, counters: &Arc<InFlight>, key: Key, most: u32) -> bool {
        {
            let mut running = counters.lock();
            let count = running.entry(key).or_insert(0);
            if *count >= most {
                return false;
            }
            *count += 1;
        }
        self.0.push((Arc::clone(counters), key));
        true
    }

    /// Occupies what the other does, too.
    pub fn join(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for (counters, key) in &self.0 {
            let mut running = counters.lock();
            match running.get_mut(key) {
                Some(count) if *count > 1 => *count -= 1,
                Some(_) | None => drop(running.remove(key)),
            }
        }
    }
}
