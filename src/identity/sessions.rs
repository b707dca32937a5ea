//! The store as identity uses it, measured.
//!
//! It turns store errors into private causes; what they mean for a request is decided in the core.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::Histogram;
use tokio::time::timeout;

use crate::store::feed::Feed;
use crate::store::{Found, Patience, Revocation, Session, Store, StoreError};
use crate::telemetry::metrics::{Metrics, observe_since};

/// Sessions in the store.
pub struct Sessions {
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    keep: u32,
    get: Histogram,
    start: Histogram,
    end: Histogram,
    time: Histogram,
    list: Histogram,
    revoke: Histogram,
}

impl Sessions {
    /// Over a store; of an account's sessions the newest `keep` stay.
    #[must_use]
    pub fn new(store: Arc<Store>, keep: u32, metrics: Arc<Metrics>) -> Self {
        let duration = |op| metrics.store_duration.with_label_values(&[op]);
        let (get, start) = (duration("session"), duration("start_session"));
        let (end, time) = (duration("end_session"), duration("time"));
        let (list, revoke) = (duration("sessions_of"), duration("revoke"));
        Self { store, metrics, keep, get, start, end, time, list, revoke }
    }

    /// The store itself.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What other gateways tell.
    #[must_use]
    pub fn feed(&self) -> &Feed {
        self.store.feed()
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

    /// The store's clock, asked: milliseconds since the epoch.
    ///
    /// # Errors
    /// The private cause, when the store did not answer.
    pub async fn time(&self, patience: &Patience) -> Result<u64, &'static str> {
        let started = Instant::now();
        let answer = patience.wait(self.store.time()).await;
        observe_since(&self.time, started);
        answer.map_err(|error| self.note("time", error))
    }

    /// The session with this id, of a token that is genuine; as [`Store::session_begun`].
    ///
    /// # Errors
    /// The private cause, when the store did not answer.
    pub async fn look_up(&self, jti: &str, lineage: &str, began_ms: u64) -> Result<Found, &'static str> {
        let started = Instant::now();
        let answer = self.store.session_begun(jti, lineage, began_ms).await;
        observe_since(&self.get, started);
        if let Ok(Found::Missing) = answer {
            self.metrics.sessions_missing.inc();
        }
        answer.map_err(|error| self.note("session", error))
    }

    /// Starts a session.
    ///
    /// # Errors
    /// The private cause, when the store did not take it.
    pub async fn start(&self, session: &Session, patience: &Patience) -> Result<(), &'static str> {
        let started = Instant::now();
        let answer = patience.wait(self.store.start_session(session, self.keep)).await;
        observe_since(&self.start, started);
        let ending = answer.map_err(|error| self.note("start_session", error))?;
        // The login is good already: it waits for the end of others only for as long as nobody notices.
        let too_many = ending.too_many();
        let ended = timeout(ENDING_WITHIN, ending.ended()).await.map_or(too_many, |ended| ended.len());
        self.count("limit", ended as u64);
        Ok(())
    }

    /// The sessions of the account at the end of `lineage`, oldest first.
    ///
    /// # Errors
    /// The private cause, when the store did not answer.
    pub async fn list(&self, lineage: &str) -> Result<Vec<Session>, &'static str> {
        let started = Instant::now();
        let answer = self.store.sessions_of(lineage).await;
        observe_since(&self.list, started);
        answer.map_err(|error| self.note("sessions_of", error))
    }

    /// Ends sessions by an operator's word; whether there was anything to end, as [`Store::revoke`] says it.
    ///
    /// # Errors
    /// The private cause, when the store did not answer. The revocation has to be repeated then.
    pub async fn revoke(&self, revocation: Revocation<'_>) -> Result<bool, &'static str> {
        let started = Instant::now();
        let answer = self.store.revoke(revocation).await;
        observe_since(&self.revoke, started);
        let by = match revocation {
            Revocation::Session(_) => "jti",
            Revocation::Account(_) => "account",
            Revocation::Subtree(_) => "subtree",
        };
        let revoked = answer.map_err(|error| self.note("revoke", error))?;
        self.count(by, u64::from(revoked));
        Ok(revoked)
    }

    fn count(&self, by: &str, ended: u64) {
        if ended > 0 {
            self.metrics.tokens_revoked.with_label_values(&[by]).inc_by(ended);
        }
    }

    /// Ends a session; whether it was there.
    ///
    /// # Errors
    /// The private cause, when the store did not answer.
    pub async fn end(&self, jti: &str, account: &str, patience: &Patience) -> Result<bool, &'static str> {
        let started = Instant::now();
        let answer = patience.wait(self.store.end_session(jti, account)).await;
        observe_since(&self.end, started);
        let ended = answer.map_err(|error| self.note("end_session", error))?;
        self.count("logout", u64::from(ended));
        Ok(ended)
    }

    /// Counts an error of the store and puts it into words.
    pub(super) fn note(&self, op: &'static str, error: StoreError) -> &'static str {
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

/// The end of others goes on by itself after that.
const ENDING_WITHIN: Duration = Duration::from_millis(10);
