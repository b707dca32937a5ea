//! Tokens that a gateway knows: no store call for them, honoured for a while when the store is away, and never against
//! what it says once it can be asked again (contract sections 4 and 9).

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::fleet::wait_until_heard;
use crate::harness::gateway::Gateway;
use crate::harness::jwt::Forgery;
use crate::harness::lab::{Lab, builder, login_request};
use crate::harness::metrics::Metrics;
use crate::harness::redis::{RedisServer, Reply};
use crate::harness::request::get;
use crate::harness::trial::Trial;
use crate::harness::wait::{PATIENCE, eventually, now_ms};

/// Room for a busy machine where the budget is not what a test is about.
const BUDGET: &str = "budget = \"1s\"";

fn missing(metrics: &Metrics) -> f64 {
    metrics.sum("portcullis_sessions_missing_total", &[])
}

fn from_cache(metrics: &Metrics, result: &str) -> f64 {
    metrics.sum("portcullis_token_cache_total", &[("result", result)])
}

#[test]
fn known_token_costs_no_store_call() {
    let redis = RedisServer::start();
    let lab = Lab::with(|builder| builder.store_with(&redis.url(), BUDGET));
    wait_until_heard(&lab.gateway);
    let (token, mut client) = (lab.login("alice"), lab.gateway.client());
    let request = get("/orders/1").token(&token);
    client.send(&request).assert_ok();
    redis.command(&["CONFIG", "RESETSTAT"]);
    let (begun, before) = (Instant::now(), from_cache(&lab.gateway.metrics(), "hit"));
    for _ in 0..1000 {
        client.send(&request).assert_ok();
    }
    let (calls, took) = (redis.calls_beside_heartbeats(), begun.elapsed());
    assert!(from_cache(&lab.gateway.metrics(), "hit") - before >= 1000.0, "not from the cache");
    // The heartbeat four times a second and the probe of the connection, each of which may be two commands.
    let rounds = took.as_millis() as u64 / 250 + 2;
    eprintln!("1000 requests in {took:?}: {calls:?}");
    for (command, count) in &calls {
        let own = ["publish", "ping", "time", "role", "info", "config|get"].contains(&command.as_str());
        assert!(own && *count <= rounds, "{command} ran {count} times in {took:?}: {calls:?}");
    }
    assert!(!calls.is_empty(), "nothing was counted");
    let (beats, seconds) = (redis.calls().get("zremrangebyscore").copied().unwrap_or(0), begun.elapsed().as_secs());
    assert!(beats <= seconds + 2, "{beats} heartbeats in {seconds} s");
}

#[test]
fn known_token_is_honoured_no_longer_than_stale_while_the_store_is_away() {
    let mut redis = RedisServer::start();
    let lab = Lab::with(|builder| builder.store_with(&redis.url(), BUDGET).token("stale = \"2s\""));
    wait_until_heard(&lab.gateway);
    let (token, mut client) = (lab.login("alice"), lab.gateway.client());
    let request = get("/orders/1").token(&token);
    client.send(&request).assert_ok();
    redis.kill();
    let (gone, mut served) = (Instant::now(), Duration::ZERO);
    let refused = eventually("it is no longer honoured", PATIENCE, || {
        let asked = gone.elapsed();
        let response = client.send(&request);
        if response.status == 200 {
            served = asked;
            return None;
        }
        response.assert_denied(503, "503", "store_unavailable");
        Some(asked)
    });
    eprintln!("honoured until {served:?} after the store was gone, refused from {refused:?} on");
    assert!(served > Duration::from_millis(1500) && served < Duration::from_millis(3500), "{served:?}");
    assert!(from_cache(&lab.gateway.metrics(), "stale") > 5.0, "honoured and not counted");
    for _ in 0..5 {
        client.send(&request).assert_denied(503, "503", "store_unavailable");
    }
}

#[test]
fn known_token_is_never_honoured_past_its_end() {
    let mut redis = RedisServer::start();
    let lab = Lab::with(|builder| builder.store_with(&redis.url(), BUDGET).ttl("3s"));
    wait_until_heard(&lab.gateway);
    let (token, mut client) = (lab.login("alice"), lab.gateway.client());
    let (request, end_ms) = (get("/orders/1").token(&token), Forgery::of(&token).number("exp") * 1000);
    client.send(&request).assert_ok();
    redis.kill();
    let mut served = 0;
    eventually("the token expires", PATIENCE, || {
        let asked = now_ms();
        let response = client.send(&request);
        if response.status == 200 {
            // The store's clock was this machine's.
            assert!(asked < end_ms + 50, "served {} ms after its end", asked - end_ms);
            served += 1;
            return None;
        }
        assert!(now_ms() + 50 > end_ms, "refused {} ms before its end: {response}", end_ms - now_ms());
        response.assert_denied(403, "403", "token_expired");
        Some(())
    });
    assert!(served > 5, "served {served} times");
}

#[test]
fn unreadable_record_is_an_outage_for_its_token_alone() {
    let redis = RedisServer::start();
    let trial = Trial::start(&redis, &redis.url(), |builder| builder.store_with(&redis.url(), BUDGET));
    let good = Forgery::of(&trial.known).jti();
    let Reply::Text(record) = redis.command(&["GET", &redis.session_key(&good)]) else { panic!("a record is text") };
    let zeros = "\0".repeat(1024 * 1024);
    let broken: [&[&str]; 6] = [
        &["SET", &record[..record.len() / 2]],
        &["SET", ""],
        &["SET", &zeros],
        &["RPUSH", "wrong", "type"],
        &["HSET", "wrong", "type"],
        &["SADD", "wrong"],
    ];
    for (round, words) in broken.iter().enumerate() {
        let stranger = trial.stranger();
        let key = redis.session_key(&Forgery::of(&stranger).jti());
        redis.command(&["DEL", &key]);
        let command: Vec<&str> = [&words[..1], &[key.as_str()], &words[1..]].concat();
        assert!(!matches!(redis.command(&command), Reply::Error(_)), "round {round}");
        for _ in 0..5 {
            let response = trial.lab.call(&get("/orders/1").token(&stranger));
            response.assert_denied(503, "503", "store_unavailable");
            trial.call_stranger().assert_ok();
            trial.call_known().assert_ok();
        }
    }
    assert_eq!(trial.lab.gateway.degraded(), [""; 0], "a record is not the store");
}

#[test]
fn full_store_gives_no_token_and_serves_every_session_it_has() {
    let redis = RedisServer::start();
    let trial = Trial::start(&redis, &redis.url(), |builder| builder.store_with(&redis.url(), BUDGET));
    redis.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    for _ in 0..5 {
        trial.assert_login_refused();
        trial.call_known().assert_ok();
        trial.call_stranger().assert_ok();
    }
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    trial.assert_back("maxmemory", Instant::now());
}

#[test]
fn evicted_session_is_revoked_counted_and_warned_of() {
    let mut redis = RedisServer::absent();
    redis.set_options(&["--maxmemory", "20mb", "--maxmemory-policy", "allkeys-lru"]);
    redis.restart();
    let trial = Trial::start(&redis, &redis.url(), |builder| builder.store_with(&redis.url(), BUDGET));
    let gateway = &trial.lab.gateway;
    eventually("readiness warns of the policy", PATIENCE, || {
        let ready = gateway.admin_get("/readyz").assert_ok().json();
        ready["warnings"].to_string().contains("noeviction").then_some(())
    });
    let (before, known) = (missing(&gateway.metrics()), Forgery::of(&trial.known).jti());
    let mut writer = redis.connect();
    let filler: Vec<_> =
        (0..400).map(|number| vec!["SET".to_owned(), format!("filler:{number}"), "x".repeat(100_000)]).collect();
    eventually("the session is evicted", PATIENCE, || {
        writer.pipeline(&filler);
        redis.keys_with(&known).is_empty().then_some(())
    });
    // Known and confirmed: it is believed until the news may have been missed.
    trial.call_known().assert_ok();
    redis.cut_subscriptions();
    let refused = eventually("it is asked for again", PATIENCE, || {
        let response = trial.call_known();
        (response.status != 200).then_some(response)
    });
    refused.assert_denied(401, "1001", "token_revoked");
    trial.call_stranger().assert_denied(401, "1001", "token_revoked");
    let counted = missing(&gateway.metrics()) - before;
    assert!(counted > 1.5, "{counted} missing sessions were counted");
    trial.lab.call(&login_request("", "alice")).assert_ok();
}

/// The only right it lacks is `+info`.
#[test]
fn store_that_does_not_tell_its_policy_is_warned_of_too() {
    let redis = RedisServer::start();
    let words = ["ACL", "SETUSER", "gate", "on", ">a-password", "~*", "&*", "+@all", "-info"];
    assert_eq!(redis.command(&words), Reply::Text("OK".into()));
    let warnings = |gateway: &Gateway| gateway.admin_get("/readyz").json()["warnings"].to_string();
    let lab = Lab::with(|builder| builder.store_with(&redis.url_as("gate", "a-password"), BUDGET));
    eventually("it is warned of", PATIENCE, || warnings(&lab.gateway).contains("does not tell").then_some(()));
    wait_until_heard(&lab.gateway);
    // Nobody was asked: neither a store in memory nor one that was never reached.
    assert_eq!(warnings(&Lab::start().gateway), "[]");
    let absent = RedisServer::absent();
    let unreached = builder().store(&absent.url()).upstream("lab", lab.upstream.address()).start_unready();
    let ready = unreached.admin_get("/readyz");
    assert_eq!((ready.status, warnings(&unreached).as_str()), (503, "[]"), "{ready}");
}

#[test]
fn emptied_store_revokes_what_it_lost_and_warns_of_nothing() {
    let mut redis = RedisServer::start();
    let trial = Trial::start(&redis, &redis.url(), |builder| builder.store_with(&redis.url(), BUDGET));
    let gateway = &trial.lab.gateway;
    let ready = gateway.admin_get("/readyz").assert_ok().json();
    assert!(ready["warnings"].as_array().is_none_or(Vec::is_empty), "noeviction is right: {ready}");
    let before = missing(&gateway.metrics());
    redis.command(&["FLUSHALL"]);
    trial.call_stranger().assert_denied(401, "1001", "token_revoked");
    redis.restart();
    let refused = eventually("the known token is asked for again", PATIENCE, || {
        let response = trial.call_known();
        assert!([200, 401].contains(&response.status), "{response}");
        (response.status == 401).then_some(response)
    });
    refused.assert_denied(401, "1001", "token_revoked");
    assert!(missing(&gateway.metrics()) - before > 1.5, "missing sessions are counted");
    eventually("a login works", PATIENCE, || {
        let response = trial.lab.call(&login_request("", "alice"));
        (response.status == 200).then(|| assert_ne!(response.json()["token"], Value::Null))
    });
}

/// A record that lacks what a later release added: judged whole or refused, never half believed.
#[test]
fn record_of_an_older_release_is_no_outage_and_grants_nothing_new() {
    let redis = RedisServer::start();
    let lab = Lab::with(|builder| builder.store_with(&redis.url(), BUDGET));
    let second = builder().store_with(&redis.url(), BUDGET).upstream("lab", lab.upstream.address()).start();
    let token = lab.login("alice");
    let key = redis.session_key(&Forgery::of(&token).jti());
    let Reply::Text(record) = redis.command(&["GET", &key]) else { panic!("a record is text") };
    let mut record: Value = serde_json::from_str(&record).expect("JSON");
    let fields = record.as_object_mut().expect("an object");
    assert!(fields.remove("password_mark").is_some(), "{fields:?}");
    redis.command(&["SET", &key, &record.to_string(), "PX", "60000"]);
    second.call(&get("/orders/1").token(&token)).assert_denied(401, "1001", "token_revoked");
    second.call(&get("/admin/x").token(&token)).assert_denied(401, "1001", "token_revoked");
}
