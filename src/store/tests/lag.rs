//! How late this machine is while a test runs: what a bound of time is stretched by where two cores run everything at
//! once, and by nothing on an idle one. It watches from a thread of the system, not from the runtime, so that a call of
//! ours that blocks the runtime is no excuse for itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Watches until it is dropped.
pub(super) struct Lag {
    worst_us: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Lag {
    pub(super) fn watch() -> Self {
        let (worst_us, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (worst, stopped) = (Arc::clone(&worst_us), Arc::clone(&stop));
        std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let begun = Instant::now();
                std::thread::sleep(NAP);
                let late = begun.elapsed().saturating_sub(NAP);
                worst.fetch_max(u64::try_from(late.as_micros()).unwrap(), Ordering::Relaxed);
            }
        });
        Self { worst_us, stop }
    }

    /// The most by which a call may pass its deadline: what it takes on an idle machine, and what the machine kept a
    /// sleeper waiting, once for each of those who have to be woken until a call is over.
    pub(super) fn slack(&self) -> Duration {
        IDLE + Duration::from_micros(self.worst_us.load(Ordering::Relaxed)) * WOKEN
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

const NAP: Duration = Duration::from_millis(1);
const IDLE: Duration = Duration::from_millis(60);

/// The caller, the driver of its connection, the server, and the driver and the caller once more.
const WOKEN: u32 = 5;
