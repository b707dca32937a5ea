//! How far a caller reaches on a route, and how the account that a request names lies to it.
//!
//! The scope rung judges by it, the permit carries it, the access log shows it.

use std::borrow::Cow;

use super::access::Scope;
use super::decision::{Denial, Hint, Question};
use super::facts::{Facts, TargetAnswer};
use super::principal::{Relation, is_id};
use super::route::Route;
use super::snapshot::Spot;
use super::table::Parameters;
use super::target::{self, TargetFault};
use crate::reason::Reason;

/// How far the caller reaches, and how the named account lies to it.
#[derive(Clone, Debug)]
pub struct Reach<'a> {
    /// What the route gives the role.
    pub scope: Scope,
    /// The account named.
    pub target: Option<Cow<'a, str>>,
    /// Its place relative to the caller.
    pub relation: Relation,
}

/// Why there is no reach to judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The request is refused for what it names.
    Deny(Denial),
    /// The target's place has to be found out first.
    Ask(Question),
}

impl Reach<'_> {
    /// Whether the scope holds the account named.
    #[must_use]
    pub const fn allows(&self) -> bool {
        match (self.scope, self.relation) {
            (_, Relation::None)
            | (Scope::Any, _)
            | (Scope::Own | Scope::Subtree, Relation::Myself)
            | (Scope::Below | Scope::Subtree, Relation::Below) => true,
            (Scope::Own, Relation::Below | Relation::Outside | Relation::Unknown)
            | (Scope::Below, Relation::Myself | Relation::Outside | Relation::Unknown)
            | (Scope::Subtree, Relation::Outside | Relation::Unknown) => false,
        }
    }
}

/// Works the reach out of the facts.
///
/// # Errors
/// What to do instead.
pub fn reach<'a>(facts: &Facts<'a>) -> Result<Reach<'a>, Halt> {
    let internal = || Halt::Deny(Denial::new(Reason::Internal, "scope judged without role or route"));
    let (Some((_, realm)), Spot::Route(_, route, parameters)) = (facts.place.realm, facts.place.spot) else {
        return Err(internal());
    };
    let own = &facts.principal().ok_or_else(internal)?.account.lineage;
    let scope = realm.role(own.role()).and_then(|role| route.access.scope(role)).ok_or_else(internal)?;
    let Some(target) = named_target(facts, route, &parameters)? else {
        return Ok(Reach { scope, target: None, relation: Relation::None });
    };
    let wanted = route.target.as_ref().and_then(|rule| rule.role.as_deref());
    let role_fits = |role: &str| wanted.is_none_or(|wanted| wanted == role);
    let relation = if *target == *own.id() {
        if role_fits(own.role()) { Relation::Myself } else { Relation::Outside }
    } else if !is_id(&target) {
        // Not even `any` reaches what can be no account; the text is the client's own and goes nowhere.
        return Err(Halt::Deny(Denial::new(Reason::ScopeForbidden, "the target is no account id")));
    } else {
        match &facts.target {
            None => return Err(Halt::Ask(Question::Target(target.into_owned().into()))),
            Some(TargetAnswer::Unavailable(cause)) => {
                return Err(Halt::Deny(Denial::new(Reason::DirectoryUnavailable, cause)));
            }
            Some(TargetAnswer::Unknown) => Relation::Unknown,
            Some(TargetAnswer::Known(account))
                if own.contains(&account.lineage) && role_fits(account.lineage.role()) =>
            {
                Relation::Below
            }
            Some(TargetAnswer::Known(_)) => Relation::Outside,
        }
    };
    Ok(Reach { scope, target: Some(target), relation })
}

fn named_target<'a>(
    facts: &Facts<'a>,
    route: &Route,
    parameters: &Parameters<'a>,
) -> Result<Option<Cow<'a, str>>, Halt> {
    let Some(rule) = &route.target else { return Ok(None) };
    target::read(rule, facts.head, parameters).map_err(|fault| {
        Halt::Deny(match fault {
            TargetFault::Malformed(cause) => Denial::new(Reason::RequestMalformed, cause),
            TargetFault::HeaderMissing(name) => Denial {
                reason: Reason::HeaderMissing,
                cause: "the header that names the target is missing",
                hint: Hint::Header(name.into()),
            },
        })
    })
}
