//! Stage 1: what the carrier holds → a request head in our terms.
//!
//! Called by `Gateway::take` and by the edge. It reads heads, never bodies; the reading itself is
//! `policy::facts`, so that tools read requests as live traffic does.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

use super::exchange::{Exchange, Sender};
use crate::policy::facts::Fields;
use crate::telemetry::request_id::RequestId;

/// The carrier's header map as a list of fields.
pub struct MapFields<'m>(pub &'m HeaderMap);

impl Fields for MapFields<'_> {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a [u8])) {
        for (name, value) in self.0 {
            visit(name.as_str(), value.as_bytes());
        }
    }

    fn values<'a>(&'a self, name: &str) -> Box<dyn Iterator<Item = &'a [u8]> + 'a> {
        Box::new(self.0.get_all(name).into_iter().map(http::HeaderValue::as_bytes))
    }

    fn first(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(http::HeaderValue::as_bytes)
    }
}

/// Who sent the request: the peer, or what trusted proxies say, from the right as far as they are trusted.
#[must_use]
pub fn sender(peer: IpAddr, fields: &dyn Fields, trusted: &[IpNet]) -> Sender {
    let peer = peer.to_canonical();
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    if !is_trusted(peer) {
        return Sender::direct(peer);
    }
    let https = fields.first("x-forwarded-proto").is_some_and(|proto| proto.eq_ignore_ascii_case(b"https"));
    let mut listed: Vec<IpAddr> = Vec::new();
    let mut readable = true;
    for value in fields.values("x-forwarded-for") {
        for entry in String::from_utf8_lossy(value).split(',') {
            match entry.trim().parse::<IpAddr>() {
                Ok(address) => listed.push(address.to_canonical()),
                // What stands left of an unreadable entry was vouched for by nobody.
                Err(_) => {
                    listed.clear();
                    readable &= !entry.trim().is_empty();
                }
            }
        }
    }
    if !readable {
        tracing::debug!("a trusted proxy sent an X-Forwarded-For that cannot be read whole");
    }
    let last = listed.iter().rposition(|address| !is_trusted(*address)).unwrap_or(0);
    let verified = listed.split_off(last);
    Sender { client: verified.first().copied().unwrap_or(peer), verified, peer, trusted: true, https }
}

/// Notes who sent a request, and the id that a trusted proxy gave it, when that is readable; else it keeps its own.
pub fn note_sender(exchange: &mut Exchange, sender: Sender, fields: &dyn Fields) {
    let given = if sender.trusted { fields.first("x-request-id").and_then(RequestId::accept) } else { None };
    if let Some(given) = given {
        exchange.request_id = given;
    }
    exchange.sender = sender;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(peer: &str, forwarded: &[&str]) -> (String, String) {
        let mut map = HeaderMap::new();
        for value in forwarded {
            map.append("x-forwarded-for", value.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let sender = sender(peer.parse().unwrap(), &MapFields(&map), &trusted);
        (sender.client.to_string(), sender.chain())
    }

    #[test]
    fn nobody_is_believed_unless_trusted() {
        assert_eq!(sent("9.9.9.9", &["1.1.1.1"]), ("9.9.9.9".into(), "9.9.9.9".into()));
        assert_eq!(sent("::ffff:9.9.9.9", &[]).0, "9.9.9.9");
    }

    #[test]
    fn a_chain_is_believed_from_the_right() {
        assert_eq!(
            sent("10.0.0.1", &["6.6.6.6, 1.1.1.1, 10.0.0.2"]),
            ("1.1.1.1".into(), "1.1.1.1, 10.0.0.2, 10.0.0.1".into())
        );
        assert_eq!(sent("10.0.0.1", &["6.6.6.6", "1.1.1.1"]).0, "1.1.1.1");
        assert_eq!(sent("10.0.0.1", &["10.0.0.3"]).0, "10.0.0.3");
        assert_eq!(sent("10.0.0.1", &[]).0, "10.0.0.1");
        assert_eq!(sent("10.0.0.1", &["1.1.1.1, unknown"]).0, "10.0.0.1");
        assert_eq!(sent("10.0.0.1", &["unknown, 1.1.1.1"]).0, "1.1.1.1");
    }
}
