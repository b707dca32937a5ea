//! What holds between the realms of one set of policy files: names and bases are unique, no base owns another's route, and
//! a scope can reach an account at all.
//!
//! Called by `load` once all files of a set are compiled, since the accounts of one realm may have roles of another.

use std::ops::Range;
use std::sync::Arc;

use super::compile::CompiledFile;
use super::compile_route::Places;
use super::diag::{Faults, Source};
use crate::policy::access::Scope;
use crate::policy::route::{Realm, Route, TargetSource};

/// A policy file, compiled.
pub(super) type Compiled = (Arc<Source>, CompiledFile);

/// Notes what the files of a set make of each other. `whole`: each of its files could be compiled.
pub(super) fn judge(set: &[Compiled], whole: bool, faults: &mut Faults) {
    for (place, (source, file)) in set.iter().enumerate() {
        for (earlier_source, earlier) in &set[..place] {
            refuse_unreachable(earlier_source, earlier, &file.realm, faults);
            refuse_unreachable(source, file, &earlier.realm, faults);
            refuse_twins(source, file, (earlier_source, earlier), faults);
        }
        if whole {
            refuse_impossible_scopes(source, file, set, faults);
        }
    }
}

fn refuse_twins(
    source: &Arc<Source>,
    file: &CompiledFile,
    earlier: (&Arc<Source>, &CompiledFile),
    faults: &mut Faults,
) {
    let (realm, other, (name, base)) = (&file.realm, &earlier.1.realm, &file.named);
    if other.name == realm.name {
        let message = format!("realm `{}` stands in {} already", realm.name, earlier.0.name);
        faults.fault(source, name.clone(), message, "a realm is one file");
    }
    if other.base == realm.base {
        let message = format!("base `{}/` belongs to realm `{}` already", realm.base, other.name);
        faults.fault(source, base.clone(), message, "give each realm a base of its own");
    }
}

/// The longest base owns a path, so what a route has below another realm's base can never match.
fn refuse_unreachable(source: &Arc<Source>, file: &CompiledFile, owner: &Realm, faults: &mut Faults) {
    let realm = &file.realm;
    if owner.base.len() <= realm.base.len() || realm.strip_base(&owner.base).is_none() {
        return;
    }
    for (route, places) in realm.routes.iter().zip(&file.places) {
        for ((method, pattern), span) in route.matches.iter().zip(&places.matches) {
            let whole = format!("{}{pattern}", realm.base);
            if owner.strip_base(&whole).is_some() {
                let message =
                    format!("`{method} {pattern}` can never match: realm `{}` owns {}", owner.name, owner.base);
                faults.fault(source, span.clone(), message, "move the route there, or change a base");
            }
        }
    }
}

/// Roles are listed highest first; what no realm lists below a role, the role's accounts have nothing of below them.
fn refuse_impossible_scopes(source: &Arc<Source>, file: &CompiledFile, set: &[Compiled], faults: &mut Faults) {
    let lies_below = |role: &str, lower: Option<&str>| {
        set.iter().any(|(_, file)| {
            let mut below = file.realm.roles.iter().skip_while(|known| ***known != *role).skip(1);
            below.any(|known| lower.is_none_or(|lower| **known == *lower))
        })
    };
    for (route, places) in file.realm.routes.iter().zip(&file.places) {
        for (role, scope, span) in judged_scopes(route, places) {
            let Some(role) = file.realm.roles.get(role) else { continue };
            let wanted = route.target.as_ref().and_then(|target| target.role.as_deref());
            let (own, below) = (wanted.is_none_or(|wanted| *wanted == **role), lies_below(role, wanted));
            let possible = match scope {
                Scope::Any => true,
                Scope::Own => own,
                Scope::Below => below,
                Scope::Subtree => own || below,
            };
            if possible {
                continue;
            }
            let (message, hint) = match wanted {
                Some(wanted) => (
                    format!("`{scope}` of `{role}` can never match: it holds no `{wanted}`, which `target_role` wants"),
                    "drop the role, or change its scope or `target_role`",
                ),
                None => (
                    format!("`{scope}` of `{role}` can never match: no role lies below `{role}`"),
                    "`own` is the caller's own account; or drop the role",
                ),
            };
            faults.fault(source, span, message, hint);
        }
    }
}

/// The scopes that a target is judged by on every request of the route.
fn judged_scopes<'p>(route: &'p Route, places: &'p Places) -> impl Iterator<Item = (usize, Scope, Range<usize>)> + 'p {
    let judged = route.target.as_ref().is_some_and(|target| match &target.source {
        TargetSource::Path(_) | TargetSource::Header(_) => true,
        TargetSource::Query { optional, .. } => !optional,
    });
    let scopes = places.scopes.iter().filter(move |_| judged && !route.public);
    scopes.filter_map(|(role, span)| Some((usize::from(role.0), route.access.scope(*role)?, span.clone())))
}
