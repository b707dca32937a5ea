//! Tests of `limits`: a virtual clock, quotas made here, a store in memory.

mod crowd;
mod lines;
mod model;
mod promises;
mod running;
mod table;
mod threads;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::time::Instant;

use futures_util::FutureExt as _;

use super::{Limits, Standing, Taken};
use crate::policy::quota::{Charge, Charges, Limit, Per, Quota, QuotaIndex, Rate, Subject};
use crate::policy::route::Location;
use crate::store::{Memory, Patience, Store};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;

/// Limits and their store on clocks that the test moves together.
struct Fixture {
    limits: Limits,
    now: Arc<AtomicU64>,
    store_now: Arc<AtomicU64>,
    patience: Patience,
}

impl Fixture {
    fn new() -> Self {
        let (now, store_now) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let store = Store::Memory(Memory::with_fine_clock(Arc::clone(&store_now)));
        let limits = Limits::with_clock(Arc::new(store), Arc::clone(&now));
        Self { limits, now, store_now, patience: Patience::new(Duration::from_secs(1)) }
    }

    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    fn advance(&self, nanoseconds: u64) {
        self.now.fetch_add(nanoseconds, Ordering::Relaxed);
        self.store_now.store(self.now() / 1000, Ordering::Relaxed);
    }

    /// One of each; nothing here waits, not even the store.
    fn take(&self, wanted: &[(&Quota, Subject<'_>)]) -> Taken {
        self.limits.take(&charges(wanted), Instant::now(), &self.patience, |_, _| {}).now_or_never().unwrap()
    }

    fn is_taken(&self, wanted: &[(&Quota, Subject<'_>)]) -> bool {
        matches!(self.take(wanted), Taken::All { .. })
    }

    fn peek(&self, wanted: &[(&Quota, Subject<'_>)]) -> Vec<Standing> {
        self.limits.peek(&charges(wanted))
    }
}

/// A quota's index is its mark.
fn charges<'a>(wanted: &[(&'a Quota, Subject<'a>)]) -> Charges<'a> {
    let charge = |(quota, subject): &(&'a Quota, Subject<'a>)| Charge { index: index(quota), quota, subject: *subject };
    Charges::of("ucaas", wanted.iter().map(charge))
}

fn index(quota: &Quota) -> QuotaIndex {
    QuotaIndex(u16::try_from(quota.mark).unwrap())
}

fn quota(mark: u16, limit: Limit) -> Quota {
    Quota {
        name: format!("quota-{mark}").into(),
        location: Location { file: "ucaas.toml".into(), line: 1 },
        per: Per::Principal,
        limit,
        written: "".into(),
        mark: mark.into(),
    }
}

fn rate(interval: u64, burst: u32) -> Rate {
    Rate { interval, burst, shared: false }
}

/// The same numbers for the same seed, evenly spread (splitmix64).
pub(super) struct Dice(pub u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    /// At least `least`, below `end`.
    fn within(&mut self, least: u64, end: u64) -> u64 {
        least + self.below(end - least)
    }

    fn is_one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    /// Of every size between alike: each doubling is as likely.
    fn of_any_size(&mut self, least: u64, end: u64) -> u64 {
        let doublings = (end / least).ilog2().max(1).into();
        let size = least << self.within(0, doublings);
        self.within(size, (2 * size).min(end).max(size + 1))
    }
}
