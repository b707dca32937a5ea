//! Tests of one policy file that cannot all hold.
//!
//! Called by `compile` once all tests are read. Nothing is judged here: two tests that expect different things of the same
//! call contradict each other whatever the policy says.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::diag::{Faults, Source};
use super::policy_file::{Expectation, PolicyTest, Wanted};

/// Notes each test that an earlier one contradicts. `places` says where they expect what they do.
pub(super) fn refuse_contradictions(
    source: &Arc<Source>,
    tests: &[PolicyTest],
    places: &[Range<usize>],
    faults: &mut Faults,
) {
    let mut known: HashMap<_, Vec<usize>> = HashMap::new();
    for (index, (test, place)) in tests.iter().zip(places).enumerate() {
        let mut contradicted = false;
        for (caller, call) in &test.calls {
            let mut headers: Vec<_> = call.headers.iter().collect();
            headers.sort();
            let earlier = known.entry((caller, call.client, &call.method, &call.target, headers)).or_default();
            let mut others = earlier.iter().filter_map(|index| tests.get(*index));
            if let Some(first) = others.find(|first| contradict(&first.expect, &test.expect))
                && !std::mem::replace(&mut contradicted, true)
            {
                let (location, expected) = (&first.location, told(&first.expect));
                let message = format!(
                    "the test at {location} expects {expected} of `{caller}` calling {} {}",
                    call.method, call.target
                );
                faults.fault(source, place.clone(), message, "both cannot hold; drop one, or tell the calls apart");
            }
            earlier.push(index);
        }
    }
}

fn contradict(one: &Expectation, other: &Expectation) -> bool {
    match (one, other) {
        (Expectation::Deny(one), Expectation::Deny(other)) => one != other,
        (
            Expectation::Permit { scope: one, upstream: from, forwarded: sent },
            Expectation::Permit { scope: other, upstream: to, forwarded: also },
        ) => {
            let mut pairs = sent.iter().flat_map(|sent| also.iter().map(move |also| (sent, also)));
            differ(one.as_ref(), other.as_ref())
                || differ(from.as_ref(), to.as_ref())
                || pairs.any(|((name, one), (known, other))| name == known && exclude(one, other))
        }
        (Expectation::Permit { .. }, Expectation::Deny(_)) | (Expectation::Deny(_), Expectation::Permit { .. }) => true,
    }
}

/// What is left out fits anything.
fn differ<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}

/// Whether no value of a header is what both want.
fn exclude(one: &Wanted, other: &Wanted) -> bool {
    match (one, other) {
        (Wanted::Exactly(one), Wanted::Exactly(other)) => one != other,
        (Wanted::Nothing, Wanted::Nothing) | (Wanted::Anything, Wanted::Anything | Wanted::Exactly(_)) => false,
        (Wanted::Exactly(_), Wanted::Anything) => false,
        (Wanted::Nothing, Wanted::Anything | Wanted::Exactly(_)) => true,
        (Wanted::Anything | Wanted::Exactly(_), Wanted::Nothing) => true,
    }
}

fn told(expected: &Expectation) -> String {
    match expected {
        Expectation::Deny(reason) => format!("`{}`", reason.name()),
        Expectation::Permit { scope, upstream, forwarded } => {
            let scope = scope.map(|scope| format!(" with scope `{scope}`"));
            let upstream = upstream.as_ref().map(|upstream| format!(" to upstream `{upstream}`"));
            let headers: Vec<&str> = forwarded.iter().map(|(name, _)| *name).collect();
            let headers = (!headers.is_empty()).then(|| format!(" with {}", headers.join(", ")));
            let [scope, upstream, headers] = [scope, upstream, headers].map(Option::unwrap_or_default);
            format!("a permit{scope}{upstream}{headers}")
        }
    }
}
