//! The lock-out in memory: failures and locks by key, and who was seen where. [`super::Memory`] passes its verbs on to
//! here. What is a failure, and whom a lock refuses, is not known here.

use std::sync::Mutex;
use std::time::Duration;

use super::super::Lock;
use super::bounded::Bounded;
use super::lock;

/// Two bounded sets of keys.
pub(super) struct Lockout {
    locks: Mutex<Bounded<Lock>>,
    seen: Mutex<Bounded<Vec<Seen>>>,
}

/// One member of a key.
struct Seen {
    member: Box<str>,
    /// Milliseconds since the epoch, as is `ends`.
    at: u64,
    /// Remembered until then.
    ends: u64,
}

impl Lockout {
    pub(super) fn new() -> Self {
        Self { locks: Mutex::new(Bounded::new(KEYS)), seen: Mutex::new(Bounded::new(KEYS)) }
    }

    /// A key is forgotten when the window after its first failure is over, or that after the end of its last lock:
    /// locked keys thus are the last to make room, and a lock goes on doubling as long as failures go on.
    pub(super) fn count_failure(&self, key: &str, limit: u32, within: Duration, now: u64) -> Lock {
        let within = millis(within);
        let mut locks = lock(&self.locks);
        let (known, mut ends) = match locks.find(key, now) {
            Some((known, ends)) => (*known, ends),
            None => (Lock::default(), now.saturating_add(within)),
        };
        let failures = known.failures.saturating_add(1);
        let mut until = known.until;
        if failures >= limit.max(1) {
            until = now.saturating_add(penalty_ms(failures - limit.max(1)));
            ends = until.saturating_add(within);
        }
        locks.put(key, Lock { failures, until }, ends, |other| other.until <= now);
        open_if_over(Lock { failures, until }, now)
    }

    pub(super) fn find(&self, keys: &[&str], now: u64) -> Vec<Lock> {
        let locks = lock(&self.locks);
        let stands =
            |key: &&str| locks.find(key, now).map_or_else(Lock::default, |(known, _)| open_if_over(*known, now));
        keys.iter().map(stands).collect()
    }

    pub(super) fn clear(&self, key: &str) {
        lock(&self.locks).remove(key);
    }

    pub(super) fn note_seen(&self, key: &str, member: &str, life: Duration, now: u64) {
        let mut seen = lock(&self.seen);
        let mut members = seen.remove(key).unwrap_or_default();
        members.retain(|known| known.ends > now && *known.member != *member);
        members.push(Seen { member: member.into(), at: now, ends: now.saturating_add(millis(life)) });
        let surplus = members.len().saturating_sub(MEMBERS);
        members.drain(..surplus);
        let ends = members.iter().map(|known| known.ends).max().unwrap_or(now);
        seen.put(key, members, ends, |_| true);
    }

    pub(super) fn seen(&self, key: &str, member: &str, now: u64) -> Option<u64> {
        let seen = lock(&self.seen);
        let (members, _) = seen.find(key, now)?;
        members.iter().find(|known| *known.member == *member && known.ends > now).map(|known| known.at)
    }

    /// Forgets up to `batch` of each that are over; whether there may be more.
    pub(super) fn forget(&self, now: u64, batch: usize) -> bool {
        let locks = lock(&self.locks).forget(now, batch);
        let seen = lock(&self.seen).forget(now, batch);
        locks.max(seen) == batch
    }

    /// How many keys are held: of locks, and of who was seen.
    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        (lock(&self.locks).held(), lock(&self.seen).held())
    }
}

/// How long the key is locked by a failure with so many beyond the limit before it.
fn penalty_ms(beyond: u32) -> u64 {
    1000_u64.checked_shl(beyond.min(32)).unwrap_or(LONGEST_MS).min(LONGEST_MS)
}

fn open_if_over(lock: Lock, now: u64) -> Lock {
    Lock { until: if lock.until > now { lock.until } else { 0 }, ..lock }
}

/// At least one.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

const LONGEST_MS: u64 = 15 * 60 * 1000;

/// How many keys of each kind are held.
const KEYS: usize = 100_000;

/// How many members of a key are remembered.
const MEMBERS: usize = 64;
