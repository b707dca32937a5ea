//! Quotas that several gateways share over one Redis (contract section 8): how exact the limit is, and how seldom the
//! store is asked for it.

use std::time::{Duration, Instant};

use crate::harness::pressure::Sharers;
use crate::harness::redis::RedisServer;
use crate::harness::wait::{PATIENCE, eventually};

/// Nothing of this comes back while a test runs.
const STANDING: &str = "rate = \"10/h\"\nburst = 1000";

/// The hundredth that is leased at a time of that.
const LEASE: u32 = 10;

/// What comes back, at most, in a test that is not stopped by its deadlines.
const REFILLED: u32 = 1;

fn sharers(count: usize, quota: &str, server: &RedisServer) -> Sharers {
    // Patient, since a busy machine is not what this is about.
    Sharers::start(count, quota, |builder| builder.store_with(&server.url(), "budget = \"3s\""))
}

/// Calls one gateway after the other, seven times each, until all of them refuse.
fn exhaust(sharers: &Sharers) -> u32 {
    let (mut admitted, mut open) = (0, vec![true; sharers.gateways.len()]);
    while open.contains(&true) {
        for (at, is_open) in open.iter_mut().enumerate() {
            for _ in 0..7 {
                *is_open = sharers.is_admitted(at);
                admitted += u32::from(*is_open);
            }
        }
    }
    admitted
}

#[test]
fn one_gateway_admits_the_limit_to_below_one_percent() {
    let server = RedisServer::start();
    let sharers = sharers(1, STANDING, &server);
    let admitted = exhaust(&sharers);
    assert!((1000..=1000 + REFILLED).contains(&admitted), "{admitted} of 1000");
    sharers.assert_exact();
}

#[test]
fn three_gateways_admit_the_limit_but_for_a_lease_each() {
    let server = RedisServer::start();
    let sharers = sharers(3, STANDING, &server);
    let admitted = exhaust(&sharers);
    assert!((1000 - 3 * LEASE..=1000 + REFILLED).contains(&admitted), "{admitted} of 1000");
    sharers.assert_exact();
}

#[test]
fn three_gateways_under_pressure_admit_what_comes_back_and_no_more() {
    let server = RedisServer::start();
    let sharers = sharers(3, "rate = \"100/s\"\nburst = 200", &server);
    let begun = Instant::now();
    let (answers, ()) = sharers.press(|| std::thread::sleep(Duration::from_secs(5)));
    sharers.assert_exact();
    let (first, last) = (answers.first(), answers.last_refusal());
    let admitted = f64::from(answers.admitted(None, begun, last));
    let most = 200.0 + 100.0 * (last - begun).as_secs_f64();
    let least = 200.0 + 100.0 * (last - first).as_secs_f64();
    // Two cells are leased at a time; an answer is a little older than its arrival.
    let slack = 3.0 * 2.0 + 2.0;
    assert!(admitted <= most + slack && admitted >= least - slack - 5.0, "{admitted} of {least} to {most}");
    assert!(last - first > Duration::from_secs(3), "there was pressure to the end");
}

/// RATE-016
#[test]
fn two_gateways_with_one_quota_admit_it_once() {
    let server = RedisServer::start();
    let sharers = sharers(2, "rate = \"1/h\"\nburst = 100", &server);
    let mut admitted = [0, 0];
    for turn in 0..2 * (100 / 2 + 10) {
        admitted[turn % 2] += u32::from(sharers.is_admitted(turn % 2));
    }
    assert_eq!(admitted, [50, 50]);
    sharers.assert_exact();
}

#[test]
fn the_store_is_asked_once_a_lease_and_not_once_a_request() {
    let server = RedisServer::start();
    let sharers = sharers(2, STANDING, &server);
    let begun = Instant::now();
    server.command(&["CONFIG", "RESETSTAT"]);
    for turn in 0..600 {
        assert!(sharers.is_admitted(turn % 2));
    }
    let calls = server.calls();
    let beats = 2 * (begun.elapsed().as_secs() + 2);
    let scripts = calls.get("evalsha").copied().unwrap_or(0);
    eprintln!("{scripts} scripts for 600 requests in {:?}, of which {beats} heartbeats at most", begun.elapsed());
    // A lease that was idle for a second is given back and drawn again.
    let pauses = 4 * (begun.elapsed().as_secs() + 1);
    assert!(scripts >= 60, "{calls:?}");
    assert!(scripts <= 60 + beats + pauses, "{calls:?}");
    let measured =
        |at: usize| sharers.gateways[at].metrics().sum("portcullis_store_duration_seconds_count", &[("op", "draw")]);
    assert!(measured(0) > 5.0 && measured(1) > 5.0, "what the store was asked is measured");
}

#[test]
fn what_is_not_used_is_back_after_a_second_and_when_a_gateway_ends() {
    let server = RedisServer::start();
    let mut sharers = sharers(3, STANDING, &server);
    let admitted = (0..3).filter(|at| sharers.is_admitted(*at)).count();
    assert_eq!(admitted, 3);
    // Thirty were leased: what is charged is 3, once the other 27 are back.
    let keys = server.keys_with("quota:{shop}:all:");
    assert_eq!(keys.len(), 1, "{keys:?}");
    eventually("idle leases are back", PATIENCE, || (charged(&server, &keys[0]) == 3).then_some(()));
    assert!(sharers.is_admitted(2));
    assert!(charged(&server, &keys[0]) > 4);
    let leaver = sharers.gateways.remove(2);
    leaver.signal("-TERM");
    let left = Instant::now();
    eventually("a gateway that ends gives its lease back", PATIENCE, || {
        (charged(&server, &keys[0]) == 4).then_some(())
    });
    eventually("and is none of them any more", PATIENCE, || {
        (server.command(&["ZCARD", "portcullis:gateways"]).number() == 2).then_some(())
    });
    assert!(left.elapsed() < Duration::from_secs(5), "silence alone would have said so after five seconds");
}

/// Cells that are taken from a bucket in the store, by its lifetime: it is gone when all are there again.
fn charged(server: &RedisServer, key: &str) -> u64 {
    let interval = Duration::from_secs(360).as_millis();
    u64::try_from(server.lifetime(key).as_millis().div_ceil(interval)).expect("few")
}
