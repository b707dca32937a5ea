//! Stage 0b: the head of a request, before the carrier sees it.
//!
//! One deadline for the whole head, strict reading, and the JSON envelope for what cannot be read: the
//! carrier would answer that without any hook. What reads well goes to the carrier as it came.

use std::cell::RefCell;
use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::prelude::timeout;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Gateway;
use super::arrival::{Arrival, Lull, arrive, read_some};
use super::finish::{LoggedHead, LoggedReply};
use super::hooks::Carrier;
use super::raw_head::RawHead;
use super::respond::{DRAIN_BYTES, DRAIN_TIME};
use super::turnstile::Turned;
use crate::policy::facts::{Body, Fields, RequestHead};
use crate::problem::envelope::Reply;
use crate::reason::Reason;

/// In front of the carrier.
pub struct Edge {
    gateway: Arc<Gateway>,
    carrier: Arc<HttpProxy<Carrier>>,
}

impl Edge {
    /// In front of this carrier.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, carrier: HttpProxy<Carrier>) -> Self {
        Self { gateway, carrier: Arc::new(carrier) }
    }

    /// Answers a request that is refused, and closes unless `keep`. Whether the connection goes on.
    async fn refuse(&self, io: &mut Stream, head: &RawHead, turned: Turned<'_>, keep: bool) -> bool {
        let (gateway, Turned { exchange, problem, path, app_type }) = (&self.gateway, turned);
        let mut reply = problem.reply(&exchange.live.registry, exchange.request_id.as_str());
        reply.headers.extend(exchange.quota_fields().into_iter().flatten());
        let body = if head.method() == "HEAD" { &[][..] } else { &reply.body };
        let written = write(io, &reply, body, keep, gateway.bounds.body_timeout).await;
        let logged = LoggedHead {
            version: if head.http_10 { "HTTP/1.0" } else { "HTTP/1.1" },
            method: head.method(),
            path,
            app_type,
            user_agent: head.first("user-agent").and_then(|value| std::str::from_utf8(value).ok()),
        };
        let status = written.then_some(reply.status);
        let bytes_out = if written { body.len() as u64 } else { 0 };
        gateway.record(&exchange, &logged, LoggedReply { status, bytes_out, client_gone: !written });
        if !(keep && written) {
            linger(io).await;
        }
        keep && written
    }

    /// Whether a request is refused here, and the length of the body that it then owes; see [`owed_body`].
    fn turned<'h>(&self, head: &'h RawHead, peer: IpAddr) -> Option<(Turned<'h>, Option<u64>)> {
        let judged = RequestHead::read_on_arrival(head.method(), head.target(), head, peer);
        match judged.fault {
            Some(fault) => Some((self.gateway.turn_away(head, fault, peer), owed_body(head, fault.reason))),
            None => {
                // What is hard to read past is left to the carrier.
                let owed = owed_as_judged(head, &judged)?;
                self.gateway.over_quota(head, judged).map(|turned| (turned, Some(owed)))
            }
        }
    }

    /// Reads past a refused request: its head, and its body when that is short and comes soon.
    async fn skip(&self, io: &mut Stream, bytes: &mut BytesMut, head: u64, owed: u64) -> bool {
        let whole = head + owed;
        if bytes.len() as u64 == whole {
            bytes.clear();
            return true;
        }
        let reading = async {
            while (bytes.len() as u64) < whole {
                if !read_some(io, bytes).await {
                    return false;
                }
            }
            true
        };
        let complete = timeout(DRAIN_TIME, reading).await.unwrap_or(false);
        bytes.advance(bytes.len().min(usize::try_from(whole).unwrap_or(usize::MAX)));
        complete
    }
}

/// The length of the body that a request without a fault owes; `None` as for [`owed_body`].
fn owed_as_judged(head: &RawHead, judged: &RequestHead<'_>) -> Option<u64> {
    let Body::Length(length) = judged.body else { return None };
    let expects = head.first("expect").is_some();
    let goes_on = (!judged.nominating || stays(head)) && !head.http_10 && !judged.upgrade && !expects;
    (goes_on && length <= DRAIN_BYTES).then_some(length)
}

/// Whether `Connection`, if it is there, asks for nothing but to keep the connection.
fn stays(head: &RawHead) -> bool {
    head.values("connection").all(|value| value.eq_ignore_ascii_case(b"keep-alive"))
}

/// The length of the body that a request with a fault still owes; `None` when the connection cannot go on,
/// because where the next request starts is not beyond doubt.
fn owed_body(head: &RawHead, reason: Reason) -> Option<u64> {
    let count = |name: &str| head.values(name).count();
    let hosts = head.values("host").count() == 1;
    let host = head.first("host").and_then(|host| std::str::from_utf8(host).ok());
    let readable = reason == Reason::RequestMalformed
        && !head.http_10
        && hosts
        && host.is_some_and(crate::policy::uri::is_host)
        && stays(head)
        && count("transfer-encoding") == 0
        && count("upgrade") == 0
        && count("expect") == 0;
    let length = match (readable, count("content-length"), head.first("content-length")) {
        (true, 0, _) => 0,
        (true, 1, Some(digits)) if digits.iter().all(u8::is_ascii_digit) => {
            std::str::from_utf8(digits).ok()?.parse().ok()?
        }
        _ => return None,
    };
    (length <= DRAIN_BYTES).then_some(length)
}

/// The head in origin-form: the carrier compares the host of an absolute-form with letter case, and would
/// send the target as it came.
fn in_origin_form(bytes: BytesMut, head: &RawHead) -> BytesMut {
    let absolute = head.target();
    match crate::policy::uri::parse_target(absolute) {
        Ok(target) if target.authority.is_some() => {
            let start = head.method().len() + 1;
            let mut rewritten = BytesMut::with_capacity(bytes.len());
            rewritten.extend_from_slice(&bytes[..start]);
            rewritten.extend_from_slice(target.origin_form.as_bytes());
            rewritten.extend_from_slice(&bytes[start + absolute.len()..]);
            rewritten
        }
        _ => bytes,
    }
}

/// Writes a reply to a client whose head no carrier holds. Whether it was written.
pub(crate) async fn write(io: &mut Stream, reply: &Reply, body: &[u8], keep: bool, within: Duration) -> bool {
    let status = http::StatusCode::from_u16(reply.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let mut bytes = Vec::with_capacity(512 + body.len());
    let mut push = |parts: &[&[u8]]| parts.iter().for_each(|part| bytes.extend_from_slice(part));
    let phrase = status.canonical_reason().unwrap_or("Refused");
    push(&[b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", phrase.as_bytes(), b"\r\n"]);
    for (name, value) in &reply.headers {
        push(&[name.as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
    // Writing to memory cannot fail.
    let _ = write!(bytes, "Content-Length: {}\r\nDate: ", reply.body.len());
    push_date(&mut bytes);
    bytes.extend_from_slice(b"\r\nConnection: ");
    bytes.extend_from_slice(if keep { b"keep-alive\r\n\r\n" } else { b"close\r\n\r\n" });
    bytes.extend_from_slice(body);
    let writing = async {
        io.write_all(&bytes).await?;
        io.flush().await
    };
    // The carrier's own clock, which is set only where the client does not take the bytes at once.
    matches!(timeout(within, writing).await, Ok(Ok::<_, std::io::Error>(())))
}

/// Appends the value of `Date`, which a thread writes anew once a second.
fn push_date(bytes: &mut Vec<u8>) {
    thread_local!(static LAST: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) });
    let second = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    LAST.with_borrow_mut(|(written, date)| {
        if *written != second {
            *date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
            *written = second;
        }
        bytes.extend_from_slice(date.as_bytes());
    });
}

/// Half-closes and reads on for a while, so that the answer is not lost to a reset.
pub(crate) async fn linger(io: &mut Stream) {
    let reading = async {
        if io.shutdown().await.is_err() {
            return;
        }
        let mut scratch = [0; 4 << 10];
        let mut read = 0;
        while read <= DRAIN_BYTES {
            match io.read(&mut scratch).await {
                Ok(0) | Err(_) => return,
                Ok(count) => read += count as u64,
            }
        }
    };
    // Whatever is left after the time is cut off.
    let _ = timeout(DRAIN_TIME, reading).await;
}

#[async_trait]
impl HttpServerApp for Edge {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let peer = session.client_addr().and_then(|address| address.as_inet()).map(std::net::SocketAddr::ip);
        let peer = peer.unwrap_or(IpAddr::from([0, 0, 0, 0]));
        let (keepalive, reuses) = (session.get_keepalive(), session.get_keepalive_reuses_remaining());
        #[allow(clippy::wildcard_enum_match_arm, reason = "the edge reads HTTP/1; the rest is the carrier's")]
        let mut io = match session {
            ServerSession::H1(h1) => h1.into_inner(),
            other => return self.carrier.process_new_http(other, shutdown).await,
        };
        let limits = &self.gateway.bounds;
        let (mut bytes, mut head, mut lull) = (BytesMut::new(), RawHead::default(), Lull::new(limits, shutdown));
        loop {
            match arrive(limits, &mut io, &mut bytes, &mut head, &mut lull).await {
                Arrival::Gone => return None,
                Arrival::Refused(fault) => {
                    self.refuse(&mut io, &head, self.gateway.turn_away(&head, fault, peer), false).await;
                    return None;
                }
                Arrival::Head => {}
            }
            let Some((turned, owed)) = self.turned(&head, peer) else {
                let mut session = ServerSession::new_http1(io);
                session.set_keepalive(keepalive);
                session.set_keepalive_reuses_remaining(reuses);
                // The carrier parses these bytes before it reads any, body bytes behind the head included.
                session.set_pipelined_prefix(in_origin_form(bytes, &head));
                return self.carrier.process_new_http(session, shutdown).await;
            };
            let goes_on = self.refuse(&mut io, &head, turned, owed.is_some()).await;
            if !goes_on {
                return None;
            }
            if !self.skip(&mut io, &mut bytes, head.length(), owed.unwrap_or_default()).await {
                linger(&mut io).await;
                return None;
            }
            head.forget();
        }
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.carrier.server_options()
    }

    async fn http_cleanup(&self) {
        self.carrier.http_cleanup().await;
    }
}
