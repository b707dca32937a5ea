//! A rehearsed decision as JSON: every rung with what it said, the reply, the identity headers.
//!
//! Made for `portcullis explain` from files, and for `POST /explain` of the admin listener from what is in effect. It
//! judges nothing: the rungs are the ladder's.

mod charges;

use serde_json::{Value, json};

pub use self::charges::Peek;
use self::charges::{charged, is_charged_later, not_charged, stage_of};
use crate::policy::decision::Denial;
use crate::policy::facts::Facts;
use crate::policy::ladder::{Decision, Permit, Step, explain, rung_names};
use crate::policy::route::{Destination, UpstreamIndex};
use crate::policy::told::identity_headers;
use crate::problem::envelope::{Challenge, Problem};
use crate::problem::registry::Registry;

/// What the words are taken from.
pub struct Around<'a> {
    /// What refusals say.
    pub registry: &'a Registry,
    /// The names of upstreams.
    pub upstream: &'a dyn Fn(UpstreamIndex) -> Option<&'a str>,
    /// How quotas stand, where a running gateway is asked.
    pub peek: Option<Peek<'a>>,
}

/// What came of a request: every rung, and the reply or the identity headers.
#[must_use]
pub fn describe(around: &Around<'_>, facts: &Facts<'_>, decision: &Decision) -> Value {
    let steps = explain(facts);
    let route = facts.place.route();
    let rungs: Vec<Value> = rung_names()
        .map(|name| match steps.iter().find(|rung| rung.name == name) {
            None => json!({ "rung": name, "result": "not reached" }),
            Some(rung) => with_quotas(around, facts, name, step(name, &rung.step)),
        })
        .collect();
    json!({
        "realm": facts.place.realm.map(|(_, realm)| &*realm.name),
        "route": route.map(|route| &*route.name),
        "rule": route.map(|route| route.location.to_string()),
        "rungs": rungs,
        "outcome": match decision {
            Decision::Permit(permit) => permitted(around, facts, permit),
            Decision::Deny(denial) => denied(around, facts, denial),
            Decision::Ask(_) => json!({ "decision": "undecided" }),
        },
    })
}

fn step(name: &str, step: &Step) -> Value {
    match step {
        Step::Pass => json!({ "rung": name, "result": "pass" }),
        Step::Moot => json!({ "rung": name, "result": "does not apply" }),
        Step::Permit(_) => json!({ "rung": name, "result": "permit" }),
        Step::Ask(_) => json!({ "rung": name, "result": "unanswered" }),
        Step::Deny(denial) => {
            json!({ "rung": name, "result": "DENY", "why": denial.cause, "reason": denial.reason.name() })
        }
    }
}

/// A rung that charges quotas says which, and which of them refused.
fn with_quotas(around: &Around<'_>, facts: &Facts<'_>, name: &str, mut rung: Value) -> Value {
    let Some(stage) = stage_of(name) else { return rung };
    let quotas = charged(around, facts, stage);
    if is_charged_later(facts, stage) && !quotas.is_empty() {
        rung["result"] = json!("later");
        rung["why"] = json!("charged once the e-mail of the login is read");
    }
    if rung["result"] == "DENY"
        && let (Some((_, realm)), Some(index)) = (facts.place.realm, facts.refused_quota())
    {
        rung["quota"] = json!(realm.quota(index).map(|quota| &*quota.name));
    }
    rung["quotas"] = json!(quotas);
    rung["not_charged"] = json!(not_charged(facts, stage));
    rung
}

fn permitted(around: &Around<'_>, facts: &Facts<'_>, permit: &Permit) -> Value {
    let upstream = match permit.destination() {
        Destination::Upstream(index) => (around.upstream)(index),
        Destination::Login | Destination::Logout => Some("answered by the gateway"),
    };
    let mut headers = serde_json::Map::new();
    if let Some((_, realm)) = facts.place.realm {
        identity_headers(permit, realm, |name, value| {
            headers.insert(name.into(), json!(value));
        });
    }
    json!({ "decision": "permit", "upstream": upstream, "relation": permit.relation().name(), "headers": headers })
}

fn denied(around: &Around<'_>, facts: &Facts<'_>, denial: &Denial) -> Value {
    let realm = facts.place.realm.map_or_else(|| "".into(), |(_, realm)| realm.name.clone());
    let challenge = Challenge { realm, presented: facts.head.presented.scheme() };
    let problem = Problem { reason: denial.reason, hint: denial.hint.clone(), challenge };
    let reply = problem.reply(around.registry, "(request id)");
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let headers: Vec<Value> = reply.headers.iter().map(|(name, value)| json!(format!("{name}: {value}"))).collect();
    let text = String::from_utf8_lossy(&reply.body);
    json!({ "decision": "deny", "reason": denial.reason.name(), "cause": denial.cause,
        "reply": { "status": reply.status, "headers": headers, "body": body, "text": text } })
}
