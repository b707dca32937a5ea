//! Stage 5: one access line and one metric record a request, whatever happened.

use std::time::Duration;

use http::HeaderValue;
use pingora::proxy::Session;

use super::Gateway;
use super::exchange::Exchange;
use super::respond;
use crate::policy::facts::AppType;
use crate::problem::registry::default_entry;
use crate::reason::Reason;
use crate::telemetry::access_line::{AccessLine, timestamp};
use crate::telemetry::meters::{Outcome, Place};
use crate::upstream::Upstream;

/// What of a request's head goes to the log.
pub struct LoggedHead<'a> {
    /// `HTTP/1.1`
    pub version: &'static str,
    /// As sent; `-` when it could not be read.
    pub method: &'a str,
    /// Without the query.
    pub path: &'a str,
    /// `X-App-Type`, when it is a token.
    pub app_type: Option<&'a str>,
    /// `User-Agent`, when it is text.
    pub user_agent: Option<&'a str>,
}

/// How the reply ended.
#[derive(Clone, Copy, Debug)]
pub struct LoggedReply {
    /// `None`: no head was written.
    pub status: Option<u16>,
    /// Bytes of the reply's body.
    pub bytes_out: u64,
    /// The client left before the end.
    pub client_gone: bool,
}

impl Gateway {
    /// Records a request that the carrier is done with.
    pub(super) fn finish(&self, session: &Session, exchange: &Exchange, client_gone: bool) {
        let head = session.req_header();
        let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let logged = LoggedHead {
            version: if head.version == http::Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" },
            method: head.method.as_str(),
            path: head.uri.path(),
            app_type: app_type_token(AppType::of(head.headers.get_all("x-app-type").iter().map(HeaderValue::as_bytes))),
            user_agent: text("user-agent"),
        };
        let reply = LoggedReply {
            status: respond::replied(session).map(|head| head.status.as_u16()),
            bytes_out: session.body_bytes_sent() as u64,
            client_gone,
        };
        self.record(exchange, &logged, reply);
    }

    /// Writes the line and counts.
    pub(super) fn record(&self, exchange: &Exchange, head: &LoggedHead<'_>, reply: LoggedReply) {
        let total = exchange.started.elapsed();
        let gateway_time = exchange.upstream.started.map_or(total, |started| started.duration_since(exchange.started));
        let outcome = outcome(exchange.reason, reply.client_gone);
        let notes = &exchange.notes;
        let place = Place { realm: notes.realm, route: notes.route, role: notes.role };
        exchange.live.meters.record(place, outcome, exchange.reason, total, gateway_time);
        let realm = notes.realm.and_then(|index| exchange.live.snapshot.realm(index));
        let route = notes.realm.zip(notes.route).and_then(|(realm, route)| exchange.live.snapshot.route(realm, route));
        let principal = notes.principal.as_ref();
        let lineage = principal.map(|principal| &principal.account.lineage);
        let upstream = match route.map(|route| route.destination) {
            // The breaker refuses before a server is tried, and the line has to say whose it is.
            Some(crate::policy::route::Destination::Upstream(index))
                if exchange.upstream.started.is_some() || exchange.reason == Some(Reason::UpstreamUnavailable) =>
            {
                exchange.live.upstreams.find(index).map(Upstream::name)
            }
            _ => None,
        };
        if let (Some(shadow), Some(disagreement)) = (&exchange.live.shadow, &notes.disagreement) {
            self.record_disagreement(exchange, shadow, disagreement);
        }
        self.access_log.write(&AccessLine {
            time: &timestamp(),
            request_id: exchange.request_id.as_str(),
            client: exchange.sender.client,
            http_version: head.version,
            realm: realm.map(|realm| &*realm.name),
            route: route.map(|route| &*route.name),
            method: head.method,
            path: head.path,
            status: if reply.client_gone { 499 } else { reply.status.unwrap_or(0) },
            outcome: outcome.name(),
            reason: exchange.reason.map(Reason::name),
            cause: exchange.cause.as_deref(),
            role: lineage.map(|lineage| lineage.role()),
            account: lineage.map(|lineage| lineage.id()),
            credential: principal.map(|principal| &*principal.credential),
            scheme: principal.map(|principal| principal.scheme.name()),
            lineage: lineage.map(|lineage| lineage.as_str()),
            target: notes.target.as_deref(),
            relation: notes.relation.name(),
            scope: notes.scope.map(|scope| scope.name()),
            app_type: head.app_type,
            quota: notes.quota.zip(realm).and_then(|(quota, realm)| realm.quota(quota)).map(|quota| &*quota.name),
            duration: seconds(total),
            gateway_time: seconds(gateway_time),
            upstream,
            upstream_status: exchange.upstream.status,
            bytes_in: exchange.body_received,
            bytes_out: reply.bytes_out,
            user_agent: head.user_agent,
            revision: exchange.live.snapshot.revision(),
        });
    }
}

/// Microseconds are as fine as the log needs.
fn seconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e6
}

fn outcome(reason: Option<Reason>, client_gone: bool) -> Outcome {
    match reason {
        None if client_gone => Outcome::ClientGone,
        None => Outcome::Permitted,
        Some(reason) if default_entry(reason).status >= 500 => Outcome::Failed,
        Some(_) => Outcome::Denied,
    }
}

/// The app type of a head that no carrier holds.
#[must_use]
pub fn app_type_token(app_type: AppType<'_>) -> Option<&str> {
    match app_type {
        AppType::Token(token) => Some(token),
        AppType::Absent | AppType::NotString => None,
    }
}
