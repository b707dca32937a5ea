//! One of the small HTTP servers of this process: the admin listener, and what `demo` brings along.
//!
//! `app` puts one behind each listener but the proxy's. It bounds how many connections there are and how long each of
//! them takes, and reads heads as strictly as the proxy does. What a request means is for what it carries to say.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use pingora::apps::http_app::ServeHttp;
use pingora::apps::{HttpServerApp as _, ServerApp};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::config::settings::Limits;
use crate::policy::facts::{Fault, Fields as _};
use crate::problem::envelope::{Reply, json_headers};
use crate::problem::registry::default_entry;
use crate::proxy::arrival::{Arrival, Lull, arrive};
use crate::proxy::edge::{linger, write};
use crate::proxy::raw_head::RawHead;
use crate::reason::Reason;

/// What a small server puts up with. Its connections come out of the file descriptors that the proxy needs.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// Open at once; one more is closed before a byte of it is read.
    connections: usize,
    /// From the first moment that a request is waited for until its head is there; the time between two requests is in
    /// it.
    head: Duration,
    /// From there until the answer is written.
    answer: Duration,
    /// Bytes of request line and header section.
    head_size: usize,
}

impl Bounds {
    /// For operators, probes and scrapers. An answer may take as long as our own verbs wait for one: a reload reads
    /// every file.
    pub(super) const ADMIN: Self =
        Self { connections: 256, head: Duration::from_secs(10), answer: Duration::from_secs(30), head_size: 16 << 10 };

    /// For the gateway itself: it keeps connections to an upstream for 50 s, passes on slow bodies, and adds to heads.
    pub(super) const SAMPLE: Self = Self {
        connections: 4096,
        head: Duration::from_secs(60),
        answer: Duration::from_secs(120),
        head_size: 64 << 10,
    };
}

/// The server.
pub(super) struct SmallServer {
    carried: Arc<Carried>,
    bounds: Bounds,
    limits: Limits,
    places: Semaphore,
}

/// What answers, under a type of its own, as the carrier's trait asks for one.
struct Carried(Arc<dyn ServeHttp + Send + Sync>);

impl SmallServer {
    pub(super) fn new(app: Arc<dyn ServeHttp + Send + Sync>, bounds: Bounds) -> Self {
        let limits = Limits {
            header_timeout: bounds.head,
            idle_timeout: bounds.head,
            head_size: bounds.head_size,
            head_lines: HEAD_LINES,
            ..Limits::default()
        };
        Self { carried: Arc::new(Carried(app)), bounds, limits, places: Semaphore::new(bounds.connections) }
    }

    /// One request; the connection, if it may carry another.
    async fn serve_one(&self, mut io: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let (mut bytes, mut head, mut lull) = (BytesMut::new(), RawHead::default(), Lull::new(&self.limits, shutdown));
        let arriving = arrive(&self.limits, &mut io, &mut bytes, &mut head, &mut lull);
        let fault = match timeout(self.bounds.head, arriving).await.ok()? {
            Arrival::Gone => return None,
            Arrival::Refused(fault) => Some(fault),
            Arrival::Head => framing_fault(&head),
        };
        if let Some(fault) = fault {
            refuse(&mut io, fault, self.bounds.head).await;
            return None;
        }
        let mut session = ServerSession::new_http1(io);
        // The carrier parses these bytes before it reads any, body bytes behind the head included.
        session.set_pipelined_prefix(bytes);
        let answering = self.carried.process_new_http(session, shutdown);
        let (stream, _) = timeout(self.bounds.answer, answering).await.ok()??.consume();
        Some(stream)
    }
}

#[async_trait]
impl ServerApp for SmallServer {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let Ok(_place) = self.places.try_acquire() else {
            tracing::debug!("a connection too many for a small server");
            return None;
        };
        let mut open = Some(stream);
        while let Some(stream) = open {
            open = self.serve_one(stream, shutdown).await;
        }
        None
    }
}

#[async_trait]
impl ServeHttp for Carried {
    async fn response(&self, session: &mut ServerSession) -> http::Response<Vec<u8>> {
        self.0.response(session).await
    }
}

/// Two statements on where a body ends: the carrier would believe one of them and forget the other.
fn framing_fault(head: &RawHead) -> Option<Fault> {
    let count = |name: &str| head.values(name).count();
    let cause = match (count("transfer-encoding"), count("content-length")) {
        (0, 0 | 1) | (1, 0) => return None,
        (0, _) => "Content-Length stands more than once",
        (_, 0) => "Transfer-Encoding stands more than once",
        (_, _) => "Transfer-Encoding and Content-Length stand together",
    };
    Some(Fault { reason: Reason::RequestMalformed, cause })
}

/// Answers a head that no carrier holds.
async fn refuse(io: &mut Stream, fault: Fault, within: Duration) {
    let body = Bytes::from(format!("{}\n", json!({ "error": fault.cause })));
    let headers = json_headers().into();
    let reply = Reply { status: default_entry(fault.reason).status, headers, body };
    if write(io, &reply, &reply.body, false, within).await {
        linger(io).await;
    }
}

/// More than the proxy takes and adds, fewer than the carrier can hold.
const HEAD_LINES: usize = 200;
