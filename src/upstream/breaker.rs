//! The breaker in front of an upstream: after too many failures nothing is sent for a while.
//!
//! Asked through `Upstream` before a request leaves, and told whether a reply head came. What counts as a failure is for
//! `proxy` to say; what is refused, `proxy` answers. While it is closed, asking it is one load; it has no lock, and of the
//! time it knows what it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::config::settings;
use crate::config::value::Period;

/// Closed, it lets everything through. Open, it refuses everything until its time is over; then it lets one request try. A
/// reply head closes it, another failure opens it again, and a trial that comes to neither makes room for the next one.
#[derive(Debug)]
pub(super) struct Breaker {
    /// The upstream's name, for the log.
    upstream: String,
    settings: settings::Breaker,
    /// Moments are counted from here.
    begun: Instant,
    /// A [`State`].
    state: AtomicU64,
    /// The moments of the last failures, a place fewer than open it: the one that is the last of too many finds the first of
    /// them where it is to be noted.
    failures: Box<[AtomicU64]>,
    /// Failures until now; each has its place by this number.
    counted: AtomicUsize,
}

/// Nanoseconds from the making of the breaker, at least 1. They last for a century.
type Moment = u64;

/// What a breaker does. Two bits of a word say which, the others when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Failures before `since` are forgotten.
    Closed { since: Moment },
    /// From `until` on a request may try.
    Open { until: Moment },
    /// One tries. From `until` on another may, so that a client that dawdles over its body keeps the upstream from nobody.
    Trying { until: Moment },
}

/// Lets one request through. Whoever has it says how the request ended; dropped, it says that nobody knows.
#[derive(Debug)]
pub struct Pass(Kind);

#[derive(Debug)]
enum Kind {
    /// Of a breaker in this state.
    Ordinary(u64),
    Trial(Trial),
}

/// The place of the one that tries. When it is dropped, the breaker goes on as `next` says.
#[derive(Debug)]
struct Trial {
    breaker: Arc<Breaker>,
    /// The state that is this trial's alone.
    word: u64,
    next: State,
}

impl Breaker {
    /// Closed.
    pub(super) fn new(upstream: &str, settings: settings::Breaker, begun: Instant) -> Self {
        let places = settings.failures.saturating_sub(1);
        Self {
            upstream: upstream.to_owned(),
            settings,
            begun,
            state: AtomicU64::new(State::Closed { since: 1 }.word()),
            failures: (0..places).map(|_| AtomicU64::new(0)).collect(),
            counted: AtomicUsize::new(0),
        }
    }

    /// Whether a request may be sent; if not, in how many seconds it is worth another try, at least 1.
    pub(super) fn ask(self: &Arc<Self>, now: impl FnOnce() -> Instant) -> Result<Pass, u32> {
        let word = self.state.load(Ordering::Relaxed);
        match State::of(word) {
            State::Closed { .. } => Ok(Pass(Kind::Ordinary(word))),
            State::Open { .. } | State::Trying { .. } => self.ask_for_trial(word, self.moment(now())),
        }
    }

    #[cold]
    fn ask_for_trial(self: &Arc<Self>, mut word: u64, now: Moment) -> Result<Pass, u32> {
        loop {
            match State::of(word) {
                State::Closed { .. } => return Ok(Pass(Kind::Ordinary(word))),
                State::Open { until } if now < until => return Err(seconds(until - now)),
                State::Trying { until } if now < until => return Err(1),
                State::Open { .. } | State::Trying { .. } => {}
            }
            let trying = State::Trying { until: later(now, self.settings.open_for) }.word();
            match self.state.compare_exchange(word, trying, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => {
                    let (breaker, next) = (Arc::clone(self), State::Open { until: 0 });
                    return Ok(Pass(Kind::Trial(Trial { breaker, word: trying, next })));
                }
                Err(changed) => word = changed,
            }
        }
    }

    /// Counts a request that got no reply head.
    pub(super) fn failed(&self, pass: Pass, now: Instant) {
        let now = self.moment(now);
        let open = State::Open { until: later(now, self.settings.open_for) };
        match pass.0 {
            Kind::Trial(mut trial) => {
                tracing::debug!(upstream = self.upstream, "the trial of the open breaker got no reply");
                trial.next = open;
            }
            Kind::Ordinary(word) => {
                // What was sent before the breaker opened tells nothing of the time after it.
                if self.state.load(Ordering::Relaxed) != word {
                    return;
                }
                let State::Closed { since } = State::of(word) else { return };
                let closed = |word| self.state.compare_exchange(word, open.word(), Ordering::AcqRel, Ordering::Relaxed);
                if self.is_one_too_many(now, since) && closed(word).is_ok() {
                    let settings::Breaker { failures, within, open_for } = self.settings;
                    tracing::warn!(
                        upstream = self.upstream,
                        failures,
                        "the breaker is open: {failures} requests within {} got no reply; nothing is sent for {}",
                        Period(within),
                        Period(open_for)
                    );
                }
            }
        }
    }

    /// Notes a failure, and says whether it and the others since then are too many.
    fn is_one_too_many(&self, now: Moment, since: Moment) -> bool {
        let number = self.counted.fetch_add(1, Ordering::Relaxed);
        // A single failure is too many where there is no place.
        let Some(place) = number.checked_rem(self.failures.len()).and_then(|place| self.failures.get(place)) else {
            return true;
        };
        // The latest stays, should a thread come so late that the next round has been there.
        let first = place.fetch_max(now, Ordering::Relaxed);
        let apart = Duration::from_nanos(now.abs_diff(first));
        first >= since && apart <= self.settings.within
    }

    fn moment(&self, now: Instant) -> Moment {
        later(1, now.saturating_duration_since(self.begun))
    }
}

impl Pass {
    /// A reply head came, whatever it says.
    pub fn answered(self, now: impl FnOnce() -> Instant) {
        let Kind::Trial(Trial { breaker, .. }) = &self.0 else { return };
        let closed = State::Closed { since: breaker.moment(now()) }.word();
        let mut word = breaker.state.load(Ordering::Relaxed);
        // An answer is one, even where it took so long that another tries by now, or has failed.
        while !matches!(State::of(word), State::Closed { .. }) {
            match breaker.state.compare_exchange(word, closed, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => {
                    tracing::info!(upstream = breaker.upstream, "the breaker is closed: the upstream answers again");
                    return;
                }
                Err(changed) => word = changed,
            }
        }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        // Where this fails, an answer came or the place is another's.
        let next = self.next.word();
        let _ = self.breaker.state.compare_exchange(self.word, next, Ordering::AcqRel, Ordering::Relaxed);
    }
}

const BITS: u32 = 2;

impl State {
    const fn word(self) -> u64 {
        match self {
            Self::Closed { since } => since << BITS,
            Self::Open { until } => until << BITS | 1,
            Self::Trying { until } => until << BITS | 2,
        }
    }

    const fn of(word: u64) -> Self {
        let moment = word >> BITS;
        match word & ((1 << BITS) - 1) {
            0 => Self::Closed { since: moment },
            1 => Self::Open { until: moment },
            _ => Self::Trying { until: moment },
        }
    }
}

/// A moment that still fits beside the bits.
fn later(moment: Moment, period: Duration) -> Moment {
    let nanoseconds = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
    moment.saturating_add(nanoseconds).min(u64::MAX >> BITS)
}

/// Whole seconds, rounded up.
fn seconds(nanoseconds: u64) -> u32 {
    u32::try_from(nanoseconds.div_ceil(1_000_000_000)).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests;
