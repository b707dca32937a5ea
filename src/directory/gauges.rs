//! The directory's metrics, resolved once.
//!
//! Used by `remote` for look-ups and calls; the file source has none, since it never waits.

use prometheus::{Histogram, IntCounter, IntCounterVec};

use super::source::{Kind, SourceError};
use crate::telemetry::metrics::Metrics;

/// How a look-up was answered; the worst of its parts counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Came {
    /// By the shelves.
    Hit,
    /// By the source.
    Miss,
    /// By what was known before an outage.
    Stale,
}

pub(super) struct Gauges {
    /// Checks of a password.
    pub(super) password: Histogram,
    account: Histogram,
    credential: Histogram,
    email: Histogram,
    errors: IntCounterVec,
    hit: IntCounter,
    miss: IntCounter,
    stale: IntCounter,
}

impl Gauges {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let duration = |op: &str| metrics.directory_duration.with_label_values(&[op]);
        let cache = |result: &str| metrics.directory_cache.with_label_values(&[result]);
        Self {
            password: duration("password"),
            account: duration(Kind::Account.name()),
            credential: duration(Kind::Credential.name()),
            email: duration(Kind::Email.name()),
            errors: metrics.directory_errors.clone(),
            hit: cache("hit"),
            miss: cache("miss"),
            stale: cache("stale"),
        }
    }

    pub(super) const fn of(&self, kind: Kind) -> &Histogram {
        match kind {
            Kind::Account => &self.account,
            Kind::Credential => &self.credential,
            Kind::Email => &self.email,
        }
    }

    pub(super) fn count(&self, came: Came) {
        match came {
            Came::Hit => self.hit.inc(),
            Came::Miss => self.miss.inc(),
            Came::Stale => self.stale.inc(),
        }
    }

    pub(super) fn fail(&self, op: &str, error: SourceError) {
        self.errors.with_label_values(&[op, error.kind()]).inc();
    }
}
