//! What a network can do between a gateway and its Redis: swallow, delay, cut, reset, refuse. Each with load, each
//! told truthfully, each over within two seconds of its repair (contract section 9).

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::lab::{login_request, login_with};
use crate::harness::redis::RedisServer;
use crate::harness::request::{Request, get, post};
use crate::harness::toxic::{Mood, Toxic};
use crate::harness::trial::{Tally, Trial, waits_of};
use crate::harness::wait::{PATIENCE, eventually};

/// How long an outage goes on at least, so that its load says something.
const WHILE: Duration = Duration::from_millis(700);

/// What a request may take beyond the budget of the store, in an unoptimised build beside other tests.
const SLACK: Duration = Duration::from_millis(400);

/// A store behind a proxy, and a gateway that knows only the proxy. Declared so that the gateway ends first.
struct Line {
    trial: Trial,
    toxic: Toxic,
    redis: RedisServer,
}

fn line(budget: &str) -> Line {
    let redis = RedisServer::start();
    let toxic = Toxic::before(redis.address());
    let url = toxic.url();
    let lines = format!("budget = \"{budget}\"");
    let trial = Trial::start(&redis, &url, |builder| builder.store_with(&url, &lines));
    Line { trial, toxic, redis }
}

impl Line {
    /// One outage under load.
    #[track_caller]
    fn outage(&self, what: &str, mood: Mood) -> Tally {
        let load = self.trial.load();
        thread::sleep(Duration::from_millis(100));
        self.toxic.set(mood);
        self.trial.assert_down();
        thread::sleep(WHILE);
        self.trial.assert_down();
        self.toxic.heal();
        self.trial.assert_back(what, Instant::now());
        let tally = load.stop();
        eprintln!("{what}: {tally:?}");
        tally.assert_truthful();
        tally
    }
}

#[test]
fn black_hole_costs_no_request_more_than_its_budget() {
    let line = line("50ms");
    let tally = line.outage("black hole", Mood::Hole);
    assert!(tally.slowest < Duration::from_millis(50) + SLACK, "{tally:?}");
    let metrics = line.trial.lab.gateway.metrics();
    assert!(metrics.sum("portcullis_requests_in_flight", &[]) < 2.0, "requests pile up");
    // Measured inside. The soak holds it to 20 ms above the budget, on a machine that does nothing else.
    let ((all, over), (_, late)) = (waits_of(&metrics, "0.07"), waits_of(&metrics, "0.1"));
    eprintln!("black hole: {all} waits, {over} above 70 ms, {late} above 100 ms");
    assert!(late <= all / 100.0, "{late} of {all} waits took twice the budget");
}

#[test]
fn store_slower_than_the_budget_is_an_outage_and_its_late_replies_reach_nobody() {
    let line = line("50ms");
    let tally = line.outage("latency 2 s", Mood::Delay(Duration::from_secs(2)));
    assert!(tally.slowest < Duration::from_millis(50) + SLACK, "{tally:?}");
}

#[test]
fn login_waits_for_a_slow_store_no_longer_than_one_budget_in_all() {
    const BUDGET: Duration = Duration::from_secs(1);
    // One budget of waiting, and slack for a busy machine. Six calls that each wait their own are longer.
    const MOST: Duration = Duration::from_millis(2400);
    let line = line("1s");
    let timed = |request: &Request| {
        let asked = Instant::now();
        (line.trial.lab.call(request), asked.elapsed())
    };
    // A store that is slower than half a budget fails its probes before long. This one stays in use.
    let slow = BUDGET * 9 / 20;
    line.toxic.set(Mood::Delay(slow));
    let (refused, took) = timed(&login_request("", "alice"));
    refused.assert_denied(503, "503", "store_unavailable");
    assert!((slow * 2..MOST).contains(&took), "{took:?}");
    let (refused, took) = timed(&login_with("", "bob", "not the password"));
    refused.assert_denied(401, "1002", "login_failed");
    assert!((slow..MOST).contains(&took), "{took:?}");
    // Its session is read first, and then ended.
    let (_, took) = timed(&post("/logout").token(&line.trial.stranger()));
    assert!((slow..MOST).contains(&took), "{took:?}");
    line.toxic.set(Mood::Delay(BUDGET / 10));
    let token = eventually("a store that answers within a tenth of the budget is quick enough", PATIENCE, || {
        let granted = line.trial.lab.call(&login_request("", "alice"));
        (granted.status == 200).then(|| granted.json()["token"].as_str().expect("a token").to_owned())
    });
    let (granted, took) = timed(&login_request("", "alice"));
    granted.assert_ok();
    assert!(took < BUDGET + SLACK, "{took:?}");
    line.trial.lab.call(&get("/orders/1").token(&token)).assert_ok();
    line.trial.lab.call(&post("/logout").token(&token)).assert_ok();
    line.toxic.set(Mood::Delay(BUDGET * 4 / 5));
    let (refused, took) = timed(&login_request("", "alice"));
    refused.assert_denied(503, "503", "store_unavailable");
    assert!(took < MOST, "{took:?}");
}

#[test]
fn store_a_little_slower_than_the_budget_refuses_nobody_it_knows() {
    let line = line("50ms");
    let load = line.trial.load();
    thread::sleep(Duration::from_millis(100));
    line.toxic.set(Mood::Delay(Duration::from_millis(300)));
    // A probe may well take longer than a request: readiness may say that the store is there. Requests still end.
    eventually("an unknown token is 503", Duration::from_secs(2), || {
        (line.trial.call_stranger().status == 503).then_some(())
    });
    thread::sleep(Duration::from_secs(1));
    line.trial.call_known().assert_ok();
    line.trial.assert_login_refused();
    line.toxic.heal();
    line.trial.assert_back("latency 300 ms, budget 50 ms", Instant::now());
    let tally = load.stop();
    eprintln!("latency 300 ms, budget 50 ms: {tally:?}");
    assert!(tally.slowest < Duration::from_millis(50) + SLACK, "{tally:?}");
    tally.assert_truthful();
}

#[test]
fn slow_store_within_the_budget_slows_only_what_asks_it() {
    let line = line("2s");
    let slow = Duration::from_millis(300);
    line.toxic.set(Mood::Delay(slow));
    for _ in 0..3 {
        let asked = Instant::now();
        line.trial.call_stranger().assert_ok();
        // The record and the empty one's second look, at most.
        assert!(asked.elapsed() >= slow && asked.elapsed() < slow * 2 + SLACK, "{:?}", asked.elapsed());
        let asked = Instant::now();
        line.trial.call_known().assert_ok();
        line.trial.lab.call(&get("/public/ping")).assert_ok();
        assert!(asked.elapsed() < slow, "what asks no store took {:?}", asked.elapsed());
    }
    line.trial.lab.call(&login_request("", "alice")).assert_ok();
    assert_eq!(line.trial.lab.gateway.degraded(), [""; 0], "slow is not down");
}

#[test]
fn reset_in_the_middle_of_a_reply_is_never_half_an_answer() {
    let line = line("50ms");
    let load = line.trial.load();
    // From no byte to more than a session's record, so that every kind of reply is cut somewhere.
    for bytes in [0, 1, 3, 7, 20, 50, 100, 150, 200, 300] {
        line.toxic.set(Mood::CutAfter(bytes));
        let until = Instant::now() + Duration::from_millis(150);
        while Instant::now() < until {
            line.trial.call_known().assert_ok();
            let response = line.trial.call_stranger();
            assert!([200, 503].contains(&response.status), "cut after {bytes}: {response}");
            let response = line.trial.lab.call(&login_request("", "alice"));
            assert!([200, 503].contains(&response.status), "cut after {bytes}: {response}");
        }
    }
    line.toxic.heal();
    line.trial.assert_back("cut replies", Instant::now());
    let tally = load.stop();
    eprintln!("cut replies: {tally:?}");
    tally.assert_truthful();
    drop(line.redis);
}

#[test]
fn connections_that_are_reset_at_once_are_tried_ten_times_a_second_at_most() {
    let line = line("50ms");
    line.toxic.set(Mood::Slam);
    line.toxic.forget_taken();
    line.outage("reset at once", Mood::Slam);
    let taken = line.toxic.taken();
    assert!(taken.len() > 1, "the store was not tried again: {taken:?}");
    for (index, first) in taken.iter().enumerate() {
        let within =
            taken[index..].iter().filter(|later| later.duration_since(*first) < Duration::from_secs(1)).count();
        assert!(within <= 10, "{within} connections within a second: {taken:?}");
    }
    eprintln!("reset at once: {} connections", taken.len());
}

#[test]
fn refused_connections_refuse_nobody_the_node_knows() {
    line("50ms").outage("refused", Mood::Refuse);
}
