//! Quotas in what operators are told: `portcullis explain` from files, `POST /explain` with how they stand, `routes`,
//! `check --print` (contract section 8).

use serde_json::{Value, json};

use crate::harness::accounts::{api_id, key_of};
use crate::harness::gateway::Exit;
use crate::harness::lab::{Lab, builder};
use crate::harness::ports;
use crate::harness::request::get;
use crate::harness::response::Response;
use crate::harness::upstream::{Step, Upstream, json as answer};
use crate::harness::wait::{PATIENCE, eventually};

/// Quotas that no test waits for: whatever is spent stays spent.
pub(crate) const POLICY: &str = r#"
[realm]
name = "nest"
base = "/n"
roles = ["administrator", "reseller", "customer", "user"]
schemes = ["basic", "token"]
upstream = "lab"
quotas = ["address"]

[login]
login = "POST /login"
logout = "POST /logout"
quotas = ["login"]

[quota.address]
per = "address"
rate = "1000/s"

[quota.login]
per = "login"
rate = "10/min"

[quota.own]
per = "principal"
rate = "2/h"

[quota.customer]
per = "customer"
rate = "1/h"
burst = 3

[quota.running]
per = "customer"
in_flight = 1

[quota.upstream]
per = "upstream"
in_flight = 100

[quota.open]
per = "route"
rate = "1/h"

[[route]]
name = "items"
match = "GET /items"
allow = ["administrator", "reseller", "customer", "user"]
quotas = ["own", "customer"]

[[route]]
name = "slow"
match = "GET /slow"
allow = ["administrator", "reseller", "customer", "user"]
quotas = ["running", "upstream"]

[[route]]
name = "open"
match = "GET /open"
public = true
quotas = ["open"]
"#;

/// The line of `[quota.NAME]` in the policy, as rules are named.
fn rule(name: &str) -> String {
    let before = POLICY.split(&format!("[quota.{name}]")).next().expect("the text before it");
    format!("nest.toml:{}", before.lines().count() + 1)
}

fn offline(words: &[&str]) -> Exit {
    let words = [&["explain", "-c", "gateway.toml"], words].concat();
    builder().policy("nest", POLICY).upstream("lab", ports::refusing()).verb(&words)
}

#[track_caller]
fn rung<'r>(report: &'r Value, name: &str) -> &'r Value {
    let mut rungs = report["rungs"].as_array().into_iter().flatten();
    rungs.find(|rung| rung["rung"] == name).unwrap_or_else(|| panic!("no rung {name} in {report:#}"))
}

fn called(lab: &Lab, account: &str, path: &str) -> Response {
    let id = api_id(account);
    lab.call(&get(path).basic(&id, &key_of(&id)))
}

#[track_caller]
fn explained(lab: &Lab, caller: &str, path: &str) -> Value {
    let body = json!({ "as": caller, "method": "GET", "path": path });
    lab.gateway.admin_json("POST", "/explain", &body).assert_ok().json()
}

#[test]
fn explain_lists_whose_allowance_each_stage_is_charged_to() {
    let exit = offline(&["--as", "user:usr-1", "--client", "2001:db8:1:2::9", "--format", "json", "GET", "/n/items"]);
    assert_eq!(exit.code, 0, "{exit:?}");
    let report: Value = serde_json::from_str(&exit.stdout).expect("JSON");
    assert_eq!(
        rung(&report, "arrival-quota")["quotas"],
        json!([{ "quota": "address", "per": "address", "whose": "address 2001:db8:1:2::/64",
            "limit": "1000/s, burst 1000", "rule": rule("address") }])
    );
    assert_eq!(
        rung(&report, "quota")["quotas"],
        json!([
            { "quota": "own", "per": "principal", "whose": "principal usr-1", "limit": "2/h, burst 2", "rule": rule("own") },
            { "quota": "customer", "per": "customer", "whose": "customer cus-42", "limit": "1/h, burst 3",
              "rule": rule("customer") },
        ])
    );
    assert_eq!(rung(&report, "quota")["not_charged"], json!([]));
    let exit = offline(&["--as", "user:usr-1", "GET", "/n/slow"]);
    let shown = format!("upstream: 100 in flight; upstream lab  ({})", rule("upstream"));
    assert!(exit.stdout.contains(&shown), "{}", exit.stdout);
    let exit = offline(&["GET", "/n/open"]);
    let shown = format!("open: 1/h, burst 1; route open  ({})", rule("open"));
    assert!(exit.stdout.contains(&shown), "{}", exit.stdout);
}

#[test]
fn explain_says_why_a_quota_does_not_apply_to_the_caller() {
    let exit = offline(&["--as", "reseller:res-7", "GET", "/n/items"]);
    assert_eq!(exit.code, 0, "{exit:?}");
    let why = "customer: not charged, neither the caller nor an account above it is a customer";
    let shown = exit.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(shown.contains(&format!("{why} ({})", rule("customer"))), "{}", exit.stdout);
    assert!(exit.stdout.contains("own: 2/h, burst 2; principal res-7"), "{}", exit.stdout);
    // What is refused before is charged on arrival and no further.
    let exit = offline(&["--as", "user:usr-1", "--format", "json", "GET", "/n/nowhere"]);
    let report: Value = serde_json::from_str(&exit.stdout).expect("JSON");
    assert_eq!(rung(&report, "arrival-quota")["quotas"][0]["quota"], "address");
    assert_eq!(*rung(&report, "quota"), json!({ "rung": "quota", "result": "not reached" }));
}

#[test]
fn explain_names_the_quota_of_a_login_that_is_charged_later() {
    let exit = offline(&["-H", "X-Api-Id: ak_cus-42", "--format", "json", "POST", "/n/login"]);
    assert_eq!(exit.code, 0, "{exit:?}");
    let report: Value = serde_json::from_str(&exit.stdout).expect("JSON");
    let quota = rung(&report, "quota");
    assert_eq!((&quota["result"], &quota["quotas"][0]["quota"]), (&json!("later"), &json!("login")), "{quota:#}");
    assert_eq!(quota["quotas"][0]["limit"], "10/min, burst 10");
    assert_eq!(quota["quotas"][0]["whose"], "login (its e-mail)");
    assert_eq!(quota["not_charged"], json!([]));
}

#[test]
fn explained_quotas_refuse_exactly_the_requests_that_are_refused() {
    assert_explained_is_what_happens(POLICY);
}

#[test]
fn explained_shared_quotas_refuse_exactly_the_requests_that_are_refused() {
    let shared = POLICY.replace("rate = \"2/h\"", "rate = \"2/h\"\nshared = true");
    let shared = shared.replace("burst = 3", "burst = 3\nshared = true");
    assert_ne!(shared, POLICY);
    assert_explained_is_what_happens(&shared);
}

#[track_caller]
fn assert_explained_is_what_happens(policy: &str) {
    let lab = Lab::with(|builder| builder.policy("nest", policy));
    let (mut permits, mut refusals) = (0, Vec::new());
    for _ in 0..3 {
        for (role, account) in [("user", "usr-1"), ("user", "usr-2"), ("customer", "cus-42"), ("reseller", "res-7")] {
            for path in ["/n/items", "/n/open"] {
                let report = explained(&lab, &format!("{role}:{account}"), path);
                assert_eq!(
                    explained(&lab, &format!("{role}:{account}"), path)["outcome"]["decision"],
                    report["outcome"]["decision"],
                    "asking costs nothing"
                );
                let (outcome, response) = (&report["outcome"], called(&lab, account, path));
                if response.status == 200 {
                    permits += 1;
                    assert_eq!(outcome["decision"], "permit", "{account} {path}: {report:#}");
                    continue;
                }
                assert_eq!((response.status, response.reason().as_str()), (429, "quota_exceeded"), "{response}");
                assert_eq!(outcome["reason"], "quota_exceeded", "{account} {path}: {report:#}");
                assert_eq!(outcome["reply"]["status"], 429);
                let line = lab.gateway.line_of(&response.request_id());
                let rung = rung(&report, "quota");
                assert_eq!((&rung["result"], &rung["quota"]), (&json!("DENY"), &json!(line.text("quota"))), "{rung:#}");
                refusals.push(line.text("quota"));
            }
        }
    }
    for quota in ["own", "customer", "open"] {
        assert!(refusals.iter().any(|refused| refused == quota), "{quota} among {refusals:?}");
    }
    // Three of the customer's, two of the reseller's own, one of the open route.
    assert_eq!((permits, refusals.len()), (6, 18), "{refusals:?}");
}

#[test]
fn explained_waits_are_those_that_the_refused_are_told() {
    // Whoever waits for its own quota alone would meet the one of the realm, which the request left without a cell.
    let policy = POLICY.replace("per = \"address\"\nrate = \"1000/s\"", "per = \"realm\"\nrate = \"1/h\"\nburst = 2");
    let policy = policy.replace("rate = \"2/h\"", "rate = \"10/min\"\nburst = 1");
    assert!(policy.contains("rate = \"1/h\"\nburst = 2") && policy.contains("rate = \"10/min\"\nburst = 1"));
    let lab = Lab::with(|builder| builder.policy("nest", &policy));
    called(&lab, "res-7", "/n/items").assert_ok();
    let report = explained(&lab, "reseller:res-7", "/n/items");
    let told = report["outcome"]["reply"]["headers"].as_array().unwrap().iter().filter_map(Value::as_str);
    let told: Vec<u64> = told.filter_map(|line| line.strip_prefix("Retry-After: ")?.parse().ok()).collect();
    let refused = called(&lab, "res-7", "/n/items").assert_status(429);
    let waits: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(waits > 3000, "the realm's: {refused}");
    assert!(matches!(told[..], [said] if said.abs_diff(waits) <= 1), "{told:?} for {waits}: {report:#}");
    lab.gateway.line_of(&refused.request_id()).assert(&[("quota", "own")]);
}

#[test]
fn explain_of_a_gateway_tells_how_each_quota_stands() {
    let lab = Lab::with(|builder| builder.policy("nest", POLICY));
    let standing = || {
        let report = explained(&lab, "user:usr-1", "/n/items");
        let quotas = rung(&report, "quota")["quotas"].clone();
        [0, 1].map(|place| {
            (quotas[place]["remaining"].as_u64().unwrap(), quotas[place]["wait_seconds"].as_u64().unwrap())
        })
    };
    assert_eq!(standing(), [(2, 0), (3, 0)]);
    called(&lab, "usr-1", "/n/items").assert_ok();
    for _ in 0..5 {
        assert_eq!(standing(), [(1, 0), (2, 0)], "nothing is charged for asking");
    }
    called(&lab, "usr-1", "/n/items").assert_ok();
    let [(left, wait), (of_customer, _)] = standing();
    assert_eq!((left, of_customer), (0, 1));
    assert!((1700..=1800).contains(&wait), "half an hour for one of two an hour: {wait}");
}

#[test]
fn explain_of_a_gateway_tells_how_many_requests_run() {
    let upstream =
        Upstream::scripted(|seen| if seen.target.ends_with("/slow") { vec![Step::Silence] } else { answer(200, "{}") });
    let lab = Lab::before(upstream, |builder| builder.policy("nest", POLICY));
    let running = || {
        let report = explained(&lab, "user:usr-2", "/n/slow");
        let quota = rung(&report, "quota").clone();
        let counts =
            |place: usize| [&quota["quotas"][place]["running"], &quota["quotas"][place]["most"]].map(Value::as_u64);
        (quota["result"].as_str().unwrap().to_owned(), counts(0), counts(1))
    };
    assert_eq!(running(), ("pass".to_owned(), [Some(0), Some(1)], [Some(0), Some(100)]));
    let mut client = lab.gateway.client();
    client.write(&get("/n/slow").basic("ak_usr-1", &key_of("ak_usr-1")).bytes());
    eventually("the request runs", PATIENCE, || lab.upstream.saw_target("/n/slow").then_some(()));
    assert_eq!(running(), ("DENY".to_owned(), [Some(1), Some(1)], [Some(1), Some(100)]));
    let refused = called(&lab, "usr-2", "/n/slow").assert_status(429);
    lab.gateway.line_of(&refused.request_id()).assert(&[("quota", "running")]);
    client.leave();
    eventually("nothing runs any more", PATIENCE, || (running().1 == [Some(0), Some(1)]).then_some(()));
}

#[test]
fn routes_and_check_show_the_quotas_in_effect() {
    let lab = builder().policy("nest", POLICY).upstream("lab", ports::refusing());
    let exit = lab.clone().verb(&["routes", "--format", "json", "-c", "gateway.toml"]);
    assert_eq!(exit.code, 0, "{exit:?}");
    let rows: Vec<Value> = serde_json::from_str(&exit.stdout).expect("JSON");
    let items = rows.iter().find(|row| row["route"] == "items").expect("the route");
    let names: Vec<_> = items["quotas"].as_array().unwrap().iter().map(|quota| quota["quota"].as_str()).collect();
    assert_eq!(names, [Some("address"), Some("own"), Some("customer")]);
    assert_eq!(items["quotas"][1]["limit"], "2/h, burst 2");
    let orders = rows.iter().find(|row| row["route"] == "orders").expect("the route");
    assert_eq!(orders["quotas"], json!([]));
    let exit = lab.verb(&["check", "--print", "-c", "gateway.toml"]);
    assert_eq!(exit.code, 0, "{exit:?}");
    let own = format!("# nest/own: 2/h, burst 2, per principal  ({})", rule("own"));
    assert!(exit.stdout.lines().any(|line| line == own), "{}", exit.stdout);
    assert!(exit.stdout.contains("# nest/running: 1 in flight, per customer"), "{}", exit.stdout);
    toml::from_str::<toml::Table>(&exit.stdout).expect("what is printed is TOML");
}
