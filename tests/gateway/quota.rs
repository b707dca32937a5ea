//! Quotas that nest: several on one request, all charged or none, and which of them refused is known afterwards (contract
//! sections 5 and 8).

use std::thread;

use crate::harness::accounts::key_of;
use crate::harness::lab::{Lab, login_request};
use crate::harness::redis::RedisServer;
use crate::harness::request::{Request, get, post, request};
use crate::harness::response::Response;
use crate::harness::shop::Shop;
use crate::harness::upstream::Upstream;

fn per(kind: &str, burst: u32) -> String {
    format!("per = \"{kind}\"\nrate = \"1/h\"\nburst = {burst}")
}

fn by(account: &str, target: &str) -> Request {
    let id = format!("ak_{account}");
    get(target).basic(&id, &key_of(&id))
}

fn call(lab: &Lab, account: &str, target: &str) -> Response {
    lab.call(&by(account, target))
}

fn said(lab: &Lab, quota: &str, decision: &str) -> f64 {
    let labels = [("quota", quota), ("decision", decision)];
    lab.gateway.metrics().sum("portcullis_quota_decisions_total", &labels)
}

/// User ≤ customer ≤ reseller on `items`, each alone on a route of its own, so that it can be looked at.
fn nested(user: u32, customer: u32, reseller: u32) -> Shop {
    Shop::default()
        .quota("of-user", &per("user", user), &["items", "other"])
        .quota("of-customer", &per("customer", customer), &["items"])
        .quota("of-reseller", &per("reseller", reseller), &["items"])
}

#[test]
fn the_first_call_over_a_quota_is_429_and_reaches_no_upstream() {
    let lab = Shop::default().quota("own", &per("principal", 3), &["items"]).lab();
    let (mut client, request) = (lab.gateway.client(), get("/s/items/1").token(&token(&lab)));
    for left in [2, 1, 0] {
        client.send(&request).assert_ok().assert_told("own", left);
    }
    // The connection goes on.
    for _ in 0..3 {
        let refused = client.send(&request);
        assert!((3500..=3600).contains(&refused.assert_over_quota()), "{refused}");
    }
    client.send(&get("/s/open/1")).assert_ok();
    assert_eq!(lab.upstream.seen().len(), 4);
}

#[test]
fn a_refusal_on_arrival_is_the_same_whatever_the_request_looks_like() {
    let lab = Shop::default().quota("door", &per("address", 1), &["arrival"]).lab();
    lab.call(&get("/s/open/1")).assert_ok().assert_told("door", 0);
    let mut client = lab.gateway.client();
    let mut seen = Vec::new();
    for (name, request, route) in [
        ("no body", get("/s/open/1"), "open"),
        ("a body", post("/s/open/1").body(b"short"), "open"),
        ("chunks", post("/s/open/1").chunked(&[b"one", b"two"]), "open"),
        ("no route", get("/s/nowhere"), ""),
        ("no method", request("PUT", "/s/open/1"), ""),
        ("a login", login_request("/s", "usr-1"), "login"),
    ] {
        let refused = client.send(&request);
        assert!((3500..=3600).contains(&refused.assert_over_quota()), "{name}: {refused}");
        let line = lab.gateway.line_of(&refused.request_id());
        line.assert(&[
            ("quota", "door"),
            ("realm", "shop"),
            ("status", "429"),
            ("client", "127.0.0.1"),
            ("account", ""),
            ("outcome", "denied"),
            ("reason", "quota_exceeded"),
            ("cause", "a quota has too little left"),
            ("upstream", ""),
            ("route", route),
        ]);
        let mut fields: Vec<String> = refused.headers.iter().map(|(name, _)| name.to_lowercase()).collect();
        fields.sort_unstable();
        let body = refused.text().replace(&refused.request_id(), "ID");
        refused.assert_told("door", 0);
        seen.push((fields, body));
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:#?}");
    // With the end of the connection, and without a body to a HEAD.
    let last = client.send(&request("HEAD", "/s/open/1").header("Connection", "close"));
    assert_eq!((last.status, last.body.len()), (429, 0), "{last}");
    last.assert_denial_headers();
    client.assert_closes();
    let expecting = post("/s/open/1").header("Expect", "100-continue").owing(10, b"");
    lab.call(&expecting).assert_over_quota();
    assert_eq!((said(&lab, "shop/door", "admitted"), said(&lab, "shop/door", "refused")), (1.0, 8.0));
    let metrics = lab.gateway.metrics();
    assert_eq!(metrics.sum("portcullis_denials_total", &[("realm", "shop"), ("reason", "quota_exceeded")]), 8.0);
    assert_eq!(metrics.sum("portcullis_requests_total", &[("realm", "shop"), ("outcome", "denied")]), 8.0);
    assert_eq!(metrics.sum("portcullis_requests_total", &[("route", "open"), ("outcome", "denied")]), 5.0);
    assert_eq!(metrics.sum("portcullis_requests_in_flight", &[]), 0.0);
}

#[test]
fn a_refusal_by_the_resellers_quota_costs_the_users_and_the_customers_nothing() {
    let lab = nested(10, 9, 3).lab();
    for left in [2, 1, 0] {
        call(&lab, "usr-1", "/s/items/1").assert_ok().assert_told("of-reseller", left);
    }
    for account in ["usr-1", "usr-2", "cus-42", "res-7", "usr-1", "usr-1"] {
        let refused = call(&lab, account, "/s/items/1");
        refused.assert_over_quota();
        lab.gateway.line_of(&refused.request_id()).assert(&[
            ("quota", "of-reseller"),
            ("reason", "quota_exceeded"),
            ("account", account),
            ("status", "429"),
            ("outcome", "denied"),
            ("upstream", ""),
        ]);
        refused.assert_told("of-reseller", 0);
    }
    // Three that passed, and this one.
    call(&lab, "usr-1", "/s/other").assert_ok().assert_told("of-user", 6);
    call(&lab, "usr-2", "/s/other").assert_ok().assert_told("of-user", 9);
    // Under another reseller everything is untouched.
    call(&lab, "usr-9", "/s/items/1").assert_ok().assert_told("of-reseller", 2);
    assert_eq!(lab.upstream.seen().len(), 6);
    assert_eq!((said(&lab, "shop/of-reseller", "admitted"), said(&lab, "shop/of-reseller", "refused")), (4.0, 6.0));
    assert_eq!((said(&lab, "shop/of-user", "admitted"), said(&lab, "shop/of-user", "refused")), (6.0, 0.0));
    assert_eq!((said(&lab, "shop/of-customer", "admitted"), said(&lab, "shop/of-customer", "refused")), (4.0, 0.0));
    let denials = [("realm", "shop"), ("reason", "quota_exceeded")];
    assert_eq!(lab.gateway.metrics().sum("portcullis_denials_total", &denials), 6.0);
}

#[test]
fn each_level_refuses_for_those_below_it_and_leaves_its_neighbours_alone() {
    let lab = nested(2, 3, 6).lab();
    call(&lab, "usr-1", "/s/items/1").assert_ok();
    call(&lab, "usr-1", "/s/items/1").assert_ok().assert_told("of-user", 0);
    let refused = call(&lab, "usr-1", "/s/items/1");
    refused.assert_over_quota();
    refused.assert_told("of-user", 0);
    call(&lab, "usr-2", "/s/items/1").assert_ok().assert_told("of-customer", 0);
    let refused = call(&lab, "usr-2", "/s/items/1");
    refused.assert_over_quota();
    refused.assert_told("of-customer", 0);
    // The reseller itself has no customer above it, and its own quota only.
    for left in [2, 1, 0] {
        call(&lab, "res-7", "/s/items/1").assert_ok().assert_told("of-reseller", left);
    }
    call(&lab, "res-7", "/s/items/1").assert_over_quota();
    // An administrator has none of the three.
    call(&lab, "root", "/s/items/1").assert_ok().assert_told_nothing();
}

#[test]
fn all_or_none_holds_under_concurrent_requests() {
    const EACH: usize = 40;
    let lab = nested(500, 400, 25).lab();
    let passed: usize = thread::scope(|scope| {
        let callers: Vec<_> = ["usr-1", "usr-2", "cus-42", "usr-1"]
            .into_iter()
            .map(|account| {
                let lab = &lab;
                scope.spawn(move || {
                    let (mut client, request) = (lab.gateway.client(), by(account, "/s/items/1"));
                    (0..EACH).filter(|_| client.send(&request).status == 200).count()
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().expect("requests go on")).sum()
    });
    assert_eq!(passed, 25, "what the reseller has, and no more");
    let left: i64 = ["usr-1", "usr-2"]
        .map(|account| call(&lab, account, "/s/other").assert_ok().told().expect("charged").remaining)
        .iter()
        .sum();
    let users = said(&lab, "shop/of-user", "admitted");
    assert_eq!(left as f64, 1000.0 - users, "the users paid for what passed, and for nothing else");
}

#[test]
fn the_quota_that_has_to_be_waited_for_longest_is_the_one_that_is_told() {
    let shop = Shop::default().quota("short", "per = \"principal\"\nrate = \"1/min\"", &["items"]).quota(
        "long",
        "per = \"customer\"\nrate = \"1/h\"",
        &["items"],
    );
    let lab = shop.lab();
    call(&lab, "usr-1", "/s/items/1").assert_ok();
    let refused = call(&lab, "usr-1", "/s/items/1");
    assert!((3500..=3600).contains(&refused.assert_over_quota()), "{refused}");
    refused.assert_told("long", 0);
}

#[test]
fn a_shared_quota_tells_the_whole_wait_however_often_somebody_asks() {
    let shop = Shop::default().quota("own", "per = \"principal\"\nrate = \"1/min\"", &["items"]).quota(
        "tenant",
        "per = \"customer\"\nrate = \"1/h\"\nshared = true",
        &["items"],
    );
    let lab = shop.lab();
    call(&lab, "usr-1", "/s/items/1").assert_ok();
    // The first has nothing of its own left either, the second only nothing of its customer's.
    for account in ["usr-1", "usr-2", "usr-2", "usr-1"] {
        let refused = call(&lab, account, "/s/items/1");
        assert!((3500..=3600).contains(&refused.assert_over_quota()), "{account}: {refused}");
        lab.gateway.line_of(&refused.request_id()).assert(&[("quota", "tenant")]);
        refused.assert_told("tenant", 0);
    }
    // Which cost it nothing.
    assert_eq!((said(&lab, "shop/own", "admitted"), said(&lab, "shop/own", "refused")), (1.0, 0.0));
}

#[test]
fn arrival_quotas_refuse_before_anything_is_asked_about_the_caller() {
    const REFUSED: usize = 60;
    let redis = RedisServer::start();
    let shop = Shop::default().quota("door", &per("address", 3), &["arrival"]);
    let lab = shop.lab_before(Upstream::start(), |builder| builder.store_with(&redis.url(), "budget = \"5s\""));
    // Tokens that the gateway does not know yet: each would be a question to the store.
    let tokens: Vec<String> = (0..2).map(|_| token(&lab)).collect();
    call(&lab, "usr-1", "/s/nowhere").assert_status(404).assert_told("door", 0);
    let asked = || {
        let (calls, metrics) = (redis.calls(), lab.gateway.metrics());
        let commands: u64 = ["get", "evalsha", "hget", "hgetall"].iter().filter_map(|name| calls.get(*name)).sum();
        (
            commands,
            metrics.sum("portcullis_token_cache_total", &[]),
            metrics.sum("portcullis_token_verifications_total", &[]),
        )
    };
    let (before, mut client) = (asked(), lab.gateway.client());
    for number in 0..REFUSED {
        let request = match number % 4 {
            0 => get("/s/other").token(&tokens[0]),
            1 => get("/s/items/1").token(&tokens[1]),
            2 => get("/s/items/1").basic("ak_usr-1", "wrong"),
            _ => get("/s/nowhere"),
        };
        let refused = client.send(&request);
        refused.assert_over_quota();
        if number < 4 {
            let line = lab.gateway.line_of(&refused.request_id());
            line.assert(&[("quota", "door"), ("account", ""), ("credential", ""), ("realm", "shop")]);
        }
    }
    let after = asked();
    assert!(after.0 - before.0 < REFUSED as u64 / 4, "{before:?} {after:?}");
    assert_eq!((before.1, before.2), (after.1, after.2), "no token was looked at");
    assert!(lab.gateway.metrics().sum("portcullis_lockouts_total", &[]) < 0.5);
    assert!(lab.upstream.seen().is_empty());
}

fn token(lab: &Lab) -> String {
    let response = lab.call(&login_request("/s", "usr-1")).assert_ok();
    response.json()["token"].as_str().expect("a token").to_owned()
}

#[test]
fn quotas_of_realm_and_route_count_everybody_together() {
    let shop = Shop::default().quota("whole", &per("realm", 8), &["arrival"]).quota(
        "of-route",
        &per("route", 3),
        &["items", "other"],
    );
    let lab = shop.lab();
    call(&lab, "usr-1", "/s/items/1").assert_ok().assert_told("of-route", 2);
    call(&lab, "usr-9", "/s/things/2").assert_ok().assert_told("of-route", 1);
    call(&lab, "usr-1", "/s/other").assert_ok().assert_told("of-route", 2);
    call(&lab, "root", "/s/items/3").assert_ok().assert_told("of-route", 0);
    call(&lab, "usr-2", "/s/items/3").assert_over_quota();
    call(&lab, "usr-2", "/s/other").assert_ok().assert_told("of-route", 1);
    lab.call(&get("/s/open/1")).assert_ok().assert_told("whole", 1);
    lab.call(&get("/s/open/1")).assert_ok().assert_told("whole", 0);
    let refused = lab.call(&get("/s/nowhere"));
    refused.assert_over_quota();
    refused.assert_told("whole", 0);
    // Another realm has quotas of its own, or none.
    lab.call(&get("/public/1")).assert_ok().assert_told_nothing();
}
