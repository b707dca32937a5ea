//! What a Redis server can do to its gateways under load: die, freeze, load, become a replica, turn them away. Nobody
//! whom the node knows is refused, and two seconds after the repair all is as before (contract section 9).

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::accounts::key_of;
use crate::harness::lab::builder;
use crate::harness::redis::{RedisServer, Reply};
use crate::harness::request::{get, post};
use crate::harness::trial::{RECOVERY, Trial};
use crate::harness::upstream::Upstream;
use crate::harness::wait::{PATIENCE, eventually};

/// How long an outage goes on at least, so that its load says something.
const WHILE: Duration = Duration::from_millis(700);

/// A server that keeps its data over a restart.
fn saving() -> RedisServer {
    let mut redis = RedisServer::absent();
    redis.set_options(&["--dbfilename", "dump.rdb"]);
    redis.restart();
    redis
}

/// One outage under load: down, told truthfully, repaired, back in time.
#[track_caller]
fn outage(what: &str, trial: &Trial, fail: impl FnOnce(), repair: impl FnOnce()) {
    let load = trial.load();
    thread::sleep(Duration::from_millis(100));
    fail();
    trial.assert_down();
    thread::sleep(WHILE);
    trial.assert_down();
    let repaired = Instant::now();
    repair();
    trial.assert_back(what, repaired);
    let tally = load.stop();
    eprintln!("{what}: {tally:?}");
    tally.assert_truthful();
}

#[test]
fn server_killed_under_load_refuses_nobody_it_knows() {
    let mut redis = saving();
    let trial = Trial::start(&redis, &redis.url(), |builder| builder);
    let load = trial.load();
    assert_eq!(redis.command(&["SAVE"]), Reply::Text("OK".into()));
    redis.kill();
    trial.assert_down();
    thread::sleep(WHILE);
    trial.assert_down();
    redis.restart();
    trial.assert_back("killed", Instant::now());
    let tally = load.stop();
    eprintln!("killed: {tally:?}");
    tally.assert_truthful();
}

#[test]
fn server_that_is_absent_at_the_start_is_used_within_two_seconds_of_its_own() {
    let mut redis = RedisServer::absent();
    let upstream = Upstream::start();
    let gateway = builder().store(&redis.url()).upstream("lab", upstream.address()).start_unready();
    for _ in 0..3 {
        assert_eq!(gateway.admin_get("/readyz").status, 503);
        gateway.call(&get("/public/ping")).assert_ok();
        gateway.call(&get("/orders/1").basic("ak_alice", &key_of("ak_alice"))).assert_ok();
        let metrics = gateway.metrics();
        assert!(metrics.sum("portcullis_store_up", &[]) + metrics.sum("portcullis_feed_up", &[]) < 0.5);
    }
    redis.restart();
    let started = Instant::now();
    eventually("ready", RECOVERY, || (gateway.admin_get("/readyz").status == 200).then_some(()));
    eventually("nothing is degraded", RECOVERY, || gateway.degraded().is_empty().then_some(()));
    eprintln!("absent at the start: ready {:?} after the store", started.elapsed());
    assert!(started.elapsed() < RECOVERY);
}

#[test]
fn frozen_server_refuses_nobody_it_knows() {
    let redis = RedisServer::start();
    let trial = Trial::start(&redis, &redis.url(), |builder| builder);
    outage("SIGSTOP", &trial, || redis.pause(), || redis.resume());
}

#[test]
fn paused_clients_refuse_nobody_the_node_knows() {
    let redis = RedisServer::start();
    let trial = Trial::start(&redis, &redis.url(), |builder| builder);
    let (mut admin, pause) = (redis.connect(), Duration::from_millis(2500));
    let load = trial.load();
    let paused = Instant::now();
    assert_eq!(admin.command(&["CLIENT", "PAUSE", "2500", "ALL"]), Reply::Text("OK".into()));
    trial.assert_down();
    thread::sleep((paused + pause).saturating_duration_since(Instant::now()));
    trial.assert_back("CLIENT PAUSE", Instant::now());
    load.stop().assert_truthful();
}

#[test]
fn read_only_replica_gives_no_token_and_refuses_no_session() {
    let (redis, other) = (RedisServer::start(), RedisServer::start());
    let trial = Trial::start(&redis, &redis.url(), |builder| builder);
    let leaving = trial.lab.login("bob");
    other.follow(&redis);
    let load = trial.load();
    other.lead();
    redis.follow(&other);
    for _ in 0..20 {
        trial.call_known().assert_ok();
        trial.assert_login_refused();
        let logout = trial.lab.call(&post("/logout").token(&leaving));
        logout.assert_denied(503, "503", "store_unavailable");
        // Whether a replica's copy is believed is left open; that it is not taken for a refusal is not.
        let response = trial.call_stranger();
        assert!([200, 503].contains(&response.status), "{response}");
    }
    redis.lead();
    trial.assert_back("read-only replica", Instant::now());
    let tally = load.stop();
    assert_eq!(tally.known.keys().copied().collect::<Vec<_>>(), [200], "{tally:?}");
    assert!(tally.unknown.keys().all(|status| [200, 503].contains(status)), "{tally:?}");
    trial.lab.call(&post("/logout").token(&leaving)).assert_ok();
}

#[test]
fn password_that_is_no_longer_right_is_an_outage() {
    let redis = RedisServer::start();
    let set_password = |password: &str| {
        let words = ["ACL", "SETUSER", "gate", "on", "resetpass", password, "~*", "&*", "+@all"];
        assert_eq!(redis.command(&words), Reply::Text("OK".into()));
    };
    set_password(">right-and-secret");
    let trial = Trial::start(&redis, &redis.url_as("gate", "right-and-secret"), |builder| builder);
    let fail = || {
        set_password(">another");
        assert!(redis.command(&["CLIENT", "KILL", "USER", "gate"]).number() > 0);
    };
    outage("wrong password", &trial, fail, || set_password(">right-and-secret"));
    assert!(!trial.lab.gateway.stderr().contains("right-and-secret"), "the password is in the log");
}

#[test]
fn server_that_takes_no_more_clients_is_an_outage_without_a_busy_loop() {
    let redis = RedisServer::start();
    let trial = Trial::start(&redis, &redis.url(), |builder| builder);
    let mut admin = redis.connect();
    let load = trial.load();
    thread::sleep(Duration::from_millis(100));
    admin.command(&["CONFIG", "SET", "maxclients", "1"]);
    admin.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    admin.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    trial.assert_down();
    thread::sleep(WHILE);
    let tally = load.stop();
    tally.assert_truthful();
    let mut rejected = || {
        let Reply::Text(text) = admin.command(&["INFO", "stats"]) else { panic!("INFO is text") };
        let line = text.lines().find_map(|line| line.strip_prefix("rejected_connections:"));
        line.and_then(|count| count.trim().parse::<u64>().ok()).expect("rejected connections are counted")
    };
    let (begun, before, worked) = (Instant::now(), rejected(), trial.lab.gateway.worked());
    thread::sleep(Duration::from_secs(2));
    let (took, tries) = (begun.elapsed(), rejected() - before);
    let share = (trial.lab.gateway.worked() - worked).as_secs_f64() / took.as_secs_f64();
    eprintln!("maxclients: {tries} tries in {took:?}, {:.1} % of a core", share * 100.0);
    assert!((1..=10 * 2).contains(&tries), "{tries} tries in {took:?}");
    assert!(share < 0.05, "{:.1} % of a core without a request", share * 100.0);
    trial.assert_down();
    let repaired = Instant::now();
    admin.command(&["CONFIG", "SET", "maxclients", "1000"]);
    trial.assert_back("maxclients", repaired);
}

#[test]
fn server_that_is_still_loading_is_an_outage() {
    let mut redis = saving();
    let trial = Trial::start(&redis, &redis.url(), |builder| builder);
    assert_eq!(redis.command(&["SAVE"]), Reply::Text("OK".into()));
    // Half a millisecond a key makes two seconds of four thousand sessions.
    redis.set_options(&[
        "--dbfilename",
        "dump.rdb",
        "--key-load-delay",
        "500",
        "--loading-process-events-interval-bytes",
        "1024",
    ]);
    redis.launch();
    let load = trial.load();
    trial.assert_down();
    let ended = eventually("the server has loaded", PATIENCE, || {
        let mut admin = redis.try_connect()?;
        let loading = matches!(admin.command(&["PING"]), Reply::Error(text) if text.starts_with("LOADING"));
        (!loading).then(Instant::now)
    });
    trial.assert_back("LOADING", ended);
    load.stop().assert_truthful();
}
