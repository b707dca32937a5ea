//! Shadow mode: what a candidate set of policies would decide otherwise is counted and logged, and changes nothing.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::accounts::{api_id, key_of};
use crate::harness::lab::{LAB_POLICY, Lab};
use crate::harness::request::{Request, get, post};
use crate::harness::upstream::Upstream;
use crate::harness::wait::{PATIENCE, eventually};

const METRIC: &str = "portcullis_shadow_disagreements_total";

/// The lab's policy with an edit of each kind.
fn edited() -> String {
    let edits = [
        // Protected at last.
        (
            "name = \"public\"\nmatch = [\"GET /public/{*rest}\", \"POST /public/echo\"]\npublic = true",
            "name = \"public\"\nmatch = [\"GET /public/{*rest}\", \"POST /public/echo\"]\nallow = [\"administrator\"]",
        ),
        // A role less.
        (
            "match = \"GET /orders/{id}\"\nallow = [\"administrator\", \"user\"]",
            "match = \"GET /orders/{id}\"\nallow = [\"administrator\"]",
        ),
        // A role more.
        (
            "name = \"admin\"\nmatch = [\"GET /admin/{*rest}\", \"POST /admin/{*rest}\"]\nallow = [\"administrator\"]",
            "name = \"admin\"\nmatch = [\"GET /admin/{*rest}\", \"POST /admin/{*rest}\"]\nallow = [\"administrator\", \"user\"]",
        ),
        // Another upstream.
        ("match = \"POST /write/{id}\"\n", "match = \"POST /write/{id}\"\nupstream = \"other\"\n"),
        // Another scope, with nothing to judge it by.
        (
            "allow = { administrator = \"subtree\", user = \"own\" }\ntarget = \"query.customer_id?\"",
            "allow = { administrator = \"subtree\", user = \"subtree\" }\ntarget = \"query.customer_id?\"",
        ),
        // A header more, and with it another reason.
        ("match = \"GET /verbatim/{id}\"\n", "match = \"GET /verbatim/{id}\"\nheaders = [\"X-Tenant\"]\n"),
    ];
    edits.iter().fold(LAB_POLICY.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "no {from}");
        text.replacen(from, to, 1)
    })
}

fn lab(sample: &str) -> Lab {
    let (upstream, other) = (Upstream::start(), Upstream::start());
    let server = other.address();
    let lab = Lab::before(upstream, |builder| {
        let policies = format!("candidate = [\"candidate.toml\", \"tree.toml\"]\nsample = {sample}\n");
        builder.upstream("other", server).toml_extra(&policies).file("candidate.toml", &edited())
    });
    drop(other);
    lab
}

fn alice(request: Request) -> Request {
    request.basic(&api_id("alice"), &key_of(&api_id("alice")))
}

fn counted(lab: &Lab, live: &str, candidate: &str) -> f64 {
    lab.gateway.metrics().sum(METRIC, &[("realm", "lab"), ("live", live), ("candidate", candidate)])
}

#[test]
fn each_disagreement_is_counted_by_both_verdicts_and_logged_with_its_request_while_the_live_policies_decide() {
    let lab = lab("1.0");
    let cases = [
        (get("/public/x"), 200, "permit", "header_missing"),
        (alice(get("/public/x")), 200, "permit", "undecided"),
        (alice(get("/orders/1")), 200, "permit", "role_forbidden"),
        (alice(get("/admin/x")), 403, "role_forbidden", "permit"),
        (alice(post("/write/1")), 200, "permit", "rerouted"),
        (alice(get("/orders")), 200, "permit", "rescoped"),
        (get("/verbatim/1"), 400, "header_missing", "header_missing"),
        (alice(get("/verbatim/1")), 200, "permit", "header_missing"),
        (get("/nowhere"), 404, "route_not_found", "route_not_found"),
    ];
    let mut expected = BTreeSet::new();
    for (request, status, live, candidate) in cases {
        let before = lab.gateway.metrics().sum(METRIC, &[]);
        let response = lab.call(&request);
        assert_eq!(response.status, status, "{live} → {candidate}: {response}");
        let id = response.request_id();
        let more = if live == candidate { 0.0 } else { 1.0 };
        eventually("it is counted", PATIENCE, || {
            (lab.gateway.metrics().sum(METRIC, &[]) >= before + more).then_some(())
        });
        if live == candidate {
            expected.insert((id, None));
        } else {
            assert!(counted(&lab, live, candidate) >= 1.0, "{live} → {candidate}");
            expected.insert((id, Some((live, candidate))));
        }
    }
    assert_eq!(lab.gateway.metrics().sum(METRIC, &[]), 7.0);
    let lines = eventually("all are logged", PATIENCE, || {
        let text = lab.gateway.stderr();
        let lines: Vec<String> = text
            .lines()
            .filter(|line| line.contains("the candidate policies decide otherwise"))
            .map(Into::into)
            .collect();
        (lines.len() >= 7).then_some(lines)
    });
    assert_eq!(lines.len(), 7, "{lines:#?}");
    for (id, verdicts) in expected {
        let line = lines.iter().find(|line| line.contains(&id));
        match verdicts {
            None => assert!(line.is_none(), "{line:?}"),
            Some((live, candidate)) => {
                let line = line.unwrap_or_else(|| panic!("no line for {id}: {live} → {candidate}\n{lines:#?}"));
                let words =
                    [format!("live=\"{live}\""), format!("candidate=\"{candidate}\""), "candidate.toml:".into()];
                assert!(words.iter().all(|word| line.contains(word)), "{words:?} in {line}");
            }
        }
    }
    // Nothing went where only the candidate would have sent it, and the scope told was the live one.
    let seen = lab.forwarded(&alice(get("/orders")));
    seen.assert_header("x-auth-scope", "own");
}

#[test]
fn with_a_sample_of_nothing_disagreements_are_counted_only() {
    let lab = lab("0");
    for _ in 0..20 {
        lab.call(&alice(get("/orders/1"))).assert_ok();
    }
    eventually("all are counted", PATIENCE, || (counted(&lab, "permit", "role_forbidden") == 20.0).then_some(()));
    assert!(!lab.gateway.stderr().contains("decide otherwise"));
}

#[test]
fn quotas_of_the_candidate_are_not_charged_and_a_refusal_by_a_quota_is_no_disagreement() {
    let quota =
        "[quota.few]\nper = \"principal\"\nrate = \"2/h\"\n\n[[route]]\nname = \"orders\"\nquotas = [\"few\"]\n";
    let limited = LAB_POLICY.replacen("[[route]]\nname = \"orders\"\n", quota, 1);
    assert_ne!(limited, LAB_POLICY);
    let candidate = "candidate = [\"candidate.toml\"]\nsample = 1.0\n";
    let lab = Lab::with(|builder| builder.toml_extra(candidate).file("candidate.toml", &limited));
    for _ in 0..5 {
        lab.call(&alice(get("/orders/1"))).assert_ok();
    }
    lab.gateway.replace_file("lab.toml", &limited);
    lab.gateway.replace_file("candidate.toml", LAB_POLICY);
    lab.gateway.admin_json("POST", "/reload", &json!({})).assert_ok();
    let statuses: Vec<u16> = (0..4).map(|_| lab.call(&alice(get("/orders/1"))).status).collect();
    assert_eq!(statuses, [200, 200, 429, 429]);
    assert_eq!(lab.gateway.metrics().sum(METRIC, &[]), 0.0);
}

#[test]
fn a_candidate_comes_and_goes_with_a_reload_and_is_told_by_its_revision() {
    let lab = Lab::with(|builder| builder.file("candidate.toml", &edited().replace("upstream = \"other\"\n", "")));
    let policy = || lab.gateway.admin_get("/policy").assert_ok().json();
    assert_eq!(policy()["candidate"], Value::Null);
    let settings = lab.gateway.read_file("gateway.toml");
    let with = settings.replacen("include = [", "candidate = [\"candidate.toml\"]\ninclude = [", 1);
    assert_ne!(with, settings);
    lab.gateway.replace_file("gateway.toml", &with);
    lab.gateway.admin_json("POST", "/reload", &json!({})).assert_ok();
    let told = policy();
    assert_eq!(told["candidate"].as_str().map(str::len), Some(12), "{told}");
    assert_ne!(told["candidate"], told["revision"]);
    lab.call(&alice(get("/orders/1"))).assert_ok();
    eventually("it is counted", PATIENCE, || (counted(&lab, "permit", "role_forbidden") == 1.0).then_some(()));
    // Faults of a candidate are faults: what nobody can compile tells nothing.
    lab.gateway.replace_file("candidate.toml", "[realm]\nname = 5\n");
    let refused = lab.gateway.admin_json("POST", "/reload", &json!({}));
    assert_eq!(refused.status, 422, "{refused}");
    assert!(refused.text().contains("candidate.toml"), "{refused}");
    lab.gateway.replace_file("gateway.toml", &settings);
    lab.gateway.admin_json("POST", "/reload", &json!({})).assert_ok();
    assert_eq!(policy()["candidate"], Value::Null);
    lab.call(&alice(get("/orders/1"))).assert_ok();
    assert_eq!(counted(&lab, "permit", "role_forbidden"), 1.0);
}
