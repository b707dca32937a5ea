//! WHERE: an upstream's name → the server that takes the next request.
//!
//! Asked by `proxy::forward`, and made anew by a reload, over which upstreams that stay keep what they know. Servers take
//! turns by their weights; names are looked up in the background, so that a request never waits for DNS. It opens no
//! connection: the carrier does. Its breaker says when nothing is sent.

pub mod breaker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use prometheus::{Histogram, IntCounter};

use self::breaker::{Breaker, Pass};
use crate::config::settings;
use crate::config::value::ServerAddress;
use crate::policy::route::{Timeouts, UpstreamIndex};
use crate::telemetry::metrics::Metrics;

/// How often the addresses of named servers are looked up.
const LOOKUP_PERIOD: Duration = Duration::from_secs(10);

/// How long a reload waits for the addresses of servers that are new to it.
const RELOAD_LOOKUP: Duration = Duration::from_secs(2);

/// All upstreams of the settings, in their order. A clone is the same upstreams.
#[derive(Clone)]
pub struct Upstreams {
    list: Arc<[Arc<Upstream>]>,
    /// The next group that nobody had before.
    next_group: u64,
}

/// One upstream.
pub struct Upstream {
    settings: settings::Upstream,
    /// Connections are shared within a group only. It stays with the name over reloads, and no other name ever gets it.
    pub group: u64,
    turns: ArcSwap<Turns>,
    next: AtomicUsize,
    /// Whether its names were looked up, with whatever result.
    looked_up: AtomicBool,
    /// Where a route has no time limits of its own.
    pub timeouts: Timeouts,
    /// Tries after the first.
    pub retries: u8,
    meters: UpstreamMeters,
    breaker: Option<Arc<Breaker>>,
}

/// What is known of an upstream's servers.
#[derive(Default)]
struct Turns {
    /// In the order in which they take turns; empty while no name could be looked up.
    order: Vec<SocketAddr>,
    /// The addresses of each server, by its place in the settings.
    known: Vec<Vec<SocketAddr>>,
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
        Self { list: [].into(), next_group: 1 }.renewed(settings, metrics)
    }

    /// What other settings make of these. An upstream that did not change stays the very same; one that did keeps its
    /// group, and whatever addresses are known of names that it has still.
    #[must_use]
    pub fn renewed(&self, settings: &[settings::Upstream], metrics: &Metrics) -> Self {
        let mut next_group = self.next_group;
        let renew = |settings: &settings::Upstream| {
            let known = self.list.iter().find(|known| known.settings.name == settings.name);
            match known {
                Some(known) if known.settings == *settings => Arc::clone(known),
                Some(known) => Arc::new(Upstream::new(settings, known.group, Some(known), metrics)),
                None => {
                    next_group += 1;
                    Arc::new(Upstream::new(settings, next_group - 1, None, metrics))
                }
            }
        };
        Self { list: settings.iter().map(renew).collect(), next_group }
    }

    /// One of them.
    #[must_use]
    pub fn find(&self, index: UpstreamIndex) -> Option<&Upstream> {
        self.list.get(usize::from(index.0)).map(|upstream| &**upstream)
    }

    /// Looks up those that are new or changed, so that the first request to them finds an address. A name that is not found
    /// in time is looked for again in the background.
    pub async fn look_up_new(&self) {
        let new = |upstream: &&Arc<Upstream>| upstream.has_names() && !upstream.looked_up.load(Ordering::Relaxed);
        let new = self.list.iter().filter(new);
        let all = join_all(new.map(|upstream| upstream.look_up()));
        if tokio::time::timeout(RELOAD_LOOKUP, all).await.is_err() {
            tracing::warn!("not every server of a new upstream could be looked up in time; it is tried again");
        }
    }

    /// Looks the names up of whatever upstreams are in effect, for ever.
    pub async fn keep_looked_up(in_effect: impl Fn() -> Self) {
        loop {
            // Side by side, so that a name that nobody answers for keeps no other waiting.
            let current = in_effect();
            join_all(current.list.iter().filter(|upstream| upstream.has_names()).map(|upstream| upstream.look_up()))
                .await;
            tokio::time::sleep(LOOKUP_PERIOD).await;
        }
    }
}

impl Upstream {
    /// `before` is the one of this name until now.
    fn new(settings: &settings::Upstream, group: u64, before: Option<&Self>, metrics: &Metrics) -> Self {
        let name = settings.name.as_str();
        let class = |class| metrics.upstream_requests.with_label_values(&[name, class]);
        let meters = UpstreamMeters {
            classes: [class("1xx"), class("2xx"), class("3xx"), class("4xx"), class("5xx"), class("error")],
            duration: metrics.upstream_duration.with_label_values(&[name]),
            retries: metrics.upstream_retries.with_label_values(&[name]),
        };
        let known = settings.servers.iter().map(|server| match server.address.parse() {
            Ok(address) => vec![address],
            Err(_) => before.map(|before| before.known_of(server)).unwrap_or_default(),
        });
        Self {
            group,
            turns: ArcSwap::from_pointee(Turns::of(&settings.servers, known.collect())),
            next: AtomicUsize::new(0),
            looked_up: AtomicBool::new(false),
            timeouts: settings.timeouts,
            retries: settings.retries,
            meters,
            breaker: settings.breaker.map(|breaker| Arc::new(Breaker::new(name, breaker, Instant::now()))),
            settings: settings.clone(),
        }
    }

    /// As policies call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Whose turn it is; `None` while no address is known.
    #[must_use]
    pub fn take_turn(&self) -> Option<SocketAddr> {
        let turns = self.turns.load();
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        turns.order.get(next.checked_rem(turns.order.len())?).copied()
    }

    /// Lets a request through that is to be sent, or tells in how many seconds it may be tried again. Without a breaker there
    /// is nothing to be let through by.
    pub fn ask(&self) -> Result<Option<Pass>, u32> {
        self.breaker.as_ref().map(|breaker| breaker.ask(Instant::now)).transpose()
    }

    /// Tells the breaker of a request that got no reply head.
    pub fn failed(&self, pass: Pass) {
        if let Some(breaker) = &self.breaker {
            breaker.failed(pass, Instant::now());
        }
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
        self.settings.servers.iter().any(|server| server.address.parse::<SocketAddr>().is_err())
    }

    /// The addresses that are known of a server.
    fn known_of(&self, server: &ServerAddress) -> Vec<SocketAddr> {
        let place = self.settings.servers.iter().position(|known| known.address == server.address);
        place.and_then(|place| self.turns.load().known.get(place).cloned()).unwrap_or_default()
    }

    async fn look_up(&self) {
        let mut found: Vec<Vec<SocketAddr>> = Vec::new();
        for server in &self.settings.servers {
            match tokio::net::lookup_host(&server.address).await {
                Ok(addresses) => found.push(addresses.collect()),
                Err(error) => {
                    found.push(Vec::new());
                    tracing::warn!(
                        upstream = self.name(),
                        server = server.address,
                        "cannot look the server up: {error}"
                    );
                }
            }
        }
        // What was known before is better than nothing while DNS is away.
        if !found.iter().all(Vec::is_empty) {
            self.turns.store(Arc::new(Turns::of(&self.settings.servers, found)));
        }
        self.looked_up.store(true, Ordering::Relaxed);
    }
}

impl Turns {
    fn of(servers: &[ServerAddress], known: Vec<Vec<SocketAddr>>) -> Self {
        let weighted = known.iter().zip(servers);
        let weighted = weighted.flat_map(|(known, server)| known.iter().map(|address| (*address, server.weight)));
        Self { order: turns(weighted.collect()), known }
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

    fn settings(name: &str, servers: &[&str]) -> settings::Upstream {
        let servers = servers.iter().map(|address| ServerAddress { address: (*address).into(), weight: 1 }).collect();
        settings::Upstream {
            name: name.into(),
            servers,
            timeouts: settings::DEFAULT_TIMEOUTS,
            retries: 1,
            breaker: None,
        }
    }

    #[test]
    fn upstreams_keep_their_group_by_name_and_themselves_while_unchanged() {
        let metrics = Metrics::new().unwrap();
        let (a, b, c) = (settings("a", &["127.0.0.1:1"]), settings("b", &["127.0.0.1:2"]), settings("c", &["[::1]:3"]));
        let first = Upstreams::new(&[a.clone(), b.clone()], &metrics);
        let changed = settings("b", &["127.0.0.1:9"]);
        let second = first.renewed(&[c.clone(), a.clone(), changed], &metrics);
        let groups = |upstreams: &Upstreams| upstreams.list.iter().map(|upstream| upstream.group).collect::<Vec<_>>();
        assert_eq!((groups(&first), groups(&second)), (vec![1, 2], vec![3, 1, 2]));
        assert!(Arc::ptr_eq(&first.list[0], &second.list[1]), "it keeps whose turn it is");
        assert_eq!(second.list[2].take_turn(), Some(address(9)));
        // A name that was away is another to whatever connections there are.
        let third = second.renewed(std::slice::from_ref(&a), &metrics).renewed(&[c, a], &metrics);
        assert_eq!(groups(&third), [4, 1]);
    }

    #[tokio::test]
    async fn addresses_of_names_that_stay_are_known_over_a_change() {
        let metrics = Metrics::new().unwrap();
        let first = Upstreams::new(&[settings("a", &["localhost:1"])], &metrics);
        first.look_up_new().await;
        let before = first.list[0].take_turn();
        assert!(before.is_some());
        let second = first.renewed(&[settings("a", &["nowhere.invalid:1", "localhost:1"])], &metrics);
        assert_eq!(second.list[0].take_turn(), before, "although nothing was looked up again");
        second.look_up_new().await;
        assert!(second.list[0].take_turn().is_some());
    }

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
        let upstream = Upstream::new(&settings("a", &["localhost:1"]), 1, None, &Metrics::new().unwrap());
        assert_eq!(upstream.take_turn(), None);
        upstream.look_up().await;
        assert!(upstream.take_turn().is_some_and(|address| address.ip().is_loopback() && address.port() == 1));
    }
}
