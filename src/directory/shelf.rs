//! Records of one kind: a bounded shelf of those that were read, and the reads that are under way.
//!
//! Used by `remote`, which knows how old a record may be and whom to ask. A read belongs to nobody who waits for it, so
//! that a client that goes away takes nothing from the others; one that a change overtook is not put on the shelf.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quick_cache::sync::Cache;
use tokio::sync::watch;

use super::hearing::Read;
use super::source::SourceError;
use super::wire::Unreadable;

/// What the source said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found<T> {
    Known(T),
    Unknown,
    Unreadable(Unreadable),
}

/// A record as it was read, and when.
#[derive(Debug)]
pub(super) struct Held<T> {
    pub(super) found: Found<T>,
    pub(super) read: Read,
}

/// What came of a read.
pub(super) type Answer<T> = Result<Arc<Held<T>>, SourceError>;

/// A read under way, and whoever waits for it.
pub(super) struct Flight<T>(watch::Sender<Option<Answer<T>>>);

impl<T> Flight<T> {
    /// Waits for its end. Dropping the wait ends nothing else.
    pub(super) async fn wait(&self) -> Answer<T> {
        let mut answer = self.0.subscribe();
        let landed = answer.wait_for(Option::is_some).await;
        landed.ok().and_then(|answer| answer.clone()).unwrap_or(Err(SourceError::Unreachable))
    }
}

/// How a look-up takes part in a read.
pub(super) enum Boarded<T> {
    /// It began before; its end is waited for.
    With(Arc<Flight<T>>),
    /// It begins now; the caller has to make it and to [`Shelf::land`] it.
    First(Arc<Flight<T>>),
}

pub(super) struct Shelf<T> {
    held: Cache<Box<str>, Arc<Held<T>>>,
    flights: Mutex<HashMap<Box<str>, Arc<Flight<T>>>>,
}

impl<T: PartialEq> Shelf<T> {
    /// An empty shelf for about so many records; the ones asked for least go first.
    pub(super) fn new(entries: usize) -> Self {
        Self { held: Cache::new(entries.max(1)), flights: Mutex::default() }
    }

    /// What is held, whatever its age. Takes a shard's lock, and allocates nothing.
    pub(super) fn held(&self, id: &str) -> Option<Arc<Held<T>>> {
        self.held.get(id)
    }

    /// Whether exactly this record is held.
    pub(super) fn holds(&self, id: &str, held: &Arc<Held<T>>) -> bool {
        self.held.peek(id).is_some_and(|known| Arc::ptr_eq(&known, held))
    }

    /// Joins the read of a record, or begins one if the source `admits` it.
    pub(super) fn board(&self, id: &str, admits: impl FnOnce() -> bool) -> Result<Boarded<T>, SourceError> {
        let mut flights = self.flights();
        if let Some(flight) = flights.get(id) {
            return Ok(Boarded::With(Arc::clone(flight)));
        }
        if flights.len() >= FLIGHTS {
            return Err(SourceError::Crowded);
        }
        if !admits() {
            return Err(SourceError::LeftAlone);
        }
        let flight = Arc::new(Flight(watch::Sender::new(None)));
        flights.insert(id.into(), Arc::clone(&flight));
        Ok(Boarded::First(flight))
    }

    /// Ends a read: keeps the record, unless a change overtook the read, and tells those who wait. True when a record
    /// that is held says another thing than before.
    pub(super) fn land(&self, id: &str, flight: &Arc<Flight<T>>, answer: Answer<T>) -> bool {
        let mut changed = false;
        let mut flights = self.flights();
        // A read that was overtaken is not in the list any more; a later one may be.
        if flights.get(id).is_some_and(|listed| Arc::ptr_eq(listed, flight)) {
            flights.remove(id);
            if let Ok(held) = &answer {
                changed = self.held.peek(id).is_some_and(|before| before.found != held.found);
                // Under the lock, so that a change cannot be heard between the question above and this answer.
                self.held.insert(id.into(), Arc::clone(held));
            }
        }
        drop(flights);
        flight.0.send_replace(Some(answer));
        changed
    }

    /// A record changed: what is held of it is dropped, and a read under way is not kept.
    pub(super) fn forget(&self, id: &str) {
        let mut flights = self.flights();
        flights.remove(id);
        self.held.remove(id);
    }

    /// How many records are held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// The list is whole between any two of its operations, so that a panic elsewhere does no harm to it.
    fn flights(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<Flight<T>>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many records of one kind are read at once: made-up ids must not pile up in front of a slow source.
const FLIGHTS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn held(value: u32) -> Arc<Held<u32>> {
        Arc::new(Held { found: Found::Known(value), read: Read { at: 0, epoch: 0 } })
    }

    fn first(shelf: &Shelf<u32>, id: &str) -> Arc<Flight<u32>> {
        match shelf.board(id, || true) {
            Ok(Boarded::First(flight)) => flight,
            Ok(Boarded::With(_)) | Err(_) => panic!("no read was to be under way"),
        }
    }

    #[tokio::test]
    async fn lookups_of_one_record_share_a_read_and_its_answer() {
        let shelf = Shelf::new(10);
        let flight = first(&shelf, "a");
        let Ok(Boarded::With(joined)) = shelf.board("a", || panic!("a read is under way")) else { panic!() };
        let gone = joined.wait();
        drop(gone);
        assert!(!shelf.land("a", &flight, Ok(held(1))), "nothing was held before");
        assert_eq!(joined.wait().await.unwrap().found, Found::Known(1));
        assert!(shelf.land("a", &first(&shelf, "a"), Ok(held(2))), "another record than before");
        assert!(!shelf.land("a", &first(&shelf, "a"), Ok(held(2))), "the same once more");
    }

    #[tokio::test]
    async fn a_read_that_a_change_overtook_is_answered_but_not_kept() {
        let shelf = Shelf::new(10);
        let old = first(&shelf, "a");
        shelf.forget("a");
        let new = first(&shelf, "a");
        shelf.land("a", &new, Ok(held(2)));
        shelf.land("a", &old, Ok(held(1)));
        assert_eq!(shelf.held("a").unwrap().found, Found::Known(2));
        assert_eq!(old.wait().await.unwrap().found, Found::Known(1));
        shelf.forget("a");
        assert!(shelf.held("a").is_none());
    }

    #[test]
    fn reads_are_bounded_and_left_out_where_the_source_is_not_to_be_asked() {
        let shelf = Shelf::<u32>::new(10);
        assert!(matches!(shelf.board("a", || false), Err(SourceError::LeftAlone)));
        for id in 0..FLIGHTS {
            first(&shelf, &id.to_string());
        }
        assert!(matches!(shelf.board("one more", || true), Err(SourceError::Crowded)));
        assert!(matches!(shelf.board("7", || false), Ok(Boarded::With(_))));
    }

    #[test]
    fn a_shelf_holds_no_more_than_it_is_made_for() {
        let shelf = Shelf::new(100);
        for id in 0..10_000 {
            let (id, value) = (id.to_string(), id);
            shelf.land(&id, &first(&shelf, &id), Ok(held(value)));
        }
        assert!((50..=100).contains(&shelf.len()), "{}", shelf.len());
    }
}
