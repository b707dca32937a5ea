//! What a run of the policies' tests came to, for people and as JSON.
//!
//! Called by `portcullis test`. It says of every failure where the test stands, who called what, what was expected and what
//! came; JUnit reports are `junit`'s.

use std::io::Write;

use serde_json::{Value, json};

use super::coverage::SIDES;
use super::judge::Difference;
use super::mutation::{Fate, Mutation};
use super::{Findings, Judged};
use crate::cli::verdict::plain;

/// One line a finding, then the figures.
///
/// # Errors
/// When `out` cannot be written to.
pub(super) fn text(findings: &Findings<'_>, out: &mut dyn Write) -> std::io::Result<()> {
    for call in findings.failed() {
        if let Some(difference) = &call.verdict.difference {
            let [what, how] = [who_and_what(call), against(difference)].map(|text| plain(&text));
            writeln!(out, "FAIL {}: as {what}: {how}", call.test.location)?;
        }
    }
    if findings.short {
        for [realm, route, role] in &findings.coverage.missing {
            let verb = if SIDES.contains(&role.as_str()) { "expects" } else { "judges" };
            writeln!(out, "no test {verb} {role} on {realm} {route}")?;
        }
    }
    if let Some(mutation) = &findings.mutation {
        for (trial, test) in mutation.survivors() {
            writeln!(out, "SURVIVED {}: {}\n  add: {test}", trial.rule, trial.name)?;
        }
    }
    let (covered, all, percent) = (findings.coverage.covered, findings.coverage.all(), findings.coverage.percent());
    writeln!(
        out,
        "coverage: {covered} of {all}, {percent} % (each role, nobody, a permit and a refusal on each route)"
    )?;
    match &findings.mutation {
        Some(mutation) => writeln!(out, "{}", figures(mutation))?,
        None if findings.mutate => writeln!(out, "mutants: not tried, the tests have to pass first")?,
        None => {}
    }
    let failed = findings.failed().count();
    writeln!(out, "{} passed, {failed} failed", findings.calls.len() - failed)
}

/// `customer:cus-42, GET /customers/cus-42`
pub(super) fn who_and_what(call: &Judged<'_>) -> String {
    format!("{}, {} {}", call.caller, call.call.method, call.call.target)
}

/// `expected a permit, got scope_forbidden (the target account is out of scope)`
pub(super) fn against(difference: &Difference) -> String {
    let Difference { expected, got, cause } = difference;
    let cause = cause.map(|cause| format!(" ({cause})")).unwrap_or_default();
    format!("expected {expected}, got {got}{cause}")
}

fn figures(mutation: &Mutation) -> String {
    let survived = mutation.survivors().count();
    let indistinct = match mutation.indistinct() {
        0 => String::new(),
        some => format!("; {some} more change no decision at all"),
    };
    let all = mutation.noticed() + survived;
    format!(
        "mutants: {} of {all} noticed, {survived} survived{indistinct} ({:.2} s)",
        mutation.noticed(),
        mutation.took.as_secs_f64()
    )
}

/// One object.
///
/// # Errors
/// When `out` cannot be written to.
pub(super) fn json(findings: &Findings<'_>, out: &mut dyn Write) -> std::io::Result<()> {
    let failed: Vec<Value> = findings.failed().filter_map(failure).collect();
    let missing = findings.coverage.missing.iter().map(|[realm, route, seen]| {
        let kind = if SIDES.contains(&seen.as_str()) { "expected" } else { "caller" };
        json!({ "realm": realm, "route": route, kind: seen })
    });
    let coverage = json!({
        "covered": findings.coverage.covered,
        "all": findings.coverage.all(),
        "percent": findings.coverage.percent(),
        "missing": missing.collect::<Vec<_>>(),
    });
    let mutants = findings.mutation.as_ref().map(|mutation| {
        let survived = mutation.survivors().map(|(trial, test)| {
            json!({ "mutant": trial.name, "file": trial.rule.file, "line": trial.rule.line, "add": test })
        });
        let indistinct = mutation.trials.iter().filter(|trial| matches!(trial.fate, Fate::Indistinct));
        json!({
            "noticed": mutation.noticed(),
            "survived": survived.collect::<Vec<_>>(),
            "change_nothing": indistinct.map(|trial| &trial.name).collect::<Vec<_>>(),
            "seconds": mutation.took.as_secs_f64(),
        })
    });
    let report = json!({
        "good": findings.good(),
        "passed": findings.calls.len() - failed.len(),
        "failed": failed,
        "coverage": coverage,
        "mutants": mutants,
    });
    writeln!(out, "{report:#}")
}

fn failure(call: &Judged<'_>) -> Option<Value> {
    let Difference { expected, got, cause } = call.verdict.difference.as_ref()?;
    let location = &call.test.location;
    Some(json!({
        "file": location.file,
        "line": location.line,
        "as": call.caller,
        "method": call.call.method,
        "target": call.call.target,
        "expected": expected,
        "got": got,
        "cause": cause,
    }))
}
