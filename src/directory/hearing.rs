//! How long a record is believed: until a change is heard where changes can be heard, otherwise for a time.
//!
//! Asked by `remote` for every look-up. Time and what was heard when are the feed's; it holds no record.

use std::sync::Arc;
use std::time::Duration;

use super::source::millis;
use crate::store::Store;

/// The clock of the shelves, the feed, and for how long what is believed.
pub(super) struct Hearing {
    store: Arc<Store>,
    /// Whether silence on the feed means that nothing changed. The provisioning service announces what it writes to the
    /// store's server; whether a far directory announces anything, nobody here can know.
    announced: bool,
    cache_ms: u64,
    negative_ms: u64,
    stale_ms: u64,
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
        Self { store, announced, cache_ms, negative_ms, stale_ms }
    }

    /// Milliseconds on the clock.
    pub(super) fn now(&self) -> u64 {
        self.store.feed().now()
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
        // What was kept honest up to the beginning of an outage was good until then.
        let heard = self.store.feed().heard_last(read.epoch).filter(|_| self.announced);
        let until = heard.unwrap_or(0);
        now.saturating_sub(read.at.max(until)) < self.stale_ms
    }
}

/// The epoch of what was never heard of; a feed counts its subscriptions from 0 up.
const NEVER: u64 = u64::MAX;

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
            hearing.store.feed().note_beat();
        }
        let heard = feed.store.feed().heard_last(read.epoch).unwrap();
        assert!(feed.is_usable(read, heard + 999) && !feed.is_usable(read, heard + 1000));
        let early = Read { at: 0, ..read };
        assert!(feed.is_usable(early, heard + 999), "kept honest until then");
        assert!(alone.is_usable(early, 999) && !alone.is_usable(early, 1000), "only its own age");
        assert!(!feed.is_usable(Read { at: 0, epoch: read.epoch + 1 }, heard + 1000));
    }

    #[test]
    fn together_two_records_are_as_old_as_the_older_one() {
        let (old, new) = (Read { at: 1, epoch: 7 }, Read { at: 2, epoch: 7 });
        assert_eq!(old.with(new), old);
        assert_eq!(new.with(old), old);
        assert_eq!(old.with(Read { at: 2, epoch: 8 }).epoch, NEVER);
    }
}
