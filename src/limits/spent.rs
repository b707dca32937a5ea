//! One stage's charges while they are taken: all of them, or none.
//!
//! Made by `limits` for one take. What was taken is undone when this is dropped before it is kept: by a refusal, or since
//! the client left. The order is leased cells, this gateway's own quotas, then the store for the cells that are missing: of
//! requests that come together, only as many ask the store as the own quotas let pass.

use super::in_flight::Running;
use super::key::Key;
use super::shared::{Drawn, Wanted};
use super::table::Cell;
use super::{Limits, Reading, Refused, Said, bucket, seconds};
use crate::policy::quota::{Charge, Charges, Limit, MAX_CHARGES, QuotaIndex, Rate};
use crate::store::Patience;

/// How often quotas are read again that others took from since they were read. Whoever loses so often is refused.
const ROUNDS: usize = 8;

/// Why nothing was taken.
pub(super) struct Refusal {
    quota: QuotaIndex,
    /// Nanoseconds.
    wait: u64,
    reading: Option<Reading>,
    said: Said,
}

impl Refusal {
    pub(super) fn told(self, note: &impl Fn(QuotaIndex, Said)) -> Refused {
        note(self.quota, self.said);
        let retry_after = seconds(self.wait).max(1);
        Refused { quota: self.quota, retry_after, reading: self.reading }
    }

    /// By a bucket that has too little.
    pub(super) fn of_rate(quota: QuotaIndex, tat: u64, now: u64, rate: &Rate, wait: u64) -> Self {
        Self { quota, wait, reading: Some(bucket::reading(quota, tat, now, rate)), said: Said::Refused }
    }

    /// By too many requests that run: nobody knows when one of them ends.
    const fn of_running(quota: QuotaIndex) -> Self {
        Self { quota, wait: 1, reading: None, said: Said::Refused }
    }

    /// By the node's own share of a shared quota.
    fn on_share(self) -> Self {
        Self { said: Said::RefusedOnShare, ..self }
    }

    /// Of two, the one that has to be waited for longest: who heeds it meets the other no more. The first of two alike.
    fn longer(self, later: Self) -> Self {
        if later.wait > self.wait { later } else { self }
    }
}

/// What was taken for one charge.
#[derive(Clone, Copy)]
enum Taking {
    /// Of this gateway's own bucket.
    Local(Cell),
    /// A leased cell; the bucket after it.
    Leased(u64),
    /// Of the node's own share of a shared bucket; the share after it.
    Share(u64),
}

impl Taking {
    const fn tat(self) -> u64 {
        match self {
            Taking::Local(Cell { tat, .. }) | Taking::Leased(tat) | Taking::Share(tat) => tat,
        }
    }
}

/// What was taken so far.
pub(super) struct Spent<'l> {
    limits: &'l Limits,
    charges: &'l Charges<'l>,
    /// By the place of the charge, as all here.
    keys: [Key; MAX_CHARGES],
    taken: [Option<Taking>; MAX_CHARGES],
}

impl<'l> Spent<'l> {
    pub(super) fn new(limits: &'l Limits, charges: &'l Charges<'l>) -> Self {
        Self { limits, charges, keys: limits.keys.of_all(charges), taken: [None; MAX_CHARGES] }
    }

    /// Takes leased cells of the quotas that all gateways share; gives what is missing.
    pub(super) fn take_leased(&mut self, now: u64) -> Vec<Wanted<'l>> {
        let mut missing = Vec::new();
        let taken = self.charges.iter().zip(self.keys.iter().copied()).zip(&mut self.taken);
        for (place, ((charge, key), taken)) in taken.enumerate() {
            let Limit::Rate(rate @ Rate { shared: true, .. }) = charge.quota.limit else { continue };
            match self.limits.shared.take_leased(key, now) {
                Some(tat) => *taken = Some(Taking::Leased(tat)),
                None => missing.push(Wanted { place, key, realm: self.charges.realm, charge: *charge, rate }),
            }
        }
        missing
    }

    /// Takes of the store what is missing, or of the own share where the store cannot be asked.
    pub(super) async fn draw(&mut self, missing: &[Wanted<'_>], patience: &Patience) -> Result<(), Refusal> {
        let (tats, taking): (_, fn(u64) -> Taking) =
            match self.limits.shared.draw(missing, || self.limits.now(), patience).await {
                Drawn::Cells(tats) => (tats, Taking::Leased),
                Drawn::Share(tats) => (tats, Taking::Share),
                Drawn::Refused { which, wait, tat, on_share } => {
                    let Wanted { charge, rate, .. } = &missing[which.min(missing.len() - 1)];
                    let refusal = Refusal::of_rate(charge.index, tat, self.limits.now(), rate, wait);
                    return Err(if on_share { refusal.on_share() } else { refusal });
                }
            };
        for (wanted, tat) in missing.iter().zip(tats) {
            self.taken[wanted.place] = Some(taking(tat));
        }
        Ok(())
    }

    /// Takes of this gateway's own quotas: reads all, changes all where each has enough, and takes everything back where
    /// others were quicker in between.
    pub(super) fn take_local(&mut self, now: u64) -> Result<Running, Refusal> {
        // A single bucket is read and changed in one step.
        let several = self.charges.iter().nth(1).is_some();
        let mut rounds = 0;
        loop {
            if several && let Some(refusal) = self.refused_here(now) {
                return Err(refusal);
            }
            match self.change_local(now) {
                Ok(running) => return Ok(running),
                Err(refusal) => {
                    self.undo_local();
                    rounds += 1;
                    if !several || rounds == ROUNDS {
                        return Err(refusal);
                    }
                }
            }
        }
    }

    /// Stops where one has too little; what was taken before stays taken.
    pub(super) fn change_local(&mut self, now: u64) -> Result<Running, Refusal> {
        let mut running = Running::default();
        for ((charge, key), taken) in self.charges.iter().zip(self.keys.iter().copied()).zip(&mut self.taken) {
            match charge.quota.limit {
                Limit::InFlight(most) if !running.add(&self.limits.in_flight, key, most) => {
                    return Err(Refusal::of_running(charge.index));
                }
                Limit::Rate(rate) if !rate.shared => match self.limits.local.take(key, &rate, now) {
                    Ok(cell) => *taken = Some(Taking::Local(cell)),
                    Err(wait) => {
                        let tat = self.limits.local.read(key, now);
                        return Err(Refusal::of_rate(charge.index, tat, now, &rate, wait));
                    }
                },
                Limit::InFlight(_) | Limit::Rate(_) => {}
            }
        }
        Ok(running)
    }

    /// The quota that has to be waited for longest, if one of this gateway's own has too little. The store is not asked
    /// about the others then: they have a say as far as is known here.
    pub(super) fn refused_here(&self, now: u64) -> Option<Refusal> {
        let each = || self.charges.iter().zip(self.keys.iter().copied()).zip(&self.taken);
        let own = each().filter_map(|((charge, key), _)| self.refused_by_own(charge, key, now));
        let own = own.reduce(Refusal::longer)?;
        let missing = each().filter(|(_, taken)| taken.is_none());
        Some(
            missing.filter_map(|((charge, key), _)| self.refused_as_known(charge, key, now)).fold(own, Refusal::longer),
        )
    }

    fn refused_by_own(&self, charge: &Charge<'_>, key: Key, now: u64) -> Option<Refusal> {
        match charge.quota.limit {
            Limit::Rate(rate) if !rate.shared => {
                let tat = self.limits.local.read(key, now);
                let wait = bucket::conform(tat, now, &rate, 1).err()?;
                Some(Refusal::of_rate(charge.index, tat, now, &rate, wait))
            }
            Limit::InFlight(most) if self.limits.in_flight.running(key) >= most => {
                Some(Refusal::of_running(charge.index))
            }
            Limit::InFlight(_) | Limit::Rate(_) => None,
        }
    }

    fn refused_as_known(&self, charge: &Charge<'_>, key: Key, now: u64) -> Option<Refusal> {
        let Limit::Rate(rate @ Rate { shared: true, .. }) = charge.quota.limit else { return None };
        let tat = self.limits.shared.peek(key, now);
        let wait = bucket::conform(tat, now, &rate, 1).err()?;
        let refusal = Refusal::of_rate(charge.index, tat, now, &rate, wait);
        Some(if self.limits.shared.is_on_share(key, now) { refusal.on_share() } else { refusal })
    }

    /// Takes for good; gives the tightest quota's reading.
    pub(super) fn keep(&mut self, now: u64, note: &impl Fn(QuotaIndex, Said)) -> Option<Reading> {
        let mut tightest: Option<Reading> = None;
        for (charge, taken) in self.charges.iter().zip(&mut self.taken) {
            let taken = taken.take();
            let on_share = matches!(taken, Some(Taking::Share(_)));
            note(charge.index, if on_share { Said::AdmittedOnShare } else { Said::Admitted });
            if let (Limit::Rate(rate), Some(taken)) = (&charge.quota.limit, taken) {
                let reading = bucket::reading(charge.index, taken.tat(), now, rate);
                tightest = Some(tightest.map_or(reading, |known| known.tighter(reading)));
            }
        }
        tightest
    }

    fn undo_local(&mut self) {
        self.undo(|taking| matches!(taking, Taking::Local(_)));
    }

    fn undo(&mut self, which: impl Fn(&Taking) -> bool) {
        let limits = self.limits;
        for ((charge, key), taken) in self.charges.iter().zip(self.keys.iter().copied()).zip(&mut self.taken) {
            let (Limit::Rate(rate), Some(taking)) = (&charge.quota.limit, taken.take_if(|taking| which(taking))) else {
                continue;
            };
            match taking {
                Taking::Local(cell) => limits.local.refund(cell, rate.interval, limits.now()),
                Taking::Leased(_) => limits.shared.put_back(key),
                Taking::Share(_) => limits.shared.refund_share(key),
            }
        }
    }
}

impl Drop for Spent<'_> {
    fn drop(&mut self) {
        self.undo(|_| true);
    }
}
