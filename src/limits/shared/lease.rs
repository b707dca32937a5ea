//! One bucket of a shared quota as this gateway has it: leased cells, the level as last told, and the own share.
//!
//! Arithmetic over `bucket`; `leases` keeps many of them, `shared` asks the store. It knows no clock and waits for nothing.

use std::sync::Arc;
use std::time::Duration;

use super::super::bucket::{conform, remaining};
use super::super::key::Key;
use super::gate::Gate;
use crate::policy::quota::Rate;
use crate::store::{Bucket, Draw, Drawn};

/// The bucket in the store that cells come from.
pub(super) struct Origin {
    pub gate: Arc<Gate>,
    /// The same in every gateway.
    pub key: Box<str>,
    pub rate: Rate,
}

impl Origin {
    pub(super) fn bucket(&self) -> Bucket<'_> {
        Bucket { realm: &self.gate.realm, key: &self.key, interval: self.rate.interval, burst: self.rate.burst }
    }
}

/// What is asked of the store for one bucket.
pub(super) struct Order {
    pub key: Key,
    pub origin: Arc<Origin>,
    lease: u32,
    owed: u32,
    /// The own share's bucket, of which `owed` was worked out.
    share: u64,
    /// Nobody else asks for a lease meanwhile.
    refill: bool,
    /// What is spent of the share is told.
    settles: bool,
}

impl Order {
    /// One cell for a bucket that this gateway keeps no lease of.
    pub(super) const fn of_one(key: Key, origin: Arc<Origin>) -> Self {
        Self { key, origin, lease: 1, owed: 0, share: 0, refill: false, settles: false }
    }

    pub(super) fn draw(&self) -> Draw<'_> {
        Draw { bucket: self.origin.bucket(), lease: self.lease, owed: self.owed }
    }
}

/// What a draw is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To serve, for as long as a lease lasts.
    Lease,
    /// To tell the store what was spent without it.
    Settle,
    /// To see whether the store answers: one that comes late does no harm then.
    Probe,
}

/// Times are nanoseconds of this gateway's clock.
pub(super) struct Lease {
    pub key: Key,
    pub origin: Arc<Origin>,
    /// Charged in the store, and not used yet.
    cells: u32,
    /// Among how many gateways `share` divides the quota.
    gateways: u32,
    /// The bucket as last told, with the cells above in it.
    tat: u64,
    /// The store had nothing left; until then it is not asked again.
    dry_until: u64,
    /// Since when a lease is asked for; 0 when none is.
    asked: u64,
    /// The own share's bucket: it begins at the level that was told last, and counts every cell once for each gateway, as
    /// if all of them spent what this one does. In the past when nothing of it is used.
    share: u64,
    /// The level was told after the share was used last.
    is_compared: bool,
    used: u64,
}

impl Lease {
    pub(super) const fn new(key: Key, origin: Arc<Origin>, now: u64) -> Self {
        Self {
            key,
            origin,
            cells: 0,
            gateways: 1,
            tat: 0,
            dry_until: 0,
            asked: 0,
            share: 0,
            is_compared: true,
            used: now,
        }
    }

    /// A leased cell, with the bucket as it is known after it.
    pub(super) fn take(&mut self, now: u64) -> Option<u64> {
        self.cells = self.cells.checked_sub(1)?;
        self.used = now;
        Some(self.known())
    }

    pub(super) const fn put_back(&mut self) {
        self.cells = self.cells.saturating_add(1);
    }

    /// The bucket as far as it is known: what is leased can be spent.
    pub(super) fn known(&self) -> u64 {
        self.tat.saturating_sub(self.origin.rate.interval.saturating_mul(self.cells as u64))
    }

    /// Nanoseconds until there is a cell, if the store had none left just now and need not be asked again yet.
    pub(super) fn is_dry_for(&self, now: u64) -> Option<u64> {
        let wait = conform(self.known(), now, &self.origin.rate, 1).err();
        wait.filter(|_| now < self.dry_until)
    }

    pub(super) fn order(&mut self, purpose: Purpose, now: u64) -> Order {
        let mut order = Order::of_one(self.key, Arc::clone(&self.origin));
        if purpose == Purpose::Probe || self.is_asking(now) {
            return order;
        }
        (self.asked, order.refill) = (now, true);
        if self.share > now && !self.is_compared {
            return order;
        }
        if purpose == Purpose::Lease {
            order.lease = self.size();
        }
        (order.owed, order.share, order.settles) = (self.owed(now), self.share, true);
        order
    }

    const fn is_asking(&self, now: u64) -> bool {
        self.asked != 0 && now.saturating_sub(self.asked) <= ANSWER_LOST
    }

    /// Cells by which the store's level is below the share's. That one counts what the others will have spent, too: were it
    /// only this gateway's own part, the first one back would find the parts of the others free, and spend them again. So
    /// the first one tells it all, and the others, who ask for the level first, have nothing to add.
    pub(super) fn owed(&self, now: u64) -> u32 {
        let debt = self.share.saturating_sub(now.max(self.tat));
        let owed = debt.div_ceil(self.origin.rate.interval);
        u32::try_from(owed).unwrap_or(u32::MAX).min(self.origin.rate.burst)
    }

    /// The store answered: keeps what it gave, and the level. Gives the nanoseconds to wait for a cell if there is none.
    pub(super) fn settle(&mut self, order: &Order, drawn: Drawn, now: u64) -> Option<u64> {
        self.tat = now.saturating_add(drawn.debt);
        self.used = now;
        self.cells = self.cells.saturating_add(drawn.granted);
        self.is_compared = true;
        if order.refill {
            self.asked = 0;
        }
        if order.settles {
            let later = self.share.saturating_sub(order.share.max(now));
            self.share = if later > 0 { self.tat.saturating_add(later) } else { 0 };
        }
        let wait = (drawn.granted == 0).then(|| conform(self.tat, now, &self.origin.rate, 1).err()).flatten();
        self.dry_until = wait.map_or(0, |wait| now.saturating_add(wait.min(LONGEST_DRY)));
        wait
    }

    /// The store did not answer: nothing was given, and what is owed still is.
    pub(super) const fn fail(&mut self, order: &Order) {
        if order.refill {
            self.asked = 0;
        }
    }

    /// Takes a cell of the own share; either way the bucket after it, in terms of the whole quota.
    pub(super) fn take_share(&mut self, gateways: u32, now: u64) -> Result<u64, (u64, u64)> {
        if self.share <= now {
            self.gateways = gateways;
            self.share = self.tat.min(now.saturating_add(self.share_rate().capacity()));
        }
        let (whole, rate) = (self.origin.rate, self.share_rate());
        match conform(self.share, now, &rate, 1) {
            Ok(next) => {
                (self.share, self.is_compared, self.used) = (next, false, now);
                Ok(told(next, now, &whole, &rate))
            }
            Err(wait) => Err((wait, told(self.share, now, &whole, &rate))),
        }
    }

    pub(super) fn refund_share(&mut self) {
        self.share = self.share.saturating_sub(self.share_rate().interval);
    }

    pub(super) const fn is_on_share(&self, now: u64) -> bool {
        self.share > now
    }

    /// The bucket for those who only look.
    pub(super) fn peek(&self, now: u64) -> u64 {
        if self.is_on_share(now) { told(self.share, now, &self.origin.rate, &self.share_rate()) } else { self.known() }
    }

    fn share_rate(&self) -> Rate {
        share_of(&self.origin.rate, self.gateways)
    }

    pub(super) const fn is_idle(&self, now: u64) -> bool {
        now.saturating_sub(self.used) >= IDLE
    }

    /// What goes back now: all cells when nobody uses them, and else what is more than one lease. Requests that come
    /// together and are refused elsewhere leave more than that behind, which would stay out of the others' reach.
    pub(super) fn spare(&mut self, now: u64) -> u32 {
        self.empty_to(if self.is_idle(now) { 0 } else { self.size() })
    }

    pub(super) const fn has_cells(&self) -> bool {
        self.cells > 0
    }

    /// Takes all cells but so many out, to be given back.
    pub(super) fn empty_to(&mut self, kept: u32) -> u32 {
        let spare = self.cells.saturating_sub(kept);
        self.tat = self.tat.saturating_sub(self.origin.rate.interval.saturating_mul(spare.into()));
        self.cells -= spare;
        spare
    }

    /// Cells of one lease.
    fn size(&self) -> u32 {
        (self.origin.rate.burst / 100).max(1)
    }

    /// Takes them in again: the store did not want them.
    pub(super) fn refill(&mut self, cells: u32) {
        self.cells = self.cells.saturating_add(cells);
        self.tat = self.tat.saturating_add(self.origin.rate.interval.saturating_mul(cells as u64));
    }

    /// Whether forgetting it loses nothing.
    pub(super) const fn is_forgettable(&self, now: u64) -> bool {
        let is_full = self.tat <= now && self.share <= now;
        self.cells == 0 && is_full && self.is_idle(now) && !self.is_asking(now)
    }
}

/// One gateway's share of a quota: a cell costs as much as if every gateway took one. At least a cell fits in, so that
/// each has its turn where the burst is smaller than the number of gateways.
pub(super) fn share_of(rate: &Rate, gateways: u32) -> Rate {
    let gateways = gateways.max(1);
    Rate { interval: rate.interval.saturating_mul(gateways.into()), burst: (rate.burst / gateways).max(1), ..*rate }
}

/// A share's bucket in terms of the whole quota: it reads as having as many cells left, and where none is left the time
/// until there is one is the share's.
pub(super) fn told(tat: u64, now: u64, whole: &Rate, share: &Rate) -> u64 {
    let full = now.saturating_add(whole.capacity());
    match remaining(tat, now, share) {
        0 => {
            let wait = conform(tat, now, share, 1).err().unwrap_or(0);
            full.saturating_sub(whole.interval).saturating_add(wait)
        }
        left => full.saturating_sub(whole.interval.saturating_mul(left.into())),
    }
}

/// Leases that are not used for so long go back.
const IDLE: u64 = nanoseconds(Duration::from_secs(1));

/// After so long another may ask for a lease: the one who did was dropped with its runtime.
const ANSWER_LOST: u64 = nanoseconds(Duration::from_secs(2));

/// Others may give cells back, so the store is asked again at least so often, however long the quota's interval is.
const LONGEST_DRY: u64 = nanoseconds(Duration::from_secs(1));

/// For constants.
#[allow(clippy::cast_possible_truncation, reason = "seconds in nanoseconds")]
pub(super) const fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}
