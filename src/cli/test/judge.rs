//! One call of a `[[test]]`, judged by the ladder and held against what the test expects.
//!
//! Called for every call of every test, and again for each mutant of the route that a call leads to. It judges nothing
//! itself.

use crate::config::load::Config;
use crate::config::policy_file::{Expectation, PolicyTest, Wanted};
use crate::policy::access::Scope;
use crate::policy::ladder::Decision;
use crate::policy::outcome::{AUTHORIZATION, Outcome};
use crate::policy::rehearsal::{Call, Tree, rehearse};
use crate::policy::route::Destination;
use crate::policy::snapshot::{RealmIndex, Snapshot, Spot};
use crate::policy::table::RouteIndex;

/// What came of one call.
pub(super) struct Verdict {
    /// The route that it leads to.
    pub(super) place: Option<(RealmIndex, RouteIndex)>,
    /// How it differs from what the test expects.
    pub(super) difference: Option<Difference>,
}

/// How a call differs from what its test expects.
pub(super) struct Difference {
    /// What the test wants.
    pub(super) expected: String,
    /// What came instead.
    pub(super) got: String,
    /// The private cause of a refusal.
    pub(super) cause: Option<&'static str>,
}

/// Judges one call by `snapshot`, which may be another than the configuration's own.
pub(super) fn judge(config: &Config, snapshot: &Snapshot, test: &PolicyTest, call: &Call) -> Verdict {
    let empty = Tree::default();
    let tree = config.trees.iter().find(|(realm, _)| *realm == test.realm).map_or(&empty, |(_, tree)| tree);
    rehearse(snapshot, tree, call, |facts, decision| {
        let place = match (facts.place.realm, facts.place.spot) {
            (Some((realm, _)), Spot::Route(route, _, _)) => Some((realm, route)),
            (_, Spot::Nothing | Spot::Method(_) | Spot::Route(..)) => None,
        };
        let cause = match decision {
            Decision::Deny(denial) => Some(denial.cause),
            Decision::Permit(_) | Decision::Ask(_) => None,
        };
        let difference = difference(config, &test.expect, &Outcome::of(facts, decision))
            .map(|(expected, got)| Difference { expected, got, cause });
        Verdict { place, difference }
    })
}

/// What was expected and what came, where they differ.
fn difference(config: &Config, expect: &Expectation, outcome: &Outcome) -> Option<(String, String)> {
    match (expect, outcome) {
        (Expectation::Deny(expected), Outcome::Denied(reason)) => {
            (expected != reason).then(|| (expected.name().to_owned(), reason.name().to_owned()))
        }
        (Expectation::Deny(expected), Outcome::Permitted { .. }) => {
            Some((expected.name().to_owned(), "a permit".to_owned()))
        }
        (Expectation::Permit { .. }, Outcome::Denied(reason)) => {
            Some(("a permit".to_owned(), reason.name().to_owned()))
        }
        (Expectation::Permit { scope, upstream, forwarded }, Outcome::Permitted { scope: given, destination, .. }) => {
            let goes_to = upstream_name(config, *destination);
            let permit = |expected: &str, got: &str| Some((format!("a permit {expected}"), format!("one {got}")));
            if let Some(scope) = scope.filter(|scope| Some(*scope) != *given) {
                let given = given.map_or("no scope", Scope::name);
                return permit(&format!("with scope {scope}"), &format!("with {given}"));
            }
            if let Some(upstream) = upstream.as_deref().filter(|upstream| *upstream != goes_to) {
                return permit(&format!("that goes to {upstream}"), &format!("that goes to {goes_to}"));
            }
            let (expected, got) = header_difference(forwarded, outcome)?;
            permit(&expected, &got)
        }
    }
}

/// The first forwarded header that is not what the test wants. The client's `Authorization` stays behind unless the test
/// says otherwise: what lets it through should be seen to mean it.
fn header_difference(wanted: &[(&'static str, Wanted)], outcome: &Outcome) -> Option<(String, String)> {
    let unsaid = (!wanted.iter().any(|(name, _)| *name == AUTHORIZATION)).then_some((AUTHORIZATION, &Wanted::Nothing));
    let wanted = wanted.iter().map(|(name, wanted)| (*name, wanted)).chain(unsaid);
    let mut differences = wanted.filter_map(|(name, wanted)| {
        let got = outcome.header(name);
        let expected = match wanted {
            Wanted::Nothing if got.is_some() => format!("without {name}"),
            Wanted::Anything if got.is_none() => format!("with {name}"),
            Wanted::Exactly(value) if got != Some(value.as_str()) => format!("with {name}: {value}"),
            Wanted::Nothing | Wanted::Anything | Wanted::Exactly(_) => return None,
        };
        Some((expected, got.map_or_else(|| format!("without {name}"), |got| format!("with {name}: {got}"))))
    });
    differences.next()
}

/// The name of what answers.
pub(super) fn upstream_name(config: &Config, destination: Destination) -> &str {
    match destination {
        Destination::Upstream(index) => {
            config.settings.upstreams.get(usize::from(index.0)).map_or("-", |upstream| &upstream.name)
        }
        Destination::Login | Destination::Logout => "gateway",
    }
}
