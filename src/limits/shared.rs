//! Quotas that all gateways share: cells leased from the store, and this gateway's own share while it is away.
//!
//! `limits` takes leased cells here on the hot path and comes back to draw where there is none. How a bucket stands is in
//! `lease`, whether the store is asked at all in `gate`, what goes back to it in `give_back`. What a quota is about is not
//! known here.

mod gate;
mod give_back;
mod lease;
mod leases;
mod meters;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use self::gate::{Gate, Pass};
use self::lease::{Lease, Order, Origin, Purpose};
use self::leases::Leases;
use self::meters::{Meters, Op};
use super::key::Key;
use crate::policy::quota::{Charge, Rate};
use crate::store::{Patience, Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// A cell that is not leased yet.
pub(super) struct Wanted<'a> {
    /// The charge's place in its stage.
    pub place: usize,
    pub key: Key,
    pub realm: &'a str,
    pub charge: Charge<'a>,
    pub rate: Rate,
}

/// What came of asking for cells: one of each, or none of any.
pub(super) enum Drawn {
    /// The buckets after it, by this gateway's clock.
    Cells(Vec<u64>),
    /// The store was not to be had; the same of the own share.
    Share(Vec<u64>),
    Refused {
        which: usize,
        /// Nanoseconds.
        wait: u64,
        tat: u64,
        on_share: bool,
    },
}

/// Leases by key.
pub(super) struct Shared(Arc<Pool>);

/// What draws hold on to: they go on when nobody waits for them any more.
struct Pool {
    store: Arc<Store>,
    leases: Leases,
    /// By realm: as many as were ever in the policies.
    gates: RwLock<HashMap<Box<str>, Arc<Gate>>>,
    meters: Meters,
}

impl Shared {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self::with(store, Leases::new())
    }

    fn with(store: Arc<Store>, leases: Leases) -> Self {
        Self(Arc::new(Pool { store, leases, gates: RwLock::default(), meters: Meters::default() }))
    }

    /// Measures what the store is asked.
    pub(super) fn bind(&self, metrics: &Arc<Metrics>) {
        self.0.meters.bind(metrics);
    }

    /// A leased cell, with the bucket as this gateway knows it.
    pub(super) fn take_leased(&self, key: Key, now: u64) -> Option<u64> {
        self.0.leases.with(key, |lease| lease.take(now)).flatten()
    }

    /// A leased cell was not used.
    pub(super) fn put_back(&self, key: Key) {
        self.0.put_back(key);
    }

    /// So was one of the own share.
    pub(super) fn refund_share(&self, key: Key) {
        self.0.leases.with(key, Lease::refund_share);
    }

    /// The bucket, as far as this gateway knows it.
    pub(super) fn peek(&self, key: Key, now: u64) -> u64 {
        self.0.leases.with(key, |lease| lease.peek(now)).unwrap_or(0)
    }

    /// What [`Shared::peek`] tells is this gateway's own share.
    pub(super) fn is_on_share(&self, key: Key, now: u64) -> bool {
        self.0.leases.with(key, |lease| lease.is_on_share(now)).unwrap_or(false)
    }

    /// One cell of each of one realm: of the store, of what others were leased meanwhile, or of the own share.
    pub(super) async fn draw(&self, wanted: &[Wanted<'_>], now: impl Fn() -> u64, patience: &Patience) -> Drawn {
        let asked = now();
        let Some(realm) = wanted.first().map(|wanted| wanted.realm) else { return Drawn::Cells(Vec::new()) };
        if let Some(refused) = self.0.refused_just_now(wanted, asked) {
            return refused;
        }
        let gate = self.0.gate(realm);
        let Some(pass) = gate.pass(self.0.store.is_up(), asked) else { return self.0.share(wanted, asked) };
        let purpose = if pass == Pass::Probe { Purpose::Probe } else { Purpose::Lease };
        let orders: Vec<Order> = wanted.iter().map(|wanted| self.0.order(wanted, &gate, purpose, asked)).collect();
        let pool = Arc::clone(&self.0);
        let answer = if matches!(*pool.store, Store::Memory(_)) {
            pool.ask(orders, gate, pass, &now).await
        } else {
            let begun = Instant::now();
            let clock = move || asked.saturating_add(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(0));
            // On a task of its own: what it is given is kept, whether or not the client stays.
            let asking = tokio::spawn(pool.ask(orders, gate, pass, clock));
            patience.wait(async { asking.await.unwrap_or(Err(StoreError::Unreachable)) }).await
        };
        match answer {
            Ok(Answer::Granted(granted)) => Drawn::Cells(granted.keep()),
            Ok(Answer::Refused { which, wait, tat }) => Drawn::Refused { which, wait, tat, on_share: false },
            Err(_) => self.0.share(wanted, now()),
        }
    }

    /// Never returns.
    pub(super) async fn run(&self, now: impl Fn() -> u64) {
        self.0.tidy_forever(now).await;
    }

    /// Gives everything back and leaves the gateways that share.
    pub(super) async fn give_back_all(&self, now: impl Fn() -> u64) {
        self.0.give_back_all(now).await;
    }
}

/// What the store said to orders.
enum Answer {
    Granted(Granted),
    /// `which` has to be waited for longest.
    Refused {
        which: usize,
        wait: u64,
        tat: u64,
    },
}

/// A cell of each, which goes back to its lease unless it is kept.
struct Granted {
    pool: Arc<Pool>,
    cells: Vec<(Key, u64)>,
}

impl Granted {
    fn keep(mut self) -> Vec<u64> {
        std::mem::take(&mut self.cells).into_iter().map(|(_, tat)| tat).collect()
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        self.cells.iter().for_each(|(key, _)| self.pool.put_back(*key));
    }
}

impl Pool {
    fn put_back(&self, key: Key) {
        self.leases.with(key, Lease::put_back);
    }

    fn gate(&self, realm: &str) -> Arc<Gate> {
        if let Some(gate) = self.gates.read().unwrap_or_else(PoisonError::into_inner).get(realm) {
            return Arc::clone(gate);
        }
        let mut gates = self.gates.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(gates.entry(realm.into()).or_insert_with(|| Arc::new(Gate::new(realm))))
    }

    /// What the store has none left of need not be asked for again until it has.
    fn refused_just_now(&self, wanted: &[Wanted<'_>], now: u64) -> Option<Drawn> {
        let dry = wanted.iter().enumerate().filter_map(|(which, wanted)| {
            let look = |lease: &mut Lease| Some((which, lease.is_dry_for(now)?, lease.known()));
            self.leases.with(wanted.key, look).flatten()
        });
        let (which, wait, tat) = dry.rev().max_by_key(|(_, wait, _)| *wait)?;
        Some(Drawn::Refused { which, wait, tat, on_share: false })
    }

    fn order(&self, wanted: &Wanted<'_>, gate: &Arc<Gate>, purpose: Purpose, now: u64) -> Order {
        let new = || Lease::new(wanted.key, Arc::new(origin(wanted, gate)), now);
        let order = self.leases.with_new(wanted.key, new, |lease| lease.order(purpose, now));
        order.unwrap_or_else(|| Order::of_one(wanted.key, Arc::new(origin(wanted, gate))))
    }

    /// Asks the store, and keeps what it gives beyond the one cell of each that is handed out.
    async fn ask(
        self: Arc<Self>,
        orders: Vec<Order>,
        gate: Arc<Gate>,
        pass: Pass,
        now: impl Fn() -> u64,
    ) -> Result<Answer, StoreError> {
        let draws: Vec<_> = orders.iter().map(Order::draw).collect();
        let answer = self.meters.over(Op::Draw, self.store.draw(&draws)).await;
        let answer =
            answer.and_then(|drawn| (drawn.len() == orders.len()).then_some(drawn).ok_or(StoreError::Unreadable));
        let now = now();
        gate.hear(pass, answer.as_ref().map(|_| ()).map_err(|error| *error), now);
        let drawn = answer.inspect_err(|_| {
            for order in &orders {
                self.leases.with(order.key, |lease| lease.fail(order));
            }
        })?;
        let (mut cells, mut longest) = (Vec::with_capacity(orders.len()), (0, 0, 0));
        for (which, (order, drawn)) in orders.iter().zip(&drawn).enumerate() {
            let settle = |lease: &mut Lease| {
                let wait = lease.settle(order, *drawn, now);
                if drawn.granted > 0 {
                    (lease.take(now).unwrap_or(lease.known()), 0)
                } else {
                    (lease.known(), wait.unwrap_or(0))
                }
            };
            let beyond = || {
                let tat = now.saturating_add(drawn.debt);
                (tat, super::bucket::conform(tat, now, &order.origin.rate, 1).err().unwrap_or(0))
            };
            let (tat, wait) = self.leases.with(order.key, settle).unwrap_or_else(beyond);
            cells.push((order.key, tat));
            if which == 0 || wait > longest.1 {
                longest = (which, wait, tat);
            }
        }
        let granted = Granted { pool: self, cells };
        if drawn.iter().all(|drawn| drawn.granted > 0) {
            return Ok(Answer::Granted(granted));
        }
        granted.keep();
        let (which, wait, tat) = longest;
        Ok(Answer::Refused { which, wait, tat })
    }

    /// One cell of each of the own share, or none.
    fn share(&self, wanted: &[Wanted<'_>], now: u64) -> Drawn {
        let gateways = self.store.gateways().max(1);
        let take = |wanted: &Wanted<'_>| {
            let new = || Lease::new(wanted.key, Arc::new(origin(wanted, &self.gate(wanted.realm))), now);
            let taken = self.leases.with_new(wanted.key, new, |lease| lease.take_share(gateways, now));
            taken.unwrap_or_else(|| self.leases.take_share_beyond(wanted, gateways, now))
        };
        let taken: Vec<_> = wanted.iter().map(take).collect();
        let refused = taken.iter().enumerate().filter_map(|(which, taken)| {
            let (wait, tat) = taken.err()?;
            Some((which, wait, tat))
        });
        let Some((which, wait, tat)) = refused.rev().max_by_key(|(_, wait, _)| *wait) else {
            return Drawn::Share(taken.into_iter().flatten().collect());
        };
        for (wanted, _) in wanted.iter().zip(&taken).filter(|(_, taken)| taken.is_ok()) {
            self.leases.with(wanted.key, Lease::refund_share);
        }
        Drawn::Refused { which, wait, tat, on_share: true }
    }
}

fn origin(wanted: &Wanted<'_>, gate: &Arc<Gate>) -> Origin {
    let Charge { quota, subject, .. } = &wanted.charge;
    let key = format!("{}:{:016x}:{subject}", quota.name, quota.mark);
    Origin { gate: Arc::clone(gate), key: key.into(), rate: wanted.rate }
}
