//! One line of a log, judged by a candidate: what would be otherwise, or why that cannot be said.
//!
//! Called by `replay` for every line. The candidate's verdict is the ladder's; here it is only compared with what the line
//! says came of the request.

use super::super::log_record::retold::{Gap, Judges, Retold, retell};
use super::super::log_record::{Ended, Record};
use crate::policy::access::Scope;
use crate::policy::difference::{Kind, permit_words};
use crate::policy::facts::Facts;
use crate::policy::ladder::{Decision, Permit, explain};
use crate::policy::reach::reach;
use crate::policy::rehearsal::rehearse;
use crate::policy::route::{Destination, UpstreamIndex};
use crate::reason::Reason;

/// What differs, and for whom; lines of one group share it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Change {
    pub kind: Kind,
    pub realm: String,
    pub route: String,
    /// `file:line` of the candidate's route.
    pub rule: String,
    pub role: String,
    pub relation: String,
    pub live: String,
    pub candidate: String,
}

/// Why a line says nothing of a candidate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Apart {
    /// A credential that was refused: identity is no policy.
    Identity(Reason),
    /// It hung on the moment.
    Moment(Reason),
    /// The request could not be read.
    Unreadable(Reason),
    /// The client left before anything was decided.
    Left,
    /// The candidate asks for what a line does not tell.
    Untold(String),
}

impl Apart {
    /// Why, in words.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Identity(reason) => format!("{reason}: whether a credential is genuine is not the policies' to say"),
            Self::Moment(reason) => format!("{reason}: that hung on the moment"),
            Self::Unreadable(reason) => format!("{reason}: no policy judges what cannot be read"),
            Self::Left => "the client left before anything was decided".to_owned(),
            Self::Untold(what) => format!("a line does not tell {what}"),
        }
    }
}

/// What came of comparing.
pub(super) enum Judged {
    /// Nothing would be otherwise.
    Same,
    /// Something would; the widths of two scopes may differ both ways.
    Changed(Vec<Change>),
    /// It cannot be said.
    Apart(Apart),
}

/// What the candidate says.
struct Verdict {
    decided_by: &'static str,
    realm: Option<String>,
    route: Option<String>,
    rule: String,
    relation: &'static str,
    outcome: Result<Passage, Reason>,
}

/// A request that passes.
struct Passage {
    /// Who answers: an upstream's name, or the gateway's own words.
    to: String,
    scope: Option<Scope>,
    target: Option<String>,
    is_told: bool,
}

/// Judges a line.
pub(super) fn judge(record: &Record, judges: Judges<'_>, upstream: &dyn Fn(UpstreamIndex) -> Option<String>) -> Judged {
    let refused = match (record.ended(), record.reason) {
        (Ended::Passed, _) => None,
        (Ended::ByPolicy, reason) => reason,
        (Ended::ByIdentity, Some(reason)) => return Judged::Apart(Apart::Identity(reason)),
        (Ended::ByMoment, Some(reason)) => return Judged::Apart(Apart::Moment(reason)),
        (Ended::Unreadable, Some(reason)) => return Judged::Apart(Apart::Unreadable(reason)),
        (Ended::Left | Ended::ByIdentity | Ended::ByMoment | Ended::Unreadable, _) => {
            return Judged::Apart(Apart::Left);
        }
    };
    let Retold { call, tree, gaps } = retell(record, judges);
    let verdict = rehearse(judges.snapshot, &tree, &call, |facts, decision| Verdict::of(facts, decision, upstream));
    let matters = |gap: &&Gap| gap.matters(verdict.decided_by, verdict.outcome.is_ok());
    if let Some(gap) = gaps.iter().find(matters) {
        return Judged::Apart(Apart::Untold(gap.to_string()));
    }
    let changes = verdict.compared(record, refused);
    if changes.is_empty() { Judged::Same } else { Judged::Changed(changes) }
}

impl Verdict {
    fn of(facts: &Facts<'_>, decision: &Decision, upstream: &dyn Fn(UpstreamIndex) -> Option<String>) -> Self {
        let route = facts.place.route();
        let mut relation = "none";
        let outcome = match decision {
            Decision::Permit(permit) => {
                relation = permit.relation().name();
                Ok(Passage::of(permit, upstream))
            }
            Decision::Deny(denial) => {
                if denial.reason == Reason::ScopeForbidden {
                    relation = reach(facts).map_or(relation, |reach| reach.relation.name());
                }
                Err(denial.reason)
            }
            Decision::Ask(_) => Err(Reason::Internal),
        };
        Self {
            decided_by: explain(facts).last().map_or("", |rung| rung.name),
            realm: facts.place.realm.map(|(_, realm)| realm.name.to_string()),
            route: route.map(|route| route.name.to_string()),
            rule: route.map(|route| route.location.to_string()).unwrap_or_default(),
            relation,
            outcome,
        }
    }

    /// What differs from the line.
    fn compared(&self, record: &Record, refused: Option<Reason>) -> Vec<Change> {
        let change = |kind, live: String, candidate: String| self.change(record, kind, live, candidate);
        match (refused, &self.outcome) {
            (Some(live), Err(reason)) if live == *reason => Vec::new(),
            (Some(live), Err(reason)) => vec![change(Kind::RefusedOtherwise, live.to_string(), reason.to_string())],
            (Some(live), Ok(passage)) => vec![change(Kind::Widened, live.to_string(), passage.words())],
            (None, Err(reason)) => vec![change(Kind::Narrowed, passed(record), reason.to_string())],
            (None, Ok(passage)) => {
                let mut found = passage.reach_differs(record);
                found.extend(self.way_differs(record, passage).into_iter().map(|(was, is)| (Kind::Rerouted, was, is)));
                found.into_iter().map(|(kind, was, is)| change(kind, was, is)).collect()
            }
        }
    }

    /// Where it goes and whose it is said to be, as far as a line tells.
    fn way_differs(&self, record: &Record, passage: &Passage) -> Vec<(String, String)> {
        // What failed before an upstream was tried names none.
        let is_known = record.upstream.is_some() || record.outcome == "permitted";
        let realm = |realm: Option<&str>, is_told: bool| match realm {
            Some(realm) if is_told => format!("in realm {realm}"),
            Some(_) | None => "without saying who calls".to_owned(),
        };
        let mut ways = Vec::new();
        if is_known {
            ways.push((format!("to {}", answered_by(record)), format!("to {}", passage.to)));
        }
        ways.push((realm(record.realm.as_deref(), record.was_told()), realm(self.realm.as_deref(), passage.is_told)));
        let names = |target: Option<&str>| match target {
            Some(_) if record.target.is_some() && passage.target.is_some() => "naming one account".to_owned(),
            Some(_) => "naming the account".to_owned(),
            None => "naming no account".to_owned(),
        };
        let is_another = record.target.is_some() && passage.target.is_some() && record.target != passage.target;
        let is = if is_another { "naming another".to_owned() } else { names(passage.target.as_deref()) };
        ways.push((names(record.target.as_deref()), is));
        ways.retain(|(was, is)| was != is);
        ways
    }

    fn change(&self, record: &Record, kind: Kind, live: String, candidate: String) -> Change {
        let name = |live: &Option<String>, own: &Option<String>| live.as_ref().or(own.as_ref()).cloned();
        let relation = if record.relation == "none" { self.relation } else { &record.relation };
        Change {
            kind,
            realm: name(&record.realm, &self.realm).unwrap_or_else(|| "-".to_owned()),
            route: name(&record.route, &self.route).unwrap_or_else(|| "-".to_owned()),
            rule: self.rule.clone(),
            role: record.role.clone().unwrap_or_else(|| "anonymous".to_owned()),
            relation: relation.to_owned(),
            live,
            candidate,
        }
    }
}

impl Passage {
    fn of(permit: &Permit, upstream: &dyn Fn(UpstreamIndex) -> Option<String>) -> Self {
        let to = match permit.destination() {
            Destination::Upstream(index) => upstream(index),
            own @ (Destination::Login | Destination::Logout) => own.own_words().map(str::to_owned),
        };
        Self {
            to: to.unwrap_or_else(|| SOME_UPSTREAM.to_owned()),
            scope: permit.scope(),
            target: permit.target().map(str::to_owned),
            is_told: permit.principal().is_some(),
        }
    }

    fn words(&self) -> String {
        permit_words(&self.to, self.scope, self.target.is_some())
    }

    /// Another scope reaches other data: the gateway's word for it where an account is named, the upstream's elsewhere.
    fn reach_differs(&self, record: &Record) -> Vec<(Kind, String, String)> {
        let (Some(then), Some(now)) = (record.scope.as_deref().and_then(Scope::parse), self.scope) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for (kind, held) in [(Kind::Widened, then.holds(now)), (Kind::Narrowed, now.holds(then))] {
            if !held {
                found.push((kind, format!("scope {then}"), format!("scope {now}")));
            }
        }
        found
    }
}

fn passed(record: &Record) -> String {
    let scope = record.scope.as_deref().and_then(Scope::parse);
    permit_words(answered_by(record), scope, record.target.is_some())
}

/// Who answered, in the words of `diff`. Two routes, whose names no policy chooses, the gateway answers itself, well or with a
/// refusal; what failed before an upstream was tried names none either.
fn answered_by(record: &Record) -> &str {
    let own = match record.route.as_deref() {
        Some("login") => Destination::Login.own_words(),
        Some("logout") => Destination::Logout.own_words(),
        Some(_) | None => None,
    };
    record.upstream.as_deref().or(own).unwrap_or(SOME_UPSTREAM)
}

/// Where no upstream is named.
const SOME_UPSTREAM: &str = "an upstream";
