//! HOW MUCH: spends what the ladder asks for, all quotas of a stage or none.
//!
//! Called by `proxy` with the charges that `policy` worked out; what too little left means for a request is decided there.
//! Local quotas are counted in `table`, running requests in `in_flight`, quotas that all gateways share in `shared`, which
//! leases cells from the store; `spent` takes of all of them or undoes it. An operator's edit cannot mix up counters: each
//! belongs to its quota's mark.

mod bucket;
#[cfg(test)]
mod conformance;
mod in_flight;
mod key;
mod lines;
mod shared;
mod spent;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use self::in_flight::InFlight;
pub use self::in_flight::Running;
use self::key::Keys;
use self::shared::Shared;
use self::spent::{Refusal, Spent};
use self::table::Table;
use crate::policy::quota::{Charge, Charges, Limit, QuotaIndex, Rate};
use crate::store::{Patience, Store};
use crate::telemetry::metrics::Metrics;

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
    Nothing(Refused),
}

/// Why nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The quota that has to be waited for longest.
    pub quota: QuotaIndex,
    /// Whole seconds until it has enough; at least 1.
    pub retry_after: u32,
    /// How that quota stands; `None` for one of running requests.
    pub reading: Option<Reading>,
}

impl Refused {
    /// After an earlier stage, whose tightest quota stands so: whoever comes back must not meet one that had a cell for
    /// this request and none for another.
    #[must_use]
    pub fn after(self, earlier: Option<Reading>) -> Self {
        let empty = earlier.filter(|reading| reading.remaining == 0);
        let retry_after = empty.map_or(self.retry_after, |reading| self.retry_after.max(reading.more_in));
        Self { retry_after, ..self }
    }
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
            in_flight: Arc::new(InFlight::new()),
            shared: Shared::new(store),
            clock,
        }
    }

    /// Measures what the store is asked for shared quotas.
    #[must_use]
    pub fn measured(self, metrics: &Arc<Metrics>) -> Self {
        self.shared.bind(metrics);
        self
    }

    /// Takes one of each, or none of any, at a moment just past: a look at the clock would be a good part of what a
    /// check costs, and a request knows when it arrived. `note` hears what each quota said that had a say.
    pub async fn take(
        &self,
        charges: &Charges<'_>,
        moment: Instant,
        patience: &Patience,
        note: impl Fn(QuotaIndex, Said) + Sync,
    ) -> Taken {
        let mut now = self.at(moment);
        if let Some((charge, rate)) = single_own(charges) {
            return self.take_single(charge, rate, now, &note);
        }
        let mut spent = Spent::new(self, charges);
        let missing = spent.take_leased(now);
        // Before the store is asked: of requests that come together, no more draw than own quotas let pass.
        let running = match spent.take_local(now) {
            Ok(running) => running,
            Err(refusal) => return Taken::Nothing(refusal.told(&note)),
        };
        if !missing.is_empty() {
            if let Err(refusal) = spent.draw(&missing, patience).await {
                return Taken::Nothing(refusal.told(&note));
            }
            now = self.now();
        }
        Taken::All { reading: spent.keep(now, &note), running }
    }

    /// Of one bucket there is nothing to undo: it is read and changed in one step.
    fn take_single(&self, charge: &Charge<'_>, rate: &Rate, now: u64, note: &impl Fn(QuotaIndex, Said)) -> Taken {
        let key = self.keys.of(charge);
        match self.local.take(key, rate, now) {
            Ok(cell) => {
                note(charge.index, Said::Admitted);
                let reading = bucket::reading(charge.index, cell.tat, now, rate);
                Taken::All { reading: Some(reading), running: Running::default() }
            }
            Err(wait) => {
                let tat = self.local.read(key, now);
                Taken::Nothing(Refusal::of_rate(charge.index, tat, now, rate, wait).told(note))
            }
        }
    }

    /// What [`Limits::take`] would refuse without asking the store; nothing is taken. Quotas that all gateways share refuse
    /// nothing here: only the store knows how they stand.
    pub fn refused_here(&self, charges: &Charges<'_>, note: impl Fn(QuotaIndex, Said)) -> Option<Refused> {
        Spent::new(self, charges).refused_here(self.now()).map(|refusal| refusal.told(&note))
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
                    let tat = if rate.shared { self.shared.peek(key, now) } else { self.local.read(key, now) };
                    let wait = bucket::conform(tat, now, &rate, 1).err().unwrap_or(0);
                    Standing { quota: charge.index, remaining: bucket::remaining(tat, now, &rate), wait }
                }
            }
        };
        charges.iter().map(peek).collect()
    }

    /// What [`Limits::take`] would come to, as far as this gateway knows: the tightest quota's reading after it, or why
    /// nothing would be taken. Nothing is taken, and the store is not asked.
    ///
    /// # Errors
    /// Why nothing would be taken.
    pub fn foresee(&self, charges: &Charges<'_>) -> Result<Option<Reading>, Refused> {
        if let Some(standing) = Standing::refusing(&self.peek(charges)) {
            return Err(Refused { quota: standing.quota, retry_after: standing.wait_seconds().max(1), reading: None });
        }
        let now = self.now();
        let after = |charge: &Charge<'_>| {
            let Limit::Rate(rate) = charge.quota.limit else { return None };
            let key = self.keys.of(charge);
            let tat = if rate.shared { self.shared.peek(key, now) } else { self.local.read(key, now) };
            let tat = bucket::conform(tat, now, &rate, 1).unwrap_or(tat);
            Some(bucket::reading(charge.index, tat, now, &rate))
        };
        Ok(charges.iter().filter_map(after).reduce(Reading::tighter))
    }

    /// How many buckets of local quotas there are.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.local.len()
    }

    /// Keeps counters bounded, gives back what was leased and not used, and says that this gateway lives. Never returns.
    pub async fn run(&self) {
        tokio::join!(self.shared.run(|| self.now()), self.local.run(|| self.now()));
    }

    /// Gives everything back that was leased and not used: the gateway ends.
    pub async fn close(&self) {
        self.shared.give_back_all(|| self.now()).await;
    }

    fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    /// Nanoseconds since long before the gateway began: 0 stands for a bucket that nobody used.
    fn at(&self, moment: Instant) -> u64 {
        EPOCH
            + match &self.clock {
                Clock::Since(began) => {
                    u64::try_from(moment.saturating_duration_since(*began).as_nanos()).unwrap_or(u64::MAX / 4)
                }
                #[cfg(test)]
                Clock::Manual(now) => now.load(std::sync::atomic::Ordering::Relaxed),
            }
    }
}

/// The charge where it is the only one, to a rate of this gateway's own: so are most.
fn single_own<'c>(charges: &'c Charges<'c>) -> Option<(&'c Charge<'c>, &'c Rate)> {
    let mut each = charges.iter();
    let (Some(charge), None) = (each.next(), each.next()) else { return None };
    match &charge.quota.limit {
        Limit::Rate(rate) if !rate.shared => Some((charge, rate)),
        Limit::Rate(_) | Limit::InFlight(_) => None,
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

impl Standing {
    /// Of those that would refuse, the one that a refused request is told of: it has to be waited for longest, or is the
    /// first of several such.
    #[must_use]
    pub fn refusing(standings: &[Self]) -> Option<Self> {
        let refusing = standings.iter().rev().filter(|standing| standing.wait > 0);
        refusing.max_by_key(|standing| standing.wait).copied()
    }

    /// Whole seconds until there is enough for one request; at least 1 where there is not.
    #[must_use]
    pub fn wait_seconds(&self) -> u32 {
        seconds(self.wait)
    }
}

/// Nanoseconds in whole seconds, rounded up.
fn seconds(nanoseconds: u64) -> u32 {
    u32::try_from(nanoseconds.div_ceil(1_000_000_000)).unwrap_or(u32::MAX)
}
