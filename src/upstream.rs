//! WHERE: an upstream's name → the server that takes the next request.
//!
//! Asked by `proxy::forward`. Servers take turns by their weights; names are looked up in the background,
//! so that a request never waits for DNS. It opens no connection: the carrier does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::{Histogram, IntCounter};

use crate::config::settings;
use crate::config::value::ServerAddress;
use crate::policy::route::{Timeouts, UpstreamIndex};
use crate::telemetry::metrics::Metrics;

/// How often the addresses of named servers are looked up.
const LOOKUP_PERIOD: Duration = Duration::from_secs(10);

/// All upstreams of the settings.
pub struct Upstreams(Vec<Upstream>);

/// One upstream.
pub struct Upstream {
    name: Box<str>,
    servers: Vec<ServerAddress>,
    /// In the order in which they take turns; empty while no name could be looked up.
    turns: ArcSwap<Vec<SocketAddr>>,
    next: AtomicUsize,
    /// Where a route has no time limits of its own.
    pub timeouts: Timeouts,
    /// Tries after the first.
    pub retries: u8,
    meters: UpstreamMeters,
}

struct UpstreamMeters {
    classes: [IntCounter; 6],
    duration: Histogram,
    retries: IntCounter,
}

impl Upstreams {
    /// From the settings. Addresses are known at once, names after the first look-up.
    #[must_use]
    pub fn new(settings: &[settings::Upstream], metrics: &Metrics) -> Self {
        Self(settings.iter().map(|upstream| Upstream::new(upstream, metrics)).collect())
    }

    /// One of them.
    #[must_use]
    pub fn find(&self, index: UpstreamIndex) -> Option<&Upstream> {
        self.0.get(usize::from(index.0))
    }

    /// Looks names up for ever; returns at once when there are none.
    pub async fn keep_looked_up(&self) {
        while self.0.iter().any(Upstream::has_names) {
            for upstream in self.0.iter().filter(|upstream| upstream.has_names()) {
                upstream.look_up().await;
            }
            tokio::time::sleep(LOOKUP_PERIOD).await;
        }
    }
}

impl Upstream {
    fn new(settings: &settings::Upstream, metrics: &Metrics) -> Self {
        let name = settings.name.as_str();
        let class = |class| metrics.upstream_requests.with_label_values(&[name, class]);
        let meters = UpstreamMeters {
            classes: [class("1xx"), class("2xx"), class("3xx"), class("4xx"), class("5xx"), class("error")],
            duration: metrics.upstream_duration.with_label_values(&[name]),
            retries: metrics.upstream_retries.with_label_values(&[name]),
        };
        let known = settings.servers.iter().filter_map(|server| Some((server.address.parse().ok()?, server.weight)));
        Self {
            name: name.into(),
            servers: settings.servers.clone(),
            turns: ArcSwap::from_pointee(turns(known.collect())),
            next: AtomicUsize::new(0),
            timeouts: settings.timeouts,
            retries: settings.retries,
            meters,
        }
    }

    /// As policies call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whose turn it is; `None` while no address is known.
    #[must_use]
    pub fn take_turn(&self) -> Option<SocketAddr> {
        let turns = self.turns.load();
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        turns.get(next.checked_rem(turns.len())?).copied()
    }

    /// Counts a reply head, or its absence, and the time it took.
    pub fn record(&self, status: Option<u16>, took: Duration) {
        let class = match status {
            Some(status @ 100..=599) => usize::from(status / 100) - 1,
            _ => 5,
        };
        self.meters.classes[class].inc();
        self.meters.duration.observe(took.as_secs_f64());
    }

    /// Counts a try after the first.
    pub fn record_retry(&self) {
        self.meters.retries.inc();
    }

    fn has_names(&self) -> bool {
        self.servers.iter().any(|server| server.address.parse::<SocketAddr>().is_err())
    }

    async fn look_up(&self) {
        let mut found: Vec<(SocketAddr, u8)> = Vec::new();
        for server in &self.servers {
            match tokio::net::lookup_host(&server.address).await {
                Ok(addresses) => found.extend(addresses.map(|address| (address, server.weight))),
                Err(error) => {
                    tracing::warn!(
                        upstream = &*self.name,
                        server = server.address,
                        "cannot look the server up: {error}"
                    );
                }
            }
        }
        // What was known before is better than nothing while DNS is away.
        if !found.is_empty() {
            self.turns.store(Arc::new(turns(found)));
        }
    }
}

/// Spreads the servers by weight: 2, 1 gives a b a, never a a b.
fn turns(servers: Vec<(SocketAddr, u8)>) -> Vec<SocketAddr> {
    let total: i32 = servers.iter().map(|(_, weight)| i32::from(*weight)).sum();
    let mut credit = vec![0; servers.len()];
    let mut turns = Vec::with_capacity(usize::try_from(total).unwrap_or_default());
    for _ in 0..total {
        for (credit, (_, weight)) in credit.iter_mut().zip(&servers) {
            *credit += i32::from(*weight);
        }
        let Some(richest) = (0..servers.len()).rev().max_by_key(|index| credit[*index]) else { break };
        credit[richest] -= total;
        turns.push(servers[richest].0);
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn servers_take_turns_by_weight() {
        let order = turns(vec![(address(1), 2), (address(2), 1)]);
        assert_eq!(order, [address(1), address(2), address(1)]);
        assert!(turns(Vec::new()).is_empty());
    }

    #[tokio::test]
    async fn a_name_is_looked_up_in_the_background() {
        let settings = settings::Upstream {
            name: "a".into(),
            servers: vec![ServerAddress { address: "localhost:1".into(), weight: 1 }],
            timeouts: settings::DEFAULT_TIMEOUTS,
            retries: 1,
        };
        let upstream = Upstream::new(&settings, &Metrics::new().unwrap());
        assert_eq!(upstream.take_turn(), None);
        upstream.look_up().await;
        assert!(upstream.take_turn().is_some_and(|address| address.ip().is_loopback() && address.port() == 1));
    }
}
