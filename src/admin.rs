//! The operators' own listener: livez, readyz, metrics, policy.
//!
//! It reads state and changes none; verbs that do belong here once they are built. On loopback it is
//! open, elsewhere it asks for the admin token.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use http::{Response, StatusCode, header};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;

use crate::config::secret::Secret;
use crate::proxy::Gateway;
use crate::store::Store;

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

/// What the listener tells of.
pub struct Admin {
    /// Metrics and policies.
    pub gateway: Arc<Gateway>,
    /// Its state is part of readiness.
    pub store: Arc<Store>,
    /// Whether the process is up.
    pub stage: Arc<Stage>,
    /// Asked for as a bearer token; `None` on loopback.
    pub token: Option<Secret>,
    /// The files that the policies came from.
    pub files: Vec<String>,
    /// When they were read, RFC 3339.
    pub loaded_at: String,
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        let path = request.uri.path();
        if request.method != http::Method::GET && request.method != http::Method::HEAD {
            return error(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here");
        }
        match path {
            "/livez" => return text("ok\n"),
            "/readyz" => return self.ready(),
            _ => {}
        }
        if !self.allows(request.headers.get(header::AUTHORIZATION).map(http::HeaderValue::as_bytes)) {
            return error(StatusCode::UNAUTHORIZED, "send the admin token as `Authorization: Bearer …`");
        }
        match path {
            "/metrics" => self.metrics(),
            "/policy" => self.policy(),
            _ => error(StatusCode::NOT_FOUND, "here are /livez, /readyz, /metrics and /policy"),
        }
    }
}

impl Admin {
    fn allows(&self, authorization: Option<&[u8]>) -> bool {
        let Some(token) = &self.token else { return true };
        let presented = authorization.and_then(|value| value.strip_prefix(b"Bearer "));
        presented.is_some_and(|presented| presented.ct_eq(token.reveal()).into())
    }

    /// 503 before the first contact with the store and while draining; an outage afterwards only degrades.
    fn ready(&self) -> Response<Vec<u8>> {
        let mut degraded = Vec::new();
        if !self.store.is_up() {
            degraded.push("store");
        }
        if !self.gateway.resolver.directory().is_up() {
            degraded.push("directory");
        }
        match self.stage.waits_for(&self.store) {
            Some(why) => json_response(
                StatusCode::SERVICE_UNAVAILABLE,
                &json!({"ready": false, "waiting_for": why, "degraded": degraded}),
            ),
            None => json_response(StatusCode::OK, &json!({"ready": true, "degraded": degraded})),
        }
    }

    fn metrics(&self) -> Response<Vec<u8>> {
        let metrics = &self.gateway.metrics;
        metrics.store_up.set(i64::from(self.store.is_up()));
        metrics.directory_up.set(i64::from(self.gateway.resolver.directory().is_up()));
        let dropped = self.gateway.access_log.dropped();
        metrics.access_lines_dropped.inc_by(dropped.saturating_sub(metrics.access_lines_dropped.get()));
        match metrics.encode() {
            Ok(body) => response(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", body),
            Err(problem) => {
                tracing::error!("metrics cannot be encoded: {problem}");
                error(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be encoded")
            }
        }
    }

    fn policy(&self) -> Response<Vec<u8>> {
        let live = self.gateway.live.load();
        let body = json!({
            "revision": live.snapshot.revision(), "files": self.files, "loaded_at": self.loaded_at,
        });
        json_response(StatusCode::OK, &body)
    }
}

fn response(status: StatusCode, content_type: &str, body: Vec<u8>) -> Response<Vec<u8>> {
    let built = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, content_type)
        .header(header::CACHE_CONTROL, "no-store")
        .header(header::CONTENT_LENGTH, body.len())
        .body(body);
    // All of it is constant or a number, so it always builds.
    built.unwrap_or_default()
}

fn text(body: &str) -> Response<Vec<u8>> {
    response(StatusCode::OK, "text/plain; charset=utf-8", body.as_bytes().to_vec())
}

fn json_response(status: StatusCode, body: &Value) -> Response<Vec<u8>> {
    response(status, "application/json", format!("{body}\n").into_bytes())
}

fn error(status: StatusCode, message: &str) -> Response<Vec<u8>> {
    json_response(status, &json!({ "error": message }))
}
