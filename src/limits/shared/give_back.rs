//! What goes back to the store in the background: leases that nobody uses, and word of what was spent without it.
//!
//! Run by `limits` beside the requests, and once more when the gateway ends. No request waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::super::key::Key;
use super::Pool;
use super::gate::{Gate, Pass};
use super::lease::{Lease, Order, Origin, Purpose};
use super::meters::Op;
use crate::store::StoreError;

/// What there is to do, by realm.
#[derive(Default)]
struct Chores {
    unused: Vec<(Key, Arc<Origin>, u32)>,
    owing: Vec<Key>,
    /// A lease that cannot go back while the store is away.
    held: Option<Key>,
}

impl Pool {
    pub(super) async fn tidy_forever(self: &Arc<Self>, now: impl Fn() -> u64) {
        loop {
            tokio::time::sleep(EVERY).await;
            self.tidy(&now).await;
        }
    }

    pub(super) async fn tidy(self: &Arc<Self>, now: &impl Fn() -> u64) {
        let at = now();
        self.do_chores(self.chores(at, |lease| lease.spare(at)), now).await;
        self.leases.forget(now());
        for gate in self.gates() {
            gate.tell(now());
        }
    }

    pub(super) async fn give_back_all(self: &Arc<Self>, now: impl Fn() -> u64) {
        // What is told as owed may be answered with a cell, so twice.
        for _ in 0..2 {
            self.do_chores(self.chores(now(), |lease| lease.empty_to(0)), &now).await;
        }
        // Where it is not heard, the others stop counting this gateway by themselves.
        let _ = self.store.leave().await;
    }

    /// Takes the cells out of leases that are to go back. While the store is away they stay: they can still be spent.
    fn chores(&self, now: u64, spare: impl Fn(&mut Lease) -> u32) -> BTreeMap<Box<str>, (Arc<Gate>, Chores)> {
        let open: BTreeMap<Box<str>, bool> =
            self.gates().iter().map(|gate| (gate.realm.clone(), gate.is_open())).collect();
        let mut chores: BTreeMap<Box<str>, (Arc<Gate>, Chores)> = BTreeMap::new();
        self.leases.each(|lease| {
            let is_open = open.get(&lease.origin.gate.realm).is_some_and(|open| *open);
            let unused = if is_open { spare(lease) } else { 0 };
            let (is_held, owes) = (!is_open && lease.has_cells(), lease.owed(now) > 0);
            if unused == 0 && !owes && !is_held {
                return;
            }
            let gate = &lease.origin.gate;
            let (_, of_realm) = match chores.get_mut(&gate.realm) {
                Some(known) => known,
                None => chores.entry(gate.realm.clone()).or_insert((Arc::clone(gate), Chores::default())),
            };
            if unused > 0 {
                of_realm.unused.push((lease.key, Arc::clone(&lease.origin), unused));
            }
            if owes {
                of_realm.owing.push(lease.key);
            }
            if is_held {
                of_realm.held = Some(lease.key);
            }
        });
        chores
    }

    async fn do_chores(self: &Arc<Self>, chores: BTreeMap<Box<str>, (Arc<Gate>, Chores)>, now: &impl Fn() -> u64) {
        for (gate, Chores { unused, owing, held }) in chores.into_values() {
            for some in unused.chunks(AT_ONCE) {
                self.give_back(some).await;
            }
            // Requests that live on leases would not find out that the store is back, and those would never go back.
            if let Some(key) = held {
                self.reaches(&gate, key, now).await;
            }
            self.tell_owed(&gate, &owing, now).await;
        }
    }

    async fn give_back(&self, unused: &[(Key, Arc<Origin>, u32)]) {
        let buckets: Vec<_> = unused.iter().map(|(_, origin, cells)| (origin.bucket(), *cells)).collect();
        match self.meters.over(Op::GiveBack, self.store.give_back(&buckets)).await {
            // Refused for sure. After anything else they may have arrived: they count as given back, so that nobody has
            // them twice.
            Err(StoreError::Refused(_)) => {
                for (key, _, cells) in unused {
                    self.leases.with(*key, |lease| lease.refill(*cells));
                }
            }
            Ok(())
            | Err(
                StoreError::Unreachable | StoreError::TimedOut | StoreError::Unreadable | StoreError::Unacknowledged,
            ) => {}
        }
    }

    /// Whether the store may be asked; where it was away and may be tried again, whether it is back.
    async fn reaches(self: &Arc<Self>, gate: &Arc<Gate>, key: Key, now: &impl Fn() -> u64) -> bool {
        match gate.pass(self.store.is_up(), now()) {
            None => false,
            Some(Pass::Open) => true,
            Some(Pass::Probe) => {
                let orders = self.orders(&[key], Purpose::Probe, now());
                !orders.is_empty() && Arc::clone(self).ask(orders, Arc::clone(gate), Pass::Probe, now).await.is_ok()
            }
        }
    }

    /// Tells the store what was spent without it, once it is back.
    async fn tell_owed(self: &Arc<Self>, gate: &Arc<Gate>, owing: &[Key], now: &impl Fn() -> u64) {
        for some in owing.chunks(AT_ONCE) {
            if !self.reaches(gate, some[0], now).await {
                return;
            }
            // First the level is asked for, then the difference is told.
            for _ in 0..2 {
                let orders = self.orders(some, Purpose::Settle, now());
                if !orders.is_empty() {
                    // What it grants goes into the leases when the answer is dropped.
                    drop(Arc::clone(self).ask(orders, Arc::clone(gate), Pass::Open, now).await);
                }
            }
        }
    }

    fn orders(&self, keys: &[Key], purpose: Purpose, now: u64) -> Vec<Order> {
        let order = |key: &Key| self.leases.with(*key, |lease| lease.order(purpose, now));
        keys.iter().filter_map(order).collect()
    }

    fn gates(&self) -> Vec<Arc<Gate>> {
        self.gates.read().unwrap_or_else(std::sync::PoisonError::into_inner).values().cloned().collect()
    }
}

/// A quarter of what a lease may be idle for.
const EVERY: Duration = Duration::from_millis(250);

/// Buckets of one call.
const AT_ONCE: usize = 128;
