//! How long one request still waits for the store: one allowance for all calls that it makes.
//!
//! The store's users make one per request and wait through it. Only time spent waiting for the store is taken from it, not
//! what passes between the calls; what is waited for side by side is taken once. A call that is dropped may have taken
//! effect all the same, as one that timed out by itself. Work that no request waits for needs none of this.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::StoreError;

/// One request's allowance.
#[derive(Debug)]
pub struct Patience(Mutex<Left>);

#[derive(Debug)]
struct Left {
    /// As of the last moment in which nobody waited.
    left: Duration,
    /// Calls that are waited for now.
    waiting: u32,
    /// Since when one is; most requests never look at the clock for it.
    since: Option<Instant>,
}

impl Patience {
    /// Waits for so long in all.
    #[must_use]
    pub fn new(budget: Duration) -> Self {
        Self(Mutex::new(Left { left: budget, waiting: 0, since: None }))
    }

    /// Waits for a call for as long as there is patience left.
    ///
    /// # Errors
    /// The call's; [`StoreError::TimedOut`] when patience ran out, or had before: then the call is not begun.
    pub async fn wait<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let (_waiting, left) = self.begin().ok_or(StoreError::TimedOut)?;
        timeout(left.saturating_add(GRACE), call).await.unwrap_or(Err(StoreError::TimedOut))
    }

    /// Whether nothing is left of it.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.lock().left_now().is_zero()
    }

    fn begin(&self) -> Option<(Waiting<'_>, Duration)> {
        let mut state = self.lock();
        let left = state.left_now();
        if left.is_zero() {
            return None;
        }
        state.since.get_or_insert_with(Instant::now);
        state.waiting += 1;
        Some((Waiting(self), left))
    }

    fn lock(&self) -> MutexGuard<'_, Left> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Left {
    fn left_now(&self) -> Duration {
        self.since.map_or(self.left, |since| self.left.saturating_sub(since.elapsed()))
    }
}

/// One call that is waited for; over when it is dropped, with an answer or without.
struct Waiting<'p>(&'p Patience);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if state.waiting == 1 {
            state.left = state.left_now();
            state.since = None;
        }
        state.waiting -= 1;
    }
}

/// A call that nothing was waited for before it ends by its own deadline, which is the same: only there the store learns
/// that a connection has gone silent.
const GRACE: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    async fn answer(after: Duration) -> Result<(), StoreError> {
        sleep(after).await;
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn all_calls_of_a_request_share_one_allowance_and_what_passes_between_them_is_free() {
        let patience = Patience::new(100 * MS);
        for _ in 0..3 {
            assert_eq!(patience.wait(answer(30 * MS)).await, Ok(()));
            sleep(500 * MS).await;
        }
        let begun = Instant::now();
        assert_eq!(patience.wait(answer(30 * MS)).await, Err(StoreError::TimedOut));
        assert!((10 * MS..=13 * MS).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        assert!(patience.is_used_up());
        let never = async { unreachable!("not begun") };
        assert_eq!(patience.wait::<()>(never).await, Err(StoreError::TimedOut));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_side_by_side_are_paid_once_and_dropped_ones_for_as_long_as_they_were_waited_for() {
        let patience = Patience::new(100 * MS);
        let both = tokio::join!(patience.wait(answer(60 * MS)), patience.wait(answer(60 * MS)));
        assert_eq!(both, (Ok(()), Ok(())));
        assert!(timeout(20 * MS, patience.wait(answer(60 * MS))).await.is_err());
        assert_eq!(patience.wait(answer(15 * MS)).await, Ok(()));
        assert_eq!(patience.wait(answer(15 * MS)).await, Err(StoreError::TimedOut));
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_call_that_times_out_by_itself_is_not_dropped_before() {
        let patience = Patience::new(100 * MS);
        let refusal = StoreError::Refused("ERR");
        let call = async {
            sleep(100 * MS).await;
            Err::<(), _>(refusal)
        };
        assert_eq!(patience.wait(call).await, Err(refusal));
        assert_eq!(Patience::new(Duration::MAX).wait(answer(3_600_000 * MS)).await, Ok(()));
    }
}
