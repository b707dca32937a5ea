//! `portcullis why`: a line of the access log is explained as it was decided, by the files and by the gateway itself.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::accounts::{Accounts, key_of};
use crate::harness::gateway::{Exit, run};
use crate::harness::lab::{Lab, TREE_POLICY, builder};
use crate::harness::ports;
use crate::harness::request::{Request, get, post};
use crate::harness::wait::{PATIENCE, eventually};

const EXIT_FAILED: i32 = 1;
const EXIT_DENIED: i32 = 3;
const EXIT_UNAVAILABLE: i32 = 69;

const LOG: [&str; 4] = ["--log", "access.log", "-c", "gateway.toml"];

fn why(lab: &Lab, id: &str, more: &[&str]) -> Exit {
    lab.gateway.line_of(id);
    lab.gateway.verb(&[&["why", id], &LOG[..], more].concat())
}

#[track_caller]
fn report(exit: &Exit) -> Value {
    serde_json::from_str(&exit.stdout).unwrap_or_else(|error| panic!("{error}: {exit:?}"))
}

fn basic(request: Request, account: &str) -> Request {
    let id = format!("ak_{account}");
    request.basic(&id, &key_of(&id))
}

/// One request for each reason that a test can have without waiting, and permits.
fn requests(lab: &Lab) -> Vec<Request> {
    let token = lab.tree_token("cus-42");
    vec![
        basic(get("/t/own/usr-1"), "usr-1"),
        get("/t/below/usr-1").token(&token),
        get("/t/below/usr-9").token(&token),
        basic(get("/t/below/nobody"), "cus-42"),
        basic(get("/t/subtree/cus-42"), "cus-42"),
        basic(get("/t/below/usr-1"), "usr-1"),
        basic(get("/t/query?account=usr-1"), "cus-42"),
        basic(get("/t/query?account=res-7"), "cus-42"),
        basic(get("/t/header").header("X-Account", "usr-2"), "cus-42"),
        basic(get("/t/optional"), "cus-42"),
        basic(get("/t/list"), "usr-1"),
        basic(get("/t/apps").header("X-App-Type", "vc"), "usr-1"),
        basic(get("/t/apps").header("X-App-Type", "no"), "usr-1"),
        basic(get("/t/apps"), "usr-1"),
        basic(get("/t/apps").header("X-App-Type", "vc").header("X-App-Type", "wb"), "usr-1"),
        basic(get("/t/needs").header("X-Tenant", "t"), "usr-1"),
        get("/t/open").header("X-Api-Id", "a"),
        get("/t/own/usr-1"),
        get("/t/own/usr-1").basic("ak_usr-1", "not its key"),
        get("/t/own/usr-1").token("no.to.ken"),
        get("/t/own/usr-1").header("Authorization", "Bearer x"),
        basic(get("/t/own/usr-s"), "usr-s"),
        basic(get("/t/nowhere"), "usr-1"),
        basic(post("/t/own/usr-1"), "usr-1"),
        get("/t//own"),
    ]
}

fn lab() -> Lab {
    let accounts = Accounts::lab().with("usr-s", "user", Some("cus-42")).suspend("usr-s");
    Lab::with(|builder| builder.accounts(&accounts))
}

#[test]
fn a_line_is_explained_as_it_was_decided() {
    let lab = lab();
    let admin = format!("http://{}", lab.gateway.admin());
    let (mut reasons, mut permits, mut unread) = (BTreeSet::new(), 0, 0);
    for request in requests(&lab) {
        let response = lab.call(&request);
        let id = response.request_id();
        let exit = why(&lab, &id, &["--format", "json"]);
        let report = report(&exit);
        let said = format!("{}: {exit:?}", request.line());
        assert_eq!(report["line"]["request_id"], *id);
        let reason = report["line"]["reason"].as_str().unwrap_or_default().to_owned();
        assert_eq!(exit.code, if response.status == 200 { 0 } else { EXIT_DENIED }, "{said}");
        if report["explanation"].is_null() {
            unread += 1;
            assert_eq!(reason, "request_malformed", "{said}");
            continue;
        }
        assert_eq!(report["agrees"], true, "{said}");
        let outcome = &report["explanation"]["outcome"];
        if response.status == 200 {
            permits += 1;
            let seen = lab.upstream.seen_with_id(&id);
            for (name, value) in outcome["headers"].as_object().expect("headers") {
                let exact = name.starts_with("X-Auth-");
                assert!(!exact || seen.all(name) == [value.as_str().unwrap()], "{name}: {said}");
            }
        } else {
            assert_eq!(outcome["reason"], *reason, "{said}");
            assert_eq!(outcome["reply"]["status"], response.status, "{said}");
        }
        let notes = report["notes"].to_string();
        assert_eq!(notes.contains("x-tenant is taken as sent"), request.line().contains("/needs"), "{said}");
        // A running gateway cannot be told what was presented then.
        if !["credential_invalid", "token_invalid", "account_suspended", "header_invalid"].contains(&reason.as_str()) {
            let exit = why(&lab, &id, &["--format", "json", "--live", &admin]);
            let live = self::report(&exit);
            assert_eq!(live["agrees"], true, "{}: {exit:?}", request.line());
            let foreseen = &live["explanation"]["outcome"];
            assert_eq!(foreseen["decision"], outcome["decision"], "{exit:?}");
            if report["line"]["scheme"] == "basic" {
                let told = "X-Auth-Credential";
                assert_eq!(foreseen["headers"][told], outcome["headers"][told], "{exit:?}");
            }
        }
        reasons.insert(reason);
    }
    assert!(permits >= 9 && unread == 1 && reasons.len() >= 13, "{permits} permits, {unread} unread, {reasons:?}");
}

/// Puts other credentials into effect.
fn change_accounts(lab: &Lab, from: &str, to: &str) {
    let before = lab.gateway.read_file("accounts.toml");
    assert_eq!(before.matches(from).count(), 1, "{from} in {before}");
    let told = |lab: &Lab| lab.gateway.stderr().matches("accounts reloaded from").count();
    let known = told(lab);
    lab.gateway.replace_file("accounts.toml", &before.replace(from, to));
    eventually("the accounts are in effect", PATIENCE, || (told(lab) > known).then_some(()));
}

#[test]
fn a_running_gateway_is_asked_about_the_very_credential() {
    let validity = "not_after = 2120-01-01T00:00:00Z";
    let accounts = Accounts::lab().credential("ak_more", "usr-1", validity);
    let lab = Lab::with(|builder| builder.accounts(&accounts));
    let admin = format!("http://{}", lab.gateway.admin());
    let id = lab.call(&get("/t/own/usr-1").basic("ak_more", &key_of("ak_more"))).assert_ok().request_id();
    let asked = || why(&lab, &id, &["--format", "json", "--live", &admin]);
    let live = report(&asked());
    assert_eq!(live["agrees"], true, "{live:#}");
    assert_eq!(live["explanation"]["outcome"]["headers"]["X-Auth-Credential"], "ak_more", "{live:#}");
    // It ended since: the account alone would still pass.
    change_accounts(&lab, validity, "not_after = 2020-01-01T00:00:00Z");
    let live = report(&asked());
    assert_eq!(
        (&live["agrees"], &live["explanation"]["outcome"]["reason"]),
        (&json!(false), &json!("credential_expired"))
    );
    assert!(live["notes"].to_string().contains("accounts or credentials may have changed since"), "{live:#}");
    // It is gone.
    change_accounts(&lab, "id = \"ak_more\"", "id = \"ak_other\"");
    let live = report(&asked());
    assert_eq!(live["agrees"], true, "{live:#}");
    let notes = live["notes"].to_string();
    assert!(notes.contains("judged by the account") && notes.contains("there is no credential `ak_more`"), "{notes}");
}

#[test]
fn people_read_who_asked_what_and_every_check() {
    let lab = lab();
    let id = lab.call(&basic(get("/t/below/usr-9"), "cus-42")).request_id();
    let exit = why(&lab, &id, &[]);
    assert_eq!(exit.code, EXIT_DENIED, "{exit:?}");
    let shown = exit.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "GET /t/below/usr-9 from 127.0.0.1",
        "customer root/res-7/cus-42 by basic ak_cus-42",
        "denied 403 scope_forbidden: the target account is out of scope",
        "the route allows customer: below",
        "target usr-9 lies outside of the accounts of cus-42",
        "HTTP/1.1 403 Forbidden",
    ] {
        assert!(shown.contains(words), "{words}: {}", exit.stdout);
    }
    assert!(exit.stdout.lines().all(|line| line.chars().count() <= 100), "{}", exit.stdout);
    assert!(!exit.stdout.contains('\u{1b}'), "no terminal is there: {}", exit.stdout);
}

#[test]
fn rules_that_changed_since_are_told_and_named_as_the_cause() {
    let lab = lab();
    let id = lab.call(&basic(get("/t/own/usr-1"), "usr-1")).assert_ok().request_id();
    let edited = TREE_POLICY.replace(
        "customer = \"own\", user = \"own\" }\ntarget = \"path.id\"",
        "customer = \"own\" }\ntarget = \"path.id\"",
    );
    assert_ne!(edited, TREE_POLICY);
    lab.gateway.replace_file("tree.toml", &edited);
    let exit = why(&lab, &id, &["--format", "json"]);
    assert_eq!((exit.code, &report(&exit)["agrees"]), (EXIT_DENIED, &Value::Bool(false)), "{exit:?}");
    let notes = report(&exit)["notes"].to_string();
    assert!(notes.contains("the line is of revision"), "{notes}");
    assert!(notes.contains("THIS IS NOT WHAT THE LINE SAYS: the rules may have changed since"), "{notes}");
}

#[test]
fn an_id_that_is_not_there_is_said_with_a_hint() {
    let lab = lab();
    lab.call(&get("/t/open").header("X-Api-Id", "a")).assert_ok();
    lab.gateway.access_lines(1);
    let exit = lab.gateway.verb(&[&["why", "nobody-asked"], &LOG[..]].concat());
    assert_eq!(exit.code, EXIT_FAILED, "{exit:?}");
    assert!(exit.stderr.contains("is of request nobody-asked") && exit.stderr.contains("rotated"), "{exit:?}");
    let exit = lab.gateway.verb(&["why", "x", "--log", "no-such.log", "-c", "gateway.toml"]);
    assert!(exit.code == EXIT_FAILED && exit.stderr.contains("no-such.log"), "{exit:?}");
    let nobody = format!("http://{}", ports::refusing());
    let id = lab.call(&get("/t/own/usr-1")).request_id();
    assert_eq!(why(&lab, &id, &["--live", &nobody]).code, EXIT_UNAVAILABLE);
}

#[test]
fn a_log_may_come_from_a_pipe_and_hold_other_lines() {
    let lab = lab();
    let id = lab.call(&get("/t/own/usr-1")).request_id();
    lab.gateway.line_of(&id);
    let steering = lab.gateway.stdout().replace("\"user_agent\":null", "\"user_agent\":\"\\u001b[2J\"");
    let steering = steering.replace("\"cause\":\"", "\"cause\":\"\\u001b[2J");
    assert!(steering.contains("u001b"));
    let log = format!("starting\n{{broken {id}}}\n\n{steering}{{\"cut\": ");
    let place = builder().upstream("lab", ports::refusing()).place();
    let exit = run(&place, &["why", &id, "--log", "-", "-c", "gateway.toml"], &log);
    assert_eq!(exit.code, EXIT_DENIED, "{exit:?}");
    assert!(exit.stdout.contains("header_missing") && !exit.stdout.contains('\u{1b}'), "{}", exit.stdout);
    let exit = run(&place, &["why", "nobody", "--log", "-", "-c", "gateway.toml"], &log);
    assert!(exit.stderr.contains("(3 are no access lines)"), "{exit:?}");
}
