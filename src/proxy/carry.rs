//! Between our plain data and the carrier's types, nothing more.
//!
//! Called by `hooks` only. What is to change on a head, which server is taken and when a try may be
//! repeated is worked out in `forward`; here it is put into pingora's words.

use std::time::Instant;

use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::{Error, ErrorType, HttpPeer};
use pingora::proxy::Session;

use super::Gateway;
use super::exchange::Exchange;
use super::{forward, respond};
use crate::policy::facts::Body;
use crate::policy::route::{Destination, Route};
use crate::policy::uri::parse_target;
use crate::problem::envelope::Problem;
use crate::reason::Reason;
use crate::upstream::Upstream;

impl Gateway {
    /// The route that a permitted request takes, and its upstream.
    fn route<'e>(&self, exchange: &'e Exchange) -> Option<(&'e Route, &'e Upstream)> {
        let permit = exchange.permit.as_ref()?;
        let route = exchange.live.snapshot.route(permit.realm(), permit.route())?;
        match permit.destination() {
            Destination::Upstream(index) => Some((route, exchange.live.upstreams.find(index)?)),
            Destination::Login | Destination::Logout => None,
        }
    }

    /// Tells the carrier the limits of this request; its own defaults have none.
    pub(super) fn bound(&self, session: &mut Session) {
        let downstream = session.as_downstream_mut();
        // Only where it is on: `Connection: close` has switched it off already.
        if downstream.get_keepalive().is_some() {
            downstream.set_keepalive(Some(self.bounds.idle_timeout.as_secs().max(1)));
        }
        downstream.set_read_timeout(Some(self.bounds.body_timeout));
        downstream.set_write_timeout(Some(self.bounds.body_timeout));
        downstream.set_total_drain_timeout(Some(respond::DRAIN_TIME));
        if downstream.req_header().version == http::Version::HTTP_10 {
            // 1xx replies and codings came with HTTP/1.1: RFC 9110 section 15.2, RFC 9112 section 6.1.
            downstream.set_ignore_info_resp(true);
            downstream.set_keepalive(None);
        }
    }

    /// The server of the next try.
    pub(super) fn peer(&self, exchange: &mut Exchange) -> pingora::Result<Box<HttpPeer>> {
        let Some((route, upstream)) = self.route(exchange) else {
            return Err(Error::explain(ErrorType::InternalError, "no permit to forward by"));
        };
        let chosen = forward::peer(route, upstream);
        if exchange.upstream.tries > 0 {
            upstream.record_retry();
        }
        exchange.upstream.tries = exchange.upstream.tries.saturating_add(1);
        exchange.upstream.started.get_or_insert_with(Instant::now);
        // Another try sends the body from its beginning.
        exchange.body_received = 0;
        let Some(chosen) = chosen else {
            return Error::e_explain(ErrorType::ConnectError, "no address of the upstream is known");
        };
        let mut peer = Box::new(HttpPeer::new(chosen.address, false, String::new()));
        peer.group_key = chosen.group;
        peer.options.connection_timeout = Some(chosen.timeouts.connect);
        peer.options.total_connection_timeout = Some(chosen.timeouts.connect);
        peer.options.read_timeout = Some(chosen.timeouts.read);
        peer.options.write_timeout = Some(chosen.timeouts.write);
        peer.options.idle_timeout = Some(chosen.timeouts.idle);
        Ok(peer)
    }

    /// Whether another server, or the same one, may be tried.
    pub(super) fn may_try_again(&self, exchange: &Exchange) -> bool {
        self.route(exchange).is_some_and(|(_, upstream)| exchange.upstream.tries <= upstream.retries)
    }

    /// Changes the head that leaves: a copy of the one that arrived.
    pub(super) fn edit_request(
        &self,
        session: &Session,
        head: &mut RequestHeader,
        exchange: &Exchange,
    ) -> pingora::Result<()> {
        let internal = || Error::explain(ErrorType::InternalError, "no permit to forward by");
        let permit = exchange.permit.as_ref().ok_or_else(internal)?;
        let realm = exchange.live.snapshot.realm(permit.realm()).ok_or_else(internal)?;
        let route = exchange.live.snapshot.route(permit.realm(), permit.route()).ok_or_else(internal)?;
        let arrived = session.req_header();
        let target = parse_target(arrived.raw_path()).map_err(|_| internal())?;
        let host = arrived.headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let edits = forward::edits(permit, exchange, realm, route, host, &target);
        for name in forward::removals(&head.headers, route.forward_authorization) {
            head.remove_header(&name);
        }
        for (name, value) in edits.set {
            head.insert_header(name, value)?;
        }
        edits.target.map_or(Ok(()), |target| head.set_raw_path(target.as_bytes()))
    }

    /// Counts what arrives of a body, and stops it at its limit.
    pub(super) fn count_body(
        &self,
        body: &mut Option<Bytes>,
        last: bool,
        exchange: &mut Exchange,
    ) -> pingora::Result<()> {
        let Some(chunk) = body else { return Ok(()) };
        exchange.body_received += chunk.len() as u64;
        if exchange.body_received > exchange.body_limit {
            exchange.fail(Reason::BodyTooLarge, "the body is longer than the route allows");
            return Error::e_explain(ErrorType::HTTPStatus(413), "body too large");
        }
        // An empty last chunk would be written as a second end of the body. In the middle of one, no chunk
        // at all would be taken for its end.
        if last && chunk.is_empty() {
            *body = None;
        }
        Ok(())
    }

    /// Changes the head of a reply on its way to the client.
    pub(super) fn edit_reply(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> pingora::Result<()> {
        let request = session.req_header();
        let (version, asks_for_head) = (request.version, request.method == http::Method::HEAD);
        if head.status == http::StatusCode::SWITCHING_PROTOCOLS {
            // No upgrade is ever asked for upstream, so nobody may switch.
            exchange.fail(Reason::UpstreamInvalid, "the upstream switched protocols unasked");
            return Error::e_explain(ErrorType::InvalidHTTPHeader, "unasked 101");
        }
        head.set_version(http::Version::HTTP_11);
        if version == http::Version::HTTP_10 {
            head.remove_header(&http::header::TRANSFER_ENCODING);
        }
        for name in forward::removals_from_reply(&head.headers) {
            head.remove_header(&name);
        }
        if head.status.as_u16() >= 200 {
            exchange.upstream.status = Some(head.status.as_u16());
            exchange.upstream.took = exchange.upstream.started.map(|started| started.elapsed());
            if let Some(pass) = exchange.upstream.pass.take() {
                pass.answered(Instant::now);
            }
            // An upstream's own are about its quotas, which nobody asked the client to heed beside ours.
            for (name, value) in exchange.quota_fields().into_iter().flatten() {
                head.insert_header(name, value)?;
            }
            let empty = head.headers.get(http::header::CONTENT_LENGTH).is_some_and(|length| length == "0");
            if asks_for_head || empty || matches!(head.status.as_u16(), 204 | 304) {
                self.end_of_reply(session, exchange);
            }
        }
        head.insert_header("X-Request-Id", exchange.request_id.as_str())
    }

    /// The upstream has answered to the end. With nothing left of the request either, it runs no more: what is left to do
    /// is to write what is in memory, and a client that has all of it may have sent its next request before we are told.
    pub(super) fn end_of_reply(&self, session: &mut Session, exchange: &mut Exchange) {
        if session.as_downstream_mut().is_body_done() {
            exchange.release();
        }
    }

    /// Answers for an error of the carrier's; gives the status that was written, 0 for none.
    pub(super) async fn fail(&self, session: &mut Session, error: &Error, exchange: &mut Exchange) -> u16 {
        // There is no further try. Where no reply head came, and nobody is to blame for it, this lets another try.
        let pass = exchange.upstream.pass.take();
        let Some(reason) = exchange.reason.or_else(|| respond::reason_of(error)) else { return 0 };
        exchange.fail(reason, respond::cause_of(error));
        if let (Some(pass), Some((_, upstream))) = (pass, self.route(exchange))
            && respond::is_upstreams_fault(reason, error, session.as_downstream_mut().is_body_done())
        {
            upstream.failed(pass);
        }
        if reason == Reason::Internal {
            tracing::error!(request_id = exchange.request_id.as_str(), "{}", respond::cause_of(error));
        }
        if respond::replied(session).is_some() {
            return 0;
        }
        let reply = Problem::plain(reason).reply(&exchange.live.registry, exchange.request_id.as_str());
        match respond::answer(session, exchange, &reply, Body::Length(0), true).await {
            Ok(()) => reply.status,
            Err(_) => 0,
        }
    }

    /// Counts the upstream's part, once a request.
    pub(super) fn finish_upstream(&self, exchange: &Exchange) {
        let (Some(started), Some((_, upstream))) = (exchange.upstream.started, self.route(exchange)) else { return };
        upstream.record(exchange.upstream.status, exchange.upstream.took.unwrap_or_else(|| started.elapsed()));
    }
}
