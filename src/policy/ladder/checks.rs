//! The rungs of the ladder, top to bottom, up to the one that makes the permit.
//!
//! Called by the ladder only, each with the same facts. A rung that lacks an answer asks for it; one that does not
//! concern the request is moot. None knows what the others said: their order does.

use super::{Step, quota_exceeded};
use crate::policy::credential::{Presented, Scheme};
use crate::policy::decision::{Denial, Hint, NO_CREDENTIAL, Question};
use crate::policy::facts::{AppType, Body, Facts, LockAnswer};
use crate::policy::principal::{Identity, Relation};
use crate::policy::quota::{QuotaAnswer, Stage};
use crate::policy::reach::reach;
use crate::policy::route::{Destination, Route};
use crate::policy::snapshot::Spot;
use crate::reason::Reason;

pub(super) fn well_formed(facts: &Facts<'_>) -> Step {
    facts.head.fault.map_or(Step::Pass, |fault| deny(fault.reason, fault.cause))
}

pub(super) fn realm(facts: &Facts<'_>) -> Step {
    if facts.place.realm.is_some() { Step::Pass } else { deny(Reason::RouteNotFound, "no realm owns the path") }
}

/// Before routing, and so whatever becomes of the request: who asks for what is not there pays for it too.
pub(super) fn arrival_quota(facts: &Facts<'_>) -> Step {
    spend(facts, Stage::Arrival, facts.arrival)
}

pub(super) fn route(facts: &Facts<'_>) -> Step {
    match facts.place.spot {
        Spot::Nothing => deny(Reason::RouteNotFound, "no route has the path"),
        Spot::Method(_) | Spot::Route(..) => Step::Pass,
    }
}

pub(super) fn method(facts: &Facts<'_>) -> Step {
    match facts.place.spot {
        Spot::Method(allowed) => Step::Deny(Denial {
            reason: Reason::MethodNotAllowed,
            cause: "the path has no route for the method",
            hint: Hint::Allow(allowed),
        }),
        Spot::Route(..) => Step::Pass,
        Spot::Nothing => Step::Moot,
    }
}

pub(super) fn enabled(facts: &Facts<'_>) -> Step {
    match facts.place.route() {
        Some(route) if !route.enabled => deny(Reason::RouteDisabled, "the policy switches the route off"),
        _ => Step::Pass,
    }
}

pub(super) fn headers(facts: &Facts<'_>) -> Step {
    let Some(route) = facts.place.route() else { return Step::Moot };
    if route.reads().any(|name| facts.head.nominates(name)) {
        return deny(Reason::RequestMalformed, "Connection takes away a header that the route reads");
    }
    let present = |name: &str| facts.head.fields.first(name).is_some_and(|value| !value.is_empty());
    match route.headers.iter().find(|name| !present(name)) {
        Some(missing) => Step::Deny(Denial {
            reason: Reason::HeaderMissing,
            cause: "a header that the route requires is missing",
            hint: Hint::Header(missing.clone()),
        }),
        None => Step::Pass,
    }
}

pub(super) fn credential(facts: &Facts<'_>) -> Step {
    let Some(route) = protected(facts) else { return Step::Moot };
    match &facts.head.presented {
        Presented::Nothing => Step::Deny(Denial {
            reason: Reason::HeaderMissing,
            cause: NO_CREDENTIAL,
            hint: Hint::Header("Authorization".into()),
        }),
        Presented::Unreadable(_, cause) => deny(Reason::HeaderInvalid, cause),
        Presented::Basic(_) if !route.schemes.basic => deny(Reason::HeaderInvalid, "Basic is not taken here"),
        Presented::Token(_) if !route.schemes.token => deny(Reason::HeaderInvalid, "Token is not taken here"),
        Presented::Basic(_) | Presented::Token(_) => Step::Pass,
    }
}

/// Before any secret is compared, so that a right and a wrong one get the same answer. Tokens are no guesses: whoever
/// holds one goes on.
pub(super) fn lock_out(facts: &Facts<'_>) -> Step {
    if protected(facts).is_none() || facts.head.presented.scheme() != Some(Scheme::Basic) {
        return Step::Moot;
    }
    match facts.lock {
        None => Step::Ask(Question::LockOut),
        Some(LockAnswer::Open) => Step::Pass,
        Some(LockAnswer::Locked(seconds)) => locked(seconds),
    }
}

pub(super) fn identity(facts: &Facts<'_>) -> Step {
    if protected(facts).is_none() {
        return Step::Moot;
    }
    let basic = facts.head.presented.scheme() == Some(Scheme::Basic);
    match &facts.identity {
        None => Step::Ask(Question::Identity),
        Some(Identity::Valid(_)) => Step::Pass,
        Some(Identity::Invalid(cause)) if basic => deny(Reason::CredentialInvalid, cause),
        Some(Identity::Invalid(cause)) => deny(Reason::TokenInvalid, cause),
        Some(Identity::Expired(cause)) if basic => deny(Reason::CredentialExpired, cause),
        Some(Identity::Expired(cause)) => deny(Reason::TokenExpired, cause),
        Some(Identity::Revoked(cause)) => deny(Reason::TokenRevoked, cause),
        Some(Identity::Locked(seconds)) => locked(*seconds),
        Some(Identity::Suspended(_)) => deny(Reason::AccountSuspended, "the account or one above it is suspended"),
        Some(Identity::StoreUnavailable(cause)) => deny(Reason::StoreUnavailable, cause),
        Some(Identity::DirectoryUnavailable(cause)) => deny(Reason::DirectoryUnavailable, cause),
    }
}

pub(super) fn app_type(facts: &Facts<'_>) -> Step {
    let Some(route) = facts.place.route().filter(|route| !route.app_types.is_empty()) else { return Step::Moot };
    let refuse = |reason, cause| {
        let hint = Hint::AppTypes(route.app_types.clone().into());
        Step::Deny(Denial { reason, cause, hint })
    };
    match facts.head.app_type {
        AppType::Absent => refuse(Reason::AppTypeMissing, "no X-App-Type"),
        AppType::NotString => refuse(Reason::AppTypeNotString, "X-App-Type is not one token"),
        AppType::Token(token) if route.app_types.iter().any(|known| &**known == token) => Step::Pass,
        AppType::Token(_) => refuse(Reason::AppTypeUnknown, "X-App-Type is none of the route's"),
    }
}

pub(super) fn role(facts: &Facts<'_>) -> Step {
    if protected(facts).is_none() {
        return Step::Moot;
    }
    let (Some((_, realm)), Some(principal)) = (facts.place.realm, facts.principal()) else { return Step::Moot };
    let Some(role) = realm.role(principal.account.lineage.role()) else {
        return deny(Reason::RoleForbidden, "the realm does not know the role");
    };
    if facts.place.route().and_then(|route| route.access.scope(role)).is_none() {
        return deny(Reason::RoleForbidden, "the route does not allow the role");
    }
    if !realm.admits_network(role, facts.head.client) {
        return deny(Reason::RoleForbidden, "the role may not call from this network");
    }
    Step::Pass
}

pub(super) fn scope(facts: &Facts<'_>) -> Step {
    if protected(facts).is_none() {
        return Step::Moot;
    }
    match reach(facts) {
        Ok(reach) if reach.relation == Relation::None => Step::Moot,
        Ok(reach) if reach.allows() => Step::Pass,
        Ok(reach) => deny(
            Reason::ScopeForbidden,
            match reach.relation {
                Relation::Unknown => "the target account is unknown",
                Relation::Myself => "the scope does not hold the caller's own account",
                Relation::None | Relation::Below | Relation::Outside => "the target account is out of scope",
            },
        ),
        Err(halt) => halt.into(),
    }
}

pub(super) fn body(facts: &Facts<'_>) -> Step {
    match (facts.place.route(), facts.head.body) {
        (Some(route), Body::Length(length)) if length > route.body_size => {
            deny(Reason::BodyTooLarge, "the announced body is longer than the route allows")
        }
        _ => Step::Pass,
    }
}

/// Last of all: what is refused for another reason is not charged. A login is charged once its e-mail is read.
pub(super) fn quota(facts: &Facts<'_>) -> Step {
    if facts.place.route().is_some_and(|route| route.destination == Destination::Login) {
        return Step::Moot;
    }
    spend(facts, Stage::Permitted, facts.quota)
}

fn spend(facts: &Facts<'_>, stage: Stage, answer: Option<QuotaAnswer>) -> Step {
    match answer {
        None if facts.is_charged(stage) => Step::Ask(Question::Quota(stage)),
        None => Step::Moot,
        Some(QuotaAnswer::Admitted) => Step::Pass,
        Some(QuotaAnswer::Refused { retry_after, .. }) => Step::Deny(quota_exceeded(retry_after)),
    }
}

fn protected<'a>(facts: &Facts<'a>) -> Option<&'a Route> {
    facts.place.route().filter(|route| !route.public)
}

const fn locked(seconds: u32) -> Step {
    let cause = "too many failed attempts of this identifier from this network, or of this network";
    Step::Deny(Denial { reason: Reason::LockedOut, cause, hint: Hint::RetryAfter(seconds) })
}

const fn deny(reason: Reason, cause: &'static str) -> Step {
    Step::Deny(Denial::new(reason, cause))
}
