//! Sessions that end at one gateway end at all of them, within a second: three gateways on one Redis, each with the
//! token in its cache and with a connection that stays open (contract section 4).

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::fleet::{Fleet, sessions_of};
use crate::harness::jwt::Forgery;
use crate::harness::lab::{login, login_request};
use crate::harness::redis::RedisServer;
use crate::harness::request::{get, post};
use crate::harness::toxic::{Mood, Toxic};
use crate::harness::wait::{PATIENCE, eventually};

/// Room for a busy machine: what is measured here is how fast the news is, not the store.
const BUDGET: &str = "budget = \"1s\"";

fn three(redis: &RedisServer) -> Fleet {
    Fleet::start(3, |_, builder| builder.store_with(&redis.url(), BUDGET))
}

#[test]
fn logout_at_one_gateway_ends_the_session_at_all_from_the_first_try_on() {
    let redis = RedisServer::start();
    let fleet = three(&redis);
    let mut caller = fleet.caller("", "alice");
    let mut other = fleet.caller("", "alice");
    fleet.gateways[0].call(&post("/logout").token(caller.token())).assert_ok();
    let since = Instant::now();
    // Where it was asked for, and whatever the connection: at once.
    caller.call(0).assert_denied(401, "1001", "token_revoked");
    fleet.gateways[0].call(&caller.request()).assert_denied(401, "1001", "token_revoked");
    let took = caller.assert_revoked_everywhere(since);
    eprintln!("logout: refused everywhere after {took:?}");
    for _ in 0..20 {
        for (at, gateway) in fleet.gateways.iter().enumerate() {
            caller.call(at).assert_denied(401, "1001", "token_revoked");
            gateway.call(&caller.request()).assert_denied(401, "1001", "token_revoked");
        }
    }
    other.assert_served();
}

#[test]
fn revoking_a_jti_ends_that_session_everywhere_and_no_other() {
    let redis = RedisServer::start();
    let fleet = three(&redis);
    let (mut ended, mut other) = (fleet.caller("", "alice"), fleet.caller("", "alice"));
    let jti = Forgery::of(ended.token()).jti();
    assert!(fleet.revoke(1, "jti", &jti));
    let took = ended.assert_revoked_everywhere(Instant::now());
    eprintln!("jti: refused everywhere after {took:?}");
    other.assert_served();
    assert!(!fleet.revoke(2, "jti", &jti), "a second time there is nothing to revoke");
}

#[test]
fn revoking_an_account_ends_its_sessions_and_none_below_it() {
    let redis = RedisServer::start();
    let fleet = three(&redis);
    let mut ended = [fleet.caller("/t", "cus-42"), fleet.caller("/t", "cus-42")];
    let mut others = [fleet.caller("/t", "usr-1"), fleet.caller("/t", "res-7"), fleet.caller("/t", "cus-9")];
    assert!(fleet.revoke(2, "account", "cus-42"));
    let since = Instant::now();
    for caller in &mut ended {
        let took = caller.assert_revoked_everywhere(since);
        eprintln!("account: refused everywhere after {took:?}");
    }
    for caller in &mut others {
        caller.assert_served();
    }
    assert_eq!(sessions_of(&fleet.gateways[0], "cus-42"), [""; 0]);
    fleet.caller("/t", "cus-42").assert_served();
}

#[test]
fn revoking_a_subtree_ends_the_sessions_of_all_below_it() {
    let redis = RedisServer::start();
    let fleet = three(&redis);
    let mut ended = [fleet.caller("/t", "res-7"), fleet.caller("/t", "cus-42"), fleet.caller("/t", "usr-1")];
    let mut others = [fleet.caller("/t", "root"), fleet.caller("/t", "res-8"), fleet.caller("/t", "usr-9")];
    assert!(fleet.revoke(0, "subtree", "res-7"));
    let since = Instant::now();
    for caller in &mut ended {
        let took = caller.assert_revoked_everywhere(since);
        eprintln!("subtree: refused everywhere after {took:?}");
    }
    for caller in &mut others {
        caller.assert_served();
    }
    for account in ["res-7", "cus-42", "usr-1"] {
        fleet.caller("/t", account).assert_served();
    }
}

#[test]
fn token_that_only_one_gateway_knew_is_revoked_at_those_that_never_saw_it() {
    let redis = RedisServer::start();
    let fleet = three(&redis);
    let token = login(&fleet.gateways[0], "", "alice");
    assert!(fleet.revoke(1, "account", "alice"));
    for gateway in &fleet.gateways[1..] {
        gateway.call(&get("/orders/1").token(&token)).assert_denied(401, "1001", "token_revoked");
    }
}

/// The login is made slow by a slow store, so that the revocation falls into its middle.
#[test]
fn login_that_began_before_a_revocation_does_not_survive_it() {
    let redis = RedisServer::start();
    let toxic = Toxic::before(redis.address());
    let url = |at| if at == 0 { toxic.url() } else { redis.url() };
    let fleet = Fleet::start(2, |at, builder| builder.store_with(&url(at), "budget = \"5s\""));
    toxic.set(Mood::Delay(Duration::from_millis(250)));
    for (what, id, pause_ms) in
        [("account", "alice", 100), ("account", "alice", 350), ("subtree", "root", 250), ("subtree", "alice", 400)]
    {
        let response = thread::scope(|scope| {
            let login = scope.spawn(|| fleet.gateways[0].call(&login_request("", "alice")));
            thread::sleep(Duration::from_millis(pause_ms));
            assert!(fleet.revoke(1, what, id));
            login.join().expect("the login ends")
        });
        // Refusing the login would do as well; a token that is good would not.
        if response.status == 200 {
            let token = response.json()["token"].as_str().expect("a token").to_owned();
            for gateway in fleet.gateways.iter().rev() {
                let response = gateway.call(&get("/orders/1").token(&token));
                response.assert_denied(401, "1001", "token_revoked");
            }
        }
    }
    toxic.heal();
    let mut later = fleet.caller("", "alice");
    later.assert_served();
}

#[test]
fn oldest_session_of_an_account_ends_everywhere_when_there_are_too_many() {
    let redis = RedisServer::start();
    let limited = |_, builder: crate::harness::builder::Builder| {
        builder.store_with(&redis.url(), BUDGET).token("sessions_per_account = 2")
    };
    let fleet = Fleet::start(3, limited);
    let mut first = fleet.caller("", "alice");
    let mut second = fleet.caller("", "alice");
    let mut bob = fleet.caller("", "bob");
    let token = login(&fleet.gateways[2], "", "alice");
    let took = first.assert_revoked_everywhere(Instant::now());
    eprintln!("oldest session: refused everywhere after {took:?}");
    second.assert_served();
    bob.assert_served();
    let expected = [Forgery::of(second.token()).jti(), Forgery::of(&token).jti()];
    for gateway in &fleet.gateways {
        gateway.call(&get("/orders/1").token(&token)).assert_ok();
        assert_eq!(sessions_of(gateway, "alice"), expected);
    }
}

#[test]
fn revocation_that_nobody_heard_is_not_believed_away() {
    let redis = RedisServer::start();
    let fleet = three(&redis);
    for round in 0..5 {
        fleet.wait_until_heard();
        let mut caller = fleet.caller("", "alice");
        let jti = Forgery::of(caller.token()).jti();
        assert!(redis.cut_subscriptions() >= 3, "each gateway listens");
        assert!(fleet.revoke(0, "jti", &jti));
        let since = Instant::now();
        redis.cut_subscriptions();
        let took = caller.assert_revoked_everywhere(since);
        eprintln!("round {round}: refused everywhere after {took:?}");
    }
}

#[test]
fn gateway_that_was_cut_off_during_a_revocation_refuses_once_it_is_back() {
    let redis = RedisServer::start();
    let toxics: Vec<Toxic> = (0..2).map(|_| Toxic::before(redis.address())).collect();
    let url = |at: usize| toxics.get(at).map_or_else(|| redis.url(), Toxic::url);
    let fleet = Fleet::start(3, |at, builder| builder.store_with(&url(at), "budget = \"200ms\""));
    for moods in [[Mood::Hole, Mood::Refuse], [Mood::Slam, Mood::Hole]] {
        fleet.wait_until_heard();
        let mut caller = fleet.caller("", "alice");
        let mut other = fleet.caller("", "bob");
        for (toxic, mood) in toxics.iter().zip(moods) {
            toxic.set(mood);
        }
        assert!(fleet.revoke(2, "account", "alice"));
        let until = Instant::now() + Duration::from_millis(1500);
        while Instant::now() < until {
            // Cut off, they cannot know; whom they know they go on to serve.
            for at in 0..2 {
                caller.call(at).assert_ok();
                other.call(at).assert_ok();
            }
        }
        caller.call(2).assert_denied(401, "1001", "token_revoked");
        toxics.iter().for_each(Toxic::heal);
        let repaired = Instant::now();
        for at in 0..2 {
            eventually("the gateway knows", PATIENCE, || (caller.call(at).status == 401).then_some(()));
        }
        eprintln!("{moods:?}: refused {:?} after the repair", repaired.elapsed());
        assert!(repaired.elapsed() < Duration::from_secs(2), "{:?}", repaired.elapsed());
        for _ in 0..5 {
            (0..3).for_each(|at| caller.call(at).assert_denied(401, "1001", "token_revoked"));
        }
        other.assert_served();
    }
}
