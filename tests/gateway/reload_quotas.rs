//! Quotas over a reload: what was spent stays spent, unless the quota itself was changed, and then operators are told.

use serde_json::{Value, json};

use crate::explain_quotas::POLICY;
use crate::harness::accounts::{api_id, key_of};
use crate::harness::lab::Lab;
use crate::harness::request::get;
use crate::harness::upstream::{Step, Upstream, json as answer};
use crate::harness::wait::{PATIENCE, eventually};

fn lab() -> Lab {
    Lab::with(|builder| builder.policy("nest", POLICY))
}

/// Puts the policy in effect with each text replaced by its other; gives the quotas that started anew.
#[track_caller]
fn reload_with(lab: &Lab, changes: &[(&str, &str)]) -> Vec<Value> {
    let policy = changes.iter().fold(POLICY.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "no {from} in {text}");
        text.replacen(from, to, 1)
    });
    let said_before = lab.gateway.stderr().len();
    lab.gateway.replace_file("nest.toml", &policy);
    let answer = lab.gateway.admin_json("POST", "/reload", &json!({})).assert_ok().json();
    let answered = answer["quotas_started_anew"].as_array().unwrap_or_else(|| panic!("no list in {answer}")).clone();
    let log = lab.gateway.stderr();
    let logged: Vec<Value> = log[said_before..].lines().filter_map(started_anew).collect();
    // Where the machine was so slow that the watch was first, there was nothing left to answer.
    assert!(answered == logged || answered.is_empty() && answer["changed"] == false, "{answer}, {logged:?}");
    logged
}

/// What a line of the log tells of a quota.
fn started_anew(line: &str) -> Option<Value> {
    let (_, told) = line.split_once("quota ")?;
    let (quota, limits) = told.split_once(" starts anew: ")?;
    let (was, now) = limits.split_once(" → ")?;
    Some(json!({ "quota": quota, "was": was, "now": now }))
}

fn status(lab: &Lab, account: &str, path: &str) -> u16 {
    let id = api_id(account);
    lab.call(&get(path).basic(&id, &key_of(&id))).status
}

#[test]
fn unchanged_quotas_keep_what_was_spent() {
    let lab = lab();
    let twice = [status(&lab, "res-7", "/n/items"), status(&lab, "res-7", "/n/items")];
    assert_eq!((twice, status(&lab, "res-7", "/n/items")), ([200, 200], 429));
    let block = "[quota.own]\nper = \"principal\"\nrate = \"2/h\"\n";
    for changes in [
        // Another quota, and a route.
        &[("burst = 3", "burst = 4"), ("name = \"open\"", "name = \"opened\"")][..],
        // Other words and another place for the same.
        &[
            (block, ""),
            (
                "[quota.address]",
                "# The caller's own.\n[quota.own]\nrate = \"2/h\"\nburst = 2\nper = \"principal\"\n\n[quota.address]",
            ),
        ],
        &[],
    ] {
        let anew = reload_with(&lab, changes);
        assert!(anew.iter().all(|row| row["quota"] != "nest/own"), "{anew:?}");
        assert_eq!(status(&lab, "res-7", "/n/items"), 429, "{changes:?}");
    }
}

#[test]
fn changed_quota_starts_anew_and_is_named() {
    let lab = lab();
    for wanted in [200, 200, 429] {
        assert_eq!(status(&lab, "res-7", "/n/items"), wanted);
    }
    let anew = reload_with(&lab, &[("rate = \"2/h\"", "rate = \"3/h\"")]);
    assert_eq!(
        anew,
        [json!({ "quota": "nest/own", "was": "2/h, burst 2 per principal", "now": "3/h, burst 3 per principal" })]
    );
    let said = "quota nest/own starts anew: 2/h, burst 2 per principal → 3/h, burst 3 per principal";
    eventually("the log names it", PATIENCE, || lab.gateway.stderr().contains(said).then_some(()));
    for wanted in [200, 200, 200, 429] {
        assert_eq!(status(&lab, "res-7", "/n/items"), wanted);
    }
    // Whose allowance it is belongs to the quota, too; the verb tells the same.
    let other = POLICY.replacen("per = \"principal\"\nrate = \"2/h\"", "per = \"route\"\nrate = \"3/h\"", 1);
    assert_ne!(other, POLICY);
    lab.gateway.replace_file("nest.toml", &other);
    let exit = lab.gateway.verb(&["reload"]);
    assert_eq!(exit.code, 0, "{exit:?}");
    let told = "quota nest/own starts anew: 3/h, burst 3 per principal → 3/h, burst 3 per route";
    assert!(exit.stdout.lines().any(|line| line == told), "{exit:?}");
    assert_eq!(status(&lab, "res-7", "/n/items"), 200);
}

#[test]
fn quotas_that_come_go_or_share_a_name_with_another_realms_are_no_news() {
    let other = POLICY.replacen("name = \"nest\"\nbase = \"/n\"", "name = \"twin\"\nbase = \"/w\"", 1);
    let lab = Lab::with(|builder| builder.policy("nest", POLICY).policy("twin", &other));
    for wanted in [200, 200, 429] {
        assert_eq!(status(&lab, "res-7", "/n/items"), wanted);
    }
    assert_eq!(status(&lab, "res-7", "/w/items"), 200, "an allowance of its own");
    // The twin's is changed, ours is renamed.
    lab.gateway.replace_file("twin.toml", &other.replacen("rate = \"2/h\"", "rate = \"5/h\"", 1));
    let anew = reload_with(&lab, &[("[quota.own]", "[quota.mine]"), ("[\"own\", ", "[\"mine\", ")]);
    let names: Vec<_> = anew.iter().map(|row| row["quota"].as_str()).collect();
    assert_eq!(names, [Some("twin/own")]);
    assert_eq!(status(&lab, "res-7", "/n/items"), 200, "a new quota");
    let lines = lab.gateway.stderr();
    assert!(!lines.contains("quota nest/"), "{lines}");
}

#[test]
fn requests_that_run_go_on_counting_over_a_reload() {
    let upstream =
        Upstream::scripted(|seen| if seen.target.ends_with("/slow") { vec![Step::Silence] } else { answer(200, "{}") });
    let lab = Lab::before(upstream, |builder| builder.policy("nest", POLICY));
    let mut client = lab.gateway.client();
    client.write(&get("/n/slow").basic("ak_usr-1", &key_of("ak_usr-1")).bytes());
    eventually("the request runs", PATIENCE, || lab.upstream.saw_target("/n/slow").then_some(()));
    assert_eq!(status(&lab, "usr-2", "/n/slow"), 429);
    assert_eq!(reload_with(&lab, &[("burst = 3", "burst = 4")]).len(), 1);
    assert_eq!(status(&lab, "usr-2", "/n/slow"), 429, "it runs still");
    client.leave();
    let explained = || {
        let body = json!({ "as": "user:usr-2", "method": "GET", "path": "/n/slow" });
        lab.gateway.admin_json("POST", "/explain", &body).assert_ok().json()["outcome"]["decision"].clone()
    };
    eventually("it has ended, for the new policy too", PATIENCE, || (explained() == "permit").then_some(()));
}
