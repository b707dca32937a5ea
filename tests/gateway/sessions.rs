//! Tokens against the session records of a real Redis. A gateway may keep what it verified, so whatever is done to a
//! record is judged by a second gateway on the same store that has never seen the token.

use std::time::Duration;

use serde_json::json;

use crate::harness::gateway::Gateway;
use crate::harness::jwt::Forgery;
use crate::harness::lab::{Lab, builder, login};
use crate::harness::redis::{RedisServer, Reply};
use crate::harness::request::{get, post};
use crate::harness::response::Response;
use crate::harness::wait::{PATIENCE, eventually, now_ms};

/// A store, a lab on it, and a second gateway in front of the same upstream. The gateways are declared before the store
/// so that they end first.
struct Pair {
    lab: Lab,
    second: Gateway,
    redis: RedisServer,
}

fn pair() -> Pair {
    let redis = RedisServer::start();
    let lab = Lab::with(|builder| builder.store(&redis.url()));
    let second = builder().store(&redis.url()).upstream("lab", lab.upstream.address()).start();
    Pair { lab, second, redis }
}

impl Pair {
    /// A call through the gateway that did not log the token in.
    fn second_call(&self, token: &str) -> Response {
        self.second.call(&get("/orders/1").token(token))
    }
}

#[test]
fn session_of_one_gateway_is_known_to_the_other() {
    let pair = pair();
    let token = pair.lab.login("alice");
    pair.second_call(&token).assert_ok();
}

#[test]
fn logout_reaches_the_other_gateway_within_a_second_for_good() {
    let pair = pair();
    let token = pair.lab.login("alice");
    let mut old = pair.second.client();
    old.send(&get("/orders/1").token(&token)).assert_ok();
    pair.lab.call(&post("/logout").token(&token)).assert_ok();
    let answered = now_ms();
    eventually("the other gateway refuses", Duration::from_secs(5), || {
        let asked = now_ms();
        let response = old.send(&get("/orders/1").token(&token));
        if response.status == 200 {
            assert!(asked - answered < 1000, "permitted {} ms after the logout", asked - answered);
            return None;
        }
        response.assert_denied(401, "1001", "token_revoked");
        Some(())
    });
    for _ in 0..5 {
        pair.second_call(&token).assert_denied(401, "1001", "token_revoked");
        pair.lab.call(&get("/orders/1").token(&token)).assert_denied(401, "1001", "token_revoked");
    }
}

#[test]
fn record_of_another_session_under_the_jti_is_token_invalid() {
    let pair = pair();
    let (alice, bob, alice_too) = (pair.lab.login("alice"), pair.lab.login("bob"), pair.lab.login("alice"));
    let key = pair.redis.session_key(&Forgery::of(&alice).jti());
    for other in [bob, alice_too] {
        let source = pair.redis.session_key(&Forgery::of(&other).jti());
        pair.redis.copy(&source, &key);
        pair.second_call(&alice).assert_denied(401, "1001", "token_invalid");
    }
    // Mixed records are an alarm: this never happens by itself.
    let alarm = "another session's record";
    assert_eq!(pair.second.stderr().matches(alarm).count(), 2, "{}", pair.second.stderr());
}

#[test]
fn record_that_cannot_be_read_is_store_unavailable() {
    let pair = pair();
    for garbage in [r#"{"sub":"#, "", "\u{0}\u{1}\u{2}", "null", &"0".repeat(1024 * 1024)] {
        let token = pair.lab.login("alice");
        let key = pair.redis.session_key(&Forgery::of(&token).jti());
        pair.redis.command(&["SET", &key, garbage]);
        pair.second_call(&token).assert_denied(503, "503", "store_unavailable");
    }
    let token = pair.lab.login("alice");
    let key = pair.redis.session_key(&Forgery::of(&token).jti());
    pair.redis.command(&["DEL", &key]);
    assert_eq!(pair.redis.command(&["RPUSH", &key, "wrong", "type"]), Reply::Number(2));
    pair.second_call(&token).assert_denied(503, "503", "store_unavailable");
    // Unreadable records may have opened the store's breaker for a moment.
    let readable = pair.lab.login("alice");
    eventually("a good record is read again", PATIENCE, || (pair.second_call(&readable).status == 200).then_some(()));
}

#[test]
fn empty_database_revokes_its_sessions() {
    let pair = pair();
    let token = pair.lab.login("alice");
    pair.redis.command(&["FLUSHALL"]);
    pair.second_call(&token).assert_denied(401, "1001", "token_revoked");
    pair.second_call(&pair.lab.login("alice")).assert_ok();
}

#[test]
fn odd_session_ids_are_refused_and_run_no_command() {
    let pair = pair();
    let token = pair.lab.login("alice");
    let keys = pair.redis.command(&["DBSIZE"]).number();
    assert!(keys > 0);
    pair.redis.command(&["CONFIG", "RESETSTAT"]);
    let mut asked = 0;
    for jti in ["a b", "a\r\nFLUSHALL\r\n", "*", "", "{x}", "../session", &"j".repeat(4096)] {
        let forged = Forgery::of(&token).with_claim("jti", json!(jti)).sign();
        for gateway in [&pair.lab.gateway, &pair.second] {
            let response = gateway.call(&get("/orders/1").token(&forged));
            response.assert_denied_one_of(401, "1001", &["token_invalid", "token_revoked"]);
            asked += 1;
        }
    }
    // Besides what gateways say and ask all the time, no more than a read for each.
    let calls = pair.redis.calls_beside_heartbeats();
    let reads = calls.get("getrange").copied().unwrap_or_default();
    assert!(reads <= asked, "{reads} reads for {asked} requests");
    for command in ["flushall", "keys", "scan", "get", "set", "del", "eval", "evalsha"] {
        assert!(!calls.contains_key(command), "{command} was run: {calls:?}");
    }
    assert!(pair.redis.command(&["DBSIZE"]).number() >= keys, "the database was emptied");
    pair.second_call(&token).assert_ok();
}

#[test]
fn record_outlives_the_token_by_a_minute_and_no_call_renews_it() {
    let pair = pair();
    let token = pair.lab.login("alice");
    let forgery = Forgery::of(&token);
    let end = Duration::from_secs(forgery.number("exp") + 60);
    for _ in 0..3 {
        pair.second_call(&token).assert_ok();
        let left = pair.redis.lifetime(&pair.redis.session_key(&forgery.jti()));
        let expected = end.saturating_sub(Duration::from_millis(now_ms()));
        assert!(left.abs_diff(expected) <= Duration::from_secs(2), "lives {left:?}, should {expected:?}");
    }
}

#[test]
fn sessions_do_not_cross_two_prefixes_of_one_redis() {
    let redis = RedisServer::start();
    let lab = Lab::with(|builder| builder.store(&redis.url()));
    let token = lab.login("alice");
    let key = redis.session_key(&Forgery::of(&token).jti());
    assert!(key.starts_with("portcullis:"), "the default prefix: {key}");
    let other =
        builder().upstream("lab", lab.upstream.address()).store_with(&redis.url(), "prefix = \"other:\"").start();
    other.call(&get("/orders/1").token(&token)).assert_denied(401, "1001", "token_revoked");
    other.call(&get("/orders/1").token(&login(&other, "", "alice"))).assert_ok();
}
