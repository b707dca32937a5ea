//! `[quota.NAME]`, compiled: who has an allowance, and how much.
//!
//! Called by `compile` only. Who names a quota, and whether it can be charged there, is `compile_charges`'s business.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::spanned::Spanned;
use sha2::{Digest, Sha256};

use super::block::Block;
use super::compile::Compiler;
use super::diag::{Faults, suggest};
use super::policy_file::RawQuota;
use crate::policy::quota::{Limit, Per, Quota, QuotaIndex, Rate};
use crate::policy::route::{Location, Realm};

/// A quota of the file, and whether anybody names it.
pub(super) struct QuotaUse {
    pub span: Range<usize>,
    pub used: bool,
    /// `None` where it has faults of its own.
    pub index: Option<QuotaIndex>,
}

/// The quotas of the file by name.
pub(super) type Quotas = BTreeMap<String, QuotaUse>;

/// Counters of shared quotas are kept so long at most; the numbers of any store can hold it.
const LONGEST_REFILL: Duration = Duration::from_secs(30 * 86_400);

impl Compiler<'_> {
    pub(super) fn read_quotas(
        &mut self,
        blocks: Vec<(Spanned<String>, Block<'_>)>,
        realm: &mut Realm,
        faults: &mut Faults,
    ) {
        for (name, block) in blocks {
            let (span, line) = (block.span(), block.line());
            self.label(&name, "a quota's name", faults);
            let quota = block
                .read::<RawQuota>(faults)
                .and_then(|raw| self.quota(name.get_ref(), &raw, (span, line), realm, faults));
            let index = quota.and_then(|quota| {
                let Ok(index) = u16::try_from(realm.quotas.len()) else {
                    let hint = "a role's quota serves all accounts of that role";
                    faults.fault(self.source, name.span(), "more than 65536 quotas in a file", hint);
                    return None;
                };
                realm.quotas.push(quota);
                Some(QuotaIndex(index))
            });
            let entry = QuotaUse { span: name.span(), used: false, index };
            self.quotas.insert(name.into_inner(), entry);
        }
    }

    fn quota(
        &self,
        name: &str,
        raw: &RawQuota,
        (span, line): (Range<usize>, u32),
        realm: &Realm,
        faults: &mut Faults,
    ) -> Option<Quota> {
        let per = self.per(&raw.per, realm, faults);
        let limit = self.limit(raw, span, faults);
        let (per, limit) = (per?, limit?);
        if let (Per::Upstream, Some(rate)) = (&per, &raw.rate) {
            let hint = "per = \"upstream\" goes with in_flight; a rate can be per \"route\" or \"realm\"";
            faults.fault(self.source, rate.span(), "a quota per upstream bounds running requests, not a rate", hint);
            return None;
        }
        let written = written(raw, &limit);
        let location = Location { file: self.source.name.as_str().into(), line };
        let mark = mark(&[&realm.name, name, per.name(), &written]);
        Some(Quota { name: name.into(), location, per, limit, written: written.into(), mark })
    }

    fn per(&self, per: &Spanned<String>, realm: &Realm, faults: &mut Faults) -> Option<Per> {
        let text = per.get_ref().as_str();
        let kind = Per::KINDS.into_iter().find(|(name, _)| *name == text).map(|(_, kind)| kind);
        match (kind, realm.role(text)) {
            (Some(kind), None) => Some(kind),
            (None, Some(_)) => Some(Per::Ancestor(text.into())),
            (Some(_), Some(_)) => {
                let message = format!("`{text}` is a kind of quota, and a role of this realm");
                faults.fault(self.source, per.span(), message, "give the role another name");
                None
            }
            (None, None) => {
                let kinds = Per::KINDS.into_iter().map(|(name, _)| name);
                let known = kinds.chain(realm.roles.iter().map(|role| &**role));
                faults.fault(self.source, per.span(), format!("no quota can be per `{text}`"), suggest(text, known));
                None
            }
        }
    }

    fn limit(&self, raw: &RawQuota, span: Range<usize>, faults: &mut Faults) -> Option<Limit> {
        let mut whole = true;
        for number in raw.burst.iter().chain(&raw.in_flight).filter(|number| *number.get_ref() == 0) {
            let hint = "to switch a route off: enabled = false";
            faults.fault(self.source, number.span(), "at least 1: zero would refuse everything", hint);
            whole = false;
        }
        match (&raw.rate, &raw.in_flight) {
            (None, None) => {
                let hint = "rate = \"50/s\", or in_flight = 20";
                faults.fault(self.source, span, "a quota needs `rate` or `in_flight`", hint);
                None
            }
            (Some(_), Some(both)) => {
                let message = "a quota has `rate` or `in_flight`, not both";
                faults.fault(self.source, both.span(), message, "make two quotas, and name both");
                None
            }
            (None, Some(most)) => {
                whole &= self.goes_with_in_flight(raw, faults);
                whole.then(|| Limit::InFlight(*most.get_ref()))
            }
            (Some(rate), None) => {
                let place = raw.burst.as_ref().map_or(rate.span(), Spanned::span);
                let burst = raw.burst.as_ref().map_or(rate.get_ref().count, |burst| *burst.get_ref());
                let shared = raw.shared.as_ref().is_some_and(|shared| *shared.get_ref());
                let compiled = Rate { interval: rate.get_ref().interval(), burst, shared };
                if Duration::from_nanos(compiled.capacity()) > LONGEST_REFILL {
                    let message = "it would take more than 30 days until the burst is there again";
                    faults.fault(self.source, place, message, "a smaller burst, or a higher rate");
                    return None;
                }
                whole.then_some(Limit::Rate(compiled))
            }
        }
    }

    fn goes_with_in_flight(&self, raw: &RawQuota, faults: &mut Faults) -> bool {
        let shared = raw.shared.as_ref().filter(|shared| *shared.get_ref());
        if let Some(burst) = &raw.burst {
            let hint = "drop it; `in_flight` is the most at once";
            faults.fault(self.source, burst.span(), "`burst` goes with `rate`, not with `in_flight`", hint);
        }
        if let Some(shared) = shared {
            let hint = "drop `shared`, and divide `in_flight` by the number of gateways";
            faults.fault(self.source, shared.span(), "each gateway counts its own running requests", hint);
        }
        raw.burst.is_none() && shared.is_none()
    }
}

/// The limit for people, the defaults written out.
fn written(raw: &RawQuota, limit: &Limit) -> String {
    match limit {
        Limit::InFlight(most) => format!("{most} in flight"),
        Limit::Rate(rate) => {
            let written = raw.rate.as_ref().map(|rate| rate.get_ref().to_string()).unwrap_or_default();
            let shared = if rate.shared { ", shared" } else { "" };
            format!("{written}, burst {}{shared}", rate.burst)
        }
    }
}

/// Told apart by a separator that stands in none of them.
fn mark(parts: &[&str]) -> u64 {
    let digest = Sha256::digest(parts.join("\n").as_bytes());
    let (mark, _) = digest.split_at(8);
    mark.iter().fold(0, |mark, byte| mark << 8 | u64::from(*byte))
}
