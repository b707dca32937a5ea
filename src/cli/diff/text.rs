//! Differences for people: by route, then by kind and caller.
//!
//! Called by `cli::diff`. Callers for whom the same differs share their lines. Colours are stripped where the output is no
//! terminal.

use std::io::{Result, Write};

use crate::policy::difference::{Change, Difference, Kind, Matter, RouteChange, Rule};

/// Writes everything, the summary last.
pub(super) fn write(difference: &Difference, out: &mut dyn Write) -> Result<()> {
    for route in &difference.routes {
        let changes: Vec<&Change> = told(route).collect();
        if changes.is_empty() {
            continue;
        }
        head(route, out)?;
        for kind in Kind::ALL {
            lines(kind, &changes, out)?;
        }
        writeln!(out)?;
    }
    for quota in &difference.quotas {
        writeln!(out, "{BOLD}{} quota {}{RESET}  {}  ({})", quota.realm, quota.quota, quota.charged, quota.location)?;
        writeln!(out, "  {}  {} → {}\n", tag(quota.kind), quota.before, quota.after)?;
    }
    for note in &difference.notes {
        writeln!(out, "note: {note}")?;
    }
    let otherwise = difference.count(Kind::RefusedOtherwise);
    if otherwise > 0 {
        let callers =
            if otherwise == 1 { "1 caller of a route is" } else { &format!("{otherwise} callers of routes are") };
        writeln!(out, "note: {callers} refused as before, but not always for the same reason (--format json tells)")?;
    }
    writeln!(out, "{}", summary(difference))
}

/// "3 widened, 1 narrowed, 0 rerouted"
fn summary(difference: &Difference) -> String {
    let [widened, narrowed, rerouted] =
        [Kind::Widened, Kind::Narrowed, Kind::Rerouted].map(|kind| difference.count(kind));
    if widened + narrowed + rerouted == 0 {
        return "no decision changes".to_owned();
    }
    format!("{widened} widened, {narrowed} narrowed, {rerouted} rerouted")
}

/// What is told of a route; other reasons for a refusal are only counted.
fn told(route: &RouteChange) -> impl Iterator<Item = &Change> {
    route.changes.iter().filter(|change| change.kind != Kind::RefusedOtherwise)
}

fn head(route: &RouteChange, out: &mut dyn Write) -> Result<()> {
    let named = |rule: &Rule| format!("{} {}", rule.realm, rule.route);
    let title = match (&route.old, &route.new) {
        (Some(old), Some(new)) if named(old) == named(new) => named(new),
        (Some(old), Some(new)) => format!("{} → {}", named(old), named(new)),
        (Some(old), None) => format!("{} → no route", named(old)),
        (None, Some(new)) => format!("no route → {}", named(new)),
        (None, None) => "no route".to_owned(),
    };
    let places: Vec<String> = match (&route.old, &route.new) {
        (Some(old), Some(new)) if old.location == new.location => vec![new.location.to_string()],
        (old, new) => {
            let places = [("new", new), ("old", old)].into_iter();
            places.filter_map(|(side, rule)| Some(format!("{side} {}", rule.as_ref()?.location))).collect()
        }
    };
    let more = match route.matches.len() {
        0 | 1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    let first = route.matches.first().map_or("", String::as_str);
    writeln!(out, "{BOLD}{title}{RESET}  {first}{more}  ({})", places.join(", "))
}

/// The lines of one kind, callers with the same lines together.
fn lines(kind: Kind, changes: &[&Change], out: &mut dyn Write) -> Result<()> {
    let mut callers: Vec<(Vec<&str>, Vec<String>)> = Vec::new();
    for change in changes.iter().filter(|change| change.kind == kind) {
        match callers.iter_mut().find(|(names, _)| names.contains(&change.caller.as_str())) {
            Some((_, lines)) => lines.push(line(change)),
            None => callers.push((vec![&change.caller], vec![line(change)])),
        }
    }
    let mut merged: Vec<(Vec<&str>, Vec<String>)> = Vec::new();
    for (names, lines) in callers {
        match merged.iter_mut().find(|(_, known)| *known == lines) {
            Some((known, _)) => known.extend(names),
            None => merged.push((names, lines)),
        }
    }
    for (names, lines) in merged {
        writeln!(out, "  {}  {}", tag(kind), names.join(", "))?;
        for line in lines {
            writeln!(out, "            {line}")?;
        }
    }
    Ok(())
}

fn line(change: &Change) -> String {
    let relations = match change.relations.as_slice() {
        [] => String::new(),
        relations => format!("target {}: ", relations.join(", ")),
    };
    let condition = if change.condition.is_empty() { String::new() } else { format!("{}: ", change.condition) };
    let quota = match change.matter {
        Matter::Verdict => "",
        Matter::Quota => "quota: ",
    };
    format!("{relations}{condition}{quota}{} → {}", change.before, change.after)
}

const BOLD: &str = "\u{1b}[1m";
const RESET: &str = "\u{1b}[0m";

fn tag(kind: Kind) -> String {
    let (colour, name) = match kind {
        Kind::Widened => (31, "WIDENED "),
        Kind::Narrowed => (33, "NARROWED"),
        Kind::Rerouted => (36, "REROUTED"),
        Kind::RefusedOtherwise => (2, "REFUSED "),
    };
    format!("\u{1b}[{colour}m{name}{RESET}")
}
