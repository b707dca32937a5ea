//! Whether the store is asked for a realm's cells just now: after a failure nobody asks for a while, then one at a time.
//!
//! `shared` goes through it before every draw and says what came of it. A realm's buckets are in one place of the store, so
//! each realm has a gate of its own: a cluster may have lost one realm's place only. It asks nobody itself.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::lease::nanoseconds;
use crate::store::StoreError;

/// The gate of one realm.
pub(super) struct Gate {
    pub realm: Box<str>,
    state: Mutex<State>,
}

/// Times are nanoseconds of this gateway's clock.
#[derive(Default)]
struct State {
    is_away: bool,
    /// No connection stood when it was looked at last.
    was_down: bool,
    /// The next one may ask then.
    until: u64,
    pause: u64,
    /// When it was away last.
    back: u64,
    /// The log says that it is away.
    is_told: bool,
    /// When the log said last that a bucket cannot be read.
    unreadable_told: u64,
}

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// Everybody.
    Open,
    /// This one, to see whether the store is back.
    Probe,
}

impl Gate {
    pub(super) fn new(realm: &str) -> Self {
        Self { realm: realm.into(), state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// May the store, whose connection stands or does not, be asked now? Who passes has to say what came of it.
    pub(super) fn pass(&self, is_up: bool, now: u64) -> Option<Pass> {
        let mut state = self.lock();
        if !state.is_away {
            return Some(Pass::Open);
        }
        // A new connection is tried at once: while one gateway draws again and another is still on its share, the two of
        // them admit more than the quota.
        if std::mem::replace(&mut state.was_down, !is_up) && is_up {
            state.until = now;
        }
        if now < state.until {
            return None;
        }
        // One whose answer is lost holds the others up no longer than this.
        state.until = now.saturating_add(LONGEST_PAUSE);
        Some(Pass::Probe)
    }

    pub(super) fn is_open(&self) -> bool {
        !self.lock().is_away
    }

    /// What came of asking.
    pub(super) fn hear(&self, pass: Pass, outcome: Result<(), StoreError>, now: u64) {
        let mut state = self.lock();
        match (outcome, pass) {
            (Ok(()), Pass::Open) => {}
            (Ok(()), Pass::Probe) => state.come_back(now),
            (Err(StoreError::Unreadable), _) => {
                // The store is there; it is this one bucket that is not as it should be.
                if pass == Pass::Probe {
                    state.come_back(now);
                }
                if now.saturating_sub(state.unreadable_told) > TOLD_AGAIN {
                    state.unreadable_told = now;
                    tracing::warn!(realm = &*self.realm, "the store has shared quotas that cannot be read");
                }
            }
            (Err(error), _) => {
                // One that asked before the gate was closed says nothing new.
                if state.is_away && pass == Pass::Open {
                    return;
                }
                state.go_away(now);
                if !std::mem::replace(&mut state.is_told, true) {
                    let (realm, error) = (&*self.realm, error.kind());
                    tracing::warn!(realm, error, "shared quotas go on with this gateway's share of them");
                }
            }
        }
    }

    /// Says in the log that it is back, once it has been for a moment: a store that comes and goes does not fill it.
    pub(super) fn tell(&self, now: u64) {
        let mut state = self.lock();
        if state.is_told && !state.is_away && now.saturating_sub(state.back) >= SETTLED {
            state.is_told = false;
            tracing::info!(realm = &*self.realm, "shared quotas are exact again");
        }
    }
}

impl State {
    const fn come_back(&mut self, now: u64) {
        if self.is_away {
            (self.is_away, self.back) = (false, now);
        }
    }

    fn go_away(&mut self, now: u64) {
        let again = self.is_away || now.saturating_sub(self.back) < STEADY;
        self.pause = if again { (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE) } else { FIRST_PAUSE };
        (self.is_away, self.until) = (true, now.saturating_add(self.pause));
    }
}

const FIRST_PAUSE: u64 = nanoseconds(Duration::from_millis(100));
const LONGEST_PAUSE: u64 = nanoseconds(Duration::from_secs(1));

/// A store that stayed for less is expected to go again.
const STEADY: u64 = nanoseconds(Duration::from_secs(5));

const SETTLED: u64 = nanoseconds(Duration::from_secs(1));
const TOLD_AGAIN: u64 = nanoseconds(Duration::from_secs(60));

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const AWAY: Result<(), StoreError> = Err(StoreError::Unreachable);

    #[test]
    fn after_a_failure_one_at_a_time_asks_and_ever_more_rarely() {
        let gate = Gate::new("r");
        let mut now = 1 << 62;
        assert_eq!(gate.pass(true, now), Some(Pass::Open));
        gate.hear(Pass::Open, AWAY, now);
        // Those who asked at the same time.
        gate.hear(Pass::Open, AWAY, now + MS);
        gate.hear(Pass::Open, Ok(()), now + MS);
        for pause in [100, 200, 400, 800, 1000, 1000] {
            assert_eq!(gate.pass(true, now + pause * MS - 1), None, "{pause}");
            now += pause * MS;
            assert_eq!(gate.pass(true, now), Some(Pass::Probe), "{pause}");
            assert_eq!(gate.pass(true, now), None, "a second while the first one asks");
            gate.hear(Pass::Probe, AWAY, now);
        }
        // A probe that is never heard of again.
        assert_eq!(gate.pass(true, now + 1000 * MS), Some(Pass::Probe));
        assert_eq!(gate.pass(true, now + 2000 * MS), Some(Pass::Probe));
        gate.hear(Pass::Probe, Ok(()), now + 2000 * MS);
        assert_eq!(gate.pass(true, now + 2000 * MS), Some(Pass::Open));
    }

    #[test]
    fn one_that_comes_and_goes_is_not_asked_as_often_as_one_that_went_for_the_first_time() {
        let gate = Gate::new("r");
        let now = 1 << 62;
        gate.hear(Pass::Open, AWAY, now);
        assert_eq!(gate.pass(true, now + 100 * MS), Some(Pass::Probe));
        gate.hear(Pass::Probe, Ok(()), now + 100 * MS);
        gate.hear(Pass::Open, AWAY, now + 101 * MS);
        assert_eq!(gate.pass(true, now + 250 * MS), None);
        assert_eq!(gate.pass(true, now + 301 * MS), Some(Pass::Probe));
        gate.hear(Pass::Probe, Ok(()), now + 301 * MS);
        gate.hear(Pass::Open, AWAY, now + 6000 * MS);
        assert_eq!(gate.pass(true, now + 6100 * MS), Some(Pass::Probe));
    }

    #[test]
    fn a_new_connection_is_tried_at_once() {
        let gate = Gate::new("r");
        let now = 1 << 62;
        gate.hear(Pass::Open, AWAY, now);
        assert_eq!(gate.pass(false, now + MS), None);
        assert_eq!(gate.pass(true, now + 2 * MS), Some(Pass::Probe));
        assert_eq!(gate.pass(true, now + 3 * MS), None, "one of them");
    }

    #[test]
    fn a_bucket_that_cannot_be_read_closes_nothing() {
        let gate = Gate::new("r");
        gate.hear(Pass::Open, Err(StoreError::Unreadable), 1 << 62);
        assert_eq!(gate.pass(true, 1 << 62), Some(Pass::Open));
    }
}
