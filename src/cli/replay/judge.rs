//! One line of a log, judged by a candidate: what would be otherwise, or why that cannot be said.
//!
//! Called by `replay` for every line. The candidate's verdict is the ladder's; here it is only compared with what the line
//! says came of the request.

use super::super::log_record::retold::{Gap, Judges, Retold, retell};
use super::super::log_record::{Ended, Record};
use crate::policy::access::Scope;
use crate::policy::facts::Facts;
use crate::policy::ladder::{Decision, Permit, explain};
use crate::policy::rehearsal::rehearse;
use crate::policy::route::{Destination, UpstreamIndex};
use crate::reason::Reason;

/// What kind of a difference it is; the words of `diff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    /// It passes and did not, or reaches further.
    Widened,
    /// It does not pass any more, or reaches less far.
    Narrowed,
    /// It goes elsewhere, or the upstream is told otherwise whose it is.
    Rerouted,
    /// It is refused as it was, for another reason.
    RefusedOtherwise,
}

impl Kind {
    /// All kinds, as they are listed.
    pub(super) const ALL: [Kind; 4] = [Kind::Widened, Kind::Narrowed, Kind::Rerouted, Kind::RefusedOtherwise];

    /// Its name for people.
    pub(super) const fn heading(self) -> &'static str {
        match self {
            Self::Widened => "WIDENED",
            Self::Narrowed => "NARROWED",
            Self::Rerouted => "REROUTED",
            Self::RefusedOtherwise => "REFUSED OTHERWISE",
        }
    }

    /// Its name for programs.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Widened => "widened",
            Self::Narrowed => "narrowed",
            Self::Rerouted => "rerouted",
            Self::RefusedOtherwise => "refused_otherwise",
        }
    }
}

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
    /// `None`: the gateway answers.
    upstream: Option<String>,
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
            Decision::Deny(denial) => Err(denial.reason),
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
                let mut kinds = Vec::new();
                if self.is_elsewhere(record, passage) {
                    kinds.push(Kind::Rerouted);
                }
                kinds.extend(reach_differs(record, passage));
                kinds.into_iter().map(|kind| change(kind, passed(record), passage.words())).collect()
            }
        }
    }

    fn is_elsewhere(&self, record: &Record, passage: &Passage) -> bool {
        let is_known = record.upstream.is_some() || record.outcome == "permitted";
        let another_server = is_known && record.upstream != passage.upstream;
        let another_realm = record.realm.is_some() && record.realm != self.realm;
        let told_otherwise = record.account.is_some() != passage.is_told || record.target != passage.target;
        another_server || another_realm || told_otherwise
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
        let upstream = match permit.destination() {
            Destination::Upstream(index) => upstream(index),
            Destination::Login | Destination::Logout => None,
        };
        Self {
            upstream,
            scope: permit.scope(),
            target: permit.target().map(str::to_owned),
            is_told: permit.principal().is_some(),
        }
    }

    fn words(&self) -> String {
        permit(self.upstream.as_deref(), self.scope.map(Scope::name))
    }
}

fn passed(record: &Record) -> String {
    permit(record.upstream.as_deref(), record.scope.as_deref())
}

fn permit(upstream: Option<&str>, scope: Option<&str>) -> String {
    let upstream = upstream.unwrap_or("the gateway");
    scope.map_or_else(|| format!("permit ({upstream})"), |scope| format!("permit ({upstream}, {scope})"))
}

/// Without a target the upstream filters by the scope, so another one reaches other data.
fn reach_differs(record: &Record, passage: &Passage) -> Vec<Kind> {
    let (Some(then), Some(now)) = (record.scope.as_deref().and_then(Scope::parse), passage.scope) else {
        return Vec::new();
    };
    if record.target.is_some() || passage.target.is_some() {
        return Vec::new();
    }
    let mut kinds = Vec::new();
    if !holds(then, now) {
        kinds.push(Kind::Widened);
    }
    if !holds(now, then) {
        kinds.push(Kind::Narrowed);
    }
    kinds
}

/// Whether whatever lies in the second scope lies in the first.
const fn holds(wide: Scope, narrow: Scope) -> bool {
    match (wide, narrow) {
        (Scope::Any, _)
        | (Scope::Subtree, Scope::Own | Scope::Below | Scope::Subtree)
        | (Scope::Own, Scope::Own)
        | (Scope::Below, Scope::Below) => true,
        (Scope::Subtree, Scope::Any)
        | (Scope::Own, Scope::Below | Scope::Subtree | Scope::Any)
        | (Scope::Below, Scope::Own | Scope::Subtree | Scope::Any) => false,
    }
}
