//! The quotas of a rehearsed request as JSON: what it is charged to, whose allowance that is, and what does not apply.
//!
//! Called by `verdict`, which puts it beside the two rungs that charge. It charges nothing and decides nothing; how much is
//! left is known only where a running gateway is asked.

use serde_json::{Value, json};

use super::Around;
use crate::limits::Standing;
use crate::policy::facts::Facts;
use crate::policy::quota::{Charge, Charged, Charges, Limit, Per, Quota, Stage, Subject};
use crate::policy::route::Destination;

/// How quotas stand now.
pub type Peek<'a> = &'a dyn Fn(&Charges<'_>) -> Vec<Standing>;

/// Stands for an e-mail that nobody has sent yet.
const UNREAD: &str = "(its e-mail)";

/// What the rung of this name charges.
pub(super) fn stage_of(rung: &str) -> Option<Stage> {
    match rung {
        "arrival-quota" => Some(Stage::Arrival),
        "quota" => Some(Stage::Permitted),
        _ => None,
    }
}

/// Whether the stage waits for a body: a login is charged once it is known whose it is.
pub(super) fn is_charged_later(facts: &Facts<'_>, stage: Stage) -> bool {
    let login = facts.place.route().is_some_and(|route| route.destination == Destination::Login);
    login && stage == Stage::Permitted
}

/// What the stage charges, with how each stands where that can be asked.
pub(super) fn charged(around: &Around<'_>, facts: &Facts<'_>, stage: Stage) -> Vec<Value> {
    let Some(charges) = due(facts, stage) else { return Vec::new() };
    let standings = around.peek.map(|peek| peek(&charges)).unwrap_or_default();
    let shown = |charge: &Charge<'_>| {
        let mut row = row(charge.quota);
        row["whose"] = json!(whose(charges.realm, charge));
        let standing = standings.iter().find(|standing| standing.quota == charge.index);
        // Nobody has an unread e-mail, so nobody has spent its allowance either: that would say nothing.
        if let (Some(standing), false) = (standing, matches!(charge.subject, Subject::Login(_))) {
            stand(&mut row, charge.quota, standing);
        }
        row
    };
    charges.iter().map(shown).collect()
}

/// Quotas of the route that do not apply to this caller, with why. Those of arrival apply to everybody.
pub(super) fn not_charged(facts: &Facts<'_>, stage: Stage) -> Vec<Value> {
    let (Some((_, realm)), Some(route), Stage::Permitted) = (facts.place.realm, facts.place.route(), stage) else {
        return Vec::new();
    };
    let charges = due(facts, stage);
    let is_charged = |index| charges.iter().flat_map(Charges::iter).any(|charge| charge.index == index);
    let missing = route.quotas.iter().filter(|index| !is_charged(**index)).filter_map(|index| realm.quota(*index));
    let shown = |quota: &Quota| {
        let mut row = row(quota);
        row["why"] = json!(why_not(facts, &quota.per)?);
        Some(row)
    };
    missing.filter_map(shown).collect()
}

fn due<'a>(facts: &'a Facts<'_>, stage: Stage) -> Option<Charges<'a>> {
    if !is_charged_later(facts, stage) {
        return facts.charges(stage);
    }
    let (_, realm) = facts.place.realm?;
    let (route, client) = (facts.place.route(), facts.head.client);
    Some(Charged { realm, route, principal: None, client, login: Some(UNREAD) }.due(stage))
}

fn row(quota: &Quota) -> Value {
    json!({ "quota": quota.name, "per": quota.per.name(), "limit": quota.written, "rule": quota.location.to_string() })
}

fn whose(realm: &str, charge: &Charge<'_>) -> String {
    let per = charge.quota.per.name();
    match charge.subject {
        Subject::Account(_) | Subject::Network(_) | Subject::Login(_) | Subject::Route(_) | Subject::Upstream(_) => {
            format!("{per} {}", charge.subject)
        }
        Subject::Realm => format!("{per} {realm}"),
    }
}

fn stand(row: &mut Value, quota: &Quota, standing: &Standing) {
    match quota.limit {
        Limit::Rate(_) => row["remaining"] = json!(standing.remaining),
        Limit::InFlight(most) => {
            row["running"] = json!(most.saturating_sub(standing.remaining));
            row["most"] = json!(most);
        }
    }
    row["wait_seconds"] = json!(standing.wait_seconds());
}

/// `None` for what was charged on arrival.
fn why_not(facts: &Facts<'_>, per: &Per) -> Option<String> {
    match per {
        Per::Address | Per::Realm => None,
        Per::Principal | Per::Ancestor(_) if facts.principal().is_none() => Some("nobody proves who calls".to_owned()),
        Per::Ancestor(role) => Some(format!("neither the caller nor an account above it is a {role}")),
        Per::Principal | Per::Login | Per::Route | Per::Upstream => {
            Some("the route has nothing that it could be charged to".to_owned())
        }
    }
}
