//! Logins of one pair side by side: no more at once than failures are left to it. The others wait for what comes of
//! those, so that a crowd of guesses gets no more checks than guesses one after the other.
//!
//! Used by the lock-out for login, where a check is slow; a Basic key is compared in no time and settled at once. How
//! many may go is said by the caller.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Logins of one pair that may be there at once, those that wait included.
const CROWD: u32 = 512;

/// Who is there, by pair.
#[derive(Default)]
pub(super) struct WaitingRoom {
    by_pair: Mutex<HashMap<u64, Crowd>>,
}

#[derive(Default)]
struct Crowd {
    present: u32,
    checking: u32,
    changed: Arc<Notify>,
}

/// What the caller says to one who wants a place.
pub(super) enum Turn<E> {
    /// So many may be checked at once.
    Places(u32),
    /// It is of no use to wait.
    Refuse(E),
}

/// One login of a pair; given back when it is dropped, however it ends.
pub(super) struct Present<'r> {
    room: &'r WaitingRoom,
    pair: u64,
    checking: bool,
    changed: Arc<Notify>,
}

impl WaitingRoom {
    /// One more login of this pair; `None` when it is crowded.
    pub(super) fn arrive(&self, pair: u64) -> Option<Present<'_>> {
        let mut by_pair = self.lock();
        let crowd = by_pair.entry(pair).or_default();
        if crowd.present >= CROWD {
            return None;
        }
        crowd.present += 1;
        Some(Present { room: self, pair, checking: false, changed: Arc::clone(&crowd.changed) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Crowd>> {
        self.by_pair.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Present<'_> {
    /// Waits for a place. `turn` is asked again whenever one of the others is done.
    pub(super) async fn take_place<E, F: Future<Output = Turn<E>>>(&mut self, turn: impl Fn() -> F) -> Result<(), E> {
        let changed = Arc::clone(&self.changed);
        loop {
            let mut done = pin!(changed.notified());
            // From here on nothing is missed, though it may happen before the wait begins.
            done.as_mut().enable();
            match turn().await {
                Turn::Refuse(error) => return Err(error),
                Turn::Places(places) if self.try_place(places) => return Ok(()),
                Turn::Places(_) => done.await,
            }
        }
    }

    fn try_place(&mut self, places: u32) -> bool {
        let mut by_pair = self.room.lock();
        let crowd = by_pair.entry(self.pair).or_default();
        self.checking = crowd.checking < places;
        crowd.checking += u32::from(self.checking);
        self.checking
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        let mut by_pair = self.room.lock();
        if let Some(crowd) = by_pair.get_mut(&self.pair) {
            crowd.present = crowd.present.saturating_sub(1);
            crowd.checking = crowd.checking.saturating_sub(u32::from(self.checking));
            if crowd.present == 0 {
                by_pair.remove(&self.pair);
            }
        }
        drop(by_pair);
        self.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn no_more_than_the_places_go_and_one_who_leaves_lets_the_next_go() {
        let room = WaitingRoom::default();
        let mut first = room.arrive(1).unwrap();
        let mut second = room.arrive(1).unwrap();
        let mut third = room.arrive(1).unwrap();
        let two = || async { Turn::<()>::Places(2) };
        first.take_place(two).await.unwrap();
        second.take_place(two).await.unwrap();
        let mut waiting = pin!(third.take_place(two));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        drop(first);
        waiting.await.unwrap();
        assert!(room.arrive(2).unwrap().take_place(|| async { Turn::<()>::Places(1) }).await.is_ok());
    }

    #[tokio::test]
    async fn those_who_wait_are_refused_when_it_is_of_no_use() {
        let room = WaitingRoom::default();
        let left = AtomicU32::new(1);
        let turn =
            || async { if left.load(Ordering::Relaxed) == 0 { Turn::Refuse("locked") } else { Turn::Places(1) } };
        let mut first = room.arrive(1).unwrap();
        first.take_place(turn).await.unwrap();
        let mut others: Vec<_> = (0..20).map(|_| room.arrive(1).unwrap()).collect();
        let mut waiting: Vec<_> = others.iter_mut().map(|other| Box::pin(other.take_place(turn))).collect();
        for other in &mut waiting {
            assert!(futures_util::poll!(other.as_mut()).is_pending());
        }
        left.store(0, Ordering::Relaxed);
        drop(first);
        for other in waiting {
            assert_eq!(other.await, Err("locked"));
        }
    }

    #[test]
    fn a_crowd_is_bounded_and_nothing_stays_of_it() {
        let room = WaitingRoom::default();
        let all: Vec<_> = (0..CROWD).map(|_| room.arrive(1).unwrap()).collect();
        assert!(room.arrive(1).is_none());
        assert!(room.arrive(2).is_some());
        drop(all);
        assert!(room.lock().is_empty());
    }
}
