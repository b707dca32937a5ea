//! Reload: everything or nothing, without a restart and without a request that notices (contract sections 3 and 10).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::harness::accounts::key_of;
use crate::harness::gateway::Gateway;
use crate::harness::jwt::Forgery;
use crate::harness::lab::{LAB_POLICY, Lab};
use crate::harness::redis::RedisServer;
use crate::harness::request::get;
use crate::harness::response::Response;
use crate::harness::wait::{PATIENCE, eventually};

const SECOND_KEY: &str = "second-secret-0123456789abcdef-0123456789abcdef";

#[track_caller]
fn reload(gateway: &Gateway) -> Response {
    gateway.admin_json("POST", "/reload", &json!({}))
}

/// `gateway.toml` with one text for another, which has to be there.
#[track_caller]
fn change(gateway: &Gateway, from: &str, to: &str) {
    let text = gateway.read_file("gateway.toml");
    assert!(text.contains(from), "no {from} in {text}");
    gateway.replace_file("gateway.toml", &text.replacen(from, to, 1));
}

#[track_caller]
fn messages(response: &Response) -> String {
    let body = response.json();
    let faults = body["faults"].as_array().unwrap_or_else(|| panic!("no faults: {body}"));
    assert!(!faults.is_empty(), "{body}");
    faults.iter().map(|fault| fault["message"].as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

/// JWT-046 of the shared cases.
fn rotate_signing_key(lab: &Lab) {
    const OLD: &str = "{ id = \"lab\", secret = { env = \"PORTCULLIS_TOKEN_KEY\" } }";
    const NEW: &str = "{ id = \"next\", secret = { file = \"next-key\" } }";
    lab.gateway.replace_file("next-key", SECOND_KEY);
    let old = lab.login("alice");
    let call = |token: &str| lab.call(&get("/orders/1").token(token));
    assert_eq!(*Forgery::of(&old).head("kid"), "lab");
    change(&lab.gateway, OLD, &format!("{NEW}, {OLD}"));
    reload(&lab.gateway).assert_ok();
    call(&old).assert_ok();
    let new = lab.login("alice");
    assert_eq!(*Forgery::of(&new).head("kid"), "next", "the first signs");
    call(&new).assert_ok();
    // Both are known to the gateway now, and only one may stay so.
    change(&lab.gateway, &format!("{NEW}, {OLD}"), NEW);
    reload(&lab.gateway).assert_ok();
    call(&old).assert_denied(401, "1001", "token_invalid");
    call(&new).assert_ok();
    let verified = lab.gateway.metrics().sum("portcullis_token_verifications_total", &[("kid", "next")]);
    assert!(verified >= 1.0, "{verified}");
}

#[test]
fn signing_key_is_rotated_without_a_restart_and_without_a_5xx() {
    let lab = Arc::new(Lab::start());
    let over = Arc::new(AtomicBool::new(false));
    let bystander = thread::spawn({
        let (lab, over) = (Arc::clone(&lab), Arc::clone(&over));
        move || {
            let (mut client, mut calls) = (lab.gateway.client(), 0);
            while !over.load(Ordering::Relaxed) {
                let response = client.send(&get("/orders/1").basic("ak_bob", &key_of("ak_bob")));
                assert_eq!(response.status, 200, "{response}");
                calls += 1;
            }
            calls
        }
    });
    rotate_signing_key(&lab);
    over.store(true, Ordering::Relaxed);
    assert!(bystander.join().expect("no call failed") > 10);
}

#[test]
fn signing_key_is_rotated_the_same_way_on_a_shared_store() {
    let redis = RedisServer::start();
    rotate_signing_key(&Lab::with(|builder| builder.store_with(&redis.url(), "budget = \"2s\"")));
}

#[test]
fn policies_reasons_and_accounts_are_taken_over_whole() {
    let lab = Lab::start();
    let old = lab.gateway.admin_get("/policy").assert_ok().json()["revision"].clone();
    let order = get("/orders/1").basic("ak_alice", &key_of("ak_alice"));
    lab.call(&order).assert_ok();
    let narrowed = LAB_POLICY.replacen(
        "match = \"GET /orders/{id}\"\nallow = [\"administrator\", \"user\"]",
        "match = \"GET /orders/{id}\"\nallow = [\"administrator\"]",
        1,
    );
    assert_ne!(narrowed, LAB_POLICY);
    lab.gateway.replace_file("lab.toml", &narrowed);
    let text = lab.gateway.read_file("gateway.toml");
    lab.gateway.replace_file("gateway.toml", &format!("{text}\n[reasons.role_forbidden]\ndesc = \"Ask your boss.\"\n"));
    let revision = reload(&lab.gateway).assert_ok().json()["revision"].clone();
    assert_ne!(revision, old);
    let refused = lab.call(&order);
    refused.assert_denied(403, "1002", "role_forbidden");
    assert_eq!(refused.json()["desc"], "Ask your boss.");
    let line = lab.gateway.line_of(&refused.request_id());
    assert_eq!(line.text("revision"), revision.as_str().unwrap());
    let policy = lab.gateway.admin_get("/policy").assert_ok().json();
    assert_eq!(policy["revision"], revision);
    let metrics = lab.gateway.metrics();
    assert_eq!(metrics.sum("portcullis_policy_info", &[]), 1.0, "one revision");
    assert_eq!(metrics.sum("portcullis_policy_info", &[("revision", revision.as_str().unwrap())]), 1.0);
    assert!(metrics.sum("portcullis_policy_reloads_total", &[("result", "applied")]) >= 1.0);
}

#[test]
fn a_role_that_only_the_new_policies_know_can_be_given_at_once() {
    let lab = Lab::start();
    let accounts = lab.gateway.read_file("accounts.toml");
    let next = accounts.replacen("role = \"user\"", "role = \"auditor\"", 1);
    assert_ne!(accounts, next);
    lab.gateway.replace_file("accounts.toml", &next);
    lab.gateway.replace_file(
        "lab.toml",
        &LAB_POLICY.replacen("[\"administrator\", \"user\"]", "[\"administrator\", \"auditor\", \"user\"]", 1),
    );
    reload(&lab.gateway).assert_ok();
    assert_eq!(lab.gateway.admin_get("/readyz").assert_ok().json()["degraded"], json!([]));
    // The file goes on to be followed, by the new words.
    lab.gateway.replace_file("accounts.toml", &format!("{next}\n"));
    eventually("the accounts are read again", PATIENCE, || {
        lab.gateway.stderr().contains("accounts reloaded from").then_some(())
    });
}

#[test]
fn files_with_a_fault_change_nothing_and_are_told_like_check_tells_them() {
    let lab = Lab::start();
    let revision = lab.gateway.admin_get("/policy").assert_ok().json()["revision"].clone();
    let token = lab.login("alice");
    lab.gateway.replace_file("lab.toml", &LAB_POLICY.replacen("[\"administrator\"]", "[\"adminstrator\"]", 1));
    change(&lab.gateway, "ttl = \"20m\"", "ttl = \"20\"");
    let response = reload(&lab.gateway).assert_status(422);
    let checked = lab.gateway.verb(&["check", "-c", "gateway.toml", "--format", "json"]);
    assert_eq!(checked.code, 2, "{checked:?}");
    assert_eq!(response.json()["faults"], serde_json::from_str::<Value>(&checked.stdout).unwrap());
    assert!(messages(&response).contains("`adminstrator`") && messages(&response).contains("`20`"), "{response}");
    assert_eq!(lab.gateway.admin_get("/policy").assert_ok().json()["revision"], revision);
    lab.call(&get("/orders/1").token(&token)).assert_ok();
    let metrics = lab.gateway.metrics();
    assert_eq!(metrics.sum("portcullis_policy_stale", &[]), 1.0);
    assert!(metrics.sum("portcullis_policy_reloads_total", &[("result", "faults")]) >= 1.0);
    let ready = lab.gateway.admin_get("/readyz");
    assert_eq!((ready.status, &ready.json()["degraded"]), (200, &json!(["stale policy"])), "{ready}");
    let exit = lab.gateway.verb(&["reload", "--wait"]);
    assert_eq!(exit.code, 65, "{exit:?}");
    assert!(exit.stderr.contains("lab.toml:") && exit.stderr.contains("did you mean `administrator`"), "{exit:?}");
    lab.gateway.replace_file("lab.toml", LAB_POLICY);
    change(&lab.gateway, "ttl = \"20\"", "ttl = \"20m\"");
    let exit = lab.gateway.verb(&["reload", "--wait"]);
    assert!(exit.code == 0 && exit.stdout.contains(revision.as_str().unwrap()), "{exit:?}");
    assert_eq!(lab.gateway.metrics().sum("portcullis_policy_stale", &[]), 0.0);
    assert_eq!(lab.gateway.degraded(), [""; 0]);
}

#[test]
fn a_cold_key_refuses_the_whole_reload_and_is_named() {
    let lab = Lab::start();
    let renamed = LAB_POLICY.replacen("name = \"orders\"", "name = \"renamed\"", 1);
    let revision = lab.gateway.revision();
    for (from, to, named) in [
        ("ttl = \"20m\"", "ttl = \"10m\"", "token.ttl"),
        ("url = \"memory:\"", "url = \"memory:\"\nbudget = \"70ms\"", "store.budget"),
        ("listen = [", "listen = [\"127.0.0.1:1\", ", "server.listen"),
    ] {
        let before = lab.gateway.read_file("gateway.toml");
        // In this order there and back, nothing that could be taken over ever stands on the disk.
        change(&lab.gateway, from, to);
        lab.gateway.replace_file("lab.toml", &renamed);
        let response = reload(&lab.gateway).assert_status(422);
        assert!(messages(&response).contains(named), "{response}");
        let fault = &response.json()["faults"][0];
        assert_eq!(fault["file"], "gateway.toml", "{response}");
        let line = fault["line"].as_u64().and_then(|line| usize::try_from(line).ok()).unwrap();
        let written = lab.gateway.read_file("gateway.toml");
        let key = named.rsplit('.').next().unwrap();
        assert!(written.lines().nth(line - 1).unwrap().starts_with(key), "line {line} of {written}");
        assert_eq!(lab.gateway.revision(), revision, "nothing changed");
        assert_eq!(lab.gateway.degraded(), ["stale policy"]);
        lab.gateway.replace_file("lab.toml", LAB_POLICY);
        lab.gateway.replace_file("gateway.toml", &before);
    }
    assert!(lab.gateway.reloads("cold") >= 3.0);
    lab.gateway.replace_file("lab.toml", &renamed);
    assert_ne!(reload(&lab.gateway).assert_ok().json()["revision"], json!(revision), "the policy alone is hot");
}

#[test]
fn sighup_reloads_and_survives_faults() {
    let mut lab = Lab::start();
    lab.gateway.replace_file("lab.toml", "nonsense");
    lab.gateway.signal("-HUP");
    eventually("the fault is counted", PATIENCE, || (lab.gateway.reloads("faults") >= 1.0).then_some(()));
    assert!(lab.gateway.stderr().contains("lab.toml:1"), "{}", lab.gateway.stderr());
    lab.gateway.replace_file("lab.toml", &LAB_POLICY.replacen("name = \"orders\"", "name = \"renamed\"", 1));
    lab.gateway.signal("-HUP");
    eventually("the policy is in effect", PATIENCE, || (lab.gateway.reloads("applied") >= 1.0).then_some(()));
    let response = lab.call(&get("/orders/1").basic("ak_alice", &key_of("ak_alice"))).assert_ok();
    lab.gateway.line_of(&response.request_id()).assert(&[("route", "renamed")]);
    assert!(lab.gateway.is_running());
}

#[test]
fn a_key_made_at_start_outlives_a_reload() {
    let lab = Lab::with(|builder| builder.without_keys());
    let token = lab.login("alice");
    reload(&lab.gateway).assert_ok();
    lab.call(&get("/orders/1").token(&token)).assert_ok();
}
