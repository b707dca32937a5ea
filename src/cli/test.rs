//! `portcullis test`: the policies' own tests, and how much of the policies they judge.

use std::collections::BTreeSet;
use std::io::Write;

use super::args::TestArgs;
use super::report::load_or_stop;
use super::{Done, Exit};
use crate::config::load::Config;
use crate::config::policy_file::{Expectation, PolicyTest};
use crate::policy::ladder::{Decision, Permit};
use crate::policy::rehearsal::{Call, Tree, rehearse};
use crate::policy::route::Destination;
use crate::policy::snapshot::Spot;

/// What some test did on a route: judged a role or nobody, saw a permit, saw a refusal.
type Judged = (String, String, String);

/// Besides the roles, every route has to be seen from both sides.
const SIDES: [&str; 2] = ["a permit", "a refusal"];

/// Runs the verb.
///
/// # Errors
/// Bad files, or an output that cannot be written.
pub fn run(args: &TestArgs, out: &mut dyn Write) -> Done {
    let config = load_or_stop(&args.config.config)?;
    let (mut passed, mut failed) = (0, 0);
    let mut judged = BTreeSet::new();
    for test in &config.tests {
        for (caller, call) in &test.calls {
            match judge(&config, test, caller, call, &mut judged) {
                Ok(()) => passed += 1,
                Err(difference) => {
                    failed += 1;
                    let Call { method, target, .. } = call;
                    writeln!(out, "FAIL {}: as {caller}, {method} {target}: {difference}", test.location)?;
                }
            }
        }
    }
    let (covered, missing) = coverage(&config, &judged);
    let all = covered + missing.len();
    let percent = (covered * 100).checked_div(all).unwrap_or(100);
    let short = args.min_coverage.is_some_and(|least| percent < usize::from(least));
    if short {
        for (realm, route, role) in &missing {
            let verb = if SIDES.contains(&role.as_str()) { "expects" } else { "judges" };
            writeln!(out, "no test {verb} {role} on {realm} {route}")?;
        }
    }
    writeln!(
        out,
        "coverage: {covered} of {all}, {percent} % (each role, nobody, a permit and a refusal on each route)"
    )?;
    writeln!(out, "{passed} passed, {failed} failed")?;
    Ok(if failed > 0 || short || passed == 0 { Exit::Failed } else { Exit::Ok })
}

fn judge(
    config: &Config,
    test: &PolicyTest,
    caller: &str,
    call: &Call,
    judged: &mut BTreeSet<Judged>,
) -> Result<(), String> {
    let empty = Tree::default();
    let tree = config.trees.iter().find(|(realm, _)| *realm == test.realm).map_or(&empty, |(_, tree)| tree);
    rehearse(&config.snapshot, tree, call, |facts, decision| {
        if let (Some((_, realm)), Spot::Route(_, route, _)) = (facts.place.realm, facts.place.spot) {
            let role = caller.split(':').next().unwrap_or_default();
            let side = SIDES[usize::from(matches!(test.expect, Expectation::Deny(_)))];
            for seen in [role, side] {
                judged.insert((realm.name.to_string(), route.name.to_string(), seen.to_owned()));
            }
        }
        match (&test.expect, decision) {
            (Expectation::Deny(expected), Decision::Deny(denial)) if *expected == denial.reason => Ok(()),
            (Expectation::Permit { scope, upstream }, Decision::Permit(permit)) => {
                if scope.is_some() && *scope != permit.scope() {
                    let got = permit.scope().map_or("none", |scope| scope.name());
                    return Err(format!("permitted with scope {got}"));
                }
                match upstream.as_deref() {
                    Some(wanted) if wanted != upstream_name(config, permit) => {
                        Err(format!("permitted, but goes to {}", upstream_name(config, permit)))
                    }
                    _ => Ok(()),
                }
            }
            (expected, Decision::Deny(denial)) => {
                Err(format!("expected {}, got {} ({})", expectation(expected), denial.reason, denial.cause))
            }
            (expected, _) => Err(format!("expected {}, got a permit", expectation(expected))),
        }
    })
}

fn expectation(expect: &Expectation) -> &'static str {
    match expect {
        Expectation::Permit { .. } => "permit",
        Expectation::Deny(reason) => reason.name(),
    }
}

fn upstream_name<'c>(config: &'c Config, permit: &Permit) -> &'c str {
    match permit.destination() {
        Destination::Upstream(index) => {
            config.settings.upstreams.get(usize::from(index.0)).map_or("-", |upstream| &upstream.name)
        }
        Destination::Login | Destination::Logout => "gateway",
    }
}

/// The gateway's own routes hold no rule of the operator's, so they need no test of the operator's.
fn coverage(config: &Config, judged: &BTreeSet<Judged>) -> (usize, Vec<Judged>) {
    let mut covered = 0;
    let mut missing = Vec::new();
    for realm in config.snapshot.realms() {
        for route in realm.routes.iter().filter(|route| matches!(route.destination, Destination::Upstream(_))) {
            for role in realm.roles.iter().map(|role| &**role).chain(["anonymous"]).chain(SIDES) {
                let pair = (realm.name.to_string(), route.name.to_string(), role.to_owned());
                if judged.contains(&pair) { covered += 1 } else { missing.push(pair) }
            }
        }
    }
    (covered, missing)
}
