//! Stage 0b: the head of a request, before the carrier sees it.
//!
//! One deadline for the whole head, strict reading, and the JSON envelope for what cannot be read: the
//! carrier would answer that without any hook. What reads well goes to the carrier as it came.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Gateway;
use super::finish::{LoggedHead, LoggedReply};
use super::hooks::Carrier;
use super::raw_head::{Progress, RawHead, progress};
use super::respond::{DRAIN_BYTES, DRAIN_TIME};
use super::turnstile::Turned;
use crate::config::settings::Limits;
use crate::policy::facts::{Fault, Fields, RequestHead};
use crate::problem::envelope::Reply;
use crate::reason::Reason;

/// In front of the carrier.
pub struct Edge {
    gateway: Arc<Gateway>,
    carrier: Arc<HttpProxy<Carrier>>,
}

/// What came of waiting for a head.
pub(crate) enum Arrival {
    /// A head with one reading; the bytes may hold more behind it.
    Head,
    /// A head that is refused.
    Refused(Fault),
    /// Nobody is there any more.
    Gone,
}

/// Waits for a head, with one deadline for its first byte and one for the rest.
pub(crate) async fn arrive(
    limits: &Limits,
    io: &mut Stream,
    bytes: &mut BytesMut,
    head: &mut RawHead,
    mut shutdown: ShutdownWatch,
) -> Arrival {
    if bytes.is_empty() {
        // One byte, so that an idle connection holds no buffer of ours.
        let mut first = [0; 1];
        let read = tokio::select! {
            read = tokio::time::timeout(limits.idle_timeout, io.read(&mut first)) => read,
            _ = shutdown.wait_for(|stop| *stop) => return Arrival::Gone,
        };
        match read {
            Ok(Ok(1)) => bytes.extend_from_slice(&first),
            _ => return Arrival::Gone,
        }
    }
    match tokio::time::timeout(limits.header_timeout, rest_of_head(limits, io, bytes, head)).await {
        Ok(arrival) => arrival,
        // Empty lines alone are no request, so nothing is owed an answer.
        Err(_) if bytes.is_empty() => Arrival::Gone,
        Err(_) => Arrival::Refused(Fault {
            reason: Reason::RequestTimeout,
            cause: "the head took longer than header_timeout",
        }),
    }
}

async fn rest_of_head(limits: &Limits, io: &mut Stream, bytes: &mut BytesMut, head: &mut RawHead) -> Arrival {
    let mut seen = 0;
    loop {
        // Empty lines in front of a request are no part of it: RFC 9112 section 2.2.
        while seen == 0 && bytes.starts_with(b"\r\n") {
            bytes.advance(2);
        }
        match progress(bytes, seen, limits) {
            Err(fault) => {
                // For the log: the request line, if it is there.
                let _ = head.read(bytes, limits);
                return Arrival::Refused(fault);
            }
            Ok(Progress::Ends(end)) => {
                return match head.read(&bytes[..end], limits) {
                    Ok(()) => Arrival::Head,
                    Err(fault) => Arrival::Refused(fault),
                };
            }
            Ok(Progress::More) => seen = bytes.len().saturating_sub(1),
        }
        bytes.reserve(4 << 10);
        match io.read_buf(bytes).await {
            Ok(0) | Err(_) => return Arrival::Gone,
            Ok(_) => {}
        }
    }
}

impl Edge {
    /// In front of this carrier.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, carrier: HttpProxy<Carrier>) -> Self {
        Self { gateway, carrier: Arc::new(carrier) }
    }

    /// Answers a request that is refused, and closes unless `keep`. Whether the connection goes on.
    async fn refuse(&self, io: &mut Stream, head: &RawHead, turned: Turned<'_>, keep: bool) -> bool {
        let (gateway, Turned { exchange, problem, app_type }) = (&self.gateway, turned);
        let mut reply = problem.reply(&exchange.live.registry, exchange.request_id.as_str());
        for (name, value) in exchange.quota_fields().into_iter().flatten() {
            reply.headers.push((name, value.to_str().unwrap_or_default().to_owned()));
        }
        let body = if head.method() == "HEAD" { &[][..] } else { &reply.body };
        let written = write(io, &reply, body, keep, gateway.bounds.body_timeout).await;
        let logged = LoggedHead {
            version: if head.http_10 { "HTTP/1.0" } else { "HTTP/1.1" },
            method: head.method(),
            path: loggable_path(head.target()),
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
        let judged = RequestHead::read(head.method(), head.target(), head, peer);
        match judged.fault {
            Some(fault) => Some((self.gateway.turn_away(head, fault, peer), owed_body(head, fault.reason))),
            None => {
                // What is hard to read past is left to the carrier.
                let owed = owed_body(head, Reason::QuotaExceeded)?;
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
                match io.read_buf(bytes).await {
                    Ok(0) | Err(_) => return false,
                    Ok(_) => {}
                }
            }
            true
        };
        let complete = tokio::time::timeout(DRAIN_TIME, reading).await.unwrap_or(false);
        bytes.advance(bytes.len().min(usize::try_from(whole).unwrap_or(usize::MAX)));
        complete
    }
}

/// The length of the body that a refused request still owes; `None` when the connection cannot go on,
/// because where the next request starts is not beyond doubt.
fn owed_body(head: &RawHead, reason: Reason) -> Option<u64> {
    let count = |name: &str| head.values(name).count();
    let hosts = head.values("host").count() == 1;
    let host = head.first("host").and_then(|host| std::str::from_utf8(host).ok());
    let stays = head.values("connection").all(|value| value.eq_ignore_ascii_case(b"keep-alive"));
    let readable = matches!(reason, Reason::RequestMalformed | Reason::QuotaExceeded)
        && !head.http_10
        && hosts
        && host.is_some_and(crate::policy::uri::is_host)
        && stays
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

/// The path of a target that may be anything; no query, which may hold secrets.
fn loggable_path(target: &[u8]) -> &str {
    let text = std::str::from_utf8(target).unwrap_or("-");
    let text = text.split(['?', '#']).next().unwrap_or("-");
    // `user:password@host` of an absolute form is nothing for a log.
    match text.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("-", |slash| &rest[slash..]),
        None if text.is_empty() => "-",
        None => text,
    }
}

/// Writes a reply to a client whose head no carrier holds. Whether it was written.
pub(crate) async fn write(io: &mut Stream, reply: &Reply, body: &[u8], keep: bool, within: Duration) -> bool {
    let phrase = http::StatusCode::from_u16(reply.status).ok().and_then(|status| status.canonical_reason());
    let mut bytes = Vec::with_capacity(512 + body.len());
    let mut push = |parts: &[&str]| parts.iter().for_each(|part| bytes.extend_from_slice(part.as_bytes()));
    push(&["HTTP/1.1 ", &reply.status.to_string(), " ", phrase.unwrap_or("Refused"), "\r\n"]);
    for (name, value) in &reply.headers {
        push(&[name, ": ", value, "\r\n"]);
    }
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    push(&["Content-Length: ", &reply.body.len().to_string(), "\r\nDate: ", &date, "\r\nConnection: "]);
    push(&[if keep { "keep-alive" } else { "close" }, "\r\n\r\n"]);
    bytes.extend_from_slice(body);
    let writing = async {
        io.write_all(&bytes).await?;
        io.flush().await
    };
    matches!(tokio::time::timeout(within, writing).await, Ok(Ok(())))
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
    let _ = tokio::time::timeout(DRAIN_TIME, reading).await;
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
        let (mut bytes, mut head) = (BytesMut::new(), RawHead::default());
        let limits = &self.gateway.bounds;
        loop {
            match arrive(limits, &mut io, &mut bytes, &mut head, shutdown.clone()).await {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logged_path_holds_no_query_and_no_userinfo() {
        for (target, path) in [
            ("/a/../b?token=x", "/a/../b"),
            ("http://user:pass@host/a?b", "/a"),
            ("http://user:pass@host", "-"),
            ("", "-"),
            ("*", "*"),
            ("/a#secret", "/a"),
        ] {
            assert_eq!(loggable_path(target.as_bytes()), path);
        }
        assert_eq!(loggable_path(b"\xff"), "-");
    }
}
