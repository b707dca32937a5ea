//! Quotas per route, where one route became several or several became one: the requests shared one allowance.
//!
//! Called by `difference` with all places that requests come to. Every other quota is the same allowance whichever route is
//! taken; a route that only has another name is no change.

use std::collections::{BTreeMap, BTreeSet};

use super::super::quota::{Per, Quota};
use super::super::route::{Realm, Route};
use super::crossing::Crossing;
use super::{Kind, QuotaChange, Side};

/// A realm's name and a route's.
type Named<'s> = (&'s str, &'s str);

/// A route of one side, and the routes that its requests take on the other.
type Shared<'s> = BTreeMap<Named<'s>, BTreeSet<Named<'s>>>;

/// A quota with its realm, and two routes that are charged to it, one of each side.
type Meeting<'s> = (&'s Quota, &'s Realm, [Named<'s>; 2]);

/// What is told of them.
pub(super) fn changes<'s>(sides: &[Side<'s>; 2], crossings: &[Crossing<'_, 's>]) -> Vec<QuotaChange> {
    let mut changes = Vec::new();
    for (from, kind) in [(0, Kind::Widened), (1, Kind::Narrowed)] {
        let mut shared: Vec<(&'s Quota, &'s Realm, Shared<'s>)> = Vec::new();
        for crossing in crossings {
            for (quota, realm, routes) in meeting(sides, crossing, from) {
                let same = |(known, at, _): &&mut (&Quota, &Realm, Shared<'_>)| {
                    (&known.name, &at.name) == (&quota.name, &realm.name)
                };
                let [here, there] = routes;
                match shared.iter_mut().find(same) {
                    Some((_, _, known)) => _ = known.entry(here).or_default().insert(there),
                    None => shared.push((quota, realm, Shared::from([(here, BTreeSet::from([there]))]))),
                }
            }
        }
        for (quota, realm, shared) in shared {
            let several = shared.into_iter().filter(|(_, others)| others.len() > 1);
            changes.extend(several.map(|(one, others)| told(kind, quota, realm, one.1, &others)));
        }
    }
    changes
}

/// The quotas per route that a request of this place is charged to on both sides, with its routes, `from`'s first.
fn meeting<'s>(sides: &[Side<'s>; 2], crossing: &Crossing<'_, 's>, from: usize) -> Vec<Meeting<'s>> {
    let side = |side: usize| -> Option<(&'s Realm, &'s Route)> {
        Some((sides[side].snapshot.realm(crossing.realms()[side]?)?, crossing.routes[side]?))
    };
    let (Some(here), Some(there)) = (side(from), side(1 - from)) else { return Vec::new() };
    let per_route = |(realm, route): (&'s Realm, &'s Route)| {
        let quotas = route.quotas.iter().filter_map(|index| realm.quota(*index));
        quotas.filter(|quota| quota.per == Per::Route)
    };
    let both = per_route(here).filter(|quota| per_route(there).any(|other| other.name == quota.name));
    let named = |(realm, route): (&'s Realm, &'s Route)| (&*realm.name, &*route.name);
    both.map(|quota| (quota, here.0, [named(here), named(there)])).collect()
}

fn told(kind: Kind, quota: &Quota, realm: &Realm, one: &str, others: &BTreeSet<Named<'_>>) -> QuotaChange {
    let names = others.iter().map(|(_, route)| *route).collect::<Vec<_>>().join(", ");
    let (together, apart) = (format!("{} for {one}", quota.written), format!("{} for each of {names}", quota.written));
    let (before, after) = if kind == Kind::Widened { (together, apart) } else { (apart, together) };
    QuotaChange {
        kind,
        realm: realm.name.clone(),
        quota: quota.name.clone(),
        location: quota.location.clone(),
        charged: format!("{} routes", others.len()),
        before,
        after,
    }
}
