//! What the admin listener tells about the process: readiness, metrics, the policies in effect.
//!
//! It reads state and changes none. How far the process is on its way up or down is noted by `app`.

use std::sync::atomic::{AtomicBool, Ordering};

use http::{Response, StatusCode};
use serde_json::json;

use super::Admin;
use super::reply::{Refusal, json_ok, response, sent};
use crate::store::{Eviction, Store};

/// How far the process is on its way up or down.
#[derive(Debug, Default)]
pub struct Stage {
    listening: AtomicBool,
    draining: AtomicBool,
}

impl Stage {
    /// The listeners take connections.
    pub fn note_listening(&self) {
        self.listening.store(true, Ordering::Relaxed);
    }

    /// From now on, readiness is off.
    pub fn begin_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    fn waits_for(&self, store: &Store) -> Option<&'static str> {
        if self.draining.load(Ordering::Relaxed) {
            Some("draining")
        } else if !self.listening.load(Ordering::Relaxed) {
            Some("listeners not open yet")
        } else if !store.was_reached() {
            Some("store not reached yet")
        } else {
            None
        }
    }
}

impl Admin {
    /// 503 before the first contact with the store and while draining; an outage afterwards only degrades, and so do files
    /// that could not be taken over.
    pub(super) fn ready(&self) -> Response<Vec<u8>> {
        let mut degraded = Vec::new();
        if !self.store.is_up() {
            degraded.push("store");
        } else if !self.store.feed().is_alive() {
            // A store that is away cannot be heard either; that is one outage, not two.
            degraded.push("feed");
        }
        if !self.gateway.resolver.directory().is_up() {
            degraded.push("directory");
        }
        if self.reloader.is_stale() {
            degraded.push("stale policy");
        }
        let waits_for = self.stage.waits_for(&self.store);
        let mut body = json!({ "ready": waits_for.is_none(), "degraded": degraded, "warnings": self.warnings() });
        let status = match waits_for {
            Some(why) => {
                body["waiting_for"] = json!(why);
                StatusCode::SERVICE_UNAVAILABLE
            }
            None => StatusCode::OK,
        };
        sent(status, &body)
    }

    /// What works and should not stay as it is.
    fn warnings(&self) -> Vec<String> {
        match self.store.eviction() {
            Eviction::Unasked => Vec::new(),
            Eviction::Policy(policy) if &*policy == "noeviction" => Vec::new(),
            Eviction::Policy(policy) => {
                vec![format!("sessions can be evicted: set maxmemory-policy noeviction (the store has {policy})")]
            }
            Eviction::Untold => {
                let known =
                    "sessions may be evicted: the store does not tell whether its maxmemory-policy is noeviction";
                vec![format!("{known} (grant our user +info)")]
            }
        }
    }

    pub(super) fn metrics(&self) -> Result<Response<Vec<u8>>, Refusal> {
        let metrics = &self.gateway.metrics;
        metrics.store_up.set(i64::from(self.store.is_up()));
        metrics.feed_up.set(i64::from(self.store.feed().is_alive()));
        metrics.directory_up.set(i64::from(self.gateway.resolver.directory().is_up()));
        let kept = self.gateway.resolver.tokens_kept();
        metrics.token_cache_entries.set(i64::try_from(kept).unwrap_or(i64::MAX));
        let dropped = self.gateway.access_log.dropped();
        metrics.access_lines_dropped.inc_by(dropped.saturating_sub(metrics.access_lines_dropped.get()));
        match metrics.encode() {
            Ok(body) => Ok(response(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", body)),
            Err(problem) => {
                tracing::error!("metrics cannot be encoded: {problem}");
                Err(Refusal::Internal("metrics cannot be encoded"))
            }
        }
    }

    pub(super) fn policy(&self) -> Response<Vec<u8>> {
        let live = self.gateway.live.load();
        let read = self.reloader.files();
        json_ok(&json!({
            "revision": live.snapshot.revision(), "files": read.names, "loaded_at": read.at,
            "candidate": live.shadow.as_ref().map(|shadow| shadow.snapshot.revision()),
        }))
    }
}
