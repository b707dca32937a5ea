//! Stage 3b: a permit → what leaves for the upstream, as plain data.
//!
//! It needs a permit: a request without one cannot be forwarded. It knows no connection, so that every
//! carrier sends the same headers.

use std::net::SocketAddr;

use http::header::{CONNECTION, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::exchange::Exchange;
use crate::policy::decision::Hint;
use crate::policy::ladder::Permit;
use crate::policy::left_behind::is_dropped;
use crate::policy::route::{Realm, Route, Timeouts};
use crate::policy::told::{Arrival as Told, told_headers};
use crate::policy::uri::Target;
use crate::problem::envelope::Problem;
use crate::reason::Reason;
use crate::upstream::Upstream;
use crate::upstream::breaker::Pass;

/// The server of one try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where it listens.
    pub address: SocketAddr,
    /// Connections are shared within a group only: one for each upstream.
    pub group: u64,
    /// The route's, or the upstream's.
    pub timeouts: Timeouts,
}

/// Asks the breaker of a request's upstream. Asked once a request, before anything of it is sent.
pub fn ask(upstream: Option<&Upstream>) -> Result<Option<Pass>, Problem> {
    let refusal = |seconds| Problem { hint: Hint::RetryAfter(seconds), ..Problem::plain(Reason::UpstreamUnavailable) };
    upstream.map_or(Ok(None), Upstream::ask).map_err(refusal)
}

/// Chooses the server whose turn it is; `None` while no address is known.
#[must_use]
pub fn peer(route: &Route, upstream: &Upstream) -> Option<Peer> {
    let timeouts = route.timeouts.unwrap_or(upstream.timeouts);
    upstream.take_turn().map(|address| Peer { address, group: upstream.group, timeouts })
}

/// What changes on a head before it leaves.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct HeadEdits {
    /// Path and query; `None` leaves them as they came.
    pub target: Option<String>,
    /// Fields to set, each once, after what [`is_dropped`] names was removed.
    pub set: Vec<(&'static str, HeaderValue)>,
}

/// What upstreams may not tell clients: hop-by-hop, or the gateway's to say.
const RESERVED_OF_REPLIES: &[&str] =
    &["keep-alive", "proxy-authenticate", "proxy-connection", "te", "trailer", "upgrade", "x-request-id"];

/// Whether an upstream's field, by its lower-case name, stays behind.
#[must_use]
pub fn is_dropped_from_reply(name: &str) -> bool {
    const OURS: &str = "x-auth-";
    let ours = name.bytes().zip(OURS.bytes()).take_while(|(a, b)| a == b || (*a == b'_' && *b == b'-')).count();
    ours == OURS.len() || RESERVED_OF_REPLIES.contains(&name)
}

/// The client's fields that stay behind.
#[must_use]
pub fn removals(fields: &HeaderMap, forward_authorization: bool) -> Vec<HeaderName> {
    fields.keys().filter(|name| is_dropped(name.as_str(), forward_authorization)).cloned().collect()
}

/// The upstream's fields that stay behind, those that its `Connection` names among them; never the framing.
#[must_use]
pub fn removals_from_reply(fields: &HeaderMap) -> Vec<HeaderName> {
    let nominated = |name: &str| {
        let values = fields.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|known| known.trim().eq_ignore_ascii_case(name))
    };
    let framing = |name: &str| matches!(name, "content-length" | "transfer-encoding" | "connection");
    let nominating = fields.contains_key(CONNECTION);
    let dropped = |name: &str| is_dropped_from_reply(name) || (nominating && !framing(name) && nominated(name));
    fields.keys().filter(|name| dropped(name.as_str())).cloned().collect()
}

/// Works out what leaves. `host` and `arrived` are the request's, as judged.
#[must_use]
pub fn edits(
    permit: &Permit,
    exchange: &Exchange,
    realm: &Realm,
    route: &Route,
    host: &str,
    arrived: &Target<'_>,
) -> HeadEdits {
    let chain = exchange.sender.chain();
    let mut edits = HeadEdits { target: None, set: Vec::with_capacity(12) };
    let protocol = if exchange.sender.https { "https" } else { "http" };
    let told = Told { request_id: exchange.request_id.as_str(), chain: &chain, protocol, host };
    told_headers(permit, realm, told, |name, value| edits.put(name, value));
    if route.strip_base && !realm.base.is_empty() {
        edits.target = arrived.origin_form.strip_prefix(&*realm.base).map(str::to_owned);
    } else if arrived.authority.is_some() {
        // An absolute-form target was judged by its path and leaves in origin-form.
        edits.target = Some(arrived.origin_form.to_owned());
    }
    edits
}

impl HeadEdits {
    /// Ids, roles and names are of closed grammars and a Host was checked, so each is a legal value; were
    /// one not, an empty one says less than a missing one would let others claim.
    fn put(&mut self, name: &'static str, value: &str) {
        let legal = HeaderValue::from_str(value).unwrap_or_else(|_| {
            tracing::error!(name, "a value of the gateway's own is no header value");
            HeaderValue::from_static("")
        });
        self.set.push((name, legal));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_alikes_of_our_headers_stay_behind_in_every_spelling() {
        for name in [
            "x-auth-account",
            "x-auth-anything",
            "x_auth_account",
            "x-auth_account",
            "x-forwarded-for",
            "x-forwarded-prefix",
            "x-envoy-original-path",
            "forwarded",
            "x-real-ip",
            "true-client-ip",
            "cf-connecting-ip",
            "x-original-url",
            "x-rewrite-url",
            "x-http-method-override",
            "x-method-override",
            "x-http-method",
            "proxy",
            "x-request-id",
            "transfer_encoding",
            "connection",
            "upgrade",
            "te",
            "authorization",
            "http2-settings",
        ] {
            assert!(is_dropped(name, false), "{name}");
        }
        for name in [
            "accept",
            "x-app-type",
            "x-api-id",
            "cookie",
            "content-type",
            "content-length",
            "host",
            "transfer-encoding",
            "x-authority",
        ] {
            assert!(!is_dropped(name, false), "{name}");
        }
        assert!(!is_dropped("authorization", true));
    }

    #[test]
    fn an_upstream_cannot_speak_for_the_gateway() {
        assert!(
            is_dropped_from_reply("x-auth-account")
                && is_dropped_from_reply("x_auth-account")
                && is_dropped_from_reply("x-request-id")
        );
        assert!(!is_dropped_from_reply("set-cookie") && !is_dropped_from_reply("transfer-encoding"));
    }
}
