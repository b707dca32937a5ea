//! Refusals on a connection: they keep it where nothing is owed, drain a little, and close where too much is owed
//! (contract section 6).

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::lab::{Held, Lab, Shared};
use crate::harness::request::{Request, get, post, request};

static LAB: Shared = Shared::new();

/// A small body limit, so that a test need not send megabytes.
fn lab() -> Held {
    LAB.hold(|| Lab::with(|builder| builder.limits("body_size = \"64KiB\"")))
}

/// One request for each denial that a well-framed request can meet, with what it answers.
fn denials(lab: &Lab) -> Vec<(Request, u16, &'static str, &'static str)> {
    let alice = lab.token("alice");
    vec![
        (get("/public/../admin"), 400, "1002", "request_malformed"),
        (get("/orders/%zz"), 400, "1002", "request_malformed"),
        (get("/orders/1"), 400, "400", "header_missing"),
        (get("/orders/1").header("Authorization", "Bearer x"), 401, "401", "header_invalid"),
        (get("/orders/1").basic("ak_alice", "wrong"), 401, "401", "credential_invalid"),
        (get("/orders/1").token("wrong"), 401, "1001", "token_invalid"),
        (get("/admin/users").token(&alice), 403, "1002", "role_forbidden"),
        (get("/orders?customer_id=bob").token(&alice), 403, "1002", "scope_forbidden"),
        (get("/nope"), 404, "404", "route_not_found"),
        (request("DELETE", "/orders/1"), 405, "405", "method_not_allowed"),
        (post("/login").header("X-Api-Id", "ak_alice"), 406, "406", "validation_failed"),
    ]
}

#[test]
fn each_denial_has_its_envelope_and_keeps_the_connection() {
    let lab = lab();
    let mut client = lab.gateway.client();
    for (request, status, result, reason) in denials(&lab) {
        client.send(&request).assert_denied(status, result, reason);
        client.send(&get("/public/ping")).assert_ok();
    }
}

#[test]
fn the_idle_time_begins_anew_with_each_denial() {
    const IDLE: Duration = Duration::from_secs(2);
    let lab = Lab::with(|builder| builder.limits("idle_timeout = \"2s\""));
    let mut client = lab.gateway.client();
    let mut answered = Instant::now();
    // Longer than the idle time as a whole, much shorter between two requests.
    for _ in 0..5 {
        client.send(&get("/orders/%zz")).assert_denied(400, "1002", "request_malformed");
        answered = Instant::now();
        thread::sleep(IDLE * 2 / 5);
    }
    client.assert_closes();
    assert!(answered.elapsed() > IDLE * 9 / 10, "{:?}", answered.elapsed());
}

#[test]
fn no_denial_reaches_the_upstream() {
    let lab = Lab::start();
    let requests = denials(&lab);
    assert!(requests.len() > 10);
    for (request, ..) in requests {
        assert!(lab.call(&request).status >= 400);
    }
    assert!(lab.upstream.seen().is_empty(), "{:?}", lab.upstream.seen());
}

#[test]
fn denial_does_not_repeat_the_clients_input() {
    let lab = lab();
    let alice = lab.token("alice");
    let requests = [
        get("/secret-word/a?secret-word=b"),
        get("/admin/secret-word").token(&alice),
        get("/orders?customer_id=secret-word").token(&alice),
        get("/orders/1").header("Authorization", "secret-word"),
        get("/orders/1").basic("secret-word", "secret-word"),
        request("DELETE", "/orders/secret-word"),
        get("/public/secret-word/../x"),
    ];
    for request in requests {
        let response = lab.call(&request);
        assert!(response.status >= 400, "{response}");
        assert!(!response.to_string().contains("secret-word"), "{response}");
    }
}

#[test]
fn request_ids_of_denials_are_fresh() {
    let lab = lab();
    let mut client = lab.gateway.client();
    let mut ids: Vec<String> = (0..20).map(|_| client.send(&get("/nope")).request_id()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20);
}

#[test]
fn denied_head_has_the_head_of_the_denial_and_no_body() {
    let lab = lab();
    let mut client = lab.gateway.client();
    for (path, status) in [("/orders/1", 400), ("/nope", 404), ("/login", 405)] {
        let response = client.send(&request("HEAD", path));
        assert_eq!(response.status, status, "{response}");
        response.assert_denial_headers();
        // Stray body bytes would stand in front of this answer.
        client.send(&get("/public/ping")).assert_ok();
    }
}

#[test]
fn small_body_that_was_sent_is_drained_and_the_connection_stays() {
    let lab = lab();
    let alice = lab.token("alice");
    let mut client = lab.gateway.client();
    let body = vec![b'x'; 1000];
    let sized = post("/admin/users").token(&alice).body(&body);
    let chunked = post("/admin/users").token(&alice).chunked(&[&body, &body]);
    for request in [sized, chunked] {
        client.send(&request).assert_denied(403, "1002", "role_forbidden");
        client.send(&get("/public/ping")).assert_ok();
    }
}

#[test]
fn body_that_never_comes_closes_the_connection_after_the_denial() {
    let lab = lab();
    let mut client = lab.gateway.client();
    client.send(&post("/admin/users").owing(60_000, b"only this")).assert_denied(400, "400", "header_missing");
    client.assert_closes();
}

#[test]
fn big_body_owed_closes_the_connection_after_the_denial() {
    let lab = lab();
    let big = Lab::start();
    for lab in [&*lab, &big] {
        let mut client = lab.gateway.client();
        let response = client.send(&post("/admin/users").owing(5 * 1024 * 1024, &vec![b'x'; 300_000]));
        // With the small limit the size is refused first or the credential is missing first: both are right.
        assert!([400, 413].contains(&response.status), "{response}");
        response.assert_denial_headers();
        client.assert_closes();
    }
}

#[test]
fn body_over_the_limit_is_413_before_the_upload_when_its_length_is_announced() {
    let lab = lab();
    let token = lab.token("alice");
    let mut client = lab.gateway.client();
    let response = client.send(&post("/write/announced").token(&token).owing(65_537, b""));
    response.assert_denied(413, "413", "body_too_large");
    client.assert_closes();
    assert!(!lab.upstream.saw_target("/write/announced"));
    let whole = vec![b'x'; 65_536];
    lab.call(&post("/write/whole").token(&token).body(&whole)).assert_ok();
}

#[test]
fn chunked_body_over_the_limit_is_413_and_never_a_whole_request_upstream() {
    let lab = lab();
    let token = lab.token("alice");
    let chunk = vec![b'x'; 30_000];
    lab.call(&post("/write/fits").token(&token).chunked(&[&chunk, &chunk])).assert_ok();
    let response = lab.call(&post("/write/chunked").token(&token).chunked(&[&chunk, &chunk, &chunk]));
    response.assert_denied(413, "413", "body_too_large");
    assert!(!lab.upstream.saw_target("/write/chunked"));
}
