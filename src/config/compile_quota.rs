//! The quotas of one policy file, and who names them.
//!
//! Called by `compile` and `compile_route` only.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use sha2::{Digest, Sha256};
use toml::Spanned;

use super::block::Block;
use super::compile::Compiler;
use super::diag::{Faults, suggest};
use super::policy_file::RawQuota;
use super::value::Rate as WrittenRate;
use crate::policy::quota::{Limit, Per, Quota, QuotaIndex, Rate};
use crate::policy::route::{Location, Realm};

/// A quota of the file, and whether anybody names it.
pub(super) struct QuotaUse {
    span: Range<usize>,
    used: bool,
    /// `None` where it has faults of its own.
    index: Option<QuotaIndex>,
}

/// The quotas of the file by name.
pub(super) type Quotas = BTreeMap<String, QuotaUse>;

/// What one `quotas = […]` names.
#[derive(Default)]
pub(super) struct Named {
    pub indexes: Vec<QuotaIndex>,
    /// One of them is per address.
    pub per_address: bool,
}

/// Why a rate cannot be counted.
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
            let raw = block.read::<RawQuota>(faults);
            let unreadable = raw.is_none();
            let quota = raw.and_then(|raw| self.quota(name.get_ref(), raw, (span, line), realm, faults));
            let index = quota.and_then(|quota| {
                let index = u16::try_from(realm.quotas.len()).ok().map(QuotaIndex);
                realm.quotas.push(quota);
                index
            });
            let entry = QuotaUse { span: name.span(), used: unreadable, index };
            self.quotas.insert(name.into_inner(), entry);
        }
    }

    fn quota(
        &self,
        name: &str,
        raw: RawQuota,
        (span, line): (Range<usize>, u32),
        realm: &Realm,
        faults: &mut Faults,
    ) -> Option<Quota> {
        let per = self.per(&raw.per, realm, faults);
        let limit = self.limit(&raw, span, faults);
        let (per, limit) = (per?, limit?);
        let written = written(&raw, &limit);
        let location = Location { file: self.source.name.as_str().into(), line };
        let mark = mark(&[&realm.name, name, per.name(), &written]);
        Some(Quota { name: name.into(), location, per, limit, written: written.into(), mark })
    }

    fn per(&self, per: &Spanned<String>, realm: &Realm, faults: &mut Faults) -> Option<Per> {
        let text = per.get_ref().as_str();
        if let Some((_, kind)) = Per::KINDS.into_iter().find(|(name, _)| *name == text) {
            return Some(kind);
        }
        if realm.role(text).is_some() {
            return Some(Per::Ancestor(text.into()));
        }
        let known = Per::KINDS.into_iter().map(|(name, _)| name).chain(realm.roles.iter().map(|role| &**role));
        faults.fault(self.source, per.span(), format!("no quota can be per `{text}`"), suggest(text, known));
        None
    }

    fn limit(&self, raw: &RawQuota, span: Range<usize>, faults: &mut Faults) -> Option<Limit> {
        for number in raw.burst.iter().chain(&raw.in_flight).filter(|number| *number.get_ref() == 0) {
            faults.fault(self.source, number.span(), "at least 1: zero would refuse everything", "");
            return None;
        }
        match (&raw.rate, &raw.in_flight) {
            (None, None) => {
                faults.fault(self.source, span, "a quota needs `rate` or `in_flight`", "rate = \"50/s\"");
                None
            }
            (Some(_), Some(both)) => {
                let message = "a quota has `rate` or `in_flight`, not both";
                faults.fault(self.source, both.span(), message, "make two quotas");
                None
            }
            (None, Some(most)) => Some(Limit::InFlight(*most.get_ref())),
            (Some(rate), None) => {
                let WrittenRate { count, per } = *rate.get_ref();
                let interval = u64::try_from(per.as_nanos()).unwrap_or(u64::MAX) / u64::from(count.max(1));
                let burst = raw.burst.as_ref().map_or(count, |burst| *burst.get_ref());
                let compiled = Rate { interval: interval.max(1), burst, shared: raw.shared };
                if Duration::from_nanos(compiled.capacity()) > LONGEST_REFILL {
                    let message = "it would take more than 30 days until the burst is there again";
                    let place = raw.burst.as_ref().map_or(rate.span(), Spanned::span);
                    faults.fault(self.source, place, message, "a smaller burst, or a higher rate");
                    return None;
                }
                Some(Limit::Rate(compiled))
            }
        }
    }

    /// Notes that the quotas are used.
    pub(super) fn use_quotas(&mut self, names: &[Spanned<String>], realm: &Realm, faults: &mut Faults) -> Named {
        let mut named = Named::default();
        for name in names {
            match self.quotas.get_mut(name.get_ref()) {
                Some(quota) => {
                    quota.used = true;
                    let Some(index) = quota.index else { continue };
                    named.indexes.push(index);
                    let per = realm.quotas.get(usize::from(index.0)).map(|quota| &quota.per);
                    named.per_address |= per == Some(&Per::Address);
                }
                None => {
                    let hint = suggest(name.get_ref(), self.quotas.keys().map(String::as_str));
                    let message = format!("no quota `{}` in this file", name.get_ref());
                    faults.fault(self.source, name.span(), message, hint);
                }
            }
        }
        named
    }

    pub(super) fn refuse_unused_quotas(&self, faults: &mut Faults) {
        for (name, quota) in self.quotas.iter().filter(|(_, quota)| !quota.used) {
            let message = format!("nobody uses quota `{name}`");
            let hint = "name it in `quotas` of a route, the realm or the login";
            faults.fault(self.source, quota.span.clone(), message, hint);
        }
    }
}

/// The limit for people, the defaults written out.
fn written(raw: &RawQuota, limit: &Limit) -> String {
    match limit {
        Limit::InFlight(most) => format!("{most} in flight"),
        Limit::Rate(rate) => {
            let written = raw.rate.as_ref().map(|rate| *rate.get_ref());
            let unit = written.map_or("s", |rate| match rate.per.as_secs() {
                3600 => "h",
                60 => "min",
                _ => "s",
            });
            let count = written.map_or(0, |rate| rate.count);
            let shared = if rate.shared { ", shared" } else { "" };
            format!("{count}/{unit}, burst {}{shared}", rate.burst)
        }
    }
}

/// Told apart by a separator that stands in none of them.
fn mark(parts: &[&str]) -> u64 {
    let digest = Sha256::digest(parts.join("\n").as_bytes());
    let (mark, _) = digest.split_at(8);
    mark.iter().fold(0, |mark, byte| mark << 8 | u64::from(*byte))
}
