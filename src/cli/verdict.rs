//! A rehearsed decision as JSON: every rung with what it said, the reply, the headers that an upstream would get.
//!
//! Made for `portcullis explain` and `why` from files, and for `POST /explain` of the admin listener from what is in effect.
//! It judges nothing: the rungs are the ladder's.

mod charges;
mod text;
mod wanted;
mod words;

use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

pub use self::charges::Peek;
use self::charges::{charged, is_charged_later, not_charged, stage_of};
pub(super) use self::text::{plain, steers, write_text, write_words};
pub use self::wanted::{Fields, Wanted, Who, judged_credential};
use self::words::{Words, words};
use crate::policy::decision::Denial;
use crate::policy::facts::Facts;
use crate::policy::ladder::{Decision, Permit, Rung, Step, explain, rung_names};
use crate::policy::rehearsal::HOST;
use crate::policy::route::{Destination, UpstreamIndex};
use crate::policy::told::{Arrival, told_headers};
use crate::problem::envelope::{Challenge, Problem};
use crate::problem::registry::Registry;

/// What the words are taken from.
pub struct Around<'a> {
    /// The policies' revision.
    pub revision: &'a str,
    /// What refusals say.
    pub registry: &'a Registry,
    /// The names of upstreams.
    pub upstream: &'a dyn Fn(UpstreamIndex) -> Option<&'a str>,
    /// How quotas stand, where a running gateway is asked.
    pub peek: Option<Peek<'a>>,
}

/// Stands for the id that every request gets.
const REQUEST_ID: &str = "(request id)";

/// Stands for the Host of a request of which none is known.
const ANY_HOST: &str = "(the Host sent)";

/// What came of a request: every rung, and the reply or what an upstream is told.
#[must_use]
pub fn describe(around: &Around<'_>, facts: &Facts<'_>, decision: &Decision) -> Value {
    let steps = explain(facts);
    let route = facts.place.route();
    let rungs: Vec<Value> = rung_names()
        .map(|name| match steps.iter().find(|rung| rung.name == name) {
            None => json!({ "rung": name, "result": "not reached" }),
            Some(rung) => with_quotas(around, facts, name, step(around, facts, rung)),
        })
        .collect();
    json!({
        "revision": around.revision,
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

fn step(around: &Around<'_>, facts: &Facts<'_>, rung: &Rung) -> Value {
    let result = match &rung.step {
        Step::Pass => "pass",
        Step::Moot => "does not apply",
        Step::Permit(_) => "permit",
        Step::Ask(_) => "unanswered",
        Step::Deny(_) => "DENY",
    };
    let Words { why, rule } = words(around, facts, rung);
    let mut row = json!({ "rung": rung.name, "result": result, "why": why });
    if let Some(rule) = rule {
        row["rule"] = json!(rule);
    }
    if let Step::Deny(denial) = &rung.step {
        row["reason"] = json!(denial.reason.name());
    }
    row
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
    let mut headers = serde_json::Map::new();
    let upstream = match permit.destination() {
        Destination::Upstream(index) => {
            let (chain, host) = (facts.head.client.to_string(), facts.head.host);
            let host = if host == HOST { ANY_HOST } else { host };
            let arrival = Arrival { request_id: REQUEST_ID, chain: &chain, protocol: "http", host };
            if let Some((_, realm)) = facts.place.realm {
                told_headers(permit, realm, arrival, |name, value| {
                    headers.insert(name.into(), json!(value));
                });
            }
            (around.upstream)(index)
        }
        Destination::Login | Destination::Logout => Some("answered by the gateway"),
    };
    json!({
        "decision": "permit",
        "upstream": upstream,
        "scope": permit.scope().map(|scope| scope.name()),
        "target": permit.target(),
        "relation": permit.relation().name(),
        "headers": headers,
    })
}

fn denied(around: &Around<'_>, facts: &Facts<'_>, denial: &Denial) -> Value {
    let realm = facts.place.realm.map_or_else(|| "".into(), |(_, realm)| realm.name.clone());
    let challenge = Challenge { realm, presented: facts.head.presented.scheme() };
    let problem = Problem { reason: denial.reason, hint: denial.hint.clone(), challenge };
    let reply = problem.reply(around.registry, REQUEST_ID);
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers: Vec<Value> =
        reply.headers.iter().map(|(name, value)| json!(format!("{name}: {}", text(value)))).collect();
    let phrase = StatusCode::from_u16(reply.status).ok().and_then(|status| status.canonical_reason());
    let line = format!("HTTP/1.1 {} {}", reply.status, phrase.unwrap_or_default());
    json!({
        "decision": "deny",
        "reason": denial.reason.name(),
        "cause": denial.cause,
        "reply": {
            "status": reply.status,
            "status_line": line.trim_end(),
            "headers": headers,
            "body": body,
            "text": String::from_utf8_lossy(&reply.body),
        },
    })
}
