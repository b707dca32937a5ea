//! A Redis Cluster: one wire to each of its servers, and the table of who keeps which slot. `link` asks through it.
//!
//! redis-rs's own `ClusterConnection` is not used: it stops the calls to all servers while it connects to one, it
//! repeats a write whose connection broke, and it looks for a lost cluster without any pause. Here a server that is
//! away costs only the calls to its own keys, and only a call that the cluster says was not run is sent again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use redis::{Client, ConnectionInfo, Value};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::address::{elsewhere, host_and_port};
use super::error::{Redirect, StoreError, StoreUrlError};
use super::slots::{Range, View, slot_of};
use super::tls::Certificates;
use super::wire::{Order, Target, Wire, WireSettings};

/// The way to a cluster.
pub(super) struct Cluster {
    /// Asked while nobody else can be.
    pub(super) seeds: Vec<Client>,
    pub(super) settings: WireSettings,
    /// Wakes who keeps the table.
    pub(super) wake: Arc<Notify>,
    /// How to reach a server, but for its address.
    login: ConnectionInfo,
    certificates: Certificates,
    /// Its keeper's clock is the store's: the same for all gateways, as long as the slots stay where they are.
    time_slot: u16,
    table: ArcSwap<Table>,
    /// Whether it was, when last looked at: only changes are news.
    whole: AtomicBool,
    reached: AtomicBool,
}

/// Replaced as a whole.
pub(super) struct Table {
    pub(super) wires: BTreeMap<String, Arc<Wire>>,
    /// In order, without overlap.
    ranges: Vec<Range>,
    /// What calls are told while there is no way to a slot.
    why: StoreError,
    /// Whether the cluster serves, and each slot has a keeper.
    complete: bool,
}

impl Cluster {
    pub(super) fn new(
        seeds: Vec<ConnectionInfo>,
        certificates: Certificates,
        settings: WireSettings,
        time_key: &str,
    ) -> Result<Self, StoreUrlError> {
        let login = seeds.first().cloned().ok_or(StoreUrlError::Host)?;
        let seeds: Result<Vec<_>, _> = seeds.into_iter().map(|seed| certificates.client(seed)).collect();
        Ok(Self {
            seeds: seeds?,
            wake: Arc::clone(&settings.changed),
            settings,
            login,
            certificates,
            time_slot: slot_of(time_key.as_bytes()),
            table: ArcSwap::from_pointee(Table::empty(StoreError::Unreachable)),
            whole: AtomicBool::new(false),
            reached: AtomicBool::new(false),
        })
    }

    /// Asks the server that keeps `key`, or the one that keeps the time where a command has no key. A call that the
    /// cluster says it did not run, since the slot is elsewhere or on its way, is sent again until `deadline`.
    pub(super) async fn ask(
        &self,
        key: Option<&[u8]>,
        order: &Order<'_>,
        deadline: Instant,
    ) -> Result<Value, StoreError> {
        let table = self.table();
        let mut wire = table.keeper_of(key.map_or(self.time_slot, slot_of))?;
        let mut asking = false;
        for _ in 0..HOPS {
            let refusal = match wire.ask(order, asking, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(refusal) => refusal,
            };
            match (refusal.elsewhere, refusal.told) {
                (Some(redirect), told) => {
                    if !redirect.asking {
                        self.wake.notify_one();
                    }
                    asking = redirect.asking;
                    wire = table.wire_to(&redirect, wire).ok_or(told)?;
                }
                (None, StoreError::Refused("TRYAGAIN")) => {
                    sleep_until(deadline.min(Instant::now() + RETRY_AFTER)).await;
                }
                (None, told) => {
                    if matches!(told, StoreError::Refused("CLUSTERDOWN" | "READONLY" | "MASTERDOWN")) {
                        self.wake.notify_one();
                    }
                    return Err(told);
                }
            }
        }
        Err(StoreError::TimedOut)
    }

    /// Whether all slots are served: the cluster says so, and each primary answers us.
    pub(super) fn is_up(&self) -> bool {
        let table = self.table.load();
        table.complete && table.primaries().all(|wire| wire.is_up())
    }

    pub(super) fn was_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed) || self.table.load().wires.values().any(|wire| wire.was_reached())
    }

    pub(super) fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Takes over how the cluster sees itself. The wires that the new table has and the old one had not are kept by
    /// nobody yet.
    pub(super) fn adopt(&self, view: View) {
        let before = self.table();
        let mut wires = BTreeMap::new();
        for address in view.ranges.iter().flat_map(|range| &range.servers) {
            let wire = before.wires.get(address).cloned().or_else(|| self.wire(address));
            wires.extend(wire.map(|wire| (address.clone(), wire)));
        }
        // Servers that are cut off from the others may have forgotten some that we still reach.
        if !view.serves {
            wires.extend(before.wires.iter().map(|(address, wire)| (address.clone(), Arc::clone(wire))));
        }
        let complete = view.serves && view.is_complete();
        let mut ranges = view.ranges;
        ranges.sort_by_key(|range| *range.slots.start());
        let table = Table { wires, ranges, why: StoreError::Refused("CLUSTERDOWN"), complete };
        let timekeeper = table.keeper_of(self.time_slot).ok();
        for wire in table.wires.values() {
            wire.keeps_time.store(timekeeper.is_some_and(|keeper| Arc::ptr_eq(keeper, wire)), Ordering::Relaxed);
        }
        self.table.store(Arc::new(table));
    }

    /// Nobody could be asked.
    pub(super) fn refused(&self, why: StoreError) {
        if self.table.load().wires.is_empty() {
            self.table.store(Arc::new(Table::empty(why)));
        }
    }

    /// Says so when all slots begin or cease to be served.
    pub(super) fn announce(&self) {
        let reached = self.was_reached();
        self.reached.store(reached, Ordering::Relaxed);
        let whole = self.is_up();
        if self.whole.swap(whole, Ordering::Relaxed) != whole {
            if whole {
                info!("all slots of the store's cluster are served");
            } else {
                warn!("not all slots of the store's cluster are served");
            }
        }
    }

    fn wire(&self, address: &str) -> Option<Arc<Wire>> {
        let (host, port) = host_and_port(address)?;
        let client = self.certificates.client(elsewhere(&self.login, host, port)).ok()?;
        let target = Target::Fixed { client, address: address.to_owned() };
        Some(Arc::new(Wire::new(target, self.settings.clone())))
    }
}

impl Table {
    fn empty(why: StoreError) -> Self {
        Self { wires: BTreeMap::new(), ranges: Vec::new(), why, complete: false }
    }

    /// The server to ask about a slot.
    pub(super) fn keeper_of(&self, slot: u16) -> Result<&Arc<Wire>, StoreError> {
        let place = self.ranges.partition_point(|range| *range.slots.end() < slot);
        let range = self.ranges.get(place).filter(|range| range.slots.contains(&slot));
        range.and_then(|range| self.primary(range)).ok_or(self.why)
    }

    /// A server that is up, the keeper of `slot` for choice: for what any server of the cluster can do.
    pub(super) fn anyone(&self, slot: u16) -> Result<&Arc<Wire>, StoreError> {
        let keeper = self.keeper_of(slot);
        match keeper {
            Ok(keeper) if keeper.is_up() => Ok(keeper),
            Ok(_) | Err(_) => self.wires.values().find(|wire| wire.is_up()).map_or(keeper, Ok),
        }
    }

    /// Some more than once.
    pub(super) fn primaries(&self) -> impl Iterator<Item = &Arc<Wire>> {
        self.ranges.iter().filter_map(|range| self.primary(range))
    }

    fn primary(&self, range: &Range) -> Option<&Arc<Wire>> {
        range.servers.first().and_then(|address| self.wires.get(address))
    }

    fn wire_to(&self, redirect: &Redirect, from: &Wire) -> Option<&Arc<Wire>> {
        let (host, port) = host_and_port(&redirect.address)?;
        if host.is_empty() {
            let (host, _) = host_and_port(from.target.name())?;
            return self.wires.get(&format!("{host}:{port}"));
        }
        self.wires.get(&redirect.address)
    }
}

/// How many servers one call may be sent to. A slot that moves takes two; TRYAGAIN uses some up on one server.
const HOPS: usize = 8;

const RETRY_AFTER: Duration = Duration::from_millis(5);
