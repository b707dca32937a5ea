//! The ladder: every check in its one order; the first that refuses decides the reason.
//!
//! [`decide`] is called by live traffic, `explain` and every policy tool; no other code decides. A
//! [`Permit`] is the proof that all rungs passed: it cannot be made outside this file.

use super::access::Scope;
use super::credential::{Presented, Scheme};
use super::decision::{Denial, Hint, Question};
use super::facts::{AppType, Body, Facts, LockAnswer};
use super::principal::{Identity, Principal, Relation};
use super::quota::{QuotaAnswer, Stage};
use super::reach::{Halt, reach};
use super::route::{Destination, Route, TargetSource};
use super::snapshot::{RealmIndex, Spot};
use super::table::RouteIndex;
use crate::reason::Reason;

/// What is to become of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may pass.
    Permit(Permit),
    /// It may not.
    Deny(Denial),
    /// Find this out and decide again.
    Ask(Question),
}

/// The proof that a request passed every check. Only the ladder makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    realm: RealmIndex,
    route: RouteIndex,
    destination: Destination,
    principal: Option<Principal>,
    scope: Option<Scope>,
    target: Option<Box<str>>,
    relation: Relation,
}

impl Permit {
    /// The realm that the request lies in.
    #[must_use]
    pub const fn realm(&self) -> RealmIndex {
        self.realm
    }

    /// The route that it takes.
    #[must_use]
    pub const fn route(&self) -> RouteIndex {
        self.route
    }

    /// Who answers it.
    #[must_use]
    pub const fn destination(&self) -> Destination {
        self.destination
    }

    /// The caller; `None` on a public route, whatever was presented.
    #[must_use]
    pub const fn principal(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }

    /// Whose data the caller may reach.
    #[must_use]
    pub const fn scope(&self) -> Option<Scope> {
        self.scope
    }

    /// The account that was judged.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        self.target.as_deref()
    }

    /// How that account lies to the caller's.
    #[must_use]
    pub const fn relation(&self) -> Relation {
        self.relation
    }
}

/// The outcome of one rung.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The check holds.
    Pass,
    /// The check does not apply to this request.
    Moot,
    /// The check refuses.
    Deny(Denial),
    /// The check needs an answer first.
    Ask(Question),
    /// All checks hold.
    Permit(Permit),
}

/// One rung with its outcome, as `explain` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// The name of the check.
    pub name: &'static str,
    /// What it said.
    pub step: Step,
}

impl From<Halt> for Step {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Deny(denial) => Step::Deny(denial),
            Halt::Ask(question) => Step::Ask(question),
        }
    }
}

type Check = fn(&Facts<'_>) -> Step;

const LADDER: [(&str, Check); 16] = [
    ("well-formed", well_formed),
    ("realm", realm),
    ("arrival-quota", arrival_quota),
    ("route", route),
    ("method", method),
    ("enabled", enabled),
    ("headers", headers),
    ("credential", credential),
    ("lock-out", lock_out),
    ("identity", identity),
    ("app-type", app_type),
    ("role", role),
    ("scope", scope),
    ("body", body),
    ("quota", quota),
    ("admit", admit),
];

/// The most questions that one request can raise: each fills another empty field of the facts.
pub const MAX_QUESTIONS: usize = 5;

/// Decides by the facts known so far.
#[must_use]
pub fn decide(facts: &Facts<'_>) -> Decision {
    for (_, check) in LADDER {
        match check(facts) {
            Step::Pass | Step::Moot => {}
            Step::Deny(denial) => return Decision::Deny(denial),
            Step::Ask(question) => return Decision::Ask(question),
            Step::Permit(permit) => return Decision::Permit(permit),
        }
    }
    Decision::Deny(Denial::new(Reason::Internal, "the ladder has no last rung"))
}

/// Every rung up to the one that decides; the last one's step is what [`decide`] says.
#[must_use]
pub fn explain(facts: &Facts<'_>) -> Vec<Rung> {
    let mut rungs = Vec::with_capacity(LADDER.len());
    for (name, check) in LADDER {
        let step = check(facts);
        let last = !matches!(step, Step::Pass | Step::Moot);
        rungs.push(Rung { name, step });
        if last {
            break;
        }
    }
    rungs
}

/// The names of all rungs, top to bottom.
pub fn rung_names() -> impl Iterator<Item = &'static str> {
    LADDER.into_iter().map(|(name, _)| name)
}

fn well_formed(facts: &Facts<'_>) -> Step {
    facts.head.fault.map_or(Step::Pass, |fault| deny(fault.reason, fault.cause))
}

fn realm(facts: &Facts<'_>) -> Step {
    if facts.place.realm.is_some() { Step::Pass } else { deny(Reason::RouteNotFound, "no realm owns the path") }
}

/// Before routing, and so whatever becomes of the request: who asks for what is not there pays for it too.
fn arrival_quota(facts: &Facts<'_>) -> Step {
    spend(facts, Stage::Arrival, facts.arrival)
}

fn route(facts: &Facts<'_>) -> Step {
    match facts.place.spot {
        Spot::Nothing => deny(Reason::RouteNotFound, "no route has the path"),
        Spot::Method(_) | Spot::Route(..) => Step::Pass,
    }
}

fn method(facts: &Facts<'_>) -> Step {
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

fn enabled(facts: &Facts<'_>) -> Step {
    match facts.place.route() {
        Some(route) if !route.enabled => deny(Reason::RouteDisabled, "the policy switches the route off"),
        _ => Step::Pass,
    }
}

fn headers(facts: &Facts<'_>) -> Step {
    let Some(route) = facts.place.route() else { return Step::Moot };
    if reads(route).any(|name| facts.head.nominates(name)) {
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

/// The fields that the policy judges by; an upstream must see what was judged.
fn reads(route: &Route) -> impl Iterator<Item = &str> {
    let target = route.target.as_ref().and_then(|rule| match &rule.source {
        TargetSource::Header(name) => Some(&**name),
        TargetSource::Path(_) | TargetSource::Query { .. } => None,
    });
    let app_type = (!route.app_types.is_empty()).then_some("x-app-type");
    let authorization = route.forward_authorization.then_some("authorization");
    route.headers.iter().map(|name| &**name).chain(target).chain(app_type).chain(authorization)
}

fn credential(facts: &Facts<'_>) -> Step {
    let Some(route) = protected(facts) else { return Step::Moot };
    match &facts.head.presented {
        Presented::Nothing => Step::Deny(Denial {
            reason: Reason::HeaderMissing,
            cause: "no Authorization",
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
fn lock_out(facts: &Facts<'_>) -> Step {
    if protected(facts).is_none() || facts.head.presented.scheme() != Some(Scheme::Basic) {
        return Step::Moot;
    }
    match facts.lock {
        None => Step::Ask(Question::LockOut),
        Some(LockAnswer::Open) => Step::Pass,
        Some(LockAnswer::Locked(seconds)) => locked(seconds),
    }
}

fn identity(facts: &Facts<'_>) -> Step {
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

fn app_type(facts: &Facts<'_>) -> Step {
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

fn role(facts: &Facts<'_>) -> Step {
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

fn scope(facts: &Facts<'_>) -> Step {
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

fn body(facts: &Facts<'_>) -> Step {
    match (facts.place.route(), facts.head.body) {
        (Some(route), Body::Length(length)) if length > route.body_size => {
            deny(Reason::BodyTooLarge, "the announced body is longer than the route allows")
        }
        _ => Step::Pass,
    }
}

/// Last of all: what is refused for another reason is not charged. A login is charged once its e-mail is read.
fn quota(facts: &Facts<'_>) -> Step {
    if facts.place.route().is_some_and(|route| route.destination == Destination::Login) {
        return Step::Moot;
    }
    spend(facts, Stage::Permitted, facts.quota)
}

fn spend(facts: &Facts<'_>, stage: Stage, answer: Option<QuotaAnswer>) -> Step {
    if facts.charges(stage).is_none() {
        return Step::Moot;
    }
    match answer {
        None => Step::Ask(Question::Quota(stage)),
        Some(QuotaAnswer::Admitted) => Step::Pass,
        Some(QuotaAnswer::Refused { retry_after, .. }) => Step::Deny(quota_exceeded(retry_after)),
    }
}

/// What a quota without enough left says, to a login too.
#[must_use]
pub const fn quota_exceeded(retry_after: u32) -> Denial {
    let cause = "a quota has too little left";
    Denial { reason: Reason::QuotaExceeded, cause, hint: Hint::RetryAfter(retry_after) }
}

/// Makes the permit from the facts themselves, so that a rung that was left out cannot slip a caller in.
fn admit(facts: &Facts<'_>) -> Step {
    let (Some((realm, _)), Spot::Route(index, route, _)) = (facts.place.realm, facts.place.spot) else {
        return deny(Reason::Internal, "no route at the last rung");
    };
    let mut permit = Permit {
        realm,
        route: index,
        destination: route.destination,
        principal: None,
        scope: None,
        target: None,
        relation: Relation::None,
    };
    if !route.public {
        let Some(principal) = facts.principal() else { return deny(Reason::Internal, "no identity at the last rung") };
        match reach(facts) {
            Ok(reach) if reach.allows() => {
                permit.scope = Some(reach.scope);
                permit.relation = reach.relation;
                permit.target = reach.target.map(|target| target.into_owned().into());
            }
            Ok(_) | Err(_) => return deny(Reason::Internal, "no scope at the last rung"),
        }
        permit.principal = Some(principal.clone());
    }
    Step::Permit(permit)
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
