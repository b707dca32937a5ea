//! Deadlines instead of sleeps: a test waits for a fact and names it when it never comes true.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The patience for anything that has no bound of its own; wide, because two cores run all tests at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

const PAUSE: Duration = Duration::from_millis(10);

/// Tries until `attempt` gives a value, and panics with `what` when `within` has passed.
pub(crate) fn eventually<T>(what: &str, within: Duration, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        thread::sleep(PAUSE);
    }
}

/// Wall-clock milliseconds, for comparison with a token's `iat` and `exp`.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    u64::try_from(since.as_millis()).expect("milliseconds fit into 64 bits")
}
