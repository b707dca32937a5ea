//! Quotas that all gateways share: cells leased from the store, and this gateway's own share while it is away.

use std::sync::Arc;

use super::key::Key;
use crate::policy::quota::{Charge, Rate};
use crate::store::{Patience, Store};

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
pub(super) struct Shared {
    store: Arc<Store>,
}

impl Shared {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// A leased cell, with the bucket as this gateway knows it.
    pub(super) fn take_leased(&self, _key: Key, _now: u64) -> Option<u64> {
        None
    }

    /// A leased cell was not used.
    pub(super) fn put_back(&self, _key: Key) {}

    /// So was one of the own share.
    pub(super) fn refund_share(&self, _key: Key, _interval: u64) {}

    /// The bucket, as far as this gateway knows it.
    pub(super) fn peek(&self, _key: Key) -> u64 {
        0
    }

    pub(super) async fn draw(&self, wanted: &[Wanted<'_>], now: impl Fn() -> u64, patience: &Patience) -> Drawn {
        let _ = (&self.store, patience);
        Drawn::Share(wanted.iter().map(|wanted| now() + wanted.rate.interval).collect())
    }

    /// Never returns.
    pub(super) async fn run(&self, now: impl Fn() -> u64) {
        let _ = now();
        std::future::pending().await
    }

    pub(super) async fn give_back_all(&self) {}
}
