//! The store fails: at the start, later, and by freezing. What needs it is 503, never "not valid"; what does not need
//! it goes on (contract sections 9 and 10).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::accounts::{Accounts, key_of};
use crate::harness::builder::Builder;
use crate::harness::gateway::Gateway;
use crate::harness::lab::{Lab, builder, login, login_request};
use crate::harness::redis::RedisServer;
use crate::harness::request::{Request, get};
use crate::harness::upstream::Upstream;
use crate::harness::wait::eventually;

/// How long a recovery may take: two seconds, and slack for a busy machine.
const RECOVERY: Duration = Duration::from_secs(4);

/// What a store that is well answers within on a busy machine too.
const BUDGET: &str = "budget = \"250ms\"";

/// How long an answer may take that waits for a store which does not answer: that budget, and wide slack for an
/// unoptimised build beside other tests.
const BUDGET_AND_SLACK: Duration = Duration::from_secs(1);

fn with_key() -> Request {
    get("/orders/1").basic("ak_alice", &key_of("ak_alice"))
}

/// On this store. What a login takes is the store's doing alone.
fn on(redis: &RedisServer, builder: Builder) -> Builder {
    builder.accounts(&Accounts::lab().quick_to_check()).store_with(&redis.url(), BUDGET)
}

/// A token that is good, but that the gateway under test has never seen.
fn foreign_token() -> String {
    Lab::start().login("alice")
}

/// Asserts what holds in every outage: 503 for what only the store could tell, business as usual for the rest.
#[track_caller]
fn assert_degraded(gateway: &Gateway, foreign: &str) {
    gateway.call(&get("/orders/1").token(foreign)).assert_denied(503, "503", "store_unavailable");
    let refused = gateway.call(&login_request("", "alice"));
    refused.assert_denied(503, "503", "store_unavailable");
    assert_eq!(refused.json()["token"], Value::Null);
    gateway.call(&with_key()).assert_ok();
    gateway.call(&get("/public/ping")).assert_ok();
    gateway.call(&get("/admin/x").basic("ak_alice", &key_of("ak_alice"))).assert_denied(403, "1002", "role_forbidden");
    gateway.call(&get("/orders/1").token("no.to.ken")).assert_denied(401, "1001", "token_invalid");
}

#[track_caller]
fn wait_until_degraded(gateway: &Gateway) {
    eventually("readiness names the store", RECOVERY, || {
        let ready = gateway.admin_get("/readyz");
        assert_eq!(ready.status, 200, "an outage after the first contact is no reason to leave the pool: {ready}");
        (ready.json()["degraded"] == json!(["store"])).then_some(())
    });
}

#[track_caller]
fn wait_until_recovered(gateway: &Gateway) {
    eventually("a login works again", RECOVERY, || {
        (gateway.call(&login_request("", "alice")).status == 200).then_some(())
    });
    eventually("readiness is whole again", RECOVERY, || {
        let ready = gateway.admin_get("/readyz").assert_ok().json();
        (ready["degraded"].as_array().map_or(0, Vec::len) == 0).then_some(())
    });
    gateway.call(&get("/orders/1").token(&login(gateway, "", "alice"))).assert_ok();
}

#[test]
fn unreachable_store_does_not_stop_the_start_and_is_not_ready_until_reached_once() {
    let mut redis = RedisServer::absent();
    let upstream = Upstream::start();
    let foreign = foreign_token();
    let gateway = on(&redis, builder()).upstream("lab", upstream.address()).start_unready();
    assert_eq!(gateway.admin_get("/readyz").status, 503);
    assert_degraded(&gateway, &foreign);
    assert_eq!(gateway.admin_get("/readyz").status, 503);
    redis.restart();
    eventually("ready after the first contact", RECOVERY, || {
        (gateway.admin_get("/readyz").status == 200).then_some(())
    });
    wait_until_recovered(&gateway);
    // Now the store can tell, and it has no such session.
    gateway.call(&get("/orders/1").token(&foreign)).assert_denied(401, "1001", "token_revoked");
}

#[test]
fn store_that_dies_later_degrades_and_comes_back() {
    let mut redis = RedisServer::start();
    let lab = Lab::with(|builder| on(&redis, builder));
    let (foreign, known) = (foreign_token(), lab.login("alice"));
    lab.call(&get("/orders/1").token(&known)).assert_ok();
    redis.kill();
    assert_degraded(&lab.gateway, &foreign);
    wait_until_degraded(&lab.gateway);
    for _ in 0..3 {
        assert_degraded(&lab.gateway, &foreign);
        let response = lab.call(&get("/orders/1").token(&known));
        if response.status != 200 {
            response.assert_denied(503, "503", "store_unavailable");
        }
    }
    redis.restart();
    wait_until_recovered(&lab.gateway);
    // The new server is empty: the sessions of the old one are gone, and that may now be said.
    eventually("the lost session is told as such", RECOVERY, || {
        let response = lab.call(&get("/orders/1").token(&known));
        (response.status == 401).then(|| response.assert_denied(401, "1001", "token_revoked"))
    });
}

#[test]
fn store_outage_is_503_and_never_401() {
    let mut redis = RedisServer::start();
    let lab = Lab::with(|builder| on(&redis, builder));
    let (foreign, known) = (foreign_token(), lab.login("alice"));
    let mut client = lab.gateway.client();
    client.send(&get("/orders/1").token(&known)).assert_ok();
    redis.kill();
    let end = Instant::now() + Duration::from_millis(1500);
    let mut calls = 0;
    while Instant::now() < end {
        for token in [&known, &foreign] {
            let response = client.send(&get("/orders/1").token(token));
            assert!([200, 503].contains(&response.status), "call {calls}: {response}");
            calls += 1;
        }
    }
    assert!(calls > 20, "only {calls} calls: an outage must not be slow");
}

#[test]
fn frozen_store_costs_no_request_more_than_its_budget() {
    let redis = RedisServer::start();
    let lab = Lab::with(|builder| on(&redis, builder));
    let (foreign, known) = (foreign_token(), lab.login("alice"));
    redis.pause();
    for _ in 0..10 {
        for request in [get("/orders/1").token(&foreign), login_request("", "alice")] {
            let started = Instant::now();
            lab.call(&request).assert_denied(503, "503", "store_unavailable");
            assert!(started.elapsed() < BUDGET_AND_SLACK, "{} took {:?}", request.line(), started.elapsed());
        }
        let started = Instant::now();
        lab.call(&with_key()).assert_ok();
        lab.call(&get("/public/ping")).assert_ok();
        assert!(started.elapsed() < BUDGET_AND_SLACK, "what needs no store took {:?}", started.elapsed());
    }
    wait_until_degraded(&lab.gateway);
    redis.resume();
    wait_until_recovered(&lab.gateway);
    // Nothing was lost this time.
    lab.call(&get("/orders/1").token(&known)).assert_ok();
}

#[test]
fn store_that_takes_no_writes_gives_no_token() {
    let redis = RedisServer::start();
    let lab = Lab::with(|builder| on(&redis, builder));
    redis.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let refused = lab.call(&login_request("", "alice"));
    refused.assert_denied(503, "503", "store_unavailable");
    assert_eq!(refused.json()["token"], Value::Null);
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    wait_until_recovered(&lab.gateway);
}
