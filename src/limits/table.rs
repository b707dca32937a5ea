//! The buckets of local quotas: a number each, found by its key.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::bucket::conform;
use super::key::Key;
use crate::policy::quota::Rate;

/// Buckets by key.
pub(super) struct Table {
    buckets: Mutex<HashMap<Key, u64>>,
    room: usize,
}

impl Table {
    pub(super) fn new(room: usize) -> Self {
        Self { buckets: Mutex::default(), room }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, u64>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bucket as it stands; 0 where nobody used it.
    pub(super) fn read(&self, key: Key) -> u64 {
        self.lock().get(&key).copied().unwrap_or(0)
    }

    /// Takes a cell; gives the bucket after it, or the nanoseconds to wait for one.
    pub(super) fn take(&self, key: Key, rate: &Rate, now: u64) -> Result<u64, u64> {
        let mut buckets = self.lock();
        let next = conform(buckets.get(&key).copied().unwrap_or(0), now, rate, 1)?;
        if buckets.len() < self.room {
            buckets.insert(key, next);
        }
        Ok(next)
    }

    /// Takes a cell back that was not used.
    pub(super) fn refund(&self, key: Key, interval: u64) {
        if let Some(tat) = self.lock().get_mut(&key) {
            *tat = tat.saturating_sub(interval);
        }
    }

    /// Forgets buckets that are full again, now and then. Never returns.
    pub(super) async fn run(&self, now: impl Fn() -> u64) {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = now();
            self.lock().retain(|_, tat| *tat > now);
        }
    }
}
