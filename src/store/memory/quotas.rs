//! Shared quotas of one process: the same buckets as in Redis, in a map.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::quota::{Bucket, Draw, Drawn, EXACT_BELOW};
use super::Memory;

/// Buckets by realm and key.
#[derive(Debug, Default)]
pub(super) struct Buckets(Mutex<HashMap<(Box<str>, Box<str>), Level>>);

/// How full a bucket was at some time.
#[derive(Clone, Copy, Debug)]
struct Level {
    /// Milliseconds of the store's clock.
    at: u64,
    /// Nanoseconds until it was full, then.
    debt: u64,
}

impl Level {
    const fn debt_at(self, now: u64) -> u64 {
        self.debt.saturating_sub(now.saturating_sub(self.at).saturating_mul(1_000_000))
    }
}

impl Buckets {
    fn lock(&self) -> MutexGuard<'_, HashMap<(Box<str>, Box<str>), Level>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sweep(&self, now: u64) {
        self.lock().retain(|_, level| level.debt_at(now) > 0);
    }
}

impl Memory {
    pub(in super::super) fn draw(&self, draws: &[Draw<'_>]) -> Vec<Drawn> {
        let (now, mut buckets) = (self.now_ms(), self.buckets.lock());
        let place = |bucket: &Bucket<'_>| (bucket.realm.into(), bucket.key.into());
        let levels = draws.iter().map(|Draw { bucket, owed, .. }| {
            let debt = buckets.get(&place(bucket)).map_or(0, |level| level.debt_at(now));
            debt.saturating_add(bucket.interval.saturating_mul((*owed).into())).min(capacity(bucket))
        });
        let debts: Vec<u64> = levels.collect();
        let left = |bucket: &Bucket<'_>, debt: u64| (capacity(bucket) - debt) / bucket.interval;
        let enough = draws.iter().zip(&debts).all(|(draw, debt)| left(&draw.bucket, *debt) >= 1);
        let granted = |(draw, debt): (&Draw<'_>, u64)| {
            let many = left(&draw.bucket, debt) >= u64::from(EXACT_BELOW) * u64::from(draw.lease);
            let granted = if !enough {
                0
            } else if many {
                draw.lease.max(1)
            } else {
                1
            };
            let debt = debt + draw.bucket.interval * u64::from(granted);
            buckets.insert(place(&draw.bucket), Level { at: now, debt });
            Drawn { granted, debt }
        };
        draws.iter().zip(debts).map(granted).collect()
    }

    pub(in super::super) fn give_back(&self, unused: &[(Bucket<'_>, u32)]) {
        let mut buckets = self.buckets.lock();
        for (bucket, cells) in unused {
            if let Some(level) = buckets.get_mut(&(bucket.realm.into(), bucket.key.into())) {
                level.debt = level.debt.saturating_sub(bucket.interval.saturating_mul((*cells).into()));
            }
        }
    }
}

const fn capacity(bucket: &Bucket<'_>) -> u64 {
    bucket.interval.saturating_mul(bucket.burst as u64)
}
