//! The ladder: every check in its one order; the first that refuses decides the reason.
//!
//! [`decide`] is called by live traffic, `explain` and every policy tool; no other code decides. The checks stand in
//! `checks`, in the same order. A [`Permit`] is the proof that all of them passed: only `permit`, the last rung, can
//! make one.

mod checks;
mod permit;

pub use self::permit::Permit;
use super::decision::{Denial, Hint, Question};
use super::facts::Facts;
use super::reach::Halt;
use crate::reason::Reason;

/// What is to become of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may pass.
    Permit(Permit),
    /// It may not.
    Deny(Denial),
    /// Find this out and decide again.
    Ask(Question),
}

/// The outcome of one rung.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The check holds.
    Pass,
    /// The check does not apply to this request.
    Moot,
    /// The check refuses.
    Deny(Denial),
    /// The check needs an answer first.
    Ask(Question),
    /// All checks hold.
    Permit(Permit),
}

/// One rung with its outcome, as `explain` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// The name of the check.
    pub name: &'static str,
    /// What it said.
    pub step: Step,
}

impl From<Halt> for Step {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Deny(denial) => Step::Deny(denial),
            Halt::Ask(question) => Step::Ask(question),
        }
    }
}

type Check = fn(&Facts<'_>) -> Step;

const LADDER: [(&str, Check); 16] = [
    ("well-formed", checks::well_formed),
    ("realm", checks::realm),
    ("arrival-quota", checks::arrival_quota),
    ("route", checks::route),
    ("method", checks::method),
    ("enabled", checks::enabled),
    ("headers", checks::headers),
    ("credential", checks::credential),
    ("lock-out", checks::lock_out),
    ("identity", checks::identity),
    ("app-type", checks::app_type),
    ("role", checks::role),
    ("scope", checks::scope),
    ("body", checks::body),
    ("quota", checks::quota),
    ("admit", permit::admit),
];

/// The most questions that one request can raise: each fills another empty field of the facts.
pub const MAX_QUESTIONS: usize = 5;

/// Decides by the facts known so far.
#[must_use]
pub fn decide(facts: &Facts<'_>) -> Decision {
    for (_, check) in LADDER {
        match check(facts) {
            Step::Pass | Step::Moot => {}
            Step::Deny(denial) => return Decision::Deny(denial),
            Step::Ask(question) => return Decision::Ask(question),
            Step::Permit(permit) => return Decision::Permit(permit),
        }
    }
    Decision::Deny(Denial::new(Reason::Internal, "the ladder has no last rung"))
}

/// Every rung up to the one that decides; the last one's step is what [`decide`] says.
#[must_use]
pub fn explain(facts: &Facts<'_>) -> Vec<Rung> {
    let mut rungs = Vec::with_capacity(LADDER.len());
    for (name, check) in LADDER {
        let step = check(facts);
        let last = !matches!(step, Step::Pass | Step::Moot);
        rungs.push(Rung { name, step });
        if last {
            break;
        }
    }
    rungs
}

/// The names of all rungs, top to bottom.
pub fn rung_names() -> impl Iterator<Item = &'static str> {
    LADDER.into_iter().map(|(name, _)| name)
}

/// What a quota without enough left says, to a login too.
#[must_use]
pub const fn quota_exceeded(retry_after: u32) -> Denial {
    let cause = "a quota has too little left";
    Denial { reason: Reason::QuotaExceeded, cause, hint: Hint::RetryAfter(retry_after) }
}
