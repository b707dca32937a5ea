//! Entries that are forgotten at their end, and of which there are never more than a fixed number. The lock-out in
//! memory keeps its keys in it, quotas their buckets. It reads no clock: the time comes in.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

/// Entries by key. `ends` names exactly the entries.
pub(super) struct Bounded<V> {
    entries: HashMap<Arc<str>, (V, u64), RandomState>,
    /// (end on the clock of whoever keeps them, key).
    ends: BTreeSet<(u64, Arc<str>)>,
    limit: usize,
}

impl<V> Bounded<V> {
    /// At most `limit` entries.
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: HashMap::default(), ends: BTreeSet::new(), limit }
    }

    /// The entry, and when it ends.
    pub(super) fn find(&self, key: &str, now: u64) -> Option<(&V, u64)> {
        self.entries.get(key).filter(|(_, ends)| *ends > now).map(|(value, ends)| (value, *ends))
    }

    /// Keeps an entry until `ends`, in place of an earlier one. When there are too many, one that may go makes room: of
    /// those that end first, the first which `may_go`; without one the new entry is not kept.
    pub(super) fn put(&mut self, key: &str, value: V, ends: u64, may_go: impl Fn(&V) -> bool) {
        self.remove(key);
        if self.entries.len() >= self.limit {
            let goes = |(_, key): &&(u64, Arc<str>)| self.entries.get(key).is_none_or(|(value, _)| may_go(value));
            let Some((_, first)) = self.ends.iter().take(LOOK_AT).find(goes) else { return };
            let first = Arc::clone(first);
            self.remove(&first);
        }
        let key: Arc<str> = Arc::from(key);
        self.ends.insert((ends, Arc::clone(&key)));
        self.entries.insert(key, (value, ends));
    }

    /// Whether so many new entries find room without another that makes it; forgets some that are over for it.
    pub(super) fn has_room(&mut self, more: usize, now: u64) -> bool {
        if self.entries.len().saturating_add(more) > self.limit {
            self.forget(now, LOOK_AT);
        }
        self.entries.len().saturating_add(more) <= self.limit
    }

    /// Takes an entry out, over or not.
    pub(super) fn remove(&mut self, key: &str) -> Option<V> {
        let (key, (value, ends)) = self.entries.remove_entry(key)?;
        self.ends.remove(&(ends, key));
        Some(value)
    }

    /// Removes up to `batch` entries that are over; how many.
    pub(super) fn forget(&mut self, now: u64, batch: usize) -> usize {
        let mut forgotten = 0;
        while forgotten < batch && self.ends.first().is_some_and(|(ends, _)| *ends <= now) {
            if let Some((_, key)) = self.ends.pop_first() {
                self.entries.remove(&key);
                forgotten += 1;
            }
        }
        forgotten
    }

    /// How many entries are held, over or not.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        assert_eq!(self.entries.len(), self.ends.len(), "every entry has exactly one end");
        self.entries.len()
    }
}

/// How many entries are looked at to make room for one.
const LOOK_AT: usize = 64;
