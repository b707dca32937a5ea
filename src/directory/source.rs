//! Where records that are not in a file come from, and how a source that fails is left alone.
//!
//! Called by `remote`, once for each record that its shelves do not hold. A source is asked for bytes; what they mean is
//! `wire`'s part, how long they are believed is `shelf`'s.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use thiserror::Error;

use super::Unavailable;
use super::https::Calls;
use super::wire::Unreadable;
use crate::store::{Store, StoreError};

/// What a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Account,
    Credential,
    Email,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Account, Self::Credential, Self::Email];

    /// As keys, announcements and metrics call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Credential => "credential",
            Self::Email => "email",
        }
    }

    /// The kind of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Splits `account:cus-42`, with or without `prefix` before it.
    pub(super) fn of_key<'k>(key: &'k str, prefix: &str) -> Option<(Self, &'k str)> {
        let split = |key: &'k str| {
            let (kind, id) = key.split_once(':')?;
            Some((Self::named(kind)?, id))
        };
        key.strip_prefix(prefix).and_then(split).or_else(|| split(key)).filter(|(_, id)| !id.is_empty())
    }
}

/// Why a source gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum SourceError {
    /// No connection, or it broke.
    #[error("the directory cannot be reached")]
    Unreachable,
    /// No answer within the budget.
    #[error("the directory did not answer in time")]
    TimedOut,
    /// It does not want to serve us, or anybody, now.
    #[error("the directory refused to answer")]
    Refused,
    /// It failed over this record.
    #[error("the directory failed over this record")]
    Failed,
    /// It answered, or something in front of it did, but not with the record.
    #[error("the directory answered with something else than the record: {0}")]
    NoRecord(Unreadable),
    /// There is a record, but it is not what it should be.
    #[error("the directory's record cannot be read")]
    Unreadable(#[from] Unreadable),
    /// It failed a moment ago and was not asked.
    #[error("the directory is away; it is not asked again yet")]
    LeftAlone,
    /// So many look-ups wait for it that this one was not begun.
    #[error("too many look-ups wait for the directory")]
    Crowded,
}

impl SourceError {
    /// The label in metrics.
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timeout",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::NoRecord(_) => "no_record",
            Self::Unreadable(_) => "unreadable",
            Self::LeftAlone => "left_alone",
            Self::Crowded => "crowded",
        }
    }

    /// What a request is told.
    pub(super) const fn unavailable(self) -> Unavailable {
        Unavailable(match self {
            Self::Unreachable => "the directory cannot be reached",
            Self::TimedOut => "the directory did not answer in time",
            Self::Refused => "the directory refused to answer",
            Self::Failed => "the directory failed over a record",
            Self::NoRecord(_) => "the directory answered with something else than the record",
            Self::Unreadable(_) => "a record of the directory cannot be read",
            Self::LeftAlone => "the directory is away; it is not asked again yet",
            Self::Crowded => "too many look-ups wait for the directory",
        })
    }

    /// Whether the next record would fare no better.
    pub(super) const fn is_outage(self) -> bool {
        match self {
            Self::Unreachable | Self::TimedOut | Self::Refused => true,
            Self::Failed | Self::NoRecord(_) | Self::Unreadable(_) | Self::LeftAlone | Self::Crowded => false,
        }
    }
}

impl From<StoreError> for SourceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unreachable => Self::Unreachable,
            StoreError::TimedOut => Self::TimedOut,
            StoreError::Refused(_) | StoreError::Unacknowledged => Self::Refused,
            StoreError::Unreadable => Self::Unreadable(Unreadable::Grammar("record")),
        }
    }
}

/// Who keeps the records.
pub(super) enum Origin {
    /// The store's server, where the provisioning service writes them.
    Store(Arc<Store>),
    /// The provisioning service itself.
    Calls(Calls),
}

impl Origin {
    /// The bytes of a record; `None` when there is none.
    pub(super) async fn record(&self, kind: Kind, id: &str, within: Duration) -> Result<Option<Vec<u8>>, SourceError> {
        match self {
            Self::Store(store) => Ok(store.record(kind.name(), id, within).await?),
            Self::Calls(calls) => calls.record(kind, id, within).await,
        }
    }
}

/// Whether the source is away, and when it may be tried again. Times are milliseconds of the caller's clock.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// 0 while the source answers.
    failures: AtomicU64,
    failed_at: AtomicU64,
    closed_until: AtomicU64,
}

impl Outage {
    /// Whether the last call failed.
    pub(super) fn is_on(&self) -> bool {
        self.failures.load(Ordering::Acquire) > 0
    }

    /// Whether the source may be asked now. In an outage one caller at a time may, for as long as `trial` lasts.
    pub(super) fn admits(&self, now: u64, trial: Duration) -> bool {
        if !self.is_on() {
            return true;
        }
        let closed_until = self.closed_until.load(Ordering::Acquire);
        let next = now.saturating_add(millis(trial));
        now >= closed_until
            && self.closed_until.compare_exchange(closed_until, next, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// It answered. True when it had not before.
    pub(super) fn end(&self) -> bool {
        self.failures.swap(0, Ordering::AcqRel) > 0
    }

    /// A call that began at `started` failed. True when it is the first of an outage.
    pub(super) fn note(&self, started: u64, now: u64) -> bool {
        // Calls that were on their way together are one failure.
        if self.is_on() && started <= self.failed_at.load(Ordering::Acquire) {
            return false;
        }
        let before = self.failures.fetch_add(1, Ordering::AcqRel);
        self.failed_at.store(now, Ordering::Release);
        let pause = SHORTEST_PAUSE_MS << before.min(8);
        self.closed_until.store(now.saturating_add(pause.min(LONGEST_PAUSE_MS)), Ordering::Release);
        before == 0
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

const SHORTEST_PAUSE_MS: u64 = 250;
const LONGEST_PAUSE_MS: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_with_the_prefix_and_without() {
        let split = |key| Kind::of_key(key, "portcullis:");
        assert_eq!(split("account:cus-42"), Some((Kind::Account, "cus-42")));
        assert_eq!(split("portcullis:credential:k"), Some((Kind::Credential, "k")));
        assert_eq!(split("portcullis:email:a:b@c"), Some((Kind::Email, "a:b@c")));
        for odd in ["", "account", "account:", "other:account:x", "portcullis:", "accounts:x", "session:x"] {
            assert_eq!(split(odd), None, "{odd}");
        }
    }

    #[test]
    fn in_an_outage_one_caller_tries_and_the_pause_grows_to_a_second() {
        let (outage, trial) = (Outage::default(), Duration::from_millis(100));
        assert!(outage.admits(0, trial) && outage.admits(0, trial), "nobody is held back before");
        assert!(outage.note(0, 10) && !outage.note(5, 12), "calls under way together are one failure");
        assert!(!outage.admits(259, trial) && outage.admits(260, trial) && !outage.admits(260, trial));
        assert!(outage.admits(360, trial), "a trial that never came back is replaced");
        let mut now = 360;
        for pause in [500, 1000, 1000, 1000] {
            assert!(!outage.note(now, now + 1) && outage.is_on());
            assert!(!outage.admits(now + pause, trial) && outage.admits(now + 1 + pause, trial), "{pause}");
            now += 1 + pause;
        }
        assert!(outage.end() && !outage.end() && !outage.is_on());
        assert!(outage.admits(now, trial) && outage.admits(now, trial));
    }
}
