//! Who may ask the admin listener for what: paths and methods, the token, the origin of a change, its body.
//!
//! Called for each request before anything is done. A page in an operator's browser may reach a listener on loopback
//! through a name that it points there; therefore changes need a content type that such a page cannot send unasked, and
//! on loopback they and everything about people need a Host of our own.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::{HeaderMap, Method, header};
use pingora::protocols::http::ServerSession;
use subtle::ConstantTimeEq as _;

use super::reply::Refusal;
use crate::config::secret::Secret;
use crate::config::settings::is_loopback;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Live,
    Ready,
    Metrics,
    Policy,
    Sessions,
    Credentials,
    Lockouts,
    Revocations,
    Changes,
    Reload,
    Explain,
}

/// Path, methods as `Allow` lists them.
const PLACES: &[(&str, &str, Place)] = &[
    ("/livez", READ, Place::Live),
    ("/readyz", READ, Place::Ready),
    ("/metrics", READ, Place::Metrics),
    ("/policy", READ, Place::Policy),
    ("/sessions", READ, Place::Sessions),
    ("/credentials", READ, Place::Credentials),
    ("/lockouts", "GET, HEAD, DELETE", Place::Lockouts),
    ("/revocations", "POST", Place::Revocations),
    ("/directory/changes", "POST", Place::Changes),
    ("/reload", "POST", Place::Reload),
    ("/explain", "POST", Place::Explain),
];

const READ: &str = "GET, HEAD";

/// `GET /metrics` and so on, for whoever asks for something else.
pub(super) fn paths() -> Vec<String> {
    let shown = |methods: &str| methods.replace(", HEAD", "").replace(", ", "|");
    PLACES.iter().map(|(path, methods, _)| format!("{} {path}", shown(methods))).collect()
}

impl Place {
    pub(super) fn of(path: &str) -> Option<Self> {
        PLACES.iter().find(|(known, ..)| *known == path).map(|(.., place)| *place)
    }

    /// Answered without the admin token: probes have none, and learn nothing else.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Live | Self::Ready)
    }

    /// Tells of people and keys: nothing for a strange page to read.
    pub(super) fn is_private(self) -> bool {
        match self {
            Self::Sessions
            | Self::Credentials
            | Self::Lockouts
            | Self::Revocations
            | Self::Changes
            | Self::Reload
            | Self::Explain => true,
            Self::Live | Self::Ready | Self::Metrics | Self::Policy => false,
        }
    }

    /// Whether the method changes something.
    pub(super) fn admits(self, method: &Method) -> Result<bool, Refusal> {
        let allow = PLACES.iter().find(|(.., place)| *place == self).map_or("", |(_, methods, _)| methods);
        if !allow.split(", ").any(|known| known == method.as_str()) {
            return Err(Refusal::Method(allow));
        }
        Ok(method != Method::GET && method != Method::HEAD)
    }
}

/// Asks for the token, where there is one.
pub(super) fn check_token(token: Option<&Secret>, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(token) = token else { return Ok(()) };
    let presented = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let right = presented.is_some_and(|presented| presented.ct_eq(token.reveal()).into());
    if right { Ok(()) } else { Err(Refusal::Token) }
}

/// What a change must show besides.
pub(super) fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let content_type = only(headers, header::CONTENT_TYPE).unwrap_or_default();
    let known = content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json");
    if known { Ok(()) } else { Err(Refusal::ContentType) }
}

/// By which name the listener was called. Off loopback the token, which no strange page has, is mandatory, and the names
/// by which the listener is reached there are not known.
pub(super) fn check_host(address: SocketAddr, headers: &HeaderMap) -> Result<(), Refusal> {
    let host = only(headers, header::HOST).ok_or(Refusal::Host)?;
    if is_loopback(&address) && !is_own(address, host) { Err(Refusal::Host) } else { Ok(()) }
}

/// The value of a header that stands once.
fn only(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok())
}

/// Whether a Host value names a listener on loopback.
fn is_own(address: SocketAddr, host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port.parse().ok()),
        Some(_) | None => (host, Some(80)),
    };
    let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let known = name.eq_ignore_ascii_case("localhost")
        || literal.parse::<IpAddr>().is_ok_and(|named| named == address.ip() || is_loopback(&(named, 0).into()));
    known && port == Some(address.port())
}

/// The whole body, within bounds.
pub(super) async fn read_body(session: &mut ServerSession) -> Result<Vec<u8>, Refusal> {
    let reading = async {
        let mut body = Vec::new();
        loop {
            match session.read_request_body().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > LONGEST_BODY => return Err(Refusal::TooLong),
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(body),
                Err(_) => return Err(Refusal::Malformed("the body broke off".to_owned())),
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap_or(Err(Refusal::TooSlow))
}

const LONGEST_BODY: usize = 64 << 10;

/// For a whole body.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn called(address: &str, hosts: &[&'static str]) -> Result<(), Refusal> {
        let hosts = hosts.iter().map(|host| (header::HOST, header::HeaderValue::from_static(host)));
        check_host(address.parse().unwrap(), &hosts.collect())
    }

    #[test]
    fn on_loopback_only_our_own_names_are_ours() {
        for host in ["127.0.0.1:8081", "localhost:8081", "LOCALHOST:8081", "[::1]:8081", "127.0.0.2:8081"] {
            assert!(called("127.0.0.1:8081", &[host]).is_ok(), "{host}");
        }
        assert!(called("[::1]:80", &["[::1]"]).is_ok());
        for host in [
            "evil.example:8081",
            "evil.example",
            "127.0.0.1",
            "127.0.0.1:80",
            "localhost.evil.example:8081",
            "10.0.0.1:8081",
            "127.0.0.1.evil.example:8081",
            "",
            ":8081",
        ] {
            assert!(matches!(called("127.0.0.1:8081", &[host]), Err(Refusal::Host)), "{host}");
        }
        let twice = ["127.0.0.1:8081", "evil.example"];
        assert!(matches!(called("127.0.0.1:8081", &twice), Err(Refusal::Host)));
        assert!(matches!(called("127.0.0.1:8081", &[]), Err(Refusal::Host)));
        assert!(called("10.0.0.5:8081", &["gateway.internal:8081"]).is_ok(), "there the token is what counts");
    }

    #[test]
    fn a_change_is_json() {
        let check = |kinds: &[&'static str]| {
            let kinds = kinds.iter().map(|kind| (header::CONTENT_TYPE, header::HeaderValue::from_static(kind)));
            check_content_type(&kinds.collect())
        };
        assert!(check(&["application/json; charset=utf-8"]).is_ok());
        for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
            assert!(matches!(check(&[kind]), Err(Refusal::ContentType)), "{kind}");
        }
        assert!(matches!(check(&["application/json", "text/plain"]), Err(Refusal::ContentType)));
    }

    #[test]
    fn every_place_is_listed_and_found() {
        assert_eq!(paths().len(), PLACES.len());
        assert!(paths().contains(&"POST /reload".to_owned()) && paths().contains(&"GET /livez".to_owned()));
        for (path, _, place) in PLACES {
            assert_eq!(Place::of(path), Some(*place));
        }
        assert!(matches!(Place::Reload.admits(&Method::GET), Err(Refusal::Method("POST"))));
        assert!(matches!(Place::Policy.admits(&Method::HEAD), Ok(false)));
    }
}
