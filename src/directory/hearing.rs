//! How long a record is believed: until a change is heard where changes can be heard, otherwise for a time.
//!
//! Asked by `remote` for every look-up, and told the time by its background task. It holds no record.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::source::millis;
use crate::store::Store;

/// The clock of the shelves, the feed, and for how long what is believed.
pub(super) struct Hearing {
    origin: Instant,
    store: Arc<Store>,
    /// Whether silence on the feed means that nothing changed. The provisioning service announces what it writes to the
    /// store's server; whether a far directory announces anything, nobody here can know.
    announced: bool,
    cache_ms: u64,
    negative_ms: u64,
    stale_ms: u64,
    /// When which subscription was heard last: (epoch, milliseconds), newest last. For the bound of what stays in use
    /// in an outage: what was kept honest up to its beginning was good until then.
    heard: Mutex<VecDeque<(u64, u64)>>,
}

/// When a record was read, and under which subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// When the read began: milliseconds of the clock.
    pub(super) at: u64,
    /// The feed's epoch at that moment.
    pub(super) epoch: u64,
}

impl Read {
    /// Of both together: as old as the older one, heard of only where both are.
    pub(super) fn with(self, other: Self) -> Self {
        let epoch = if self.epoch == other.epoch { self.epoch } else { NEVER };
        Self { at: self.at.min(other.at), epoch }
    }
}

impl Hearing {
    pub(super) fn new(
        store: Arc<Store>,
        announced: bool,
        cache: Duration,
        negative: Duration,
        stale: Duration,
    ) -> Self {
        let (cache_ms, negative_ms, stale_ms) = (millis(cache), millis(negative), millis(stale));
        Self { origin: Instant::now(), store, announced, cache_ms, negative_ms, stale_ms, heard: Mutex::default() }
    }

    /// Milliseconds on the clock.
    pub(super) fn now(&self) -> u64 {
        millis(self.origin.elapsed())
    }

    /// To be taken before a read begins.
    pub(super) fn read(&self) -> Read {
        Read { at: self.now(), epoch: self.store.feed().epoch() }
    }

    /// Whether a record that was read then may be used without asking.
    pub(super) fn is_fresh(&self, read: Read, now: u64) -> bool {
        self.is_kept_honest(read).unwrap_or_else(|| now.saturating_sub(read.at) < self.cache_ms)
    }

    /// The same for "there is none", and for a record that could not be read.
    pub(super) fn is_negative_fresh(&self, read: Read, now: u64) -> bool {
        now.saturating_sub(read.at) < self.negative_ms && self.is_kept_honest(read).unwrap_or(true)
    }

    /// Whether a change since that read would have been heard, where changes are heard. What was read under an earlier
    /// subscription may have changed between the two.
    fn is_kept_honest(&self, read: Read) -> Option<bool> {
        let feed = self.store.feed();
        (self.announced && feed.is_alive()).then(|| read.epoch == feed.epoch())
    }

    /// Whether a record that was read then may be used while the source is away.
    pub(super) fn is_usable(&self, read: Read, now: u64) -> bool {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let until = heard.iter().find(|(epoch, _)| self.announced && *epoch == read.epoch).map_or(0, |(_, at)| *at);
        now.saturating_sub(read.at.max(until)) < self.stale_ms
    }

    /// Notes whether the feed is heard now; to be called a few times a second.
    pub(super) fn listen(&self) {
        let feed = self.store.feed();
        // The epoch first: a subscription that ends in between is then noted under its own number, or not at all.
        let epoch = feed.epoch();
        if !feed.is_alive() || feed.epoch() != epoch {
            return;
        }
        let now = self.now();
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        match heard.back_mut() {
            Some((known, at)) if *known == epoch => *at = now,
            Some(_) | None => {
                if heard.len() == REMEMBERED {
                    heard.pop_front();
                }
                heard.push_back((epoch, now));
            }
        }
    }
}

/// The epoch of what was never heard of; a feed counts its subscriptions from 0 up.
const NEVER: u64 = u64::MAX;

/// How many subscriptions are remembered.
const REMEMBERED: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn hearing(announced: bool) -> Hearing {
        let ms = Duration::from_millis;
        Hearing::new(Arc::new(Store::memory()), announced, ms(30), ms(5), ms(1000))
    }

    #[test]
    fn what_is_announced_is_believed_until_told_otherwise_and_anything_else_for_a_time() {
        let (feed, alone) = (hearing(true), hearing(false));
        let read = Read { at: 100, epoch: feed.store.feed().epoch() };
        assert!(feed.is_fresh(read, 100_000) && alone.is_fresh(read, 129) && !alone.is_fresh(read, 130));
        let earlier = Read { epoch: read.epoch + 1, ..read };
        assert!(!feed.is_fresh(earlier, 101) && alone.is_fresh(earlier, 101), "read under another subscription");
        assert!(feed.is_negative_fresh(read, 104) && !feed.is_negative_fresh(read, 105));
        assert!(!feed.is_negative_fresh(earlier, 104) && alone.is_negative_fresh(earlier, 104));
    }

    #[test]
    fn in_an_outage_age_counts_from_when_the_feed_was_heard_last() {
        let (feed, alone) = (hearing(true), hearing(false));
        let read = feed.read();
        for hearing in [&feed, &alone] {
            hearing.heard.lock().unwrap().push_back((read.epoch, 5_000));
        }
        assert!(feed.is_usable(read, 5_999) && !feed.is_usable(read, 6_000));
        assert!(alone.is_usable(read, read.at + 999) && !alone.is_usable(read, read.at + 1000));
        assert!(!feed.is_usable(Read { epoch: read.epoch + 1, ..read }, 5_999));
        feed.listen();
        assert_eq!(feed.heard.lock().unwrap().len(), 1, "one entry a subscription");
    }

    #[test]
    fn together_two_records_are_as_old_as_the_older_one() {
        let (old, new) = (Read { at: 1, epoch: 7 }, Read { at: 2, epoch: 7 });
        assert_eq!(old.with(new), old);
        assert_eq!(new.with(old), old);
        assert_eq!(old.with(Read { at: 2, epoch: 8 }).epoch, NEVER);
    }
}
