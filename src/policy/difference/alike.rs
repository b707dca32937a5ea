//! Places where nothing can differ, so that no request need be tried there.
//!
//! Called by `difference`. It is sound because the ladder looks at nothing of a set but the realm's roles and networks, and the
//! route: where these are equal and the account is read from the same place, both sides go the same way whatever the request
//! is. Where they are not equal, nothing is concluded: the requests are tried.

use super::super::route::{Destination, Realm, Route, TargetRule, TargetSource};
use super::crossing::Crossing;
use super::{Pair, Side};

/// Whether routes of these realms that are equal decide alike. Their quotas' limits are told once for the realm.
pub(super) fn realms_alike(old: &Realm, new: &Realm) -> bool {
    let Realm {
        name,
        location: _,
        base,
        roles,
        schemes: _,
        networks,
        // Compared by name where a route leads to one.
        upstreams: _,
        quotas: _,
        charged: _,
        routes: _,
        table: _,
    } = old;
    (name, base, roles, networks) == (&new.name, &new.base, &new.roles, &new.networks)
}

/// Whether every request that comes here is decided alike by both sides.
pub(super) fn decide_alike(sides: &[Side<'_>; 2], crossing: &Crossing<'_, '_>, pair: &Pair<'_>) -> bool {
    let ([Some(old), Some(new)], Some(allowances)) = (crossing.routes, &pair.allowances) else { return false };
    let Route {
        name: _,
        location: _,
        matches: _,
        public,
        enabled,
        schemes,
        access,
        headers,
        app_types,
        quotas,
        target,
        destination,
        body_size,
        timeouts: _,
        strip_base,
        forward_authorization,
    } = old;
    let role = |rule: &Option<TargetRule>| rule.as_ref().and_then(|rule| rule.role.clone());
    (public, enabled, schemes, access) == (&new.public, &new.enabled, &new.schemes, &new.access)
        && (body_size, strip_base, forward_authorization)
            == (&new.body_size, &new.strip_base, &new.forward_authorization)
        && same_set(headers, &new.headers)
        && same_set(app_types, &new.app_types)
        && crossing.reads_alike()
        && is_optional(target) == is_optional(&new.target)
        && role(target) == role(&new.target)
        && answered(sides[0], destination) == answered(sides[1], &new.destination)
        && allowances.charge_alike(quotas, &new.quotas)
}

fn same_set(old: &[Box<str>], new: &[Box<str>]) -> bool {
    old.iter().all(|name| new.contains(name)) && new.iter().all(|name| old.contains(name))
}

fn is_optional(rule: &Option<TargetRule>) -> bool {
    match rule.as_ref().map(|rule| &rule.source) {
        Some(TargetSource::Query { optional, .. }) => *optional,
        Some(TargetSource::Path(_) | TargetSource::Header(_)) | None => false,
    }
}

/// Upstreams are known by their names: their places may differ.
fn answered<'s>(side: Side<'s>, destination: &Destination) -> (&'s str, u8) {
    match destination {
        Destination::Upstream(index) => (side.upstream(*index), 0),
        Destination::Login => ("", 1),
        Destination::Logout => ("", 2),
    }
}

/// What differs without being a decision.
pub(super) fn notes(crossing: &Crossing<'_, '_>) -> Vec<String> {
    let [Some(old), Some(new)] = crossing.routes else { return Vec::new() };
    let mut notes = Vec::new();
    if old.name != new.name {
        notes
            .push(format!("route {} is called {} now, in logs and metrics too ({})", old.name, new.name, new.location));
    }
    if old.timeouts != new.timeouts {
        notes.push(format!("route {} has other timeouts ({})", new.name, new.location));
    }
    notes
}
