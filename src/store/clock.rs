//! The server's clock as seen from here: the local monotonic clock plus an offset that the keeper measures. Read by
//! the Redis backend on every login and revocation; never asks anybody.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// A clock that goes on by itself and is put right by measurements. One task measures, everybody reads.
pub(super) struct RemoteClock {
    origin: Instant,
    /// Microseconds since the epoch at `origin`, on the remote clock.
    epoch_us: AtomicI64,
}

impl RemoteClock {
    /// Starts on the local system clock.
    pub(super) fn new() -> Self {
        Self { origin: Instant::now(), epoch_us: AtomicI64::new(system_us()) }
    }

    /// Milliseconds since the epoch.
    pub(super) fn now_ms(&self) -> u64 {
        let now_us = self.epoch_us.load(Ordering::Relaxed).saturating_add(micros(self.origin.elapsed()));
        u64::try_from(now_us / 1000).unwrap_or(0)
    }

    /// Takes in one measurement: the remote clock showed `remote_us` at some moment between `sent` and `received`.
    ///
    /// The middle of the round trip is the best guess and half of it the largest possible error. The offset is
    /// replaced only when it is off by more than that, that is, when it is proven wrong: the clock does not jitter
    /// with the network, and a slow round trip does not spoil what a quick one found out.
    pub(super) fn measured(&self, remote_us: i64, sent: Instant, received: Instant) {
        let error = received.saturating_duration_since(sent) / 2;
        let middle = sent.saturating_duration_since(self.origin) + error;
        let measured_us = remote_us.saturating_sub(micros(middle));
        let assumed_us = self.epoch_us.load(Ordering::Relaxed);
        if measured_us.abs_diff(assumed_us) > micros(error).unsigned_abs() {
            self.epoch_us.store(measured_us, Ordering::Relaxed);
        }
    }
}

/// Milliseconds since the epoch on the system clock.
pub(super) fn system_ms() -> u64 {
    u64::try_from(system_us() / 1000).unwrap_or(0)
}

fn system_us() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, micros)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
