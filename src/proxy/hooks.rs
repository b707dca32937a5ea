//! The carrier: pingora's hooks, each calling a stage.
//!
//! Nothing is decided here. What pingora must be told on every request (its defaults have no limits) is
//! said in `early_request_filter`.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::HeaderName;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::prelude::{Error, ErrorType, HttpPeer};
use pingora::proxy::{FailToProxy, ProxyHttp, Session};

use super::Gateway;
use super::exchange::Exchange;
use super::forward;
use super::respond;
use crate::policy::route::{Destination, Route};
use crate::problem::envelope::Problem;
use crate::reason::Reason;
use crate::upstream::Upstream;

/// The gateway as pingora drives it.
pub struct Carrier(pub Arc<Gateway>);

#[async_trait]
impl ProxyHttp for Carrier {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        self.0.begin()
    }

    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, _exchange: &mut Exchange) -> pingora::Result<()> {
        let limits = &self.0.limits;
        let downstream = session.as_downstream_mut();
        // Only where it is on: `Connection: close` and HTTP/1.0 have switched it off already.
        if downstream.get_keepalive().is_some() {
            downstream.set_keepalive(Some(limits.idle_timeout.as_secs().max(1)));
        }
        downstream.set_read_timeout(Some(limits.body_timeout));
        downstream.set_write_timeout(Some(limits.body_timeout));
        downstream.set_total_drain_timeout(Some(respond::DRAIN_TIME));
        if downstream.req_header().version == http::Version::HTTP_10 {
            // 1xx replies and codings came with HTTP/1.1: RFC 9110 section 15.2, RFC 9112 section 6.1.
            downstream.set_ignore_info_resp(true);
            downstream.set_keepalive(None);
        }
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, exchange: &mut Exchange) -> pingora::Result<bool> {
        self.0.take(session, exchange).await
    }

    async fn upstream_peer(&self, _session: &mut Session, exchange: &mut Exchange) -> pingora::Result<Box<HttpPeer>> {
        self.0.peer(exchange)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        exchange: &mut Exchange,
        mut error: Box<Error>,
    ) -> Box<Error> {
        // Nothing was sent, so any method may be tried again.
        let more = self.0.route(exchange).is_some_and(|(_, upstream)| exchange.upstream.tries <= upstream.retries);
        error.set_retry(more);
        error
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        head: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> pingora::Result<()> {
        self.0.edit_request(session, head, exchange)
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        exchange: &mut Exchange,
    ) -> pingora::Result<()> {
        self.0.count_body(body, end_of_stream, exchange)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> pingora::Result<()> {
        head.set_version(http::Version::HTTP_11);
        if session.req_header().version == http::Version::HTTP_10 {
            head.remove_header(&http::header::TRANSFER_ENCODING);
        }
        self.0.edit_reply(head, exchange)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        exchange: &mut Exchange,
        client_reused: bool,
    ) -> Box<Error> {
        let upstream = self.0.route(exchange).map(|(_, upstream)| upstream);
        let more = upstream.is_some_and(|upstream| exchange.upstream.tries <= upstream.retries)
            && session.req_header().method.is_idempotent()
            && !session.as_ref().retry_buffer_truncated()
            && session.response_written().is_none();
        if more {
            error.retry.decide_reuse(client_reused)
        } else {
            error.set_retry(false)
        }
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, exchange: &mut Exchange) -> FailToProxy {
        let error_code = self.0.fail(session, error, exchange).await;
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, exchange: &mut Exchange) {
        let client_gone = error.is_some_and(|error| respond::reason_of(error).is_none());
        self.0.finish_upstream(exchange);
        self.0.finish(session, exchange, client_gone);
    }

    fn suppress_error_log(&self, _session: &Session, _exchange: &Exchange, _error: &Error) -> bool {
        true
    }

    // The carrier's own summary would hold the query.
    fn request_summary(&self, _session: &Session, exchange: &Exchange) -> String {
        exchange.request_id.as_str().to_owned()
    }
}

impl Gateway {
    /// The route that a permitted request takes, and its upstream.
    fn route<'e>(&'e self, exchange: &'e Exchange) -> Option<(&'e Route, &'e Upstream)> {
        let permit = exchange.permit.as_ref()?;
        let route = exchange.live.snapshot.route(permit.realm(), permit.route())?;
        match permit.destination() {
            Destination::Upstream(index) => Some((route, self.upstreams.find(index)?)),
            Destination::Login | Destination::Logout => None,
        }
    }

    fn peer(&self, exchange: &mut Exchange) -> pingora::Result<Box<HttpPeer>> {
        let Some((route, upstream)) = self.route(exchange) else {
            return Err(Error::explain(ErrorType::InternalError, "no permit to forward by"));
        };
        let timeouts = route.timeouts.unwrap_or(upstream.timeouts);
        let address = upstream.take_turn();
        if exchange.upstream.tries > 0 {
            upstream.record_retry();
        }
        let group = exchange.permit.as_ref().map_or(0, |permit| match permit.destination() {
            Destination::Upstream(index) => u64::from(index.0) + 1,
            Destination::Login | Destination::Logout => 0,
        });
        exchange.upstream.tries = exchange.upstream.tries.saturating_add(1);
        // Another try sends the body from its beginning.
        exchange.body_received = 0;
        exchange.upstream.started.get_or_insert_with(Instant::now);
        let Some(address) = address else {
            return Error::e_explain(ErrorType::ConnectError, "no address of the upstream is known");
        };
        let mut peer = Box::new(HttpPeer::new(address, false, String::new()));
        peer.group_key = group;
        peer.options.connection_timeout = Some(timeouts.connect);
        peer.options.total_connection_timeout = Some(timeouts.connect);
        peer.options.read_timeout = Some(timeouts.read);
        peer.options.write_timeout = Some(timeouts.write);
        peer.options.idle_timeout = Some(timeouts.idle);
        Ok(peer)
    }

    fn edit_request(&self, session: &Session, head: &mut RequestHeader, exchange: &Exchange) -> pingora::Result<()> {
        let internal = || Error::explain(ErrorType::InternalError, "no permit to forward by");
        let permit = exchange.permit.as_ref().ok_or_else(internal)?;
        let realm = exchange.live.snapshot.realm(permit.realm()).ok_or_else(internal)?;
        let route = exchange.live.snapshot.route(permit.realm(), permit.route()).ok_or_else(internal)?;
        let arrived = session.req_header();
        // An absolute-form target was judged by its path and leaves in origin-form.
        let target = std::str::from_utf8(arrived.raw_path()).map_err(|_| internal())?;
        let judged = crate::policy::uri::parse_target(target.as_bytes()).map_err(|_| internal())?;
        let host = arrived.headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let edits = forward::edits(permit, exchange, realm, route, host, judged.origin_form);
        let dropped = |name: &&HeaderName| forward::is_dropped(name.as_str(), route.forward_authorization);
        let doomed: Vec<HeaderName> = head.headers.keys().filter(dropped).cloned().collect();
        for name in &doomed {
            head.remove_header(name);
        }
        for (name, value) in edits.set {
            head.insert_header(name, value)?;
        }
        match edits.target {
            Some(target) => head.set_raw_path(target.as_bytes()),
            None if judged.authority.is_some() => head.set_raw_path(judged.origin_form.as_bytes()),
            None => Ok(()),
        }
    }

    fn count_body(&self, body: &mut Option<Bytes>, last: bool, exchange: &mut Exchange) -> pingora::Result<()> {
        if let Some(chunk) = body {
            exchange.body_received += chunk.len() as u64;
            if exchange.body_received > exchange.body_limit {
                exchange.fail(Reason::BodyTooLarge, "the body is longer than the route allows");
                return Error::e_explain(ErrorType::HTTPStatus(413), "body too large");
            }
            // An empty last chunk would be written as a second end of the body. In the middle of one, no
            // chunk at all would be taken for its end.
            if last && chunk.is_empty() {
                *body = None;
            }
        }
        Ok(())
    }

    fn edit_reply(&self, head: &mut ResponseHeader, exchange: &mut Exchange) -> pingora::Result<()> {
        if head.status == http::StatusCode::SWITCHING_PROTOCOLS {
            // No upgrade is ever asked for upstream, so nobody may switch.
            exchange.fail(Reason::UpstreamInvalid, "the upstream switched protocols unasked");
            return Error::e_explain(ErrorType::InvalidHTTPHeader, "unasked 101");
        }
        let named: Vec<String> = head
            .headers
            .get_all(http::header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(',').map(|name| name.trim().to_ascii_lowercase()))
            .collect();
        let dropped = |name: &&HeaderName| {
            let name = name.as_str();
            forward::is_dropped_from_reply(name) || (named.iter().any(|known| known == name) && !is_framing(name))
        };
        let doomed: Vec<HeaderName> = head.headers.keys().filter(dropped).cloned().collect();
        for name in &doomed {
            head.remove_header(name);
        }
        if head.status.as_u16() >= 200 {
            exchange.upstream.status = Some(head.status.as_u16());
            exchange.upstream.took = exchange.upstream.started.map(|started| started.elapsed());
        }
        head.insert_header("X-Request-Id", exchange.request_id.as_str())
    }

    async fn fail(&self, session: &mut Session, error: &Error, exchange: &mut Exchange) -> u16 {
        let Some(reason) = exchange.reason.or_else(|| respond::reason_of(error)) else { return 0 };
        exchange.fail(reason, respond::cause_of(error));
        if reason == Reason::Internal {
            tracing::error!(request_id = exchange.request_id.as_str(), "{}", respond::cause_of(error));
        }
        if session.response_written().is_some() {
            return 0;
        }
        let reply = Problem::plain(reason).reply(&exchange.live.registry, exchange.request_id.as_str());
        session.as_downstream_mut().set_keepalive(None);
        match respond::answer(session, &reply, crate::policy::facts::Body::Length(0), true).await {
            Ok(()) => reply.status,
            Err(_) => 0,
        }
    }

    /// Counts the upstream's part, once a request.
    fn finish_upstream(&self, exchange: &Exchange) {
        let (Some(started), Some((_, upstream))) = (exchange.upstream.started, self.route(exchange)) else { return };
        upstream.record(exchange.upstream.status, exchange.upstream.took.unwrap_or_else(|| started.elapsed()));
    }
}

/// What a `Connection` header may not take away: the framing of the message.
fn is_framing(name: &str) -> bool {
    matches!(name, "content-length" | "transfer-encoding" | "connection")
}
