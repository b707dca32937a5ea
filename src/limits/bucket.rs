//! The generic cell rate algorithm, as arithmetic: a bucket is one number, the time at which it will be full again.
//!
//! Used for local quotas, leases and a gateway's own share alike; the store's script computes the same. It knows no clock
//! and keeps nothing.

use super::{Reading, seconds};
use crate::policy::quota::{QuotaIndex, Rate};

/// The bucket after `cells` more, or the nanoseconds to wait for them. `tat` 0 is a bucket that nobody used.
pub(super) fn conform(tat: u64, now: u64, rate: &Rate, cells: u32) -> Result<u64, u64> {
    let next = tat.max(now).saturating_add(rate.interval.saturating_mul(cells.into()));
    let over = next.saturating_sub(now).saturating_sub(rate.capacity());
    if over == 0 { Ok(next) } else { Err(over) }
}

/// Whole cells that are left.
pub(super) fn remaining(tat: u64, now: u64, rate: &Rate) -> u32 {
    let free = rate.capacity().saturating_sub(tat.saturating_sub(now));
    u32::try_from(free / rate.interval.max(1)).unwrap_or(u32::MAX)
}

/// How the bucket stands, for the client.
pub(super) fn reading(quota: QuotaIndex, tat: u64, now: u64, rate: &Rate) -> Reading {
    let (debt, capacity, interval) = (tat.saturating_sub(now), rate.capacity(), rate.interval.max(1));
    let free = capacity.saturating_sub(debt);
    let remaining = u32::try_from(free / interval).unwrap_or(u32::MAX);
    // What is free of the next cell already need not be waited for; what is owed beyond the capacity comes before it.
    let next = (interval - free % interval).saturating_add(debt.saturating_sub(capacity));
    Reading { quota, remaining, more_in: if remaining >= rate.burst { 0 } else { seconds(next) } }
}
