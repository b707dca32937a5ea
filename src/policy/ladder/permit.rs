//! The proof that a request passed every check, and the last rung, which makes it.
//!
//! The fields are private to this file, so that no other code can make a permit or change one: who holds a permit need
//! not judge again. `proxy` forwards by it, policy tests and `explain` read it.

use super::Step;
use crate::policy::access::Scope;
use crate::policy::decision::Denial;
use crate::policy::facts::Facts;
use crate::policy::principal::{Principal, Relation};
use crate::policy::reach::reach;
use crate::policy::route::Destination;
use crate::policy::snapshot::{RealmIndex, Spot};
use crate::policy::table::RouteIndex;
use crate::reason::Reason;

/// The proof that a request passed every check. Only its last rung makes one.
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

/// Makes the permit from the facts themselves, so that a rung that was left out cannot slip a caller in.
pub(super) fn admit(facts: &Facts<'_>) -> Step {
    let refuse = |cause| Step::Deny(Denial::new(Reason::Internal, cause));
    let (Some((realm, _)), Spot::Route(index, route, _)) = (facts.place.realm, facts.place.spot) else {
        return refuse("no route at the last rung");
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
        let Some(principal) = facts.principal() else { return refuse("no identity at the last rung") };
        match reach(facts) {
            Ok(reach) if reach.allows() => {
                permit.scope = Some(reach.scope);
                permit.relation = reach.relation;
                permit.target = reach.target.map(|target| target.into_owned().into());
            }
            Ok(_) | Err(_) => return refuse("no scope at the last rung"),
        }
        permit.principal = Some(principal.clone());
    }
    Step::Permit(permit)
}
