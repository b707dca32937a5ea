//! How the quotas of two realms differ: their limits, told once, and what requests are charged to.
//!
//! Called by `difference`. A quota is known by its name, or, where all that is charged to one is now charged to another of
//! the same allowance, by that: a new name is no decision. How much is left of one is nothing that a policy says.

use std::collections::BTreeSet;

use super::super::quota::{Limit, Quota, QuotaIndex, Rate};
use super::super::route::Realm;
use super::{Kind, QuotaChange};

/// The quotas of a realm of each side.
pub(super) struct Allowances<'s> {
    old: &'s Realm,
    new: &'s Realm,
    /// Old names and what the new side calls them.
    renamed: Vec<(&'s str, &'s str)>,
}

impl<'s> Allowances<'s> {
    pub(super) fn of(old: &'s Realm, new: &'s Realm) -> Self {
        let known = |realm: &Realm, name: &str| realm.quotas.iter().any(|quota| *quota.name == *name);
        let mut renamed: Vec<(&str, &str)> = Vec::new();
        for before in old.quotas.iter().filter(|quota| !known(new, &quota.name)) {
            let fits = |after: &&Quota| {
                !known(old, &after.name)
                    && !renamed.iter().any(|(_, taken)| *taken == &*after.name)
                    && (&before.per, widened(&before.limit, &after.limit)) == (&after.per, [false; 2])
                    && payers(old, &before.name) == payers(new, &after.name)
            };
            if let Some(after) = new.quotas.iter().find(fits) {
                renamed.push((&before.name, &after.name));
            }
        }
        Self { old, new, renamed }
    }

    fn new_name<'n>(&self, old: &'n str) -> &'n str
    where
        's: 'n,
    {
        self.renamed.iter().find(|(before, _)| *before == old).map_or(old, |(_, after)| after)
    }

    /// Whether both routes are charged to the same quotas, beside what is told once.
    pub(super) fn charge_alike(&self, old: &[QuotaIndex], new: &[QuotaIndex]) -> bool {
        let names = |realm: &'s Realm, list: &[QuotaIndex]| -> Vec<&'s str> {
            let quotas = realm.charged.iter().chain(list).filter_map(|index| realm.quota(*index));
            quotas.map(|quota| &*quota.name).collect()
        };
        let before: BTreeSet<&str> = names(self.old, old).into_iter().map(|name| self.new_name(name)).collect();
        before == names(self.new, new).into_iter().collect()
    }

    /// What a request of a route is charged to on one side only, beside what every request of the realm is.
    pub(super) fn compare(&self, [old, new]: &[Vec<&'s Quota>; 2]) -> Vec<(Kind, String, String)> {
        let mut found = Vec::new();
        for before in old {
            let name = self.new_name(&before.name);
            let told = everywhere(self.old, &before.name) && !everywhere(self.new, name);
            if !told && !new.iter().any(|after| *after.name == *name) {
                found.push((Kind::Widened, format!("charged to {}", shown(before)), format!("not to {}", before.name)));
            }
        }
        for after in new {
            let is_it = |before: &&&Quota| self.new_name(&before.name) == &*after.name;
            let told = everywhere(self.new, &after.name)
                && !self.old.quotas.iter().any(|before| is_it(&&before) && everywhere(self.old, &before.name));
            if !told && !old.iter().any(|before| is_it(&before)) {
                found.push((Kind::Narrowed, format!("not charged to {}", after.name), format!("to {}", shown(after))));
            }
        }
        found
    }

    /// What is told once: quotas with another limit, and those that every request of the realm is charged to.
    pub(super) fn changes(&self) -> Vec<QuotaChange> {
        let mut changes = Vec::new();
        for before in &self.old.quotas {
            let name = self.new_name(&before.name);
            let after = self.new.quotas.iter().find(|after| *after.name == *name);
            let everywhere = [everywhere(self.old, &before.name), everywhere(self.new, name)];
            if let Some(after) = after {
                let widened = if before.per == after.per { widened(&before.limit, &after.limit) } else { [true; 2] };
                for (kind, _) in [Kind::Widened, Kind::Narrowed].into_iter().zip(widened).filter(|(_, is)| *is) {
                    changes.push(self.change(kind, after, allowance(before), allowance(after)));
                }
            }
            if everywhere == [true, false] {
                changes.push(self.change(
                    Kind::Widened,
                    after.unwrap_or(before),
                    charges(before),
                    "not all are".to_owned(),
                ));
            }
            if let (Some(after), [false, true]) = (after, everywhere) {
                changes.push(self.change(Kind::Narrowed, after, "not all are".to_owned(), charges(after)));
            }
        }
        let is_old = |after: &Quota| self.old.quotas.iter().any(|before| self.new_name(&before.name) == &*after.name);
        for after in self.new.quotas.iter().filter(|after| !is_old(after) && everywhere(self.new, &after.name)) {
            changes.push(self.change(Kind::Narrowed, after, "none are".to_owned(), charges(after)));
        }
        changes
    }

    fn change(&self, kind: Kind, quota: &Quota, before: String, after: String) -> QuotaChange {
        let payers = payers(self.new, &quota.name);
        let charged = match payers.len() {
            _ if everywhere(self.new, &quota.name) => "every request".to_owned(),
            1 => "1 route".to_owned(),
            count => format!("{count} routes"),
        };
        let (realm, location) = (self.new.name.clone(), quota.location.clone());
        QuotaChange { kind, realm, quota: quota.name.clone(), location, charged, before, after }
    }
}

fn shown(quota: &Quota) -> String {
    format!("{} ({})", quota.name, allowance(quota))
}

fn allowance(quota: &Quota) -> String {
    format!("{} per {}", quota.written, quota.per.name())
}

fn charges(quota: &Quota) -> String {
    format!("every request is charged: {}", allowance(quota))
}

/// Whether every request of the realm is charged to it, before routing.
fn everywhere(realm: &Realm, name: &str) -> bool {
    realm.charged.iter().filter_map(|index| realm.quota(*index)).any(|quota| *quota.name == *name)
}

/// The routes that are charged to it, and the empty name for the realm itself.
fn payers<'r>(realm: &'r Realm, name: &str) -> BTreeSet<&'r str> {
    let named = |index: &QuotaIndex| realm.quota(*index).is_some_and(|quota| *quota.name == *name);
    let routes = realm.routes.iter().filter(|route| route.quotas.iter().any(named));
    routes.map(|route| &*route.name).chain(realm.charged.iter().any(named).then_some("")).collect()
}

/// Whether the new limit lets more through in some respect, and less in some.
fn widened(old: &Limit, new: &Limit) -> [bool; 2] {
    let more = |old: &Limit, new: &Limit| match (old, new) {
        (Limit::InFlight(before), Limit::InFlight(after)) => after > before,
        (Limit::Rate(before), Limit::Rate(after)) => {
            let Rate { interval, burst, shared } = *after;
            interval < before.interval || burst > before.burst || (before.shared && !shared)
        }
        (Limit::InFlight(_), Limit::Rate(_)) | (Limit::Rate(_), Limit::InFlight(_)) => true,
    };
    [more(old, new), more(new, old)]
}
