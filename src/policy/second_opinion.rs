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
