//! The failures of one key and the lock that follows from them: plain arithmetic on a time that is passed in.
//!
//! Used by the table. Times are milliseconds since the epoch by the store's clock, which is what the store counts by.

use std::time::Duration;

use crate::store::Lock;

/// The longest lock, in milliseconds.
pub(super) const LONGEST_MS: u64 = 15 * 60 * 1000;

/// From how many failures on a key is locked, and how long they are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance {
    pub(super) failures: u32,
    pub(super) within: Duration,
}

/// Failures of one key. They are forgotten together, when the window after the first is over, or after the end of the
/// last lock: as the store does it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Not forgotten yet.
    pub(super) failures: u32,
    /// Locked until then; 0 when it never was.
    pub(super) until: u64,
    /// Forgotten then.
    ends: u64,
}

impl Tally {
    /// Whether nothing needs to be remembered of it any more.
    pub(super) const fn is_over(&self, now: u64) -> bool {
        self.failures == 0 || self.ends <= now
    }

    /// How long it is still locked.
    pub(super) fn left(&self, now: u64) -> Option<u64> {
        Some(self.until.saturating_sub(now)).filter(|left| *left > 0)
    }

    /// What is lost least when it is forgotten comes first.
    pub(super) const fn worth(&self) -> (u32, u64) {
        (self.failures, self.ends)
    }

    /// Failures that count now.
    pub(super) const fn failures_at(&self, now: u64) -> u32 {
        if self.is_over(now) { 0 } else { self.failures }
    }

    /// One more failure. True when it locked the key.
    pub(super) fn fail(&mut self, now: u64, allowance: Allowance) -> bool {
        if self.is_over(now) {
            *self = Self { failures: 0, until: 0, ends: now.saturating_add(millis(allowance.within)) };
        }
        self.failures = self.failures.saturating_add(1);
        let Some(beyond) = self.failures.checked_sub(allowance.failures.max(1)) else { return false };
        self.until = now.saturating_add(lock_ms(beyond));
        self.ends = self.until.saturating_add(millis(allowance.within));
        true
    }

    /// Takes over what the store knows. Two gateways' news may come in another order than they were made in, so a count
    /// or a lock only grows by them; only an open key with no failures puts it back.
    pub(super) fn follow(&mut self, lock: Lock, now: u64, within: Duration) {
        if lock == Lock::default() {
            *self = Self::default();
            return;
        }
        if self.is_over(now) {
            *self = Self { failures: 0, until: 0, ends: now.saturating_add(millis(within)) };
        }
        self.failures = self.failures.max(lock.failures);
        // No gateway sets longer locks, whatever a record says.
        self.until = self.until.max(lock.until.min(now.saturating_add(LONGEST_MS)));
        if self.until > 0 {
            self.ends = self.ends.max(self.until.saturating_add(millis(within)));
        }
    }
}

/// 1 s, doubled for each failure beyond the one that locks.
fn lock_ms(beyond: u32) -> u64 {
    1000_u64.checked_shl(beyond.min(20)).map_or(LONGEST_MS, |lock| lock.min(LONGEST_MS))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE: Allowance = Allowance { failures: 5, within: Duration::from_secs(900) };

    #[test]
    fn a_lock_is_one_second_and_doubles_to_fifteen_minutes() {
        let (mut tally, mut now) = (Tally::default(), 1_000_000);
        let mut locks = Vec::new();
        for _ in 0..18 {
            tally.fail(now, Allowance { within: Duration::from_secs(100_000), ..FIVE });
            locks.push(tally.left(now).unwrap_or(0) / 1000);
            now += tally.left(now).unwrap_or(0);
            assert_eq!(tally.left(now), None, "the very millisecond it ends it is open");
        }
        assert_eq!(locks, [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900]);
    }

    #[test]
    fn failures_are_forgotten_a_window_after_the_first_or_after_the_end_of_the_lock() {
        let mut tally = Tally::default();
        for _ in 0..4 {
            assert!(!tally.fail(0, FIVE));
        }
        assert_eq!((tally.failures_at(899_999), tally.failures_at(900_000)), (4, 0));
        assert!(!tally.fail(900_000, FIVE), "a new window began");
        for _ in 0..3 {
            tally.fail(1_799_000, FIVE);
        }
        assert!(tally.fail(1_799_500, FIVE));
        assert!(!tally.is_over(1_800_500 + 899_999), "a lock is remembered after its end");
        assert!(tally.is_over(1_800_500 + 900_000));
    }

    #[test]
    fn what_the_store_says_only_grows_it_but_an_open_key_clears_it() {
        let within = FIVE.within;
        let mut tally = Tally::default();
        tally.follow(Lock { failures: 6, until: 5000 }, 1000, within);
        tally.follow(Lock { failures: 5, until: 4000 }, 1000, within);
        assert_eq!((tally.failures, tally.left(1000)), (6, Some(4000)));
        tally.follow(Lock { failures: 7, until: u64::MAX }, 1000, within);
        assert_eq!(tally.left(1000), Some(LONGEST_MS));
        tally.follow(Lock::default(), 1000, within);
        assert_eq!((tally.failures_at(1000), tally.left(1000)), (0, None));
    }
}
