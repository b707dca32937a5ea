//! A lock that a gateway did not hear of, since it was not there or could not listen, holds at it all the same; and
//! knowing that costs an honest caller nothing.

use std::collections::BTreeMap;

use super::{BEHIND_A_PROXY, assert_locked, from, lock_network, right_key, with_key};
use crate::harness::builder::Builder;
use crate::harness::fleet::wait_until_heard;
use crate::harness::gateway::Gateway;
use crate::harness::lab::{Lab, builder};
use crate::harness::redis::RedisServer;
use crate::harness::toxic::{Mood, Toxic};
use crate::harness::wait::{PATIENCE, eventually};

const PAIR: &str = "portcullis:lockout:{pair:ak_alice@127.0.0.1}";

/// On this store, with patience for a busy machine.
fn on(url: &str, builder: Builder) -> Builder {
    let limits = builder.lockout("attempts = 5\nnetwork_attempts = 20").server(BEHIND_A_PROXY);
    limits.store_with(url, "budget = \"2s\"")
}

fn gateway(url: &str, lab: &Lab) -> Gateway {
    on(url, builder().upstream("lab", lab.upstream.address())).start()
}

/// Locks alice's key for 16 s by one wrong guess at this gateway: others have guessed before, as the store remembers.
#[track_caller]
fn lock_alice(redis: &RedisServer, gateway: &Gateway) {
    redis.command(&["HSET", PAIR, "failures", "8"]);
    gateway.call(&with_key("ak_alice", "x")).assert_denied(401, "401", "credential_invalid");
    assert_locked(&gateway.call(&right_key("ak_alice")));
    eventually("the store knows of the lock", PATIENCE, || {
        (redis.command(&["HLEN", PAIR]).number() == 2).then_some(())
    });
}

#[track_caller]
fn assert_locked_alike(gateway: &Gateway) {
    let [right, wrong] = [right_key("ak_alice"), with_key("ak_alice", "x")].map(|request| gateway.call(&request));
    assert_locked(&right);
    for _ in 0..8 {
        assert_locked(&gateway.call(&with_key("ak_alice", "x")));
    }
    assert!(right.fingerprint() == wrong.fingerprint() || right.header("retry-after") != wrong.header("retry-after"));
    gateway.call(&right_key("ak_bob")).assert_ok();
    gateway.call(&from("198.51.100.1", right_key("ak_alice"))).assert_ok();
}

#[test]
fn a_lock_that_was_set_while_a_gateway_could_not_listen_holds_at_it_from_the_first_request() {
    let redis = RedisServer::start();
    let lab = Lab::with(|builder| on(&redis.url(), builder));
    let toxic = Toxic::before(redis.address());
    let deaf = gateway(&toxic.url(), &lab);
    wait_until_heard(&deaf);
    for _ in 0..3 {
        deaf.call(&right_key("ak_alice")).assert_ok();
    }
    toxic.set(Mood::Refuse);
    eventually("the gateway is alone", PATIENCE, || deaf.degraded().contains(&"store".to_owned()).then_some(()));
    lock_alice(&redis, &lab.gateway);
    deaf.call(&right_key("ak_alice")).assert_ok();
    toxic.heal();
    eventually("the gateway has its store again", PATIENCE, || deaf.degraded().is_empty().then_some(()));
    assert_locked_alike(&deaf);
    assert_locked(&lab.gateway.call(&right_key("ak_alice")));
}

#[test]
fn a_lock_that_is_older_than_a_gateway_holds_at_it_from_the_first_request() {
    let redis = RedisServer::start();
    let lab = Lab::with(|builder| on(&redis.url(), builder));
    lock_alice(&redis, &lab.gateway);
    let later = gateway(&redis.url(), &lab);
    assert_locked_alike(&later);
    assert_locked(&lab.gateway.call(&right_key("ak_alice")));
}

#[test]
fn what_a_lost_subscription_did_not_tell_is_asked_for_with_the_next() {
    let redis = RedisServer::start();
    let lab = Lab::with(|builder| on(&redis.url(), builder));
    wait_until_heard(&lab.gateway);
    lab.call(&right_key("ak_alice")).assert_ok();
    let until = (redis_ms(&redis) + 60_000).to_string();
    // As another gateway would leave it whose news got lost.
    redis.command(&["HSET", PAIR, "failures", "9", "until", &until]);
    lab.call(&right_key("ak_alice")).assert_ok();
    assert!(redis.cut_subscriptions() >= 1);
    eventually("the lock holds", PATIENCE, || (lab.call(&right_key("ak_alice")).status == 429).then_some(()));
    lab.call(&right_key("ak_bob")).assert_ok();
}

fn redis_ms(redis: &RedisServer) -> u64 {
    let seconds: u64 = redis.command(&["TIME"]).texts()[0].parse().expect("seconds");
    seconds * 1000
}

/// The calls since the last reset that are not a gateway's own upkeep.
fn calls_of_requests(redis: &RedisServer) -> BTreeMap<String, u64> {
    let mut calls = redis.calls_beside_heartbeats();
    for upkeep in ["publish", "ping", "time", "role", "hello", "client|setinfo", "subscribe", "select"] {
        calls.remove(upkeep);
    }
    calls
}

#[test]
fn an_honest_key_costs_one_question_and_then_none() {
    let redis = RedisServer::start();
    let lab = Lab::with(|builder| on(&redis.url(), builder));
    wait_until_heard(&lab.gateway);
    redis.command(&["CONFIG", "RESETSTAT"]);
    lab.call(&right_key("ak_alice")).assert_ok();
    eventually("the success is noted", PATIENCE, || (redis.keys_with("seen:").len() == 1).then_some(()));
    assert_eq!(calls_of_requests(&redis)["hmget"], 2, "pair and network");
    redis.command(&["CONFIG", "RESETSTAT"]);
    for _ in 0..200 {
        lab.call(&right_key("ak_alice")).assert_ok();
    }
    assert_eq!(calls_of_requests(&redis), BTreeMap::new());
}

#[test]
fn made_up_ids_cost_one_question_each_and_none_once_their_network_is_locked() {
    let redis = RedisServer::start();
    let lab = Lab::with(|builder| on(&redis.url(), builder));
    wait_until_heard(&lab.gateway);
    let guess = |n: u32| lab.call(&with_key(&format!("made-up-{}", n % 10), "x"));
    let nat = "192.0.2.1";
    redis.command(&["CONFIG", "RESETSTAT"]);
    for n in 0..19 {
        guess(n).assert_denied(401, "401", "credential_invalid");
    }
    assert_eq!(calls_of_requests(&redis)["hmget"], 2 * 10, "ten pairs, twice tried");
    lock_network(&lab.gateway, nat);
    redis.command(&["CONFIG", "RESETSTAT"]);
    for n in 0..100 {
        assert_locked(&lab.call(&from(nat, with_key(&format!("yet-another-{n}"), "x"))));
    }
    assert_eq!(calls_of_requests(&redis).get("hmget"), None);
}
