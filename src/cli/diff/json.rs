//! Differences for programs: everything, refusals for another reason among it.
//!
//! Called by `cli::diff`.

use std::io::{Result, Write};

use serde_json::{Value, json};

use super::super::args::DiffArgs;
use crate::config::set::PolicySet;
use crate::policy::difference::{Change, Difference, Kind, Matter, QuotaChange, RouteChange, Rule};

/// Writes one object.
pub(super) fn write(
    args: &DiffArgs,
    sets: [&PolicySet; 2],
    difference: &Difference,
    out: &mut dyn Write,
) -> Result<()> {
    let set = |name: &str, set: &PolicySet| json!({ "set": name, "revision": set.snapshot.revision() });
    let counts = Kind::ALL.map(|kind| (kind.name().to_owned(), json!(difference.count(kind))));
    let whole = json!({
        "old": set(&args.old, sets[0]),
        "new": set(&args.new, sets[1]),
        "summary": Value::Object(counts.into_iter().collect()),
        "routes": difference.routes.iter().map(route).collect::<Vec<_>>(),
        "quotas": difference.quotas.iter().map(quota).collect::<Vec<_>>(),
        "notes": difference.notes,
    });
    writeln!(out, "{whole:#}")
}

fn route(route: &RouteChange) -> Value {
    let rule = |rule: &Option<Rule>| {
        rule.as_ref().map(
            |Rule { realm, route, location }| json!({ "realm": realm, "route": route, "rule": location.to_string() }),
        )
    };
    let changes: Vec<Value> = route.changes.iter().map(change).collect();
    json!({ "old": rule(&route.old), "new": rule(&route.new), "matches": route.matches, "changes": changes })
}

fn change(change: &Change) -> Value {
    let Change { kind, matter, caller, relations, condition, before, after } = change;
    let matter = match matter {
        Matter::Verdict => "verdict",
        Matter::Quota => "quota",
    };
    let condition = Some(condition).filter(|condition| !condition.is_empty());
    json!({ "kind": kind.name(), "about": matter, "role": caller, "target": relations, "condition": condition,
        "before": before, "after": after })
}

fn quota(change: &QuotaChange) -> Value {
    let QuotaChange { kind, realm, quota, location, charged, before, after } = change;
    json!({ "kind": kind.name(), "realm": realm, "quota": quota, "rule": location.to_string(), "charged": charged,
        "before": before, "after": after })
}
