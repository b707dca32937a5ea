//! How much of the policies the tests judge: on each route every role, a caller without an identity, a permit and a refusal.
//!
//! Counted by `portcullis test`. The gateway's own routes hold no rule of the operator's, so they need no test of the
//! operator's. Whether the tests would notice a change is another question: `mutation`.

use std::collections::BTreeSet;

use super::Judged;
use crate::config::load::Config;
use crate::config::policy_file::Expectation;
use crate::policy::route::Destination;

/// Besides the roles, every route has to be seen from both sides.
pub(super) const SIDES: [&str; 2] = ["a permit", "a refusal"];

/// What is judged, and what is not.
pub(super) struct Coverage {
    /// How much is.
    pub(super) covered: usize,
    /// Realm, route, and the role or side that no test judges there.
    pub(super) missing: Vec<[String; 3]>,
}

impl Coverage {
    /// All that there is to judge.
    pub(super) fn all(&self) -> usize {
        self.covered + self.missing.len()
    }

    /// Rounded down, so that 100 is all.
    pub(super) fn percent(&self) -> usize {
        (self.covered * 100).checked_div(self.all()).unwrap_or(100)
    }
}

/// Counts what the calls judge, right or wrong.
pub(super) fn of(config: &Config, calls: &[Judged<'_>]) -> Coverage {
    let mut judged: BTreeSet<[&str; 3]> = BTreeSet::new();
    for call in calls {
        let Some((realm, route)) = call.verdict.place else { continue };
        let (Some(realm), Some(route)) = (config.snapshot.realm(realm), config.snapshot.route(realm, route)) else {
            continue;
        };
        let role = call.caller.split(':').next().unwrap_or_default();
        let side = SIDES[usize::from(matches!(call.test.expect, Expectation::Deny(_)))];
        judged.extend([role, side].map(|seen| [&*realm.name, &*route.name, seen]));
    }
    let mut coverage = Coverage { covered: 0, missing: Vec::new() };
    for realm in config.snapshot.realms() {
        for route in realm.routes.iter().filter(|route| matches!(route.destination, Destination::Upstream(_))) {
            for role in realm.roles.iter().map(|role| &**role).chain(["anonymous"]).chain(SIDES) {
                let point = [&*realm.name, &*route.name, role];
                if judged.contains(&point) {
                    coverage.covered += 1;
                } else {
                    coverage.missing.push(point.map(str::to_owned));
                }
            }
        }
    }
    coverage
}
