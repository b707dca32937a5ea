//! The store as identity uses it, measured.
//!
//! It turns store errors into private causes; what they mean for a request is decided in the core.

use std::sync::Arc;
use std::time::Instant;

use prometheus::Histogram;

use crate::store::{Session, Store, StoreError};
use crate::telemetry::metrics::{Metrics, observe_since};

/// Sessions in the store.
pub struct Sessions {
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    get: Histogram,
    start: Histogram,
    end: Histogram,
}

impl Sessions {
    /// Over a store.
    #[must_use]
    pub fn new(store: Arc<Store>, metrics: Arc<Metrics>) -> Self {
        let duration = |op| metrics.store_duration.with_label_values(&[op]);
        let (get, start, end) = (duration("session"), duration("start_session"), duration("end_session"));
        Self { store, metrics, get, start, end }
    }

    /// The store's clock, in milliseconds since the epoch.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.store.now_ms()
    }

    /// The store's clock, in seconds since the epoch.
    #[must_use]
    pub fn now_s(&self) -> u64 {
        self.store.now_ms() / 1000
    }

    /// The session with this id.
    ///
    /// # Errors
    /// The private cause, when the store did not answer.
    pub async fn look_up(&self, jti: &str) -> Result<Option<Session>, &'static str> {
        let started = Instant::now();
        let answer = self.store.session(jti).await;
        observe_since(&self.get, started);
        if let Ok(None) = answer {
            self.metrics.sessions_missing.inc();
        }
        answer.map_err(|error| self.note("session", error))
    }

    /// Starts a session.
    ///
    /// # Errors
    /// The private cause, when the store did not take it.
    pub async fn start(&self, session: &Session) -> Result<(), &'static str> {
        let started = Instant::now();
        let answer = self.store.start_session(session).await;
        observe_since(&self.start, started);
        answer.map_err(|error| self.note("start_session", error))
    }

    /// Ends a session; whether it was there.
    ///
    /// # Errors
    /// The private cause, when the store did not answer.
    pub async fn end(&self, jti: &str) -> Result<bool, &'static str> {
        let started = Instant::now();
        let answer = self.store.end_session(jti).await;
        observe_since(&self.end, started);
        if let Ok(true) = answer {
            self.metrics.tokens_revoked.with_label_values(&["logout"]).inc();
        }
        answer.map_err(|error| self.note("end_session", error))
    }

    fn note(&self, op: &'static str, error: StoreError) -> &'static str {
        self.metrics.store_errors.with_label_values(&[op, error.kind()]).inc();
        match error {
            StoreError::Unreachable => "the store is unreachable",
            StoreError::TimedOut => "the store did not answer within its budget",
            StoreError::Refused(_) => "the store refused the command",
            StoreError::Unreadable => "the session record is unreadable",
            StoreError::Unacknowledged => "too few replicas of the store confirmed the write",
        }
    }
}
