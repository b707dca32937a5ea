//! The lock-out from outside (contract section 8): who guesses has to wait, and nobody else notices.

mod first_sight;

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::harness::accounts::{Accounts, PASSWORD, email, key_of};
use crate::harness::builder::Builder;
use crate::harness::gateway::Gateway;
use crate::harness::lab::{Lab, builder, login_request};
use crate::harness::redis::RedisServer;
use crate::harness::request::{Request, get, post};
use crate::harness::response::Response;
use crate::harness::wait::{PATIENCE, eventually};

/// The client networks of these tests are those that `X-Forwarded-For` names.
const BEHIND_A_PROXY: &str = "trusted_proxies = [\"127.0.0.0/8\"]";

/// Room for a busy machine: a gateway that its store answers too late counts alone.
const BUDGET: &str = "budget = \"1s\"";

/// Five failures of a pair; a network's are as good as unlimited.
fn strict(builder: Builder) -> Builder {
    builder.lockout("attempts = 5\nnetwork_attempts = 100000").server(BEHIND_A_PROXY)
}

/// Ten failures of a network.
fn strict_networks(builder: Builder) -> Builder {
    builder.lockout("attempts = 5\nnetwork_attempts = 10").server(BEHIND_A_PROXY)
}

fn from(client: &str, request: Request) -> Request {
    request.header("X-Forwarded-For", client)
}

fn with_key(id: &str, key: &str) -> Request {
    get("/orders/1").basic(id, key)
}

fn right_key(id: &str) -> Request {
    with_key(id, &key_of(id))
}

fn with_password(email: &str, password: &str) -> Request {
    post("/login").header("X-Api-Id", "ak_root").json(&json!({ "email": email, "password": password }))
}

#[track_caller]
fn assert_locked(response: &Response) {
    response.assert_denied(429, "429", "locked_out");
}

fn wait_of(response: &Response) -> u64 {
    response.header("retry-after").and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Tries until the lock has doubled once, so that it outlasts what a test asks next.
#[track_caller]
fn lock(gateway: &Gateway, wrong: &Request) {
    eventually("a lock of two seconds", PATIENCE, || {
        let response = gateway.call(wrong);
        (response.status == 429 && wait_of(&response) >= 2).then_some(())
    });
}

/// The statuses of the same request sent by many at once, each on a connection of its own.
fn side_by_side(gateway: &Gateway, count: usize, request: &Request) -> Vec<u16> {
    let start = Barrier::new(count);
    thread::scope(|scope| {
        let one = || {
            let mut client = gateway.client().patience(Duration::from_secs(60));
            start.wait();
            client.send(request).status
        };
        let all: Vec<_> = (0..count).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|one| one.join().expect("an answer")).collect()
    })
}

fn count(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|known| **known == status).count()
}

#[test]
fn wrong_passwords_end_in_429_and_the_right_one_gets_the_same_bytes() {
    let lab = Lab::with(strict);
    let (wrong, right) = (with_password(&email("alice"), "x"), with_password(&email("alice"), PASSWORD));
    for _ in 0..5 {
        lab.call(&wrong).assert_denied(401, "1002", "login_failed");
    }
    assert_locked(&lab.call(&wrong));
    lock(&lab.gateway, &wrong);
    let answers = [&wrong, &right, &wrong].map(|request| lab.call(request));
    answers.iter().for_each(assert_locked);
    let [before, right_one, after] = answers.map(|answer| answer.fingerprint());
    assert!(right_one == before || right_one == after, "{right_one}\n{before}");
    // Another network has its own count, and another user his own.
    lab.call(&from("198.51.100.1", right)).assert_ok();
    lab.call(&login_request("", "bob")).assert_ok();
}

#[test]
fn wrong_keys_end_in_429_and_the_right_one_gets_the_same_bytes() {
    let lab = Lab::with(strict);
    let (wrong, right) = (with_key("ak_alice", "x"), right_key("ak_alice"));
    for _ in 0..5 {
        lab.call(&wrong).assert_denied(401, "401", "credential_invalid");
    }
    lock(&lab.gateway, &wrong);
    let answers = [&wrong, &right, &wrong].map(|request| lab.call(request));
    answers.iter().for_each(assert_locked);
    let [before, right_one, after] = answers.map(|answer| answer.fingerprint());
    assert!(right_one == before || right_one == after, "{right_one}\n{before}");
    lab.call(&from("198.51.100.1", right)).assert_ok();
    lab.call(&right_key("ak_bob")).assert_ok();
    let unknown = with_key("ak_nobody", "x");
    for _ in 0..5 {
        lab.call(&unknown).assert_denied(401, "401", "credential_invalid");
    }
    assert_locked(&lab.call(&unknown));
    assert!(lab.gateway.metrics().sum("portcullis_lockouts_total", &[("kind", "pair")]) >= 3.0);
}

#[test]
fn a_wrong_key_never_passes_after_a_right_one_and_a_right_one_makes_failures_forgotten() {
    let lab = Lab::with(strict);
    for _ in 0..4 {
        lab.call(&right_key("ak_alice")).assert_ok();
        for _ in 0..4 {
            lab.call(&with_key("ak_alice", "x")).assert_denied(401, "401", "credential_invalid");
        }
    }
    lab.call(&right_key("ak_alice")).assert_ok();
}

#[test]
fn spellings_of_an_email_share_one_count() {
    let lab = Lab::with(strict);
    for spelling in
        ["ALICE@LAB.EXAMPLE", "Alice@lab.example", "alice@Lab.Example", "aLICE@lab.example", "alice@lab.example"]
    {
        lab.call(&with_password(spelling, "x")).assert_denied(401, "1002", "login_failed");
    }
    lock(&lab.gateway, &with_password("AlIcE@lab.example", "x"));
    assert_locked(&lab.call(&with_password("ALICE@lab.example", PASSWORD)));
    for odd in [
        "alice@lab.example ",
        " alice@lab.example",
        "al\u{131}ce@lab.example",
        "alice@lab.example\0",
        "alice@lab.example.",
        // One letter and the same in two pieces.
        "alic\u{e9}@lab.example",
        "alice\u{301}@lab.example",
    ] {
        let response = lab.call(&with_password(odd, PASSWORD));
        assert!([401, 406, 429].contains(&response.status), "{odd:?}: {response}");
    }
}

#[test]
fn headers_of_a_client_that_is_no_proxy_change_no_count() {
    let lab = Lab::with(|builder| builder.lockout("attempts = 5\nnetwork_attempts = 100000"));
    let statuses: Vec<u16> = (0..20)
        .map(|n| {
            let address = format!("203.0.113.{n}");
            let request = with_password(&email("alice"), "x")
                .header("X-Forwarded-For", &address)
                .header("Forwarded", &format!("for={address}"))
                .header("X-Real-IP", &address)
                .header("True-Client-IP", &address);
            lab.call(&request).status
        })
        .collect();
    assert_eq!(statuses[..6], [401, 401, 401, 401, 401, 429], "{statuses:?}");
    assert!(count(&statuses, 401) <= 8, "locks double: {statuses:?}");
}

#[test]
fn a_wrong_tenant_counts_like_a_wrong_password_and_says_the_same() {
    let lab = Lab::with(strict);
    let elsewhere =
        post("/login").header("X-Api-Id", "ak_bob").json(&json!({ "email": email("alice"), "password": PASSWORD }));
    let expected = lab.call(&with_password(&email("bob"), "x")).fingerprint();
    for _ in 0..5 {
        assert_eq!(lab.call(&elsewhere).fingerprint(), expected);
    }
    assert_locked(&lab.call(&elsewhere));
}

#[test]
fn fifty_guesses_side_by_side_get_no_more_than_one_check_beyond_the_limit() {
    let lab = Lab::with(strict);
    for guess in [with_password(&email("alice"), "x"), with_key("ak_alice", "x")] {
        let statuses = side_by_side(&lab.gateway, 50, &guess);
        assert!((5..=6).contains(&count(&statuses, 401)), "{statuses:?}");
        assert_eq!(count(&statuses, 401) + count(&statuses, 429), 50, "{statuses:?}");
    }
}

#[test]
fn two_hundred_logins_of_one_user_side_by_side_all_succeed() {
    // Password checks step back: on a machine that is busy all over, two hundred of full cost take minutes.
    let lab = Lab::with(|builder| strict(builder).accounts(&Accounts::lab().quick_to_check()));
    let statuses = side_by_side(&lab.gateway, 200, &login_request("", "alice"));
    assert_eq!(count(&statuses, 200), 200, "{statuses:?}");
}

#[test]
fn a_guesser_behind_a_shared_address_stops_newcomers_but_nobody_who_succeeded_from_it() {
    let lab = Lab::with(strict_networks);
    let nat = "192.0.2.1";
    lab.call(&from(nat, right_key("ak_alice"))).assert_ok();
    let statuses: Vec<u16> =
        (0..14).map(|n| lab.call(&from(nat, with_key(&format!("made-up-{n}"), "x"))).status).collect();
    assert_eq!(count(&statuses[..10], 401), 10, "{statuses:?}");
    lock_network(&lab.gateway, nat);
    for _ in 0..20 {
        lab.call(&from(nat, right_key("ak_alice"))).assert_ok();
    }
    assert_locked(&lab.call(&from(nat, right_key("ak_bob"))));
    assert_locked(&lab.call(&from(nat, with_key("ak_bob", "x"))));
    assert_locked(&lab.call(&from(nat, login_request("", "bob"))));
    lab.call(&from("192.0.2.2", right_key("ak_bob"))).assert_ok();
}

/// Tries made-up ids until the network's lock has doubled twice.
#[track_caller]
fn lock_network(gateway: &Gateway, client: &str) {
    let mut n = 0;
    eventually("a network's lock of four seconds", PATIENCE, || {
        n += 1;
        let response = gateway.call(&from(client, with_key(&format!("another-{n}"), "x")));
        (response.status == 429 && wait_of(&response) >= 4).then_some(())
    });
}

#[test]
fn an_ipv6_64_is_one_client() {
    let lab = Lab::with(strict);
    for n in 1..=5 {
        let request = from(&format!("2001:db8:1:2::{n}"), with_key("ak_alice", "x"));
        lab.call(&request).assert_denied(401, "401", "credential_invalid");
    }
    assert_locked(&lab.call(&from("2001:db8:1:2:ffff::9", right_key("ak_alice"))));
    lab.call(&from("2001:db8:1:3::1", right_key("ak_alice"))).assert_ok();
}

#[test]
fn running_sessions_notice_nothing() {
    let lab = Lab::with(strict_networks);
    let token = lab.login("alice");
    lock(&lab.gateway, &with_password(&email("alice"), "x"));
    assert_locked(&lab.call(&login_request("", "alice")));
    lab.call(&get("/orders/1").token(&token)).assert_ok();
    lock_network(&lab.gateway, "127.0.0.1");
    assert_locked(&lab.call(&right_key("ak_alice")));
    lab.call(&get("/orders/1").token(&token)).assert_ok();
    lab.call(&post("/logout").token(&token)).assert_ok();
}

/// A second gateway on the lab's store.
fn second(redis: &RedisServer, lab: &Lab, strictness: fn(Builder) -> Builder) -> Gateway {
    strictness(builder().store_with(&redis.url(), BUDGET).upstream("lab", lab.upstream.address())).start()
}

#[test]
fn two_gateways_on_one_store_share_a_lock_within_a_second() {
    let redis = RedisServer::start();
    let lab = Lab::with(|builder| strict(builder.store_with(&redis.url(), BUDGET)));
    let second = second(&redis, &lab, strict);
    second.call(&right_key("ak_alice")).assert_ok();
    lock(&lab.gateway, &with_key("ak_alice", "x"));
    // One second, and slack for a busy machine.
    eventually("the other gateway refuses the right key", Duration::from_secs(2), || {
        let response = second.call(&right_key("ak_alice"));
        (response.status == 429).then(|| assert_locked(&response))
    });
    lock(&second, &with_password(&email("alice"), "x"));
    // A login asks the store itself, so there is nothing to wait for.
    assert_locked(&lab.call(&login_request("", "alice")));
}

#[test]
fn guesses_spread_over_two_gateways_are_one_count() {
    let redis = RedisServer::start();
    let lab = Lab::with(|builder| strict(builder.store_with(&redis.url(), BUDGET)));
    let second = second(&redis, &lab, strict);
    let wrong = with_password(&email("alice"), "x");
    let statuses: Vec<u16> =
        (0..6).map(|n| if n % 2 == 0 { lab.call(&wrong) } else { second.call(&wrong) }.status).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429]);
}

#[test]
fn fifty_logins_side_by_side_at_two_gateways_are_told_no_more_than_at_one() {
    let redis = RedisServer::start();
    let lab = Lab::with(|builder| strict(builder.store_with(&redis.url(), BUDGET)));
    let second = second(&redis, &lab, strict);
    let wrong = with_password(&email("alice"), "x");
    let statuses = thread::scope(|scope| {
        let other = scope.spawn(|| side_by_side(&second, 25, &wrong));
        let mut all = side_by_side(&lab.gateway, 25, &wrong);
        all.extend(other.join().expect("answers"));
        all
    });
    assert!((5..=6).contains(&count(&statuses, 401)), "{statuses:?}");
    assert_eq!(count(&statuses, 401) + count(&statuses, 429), 50, "{statuses:?}");
}

#[test]
fn who_succeeded_at_one_gateway_is_let_in_at_the_other_while_the_network_is_locked() {
    let redis = RedisServer::start();
    let lab = Lab::with(|builder| strict_networks(builder.store_with(&redis.url(), BUDGET)));
    let second = second(&redis, &lab, strict_networks);
    let nat = "192.0.2.1";
    lab.call(&from(nat, right_key("ak_alice"))).assert_ok();
    lab.call(&from(nat, login_request("", "alice"))).assert_ok();
    eventually("the store knows both", PATIENCE, || (redis.keys_with("seen:").len() == 2).then_some(()));
    lock_network(&second, nat);
    second.call(&from(nat, right_key("ak_alice"))).assert_ok();
    second.call(&from(nat, login_request("", "alice"))).assert_ok();
    assert_locked(&second.call(&from(nat, right_key("ak_bob"))));
    assert_locked(&second.call(&from(nat, login_request("", "bob"))));
}

#[test]
fn without_its_store_a_node_counts_alone_and_keeps_what_it_knows() {
    let mut redis = RedisServer::start();
    let lab = Lab::with(|builder| strict(builder.store_with(&redis.url(), BUDGET)));
    for _ in 0..3 {
        lab.call(&with_key("ak_alice", "x")).assert_denied(401, "401", "credential_invalid");
    }
    redis.kill();
    for _ in 0..2 {
        lab.call(&with_key("ak_alice", "x")).assert_denied(401, "401", "credential_invalid");
    }
    lock(&lab.gateway, &with_key("ak_alice", "x"));
    assert_locked(&lab.call(&right_key("ak_alice")));
    lab.call(&right_key("ak_bob")).assert_ok();
}
