//! What came of a rehearsed call, as far as a policy test can tell.
//!
//! `portcullis test` holds it against what a test expects, and the search for a witness compares the outcomes of two
//! versions of a rule by it. It judges nothing: it is read off the ladder's decision and what the upstream would be told.

use super::access::Scope;
use super::facts::Facts;
use super::ladder::Decision;
use super::route::Destination;
use super::told::{IDENTITY_HEADERS, identity_headers};
use crate::reason::Reason;

/// The client's own header, which a route may let through.
pub const AUTHORIZATION: &str = "Authorization";

/// The headers of a permitted call that a test can tell.
pub const TOLD_APART: [&str; IDENTITY_HEADERS.len() + 1] = {
    let mut names = [AUTHORIZATION; IDENTITY_HEADERS.len() + 1];
    let mut index = 0;
    while index < IDENTITY_HEADERS.len() {
        names[index] = IDENTITY_HEADERS[index];
        index += 1;
    }
    names
};

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was refused.
    Denied(Reason),
    /// It may pass.
    Permitted {
        /// Whose data it may reach.
        scope: Option<Scope>,
        /// Where it goes.
        destination: Destination,
        /// What goes with it of [`TOLD_APART`].
        headers: Vec<(&'static str, Box<str>)>,
    },
}

impl Outcome {
    /// Reads it off a decision. A question that nobody answered is no decision, and counts as an internal error.
    #[must_use]
    pub fn of(facts: &Facts<'_>, decision: &Decision) -> Self {
        let permit = match decision {
            Decision::Deny(denial) => return Outcome::Denied(denial.reason),
            Decision::Ask(_) => return Outcome::Denied(Reason::Internal),
            Decision::Permit(permit) => permit,
        };
        let mut headers = Vec::new();
        if let Some((_, realm)) = facts.place.realm {
            identity_headers(permit, realm, |name, value| headers.push((name, value.into())));
        }
        let sent = facts.head.presented.scheme().is_some() || facts.head.fields.first("authorization").is_some();
        if sent && facts.place.route().is_some_and(|route| route.forward_authorization) {
            headers.push((AUTHORIZATION, "(the client's)".into()));
        }
        Outcome::Permitted { scope: permit.scope(), destination: permit.destination(), headers }
    }

    /// One of the headers that go with a permitted call.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        match self {
            Outcome::Denied(_) => None,
            Outcome::Permitted { headers, .. } => {
                headers.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::decisions::{realm, route};
    use crate::policy::rehearsal::{Call, Tree, rehearse};
    use crate::policy::route::{Route, TargetRule, TargetSource};
    use crate::policy::snapshot::Snapshot;

    #[test]
    fn a_permit_with_a_target_tells_every_header_that_is_listed_and_no_other() {
        let target = Some(TargetRule { source: TargetSource::Path(0), role: None });
        let routes = vec![Route { target, forward_authorization: true, ..route("of", &["GET /of/{id}"]) }];
        let snapshot = Snapshot::new(vec![realm("", routes)], "r");
        let mut tree = Tree::default();
        tree.add("root/res-7", &snapshot.realms()[0].roles).unwrap();
        let mut call = Call::new("GET", "/of/res-7");
        call.caller = tree.account("root").cloned();
        let Outcome::Permitted { headers, .. } = rehearse(&snapshot, &tree, &call, Outcome::of) else { panic!() };
        let mut names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let mut listed = TOLD_APART;
        names.sort_unstable();
        listed.sort_unstable();
        assert_eq!(names, listed);
    }
}
