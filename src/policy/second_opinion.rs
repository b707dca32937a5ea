//! What another set of policies would say of a request that was judged: shadow mode.
//!
//! Called by `proxy::admit` with what was found out for the first judgement. The same ladder judges; nothing is asked again
//! that would count, cost or change anything, so an opinion may end undecided.

use std::fmt;

use super::decision::Question;
use super::facts::{Facts, LockAnswer, TargetAnswer};
use super::ladder::{Decision, MAX_QUESTIONS, Permit, decide};
use super::quota::{QuotaAnswer, Stage};
use super::reach::reach;
use super::snapshot::{Place, RealmIndex, Snapshot, Spot};
use super::table::RouteIndex;
use crate::reason::Reason;

/// What became of a request, in a word; a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may pass.
    Permit,
    /// It may pass, to somewhere else or in another form.
    Rerouted,
    /// It may pass, with another scope or target.
    Rescoped,
    /// It may not.
    Deny(Reason),
    /// What was not found out would decide.
    Undecided,
}

impl Verdict {
    /// The label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Permit => "permit",
            Verdict::Rerouted => "rerouted",
            Verdict::Rescoped => "rescoped",
            Verdict::Deny(reason) => reason.name(),
            Verdict::Undecided => "undecided",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Two verdicts on one request that are not the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// Of the policies in effect.
    pub live: Verdict,
    /// Of the others.
    pub candidate: Verdict,
    /// Why the others say so; empty for a permit.
    pub cause: &'static str,
    /// The realm of the others that owns the path.
    pub realm: Option<RealmIndex>,
    /// The route of theirs.
    pub route: Option<RouteIndex>,
}

/// Asks another set of policies about a request. `None`: it says the same, or the request ran into a quota. `account` is
/// where an account stands, as far as that is known without asking anybody.
#[must_use]
pub fn second_opinion(
    facts: &Facts<'_>,
    decision: &Decision,
    live: &Snapshot,
    candidate: &Snapshot,
    account: impl Fn(&str) -> Option<TargetAnswer>,
) -> Option<Disagreement> {
    let first = match decision {
        Decision::Permit(_) => Verdict::Permit,
        // How much is left is a matter of the moment: quotas of others were never charged.
        Decision::Deny(denial) if denial.reason == Reason::QuotaExceeded => return None,
        Decision::Deny(denial) => Verdict::Deny(denial.reason),
        Decision::Ask(_) => return None,
    };
    let mut theirs = Facts::new(facts.head, candidate);
    let their_decision = judge(&mut theirs, facts, account);
    let (second, cause) = match (decision, &their_decision) {
        (Decision::Permit(ours), Decision::Permit(permit)) => (compare((ours, live), (permit, candidate)), ""),
        (Decision::Deny(_) | Decision::Ask(_), Decision::Permit(_)) => (Verdict::Permit, ""),
        (_, Decision::Deny(denial)) => (Verdict::Deny(denial.reason), denial.cause),
        (_, Decision::Ask(question)) => (Verdict::Undecided, unknown(question)),
    };
    let Place { realm, spot } = theirs.place;
    let route = if let Spot::Route(index, ..) = spot { Some(index) } else { None };
    let disagreement =
        Disagreement { live: first, candidate: second, cause, realm: realm.map(|(index, _)| index), route };
    (first != second).then_some(disagreement)
}

/// Answers what the ladder asks from what is known; a question that stays is the decision.
fn judge(theirs: &mut Facts<'_>, known: &Facts<'_>, account: impl Fn(&str) -> Option<TargetAnswer>) -> Decision {
    let mut decision = decide(theirs);
    for _ in 0..MAX_QUESTIONS {
        match &decision {
            Decision::Ask(Question::Quota(Stage::Arrival)) => theirs.arrival = Some(QuotaAnswer::Admitted),
            Decision::Ask(Question::Quota(Stage::Permitted)) => theirs.quota = Some(QuotaAnswer::Admitted),
            // Not asked about in the first judgement, so nothing is known against the caller.
            Decision::Ask(Question::LockOut) => theirs.lock = Some(known.lock.unwrap_or(LockAnswer::Open)),
            // Who somebody is was found out for the realm that the path lies in, and may be nobody in another.
            Decision::Ask(Question::Identity) if realm_of(theirs) == realm_of(known) => {
                theirs.identity.clone_from(&known.identity);
            }
            Decision::Ask(Question::Identity) => {}
            Decision::Ask(Question::Target(id)) => {
                let same = reach(known).ok().and_then(|reach| reach.target).is_some_and(|target| *target == **id);
                theirs.target = if same { known.target.clone() } else { None }.or_else(|| account(id));
            }
            Decision::Permit(_) | Decision::Deny(_) => break,
        }
        let next = decide(theirs);
        if next == decision {
            break;
        }
        decision = next;
    }
    decision
}

fn realm_of<'f>(facts: &'f Facts<'_>) -> Option<&'f str> {
    facts.place.realm.map(|(_, realm)| &*realm.name)
}

const fn unknown(question: &Question) -> &'static str {
    match question {
        Question::Identity => "who calls was not found out",
        Question::Target(_) => "where the target account stands was not found out",
        Question::LockOut | Question::Quota(_) => "left open",
    }
}

/// What the second permit is beside the first.
fn compare((ours, our_snapshot): (&Permit, &Snapshot), (theirs, their_snapshot): (&Permit, &Snapshot)) -> Verdict {
    let form = |permit: &Permit, snapshot: &Snapshot| {
        let route = snapshot.route(permit.realm(), permit.route());
        let realm = snapshot.realm(permit.realm());
        // The realm's name goes upstream, and with `strip_base` the base is what is missing there.
        let name = realm.map(|realm| realm.name.clone());
        let base = realm.filter(|_| route.is_some_and(|route| route.strip_base)).map(|realm| realm.base.clone());
        (permit.destination(), name, base, route.map(|route| route.forward_authorization), permit.principal().is_some())
    };
    if form(ours, our_snapshot) != form(theirs, their_snapshot) {
        Verdict::Rerouted
    } else if (ours.scope(), ours.target()) != (theirs.scope(), theirs.target()) {
        Verdict::Rescoped
    } else {
        Verdict::Permit
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::policy::access::{Access, RoleIndex, Scope};
    use crate::policy::decisions::{call, snapshot, tree};
    use crate::policy::rehearsal::{Call, rehearse};
    use crate::policy::route::{Destination, Route, UpstreamIndex};

    /// Calls of every kind that the snapshot knows, by everybody.
    fn calls() -> Vec<Call> {
        let headers = [&[][..], &[("x-api-id", "a"), ("x-app-type", "vc"), ("x-target", "cus-42")][..]];
        let lines = [
            "GET /api/plain",
            "POST /api/plain",
            "PUT /api/plain",
            "GET /api/public",
            "GET /api/typed",
            "GET /api/admins",
            "GET /api/off",
            "GET /api/of/usr-1",
            "GET /api/of/cus-42",
            "GET /api/of/nobody",
            "GET /api/query?id=res-7",
            "GET /api/query",
            "GET /api/header",
            "GET /api/basic",
            "GET /limited/x",
            "GET /nowhere",
            "GET /api//x",
        ];
        let callers = ["root", "res-7", "cus-42", "usr-1", "nobody"];
        let each = |who| lines.iter().flat_map(move |line| headers.map(|headers| call(who, line, headers)));
        callers.into_iter().flat_map(each).collect()
    }

    fn opinion(call: &Call, live: &Snapshot, candidate: &Snapshot) -> Option<Disagreement> {
        let tree = tree();
        let known = |id: &str| {
            Some(tree.account(id).map_or(TargetAnswer::Unknown, |account| TargetAnswer::Known(Arc::clone(account))))
        };
        rehearse(live, &tree, call, |facts, decision| second_opinion(facts, decision, live, candidate, known))
    }

    /// The snapshot with one route changed.
    fn edited(name: &str, edit: impl FnOnce(&mut Route)) -> Snapshot {
        let mut snapshot = snapshot();
        let places = snapshot.realms().iter().zip(0..).flat_map(|(realm, index)| {
            realm
                .routes
                .iter()
                .zip(0..)
                .map(move |(route, place)| (RealmIndex(index), RouteIndex(place), route.clone()))
        });
        let (realm, place, mut route) = places.into_iter().find(|(.., route)| &*route.name == name).unwrap();
        edit(&mut route);
        snapshot.exchange_route(realm, place, route).unwrap();
        snapshot
    }

    #[test]
    fn policies_never_disagree_with_themselves() {
        let calls = calls();
        assert!(calls.len() > 100);
        for call in calls {
            assert_eq!(opinion(&call, &snapshot(), &snapshot()), None, "{call:?}");
        }
    }

    #[test]
    fn an_opinion_that_is_decided_is_what_the_candidate_alone_would_decide() {
        let candidates = [
            edited("plain", |route| route.access = Access::default()),
            edited("public", |route| route.public = false),
            edited("typed", |route| route.app_types = vec!["wb".into()]),
            edited("admins", |route| route.public = true),
            edited("off", |route| route.enabled = true),
            edited("of", |route| route.target = None),
            edited("query", |route| route.headers = vec!["x-api-id".into()]),
        ];
        let (mut decided, mut undecided) = (0, 0);
        for candidate in &candidates {
            for call in calls() {
                let alone = rehearse(candidate, &tree(), &call, |_, decision| match decision {
                    Decision::Permit(_) => Verdict::Permit,
                    Decision::Deny(denial) => Verdict::Deny(denial.reason),
                    Decision::Ask(question) => panic!("{question:?}"),
                });
                let live = snapshot();
                let Some(Disagreement { live: first, candidate: second, .. }) = opinion(&call, &live, candidate) else {
                    continue;
                };
                match second {
                    Verdict::Undecided => undecided += 1,
                    Verdict::Rerouted | Verdict::Rescoped => {
                        assert_eq!((first, alone), (Verdict::Permit, Verdict::Permit))
                    }
                    Verdict::Permit | Verdict::Deny(_) => {
                        decided += 1;
                        assert_eq!(second, alone, "{call:?}");
                        assert_ne!(first, second);
                    }
                }
            }
        }
        assert!(decided > 20 && undecided > 0, "{decided} and {undecided}");
    }

    #[test]
    fn permits_differ_by_where_they_lead_and_how_far() {
        let verdict =
            |candidate: &Snapshot, call: &Call| opinion(call, &snapshot(), candidate).map(|told| told.candidate);
        let elsewhere = edited("plain", |route| route.destination = Destination::Upstream(UpstreamIndex(1)));
        let plain = call("cus-42", "GET /api/plain", &[]);
        assert_eq!(verdict(&elsewhere, &plain), Some(Verdict::Rerouted));
        let authorized = edited("plain", |route| route.forward_authorization = true);
        assert_eq!(verdict(&authorized, &plain), Some(Verdict::Rerouted));
        let narrower = edited("plain", |route| route.access.allow(RoleIndex(2), Scope::Own));
        assert_eq!(verdict(&narrower, &plain), Some(Verdict::Rescoped));
        assert_eq!(verdict(&narrower, &call("res-7", "GET /api/plain", &[])), None);
    }
}
