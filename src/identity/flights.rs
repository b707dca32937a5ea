//! One call for many who want the same: those who come while it is under way get its answer.
//!
//! Used by the resolver for store reads of one session. Whoever came first makes the call; when that one's client goes
//! away, the next one in line makes it anew, so nobody ever gets another's answer or waits for a call that is not made.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

/// The calls that are under way, by what they are about.
pub struct Flights<V>(Mutex<HashMap<Box<str>, Arc<OnceCell<V>>>>);

impl<V: Clone> Flights<V> {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Mutex::default())
    }

    /// The answer of the call about `key` that is under way, or else of this one.
    pub async fn join(&self, key: &str, call: impl Future<Output = V>) -> V {
        let seat = Seat { flights: self, key, cell: Arc::clone(self.lock().entry(key.into()).or_default()) };
        seat.cell.get_or_init(|| call).await.clone()
    }

    /// How many are under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<OnceCell<V>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V: Clone> Default for Flights<V> {
    fn default() -> Self {
        Self::new()
    }
}

/// A place in a flight. The first to leave after landing closes it, so that who comes later asks anew; without an
/// answer, the last to leave does.
struct Seat<'f, V: Clone> {
    flights: &'f Flights<V>,
    key: &'f str,
    cell: Arc<OnceCell<V>>,
}

impl<V: Clone> Drop for Seat<'_, V> {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        let ours = flights.get(self.key).is_some_and(|cell| Arc::ptr_eq(cell, &self.cell));
        // Two: the map's and this one's.
        if ours && (self.cell.initialized() || Arc::strong_count(&self.cell) == 2) {
            flights.remove(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn many_make_one_call_and_the_next_asks_anew() {
        let (flights, calls) = (Arc::new(Flights::new()), Arc::new(AtomicUsize::new(0)));
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let joins: Vec<_> = (0..50)
            .map(|_| {
                let (flights, calls, gate) = (Arc::clone(&flights), Arc::clone(&calls), Arc::clone(&gate));
                tokio::spawn(async move {
                    flights
                        .join("a", async {
                            let answer = calls.fetch_add(1, Ordering::Relaxed);
                            let _ = gate.acquire().await;
                            answer
                        })
                        .await
                })
            })
            .collect();
        while calls.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        // Everybody has taken a seat when each task ran once.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(1);
        for join in joins {
            assert_eq!(join.await.unwrap(), 0);
        }
        assert!(flights.is_empty());
        assert_eq!(flights.join("a", async { 7 }).await, 7);
        assert!(flights.is_empty());
    }

    #[tokio::test]
    async fn who_leaves_neither_keeps_the_others_waiting_nor_leaves_a_trace() {
        let flights = Arc::new(Flights::<u32>::new());
        let first = tokio::spawn({
            let flights = Arc::clone(&flights);
            async move { flights.join("a", std::future::pending()).await }
        });
        while flights.is_empty() {
            tokio::task::yield_now().await;
        }
        let second = tokio::spawn({
            let flights = Arc::clone(&flights);
            async move { flights.join("a", async { 2 }).await }
        });
        tokio::task::yield_now().await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        assert_eq!(second.await.unwrap(), 2);
        let alone = tokio::spawn({
            let flights = Arc::clone(&flights);
            async move { flights.join("b", std::future::pending()).await }
        });
        while flights.is_empty() {
            tokio::task::yield_now().await;
        }
        alone.abort();
        assert!(alone.await.unwrap_err().is_cancelled());
        assert!(flights.is_empty());
    }
}
