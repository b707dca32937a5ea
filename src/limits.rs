//! HOW MUCH: spends what the ladder asks for, all quotas of a stage or none.
//!
//! Called by `proxy` with the charges that `policy` worked out; what too little left means for a request is decided there.
//! Local quotas are counted in `table`, running requests in `in_flight`, quotas that all gateways share in `shared`, which
//! leases cells from the store. An operator's edit cannot mix up counters: each belongs to its quota's mark.

mod bucket;
#[cfg(test)]
mod conformance;
mod in_flight;
mod key;
mod shared;
mod table;

use std::sync::Arc;
use std::time::Instant;

use self::in_flight::InFlight;
pub use self::in_flight::Running;
use self::key::{Key, Keys};
use self::shared::{Drawn, Shared, Wanted};
use self::table::Table;
use crate::policy::quota::{Charge, Charges, Limit, MAX_CHARGES, QuotaIndex};
use crate::store::{Patience, Store};

/// The most keys that local quotas keep apart in one gateway.
pub const MAX_KEYS: usize = 1_000_000;

/// What one quota said to one charge; a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// There was enough.
    Admitted,
    /// There was too little.
    Refused,
    /// There was enough of this gateway's own share: the store could not be asked.
    AdmittedOnShare,
    /// There was too little of this gateway's own share.
    RefusedOnShare,
}

impl Said {
    /// All answers; `said as usize` is the index.
    pub const ALL: [Said; 4] = [Said::Admitted, Said::Refused, Said::AdmittedOnShare, Said::RefusedOnShare];

    /// The label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Said::Admitted => "admitted",
            Said::Refused => "refused",
            Said::AdmittedOnShare => "admitted_on_share",
            Said::RefusedOnShare => "refused_on_share",
        }
    }
}

/// How a quota stands after a charge, for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The quota.
    pub quota: QuotaIndex,
    /// Cells that are left now.
    pub remaining: u32,
    /// Whole seconds until there is one more.
    pub more_in: u32,
}

impl Reading {
    /// Of two, the one that a client has to heed.
    #[must_use]
    pub fn tighter(self, other: Self) -> Self {
        if (other.remaining, self.more_in) < (self.remaining, other.more_in) { other } else { self }
    }
}

/// What came of a stage's charges.
#[derive(Debug)]
pub enum Taken {
    /// Everything was taken.
    All {
        /// The tightest quota with a rate.
        reading: Option<Reading>,
        /// What the request occupies for as long as it runs.
        running: Running,
    },
    /// Nothing was taken.
    Nothing {
        /// The quota that has to be waited for longest.
        quota: QuotaIndex,
        /// Whole seconds until it has enough; at least 1.
        retry_after: u32,
        /// How that quota stands; `None` for one of running requests.
        reading: Option<Reading>,
    },
}

/// Every quota's counters in one gateway.
pub struct Limits {
    keys: Keys,
    local: Table,
    in_flight: Arc<InFlight>,
    shared: Shared,
    clock: Clock,
}

/// Where the time comes from.
enum Clock {
    /// Counted from when the gateway began.
    Since(Instant),
    /// Nanoseconds, moved by a test.
    #[cfg(test)]
    Manual(Arc<std::sync::atomic::AtomicU64>),
}

impl Limits {
    /// With nothing spent.
    #[must_use]
    pub fn new(store: Arc<Store>) -> Self {
        Self::on(Clock::Since(Instant::now()), store)
    }

    /// On a clock that the test moves, in nanoseconds.
    #[cfg(test)]
    pub(crate) fn with_clock(store: Arc<Store>, now: Arc<std::sync::atomic::AtomicU64>) -> Self {
        Self::on(Clock::Manual(now), store)
    }

    fn on(clock: Clock, store: Arc<Store>) -> Self {
        Self {
            keys: Keys::new(),
            local: Table::new(MAX_KEYS),
            in_flight: Arc::default(),
            shared: Shared::new(store),
            clock,
        }
    }

    /// Takes one of each, or none of any. `note` hears what each quota said that had a say.
    pub async fn take(
        &self,
        charges: &Charges<'_>,
        patience: &Patience,
        note: impl Fn(QuotaIndex, Said) + Sync,
    ) -> Taken {
        let mut spent = Spent::new(self);
        if let Err(refusal) = spent.take_shared(charges, patience).await {
            return refusal.told(&note);
        }
        match spent.take_local(charges) {
            Ok(running) => Taken::All { reading: spent.keep(charges, &note), running },
            Err(refusal) => refusal.told(&note),
        }
    }

    /// How the quotas stand, and which of them would refuse: nothing is taken, and the store is not asked.
    #[must_use]
    pub fn peek(&self, charges: &Charges<'_>) -> Vec<Standing> {
        let now = self.now();
        let peek = |charge: &Charge<'_>| {
            let key = self.keys.of(charge);
            match charge.quota.limit {
                Limit::InFlight(most) => {
                    let running = self.in_flight.running(key);
                    Standing {
                        quota: charge.index,
                        remaining: most.saturating_sub(running),
                        wait: u64::from(running >= most),
                    }
                }
                Limit::Rate(rate) => {
                    let tat = if rate.shared { self.shared.peek(key, now) } else { self.local.read(key) };
                    let wait = bucket::conform(tat, now, &rate, 1).err().unwrap_or(0);
                    Standing { quota: charge.index, remaining: bucket::remaining(tat, now, &rate), wait }
                }
            }
        };
        charges.iter().map(peek).collect()
    }

    /// Keeps counters bounded, gives back what was leased and not used, and says that this gateway lives. Never returns.
    pub async fn run(&self) {
        tokio::join!(self.shared.run(|| self.now()), self.local.run(|| self.now()));
    }

    /// Gives everything back that was leased and not used: the gateway ends.
    pub async fn close(&self) {
        self.shared.give_back_all(|| self.now()).await;
    }

    /// Nanoseconds since long before the gateway began: 0 stands for a bucket that nobody used.
    fn now(&self) -> u64 {
        EPOCH
            + match &self.clock {
                Clock::Since(began) => u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX / 4),
                #[cfg(test)]
                Clock::Manual(now) => now.load(std::sync::atomic::Ordering::Relaxed),
            }
    }
}

/// Past every bucket's capacity, so that one that was full when the gateway began can be written down.
const EPOCH: u64 = 1 << 62;

/// How one quota stands, as [`Limits::peek`] tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The quota.
    pub quota: QuotaIndex,
    /// What is left, as far as this gateway knows.
    pub remaining: u32,
    /// Nanoseconds until there is enough for one request.
    pub wait: u64,
}

/// Why nothing was taken.
struct Refusal {
    quota: QuotaIndex,
    /// Nanoseconds.
    wait: u64,
    reading: Option<Reading>,
    said: Said,
}

impl Refusal {
    fn told(self, note: &impl Fn(QuotaIndex, Said)) -> Taken {
        note(self.quota, self.said);
        let retry_after = seconds(self.wait).max(1);
        Taken::Nothing { quota: self.quota, retry_after, reading: self.reading }
    }

    /// Of two, the one that has to be waited for longest: who heeds it meets the other no more.
    fn longer(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.wait > self.wait => other,
            Some(_) | None => self,
        }
    }
}

/// What was taken for one charge.
#[derive(Clone, Copy)]
enum Taking {
    Local(Key, u64),
    /// A leased cell.
    Cell(Key),
    /// Of the node's own share.
    Share(Key, u64),
}

/// What was taken so far; undone when it is dropped, unless it is kept.
struct Spent<'l> {
    limits: &'l Limits,
    /// By the place of the charge, with the bucket's state after it.
    taken: [Option<(Taking, u64)>; MAX_CHARGES],
}

impl<'l> Spent<'l> {
    const fn new(limits: &'l Limits) -> Self {
        Self { limits, taken: [None; MAX_CHARGES] }
    }

    /// Takes of the quotas that all gateways share: of the lease, and what is missing from the store.
    async fn take_shared(&mut self, charges: &Charges<'_>, patience: &Patience) -> Result<(), Refusal> {
        let shared = |charge: &Charge<'_>| match charge.quota.limit {
            Limit::Rate(rate) if rate.shared => Some(rate),
            Limit::Rate(_) | Limit::InFlight(_) => None,
        };
        let mut missing = Vec::new();
        for (place, charge) in charges.iter().enumerate() {
            let Some(rate) = shared(charge) else { continue };
            let key = self.limits.keys.of(charge);
            match self.limits.shared.take_leased(key, self.limits.now()) {
                Some(tat) => self.taken[place] = Some((Taking::Cell(key), tat)),
                None => missing.push(Wanted { place, key, realm: charges.realm, charge: *charge, rate }),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        // Who is refused here does not get to make the gateway ask the store.
        if let Some(refusal) = self.limits.refused_here(charges) {
            return Err(refusal);
        }
        match self.limits.shared.draw(&missing, || self.limits.now(), patience).await {
            Drawn::Cells(tats) => {
                for (wanted, tat) in missing.iter().zip(tats) {
                    self.taken[wanted.place] = Some((Taking::Cell(wanted.key), tat));
                }
                Ok(())
            }
            Drawn::Share(tats) => {
                for (wanted, tat) in missing.iter().zip(tats) {
                    self.taken[wanted.place] = Some((Taking::Share(wanted.key, wanted.rate.interval), tat));
                }
                Ok(())
            }
            Drawn::Refused { which, wait, tat, on_share } => {
                let Wanted { charge, rate, .. } = &missing[which.min(missing.len() - 1)];
                let reading = Some(bucket::reading(charge.index, tat, self.limits.now(), rate));
                let said = if on_share { Said::RefusedOnShare } else { Said::Refused };
                Err(Refusal { quota: charge.index, wait, reading, said })
            }
        }
    }

    /// Takes of this gateway's own quotas, running requests last.
    fn take_local(&mut self, charges: &Charges<'_>) -> Result<Running, Refusal> {
        let (limits, now) = (self.limits, self.limits.now());
        for (place, charge) in charges.iter().enumerate() {
            let Limit::Rate(rate) = charge.quota.limit else { continue };
            if rate.shared {
                continue;
            }
            let key = limits.keys.of(charge);
            match limits.local.take(key, &rate, now) {
                Ok(tat) => self.taken[place] = Some((Taking::Local(key, rate.interval), tat)),
                Err(wait) => {
                    let reading = Some(bucket::reading(charge.index, limits.local.read(key), now, &rate));
                    let refusal = Refusal { quota: charge.index, wait, reading, said: Said::Refused };
                    return Err(refusal.longer(limits.refused_here(charges)));
                }
            }
        }
        let mut running = Running::default();
        for charge in charges.iter() {
            let Limit::InFlight(most) = charge.quota.limit else { continue };
            if !running.add(&limits.in_flight, limits.keys.of(charge), most) {
                return Err(Refusal { quota: charge.index, wait: 1, reading: None, said: Said::Refused });
            }
        }
        Ok(running)
    }

    /// Takes for good; gives the tightest quota's reading.
    fn keep(mut self, charges: &Charges<'_>, note: &impl Fn(QuotaIndex, Said)) -> Option<Reading> {
        let now = self.limits.now();
        let mut tightest: Option<Reading> = None;
        for (charge, taken) in charges.iter().zip(std::mem::take(&mut self.taken)) {
            let on_share = matches!(taken, Some((Taking::Share(..), _)));
            note(charge.index, if on_share { Said::AdmittedOnShare } else { Said::Admitted });
            if let (Limit::Rate(rate), Some((_, tat))) = (&charge.quota.limit, taken) {
                let reading = bucket::reading(charge.index, tat, now, rate);
                tightest = Some(tightest.map_or(reading, |known| known.tighter(reading)));
            }
        }
        tightest
    }
}

impl Drop for Spent<'_> {
    fn drop(&mut self) {
        for (taking, _) in self.taken.iter().flatten() {
            match taking {
                Taking::Local(key, interval) => self.limits.local.refund(*key, *interval),
                Taking::Cell(key) => self.limits.shared.put_back(*key),
                Taking::Share(key, interval) => self.limits.shared.refund_share(*key, *interval),
            }
        }
    }
}

impl Limits {
    /// The local quota that has to be waited for longest, if one has too little.
    fn refused_here(&self, charges: &Charges<'_>) -> Option<Refusal> {
        let now = self.now();
        let mut longest: Option<Refusal> = None;
        for charge in charges.iter() {
            let key = self.keys.of(charge);
            let refusal = match charge.quota.limit {
                Limit::Rate(rate) if rate.shared => None,
                Limit::Rate(rate) => {
                    let tat = self.local.read(key);
                    bucket::conform(tat, now, &rate, 1).err().map(|wait| {
                        let reading = Some(bucket::reading(charge.index, tat, now, &rate));
                        Refusal { quota: charge.index, wait, reading, said: Said::Refused }
                    })
                }
                Limit::InFlight(most) if self.in_flight.running(key) >= most => {
                    Some(Refusal { quota: charge.index, wait: 1, reading: None, said: Said::Refused })
                }
                Limit::InFlight(_) => None,
            };
            longest = match refusal {
                Some(refusal) => Some(refusal.longer(longest)),
                None => longest,
            };
        }
        longest
    }
}

/// Nanoseconds in whole seconds, rounded up.
fn seconds(nanoseconds: u64) -> u32 {
    u32::try_from(nanoseconds.div_ceil(1_000_000_000)).unwrap_or(u32::MAX)
}
