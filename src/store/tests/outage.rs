//! The Redis server away, frozen, read-only, unable to save, or not willing to let us in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::cmd;
use tokio::sync::Notify;

use super::lag::Lag;
use super::server::{Server, store_at};
use super::{KEEP, LINEAGE, eventually, session, start};
use crate::store::clock::RemoteClock;
use crate::store::wire::{Live, Target, Wire, WireSettings};
use crate::store::{Found, Store, StoreError};

const BUDGET: Duration = Duration::from_millis(100);

/// For what the test does not measure.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a recovery may take: the longest pause between two attempts, and one attempt.
const RECOVERY: Duration = Duration::from_secs(2);

/// Looks a session up; the call may take no longer than its budget, and what the machine is late.
async fn lookup_in_time(store: &Store) -> Result<bool, StoreError> {
    let (begun, lag) = (Instant::now(), Lag::watch());
    let answer = store.session("j", LINEAGE).await;
    let took = begun.elapsed();
    assert!(took <= BUDGET + lag.slack(), "{answer:?} took {took:?}, slack {:?}", lag.slack());
    answer.map(|found| found != Found::Missing)
}

async fn with_a_session(server: &Server) -> Arc<Store> {
    let store = server.reached_store(BUDGET).await;
    let give_up = Instant::now() + PATIENCE;
    while store.start_session(&session("j"), KEEP).await.is_err() {
        assert!(Instant::now() < give_up);
    }
    store
}

#[tokio::test]
async fn a_killed_server_is_unreachable_at_once_and_missed_when_it_is_back() {
    let mut server = Server::start();
    let store = with_a_session(&server).await;
    server.kill();
    let error = lookup_in_time(&store).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable | StoreError::TimedOut), "{error:?}");
    eventually("the store is down", PATIENCE, || !store.is_up()).await;
    let begun = Instant::now();
    for _ in 0..1000 {
        assert_eq!(store.session("j", LINEAGE).await, Err(StoreError::Unreachable));
    }
    assert!(begun.elapsed() < PATIENCE, "without a connection nobody waits");
    assert!(store.was_reached());

    server.launch();
    eventually("the store is back", RECOVERY, || store.is_up()).await;
    assert_eq!(lookup_in_time(&store).await, Ok(false), "the server came back empty");
}

#[tokio::test]
async fn calls_in_flight_when_the_server_dies_all_end_in_an_error() {
    let mut server = Server::start();
    let store = with_a_session(&server).await;
    server.signal("STOP");
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { lookup_in_time(&store).await })
        })
        .collect();
    tokio::time::sleep(BUDGET / 4).await;
    server.kill();
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        assert!(matches!(error, StoreError::Unreachable | StoreError::TimedOut), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_never_seen_is_not_reached_until_it_starts() {
    let mut server = Server::stopped(None);
    let store = server.store(BUDGET);
    assert_eq!(lookup_in_time(&store).await, Err(StoreError::Unreachable));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!store.is_up() && !store.was_reached());
    assert!(store.now_ms().abs_diff(super::system_ms()) <= 1000, "the local clock stands in");
    server.launch();
    eventually("the store is reached", RECOVERY, || store.is_up() && store.was_reached()).await;
    assert_eq!(lookup_in_time(&store).await, Ok(false));
}

#[tokio::test]
async fn a_frozen_server_times_out_then_is_unreachable_then_recovers() {
    let server = Server::start();
    let store = with_a_session(&server).await;
    server.signal("STOP");
    assert_eq!(lookup_in_time(&store).await, Err(StoreError::TimedOut));
    for _ in 0..2 {
        let error = lookup_in_time(&store).await.unwrap_err();
        assert!(matches!(error, StoreError::TimedOut | StoreError::Unreachable), "{error:?}");
    }
    assert_eq!(lookup_in_time(&store).await, Err(StoreError::Unreachable), "nobody waits after three");
    assert!(!store.is_up() && store.was_reached());
    // Long enough for attempts that connect, since the kernel accepts, and then hear nothing.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(!store.is_up(), "accepting a connection is not answering");
    server.signal("CONT");
    eventually("the store is back", RECOVERY, || store.is_up()).await;
    assert_eq!(lookup_in_time(&store).await, Ok(true));
}

#[tokio::test]
async fn a_frozen_server_is_noticed_without_any_call() {
    let server = Server::start();
    let store = with_a_session(&server).await;
    server.signal("STOP");
    eventually("the store is down", Duration::from_secs(2), || !store.is_up()).await;
    server.signal("CONT");
    eventually("the store is back", RECOVERY, || store.is_up()).await;
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_up() {
    let server = Server::start_with(Some("right"));
    let wrong = store_at(format!("redis://:wrong@127.0.0.1:{}", server.port), BUDGET);
    let none = store_at(format!("redis://127.0.0.1:{}", server.port), BUDGET);
    for (store, refusal) in [(wrong, "AUTH"), (none, "NOAUTH")] {
        let give_up = Instant::now() + PATIENCE;
        while store.session("j", LINEAGE).await == Err(StoreError::Unreachable) {
            assert!(Instant::now() < give_up, "never refused");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for _ in 0..20 {
            let error = lookup_in_time(&store).await.unwrap_err();
            assert_eq!(error, StoreError::Refused(refusal));
            assert_eq!(error.kind(), "refused");
            assert!(!store.is_up() && !store.was_reached());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let right = server.reached_store(BUDGET).await;
    assert_eq!(lookup_in_time(&right).await, Ok(false));
}

#[tokio::test]
async fn a_read_only_server_still_reads_and_a_new_connection_is_made() {
    let server = Server::start();
    let store = with_a_session(&server).await;
    let seen = connections_received(&server).await;
    let () = server.tell(cmd("REPLICAOF").arg("127.0.0.1").arg(1)).await;
    assert_eq!(start(&store, &session("k"), KEEP).await, Err(StoreError::Refused("READONLY")));
    let give_up = Instant::now() + PATIENCE;
    let mut rounds = 0;
    // Every question of ours is a connection too; one more than those is the replacement.
    while connections_received(&server).await <= seen + 2 + rounds {
        rounds += 1;
        assert_eq!(lookup_in_time(&store).await, Ok(true), "reads go on");
        assert!(store.is_up());
        assert!(Instant::now() < give_up, "no new connection");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let () = server.tell(cmd("REPLICAOF").arg("NO").arg("ONE")).await;
    assert_eq!(start(&store, &session("k"), KEEP).await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_server_that_cannot_save_still_reads() {
    let server = Server::start();
    let store = with_a_session(&server).await;
    let () = server.tell(cmd("CONFIG").arg("SET").arg("save").arg("3600 1")).await;
    server.lose_directory();
    let () = server.tell(&cmd("BGSAVE")).await;
    let give_up = Instant::now() + PATIENCE;
    while start(&store, &session("k"), KEEP).await != Err(StoreError::Refused("MISCONF")) {
        assert!(Instant::now() < give_up, "the snapshot did not fail");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Over several probes, which PING turns down.
    for _ in 0..60 {
        assert_eq!(lookup_in_time(&store).await, Ok(true));
        assert!(store.is_up());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn attempts_to_connect_are_at_most_ten_a_second() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let store = store_at(format!("redis://{}", listener.local_addr().unwrap()), BUDGET);
    // Accepts and hangs up: the quickest way to fail.
    let mut attempts = 0;
    let second = tokio::time::sleep(Duration::from_secs(1));
    tokio::pin!(second);
    loop {
        tokio::select! {
            () = &mut second => break,
            accepted = listener.accept() => {
                drop(accepted.unwrap());
                attempts += 1;
            }
        }
    }
    assert!((2..=10).contains(&attempts), "{attempts} attempts");
    assert!(!store.is_up() && !store.was_reached());
}

#[tokio::test]
async fn the_failure_of_a_replaced_connection_does_not_take_the_new_one_away() {
    let server = Server::start();
    let client = redis::Client::open(server.url()).unwrap();
    let settings = WireSettings {
        budget: BUDGET,
        acknowledging: false,
        clock: Arc::new(RemoteClock::new()),
        changed: Arc::new(Notify::new()),
    };
    let wire = Wire::new(Target::Fixed { client: client.clone(), address: "test".to_owned() }, settings);
    let connect = async || {
        let connection = client.get_multiplexed_async_connection().await.unwrap();
        wire.gain(Live::new(connection, None, client.clone(), "test".to_owned()));
    };
    connect().await;
    let old = wire.state();
    connect().await;
    wire.lose(&old, StoreError::Unreachable);
    assert!(wire.is_up());
    let woken = || tokio::time::timeout(Duration::from_millis(20), wire.wake.notified());
    assert!(woken().await.is_err(), "there is nothing to do");
    wire.lose(&wire.state(), StoreError::Unreachable);
    assert!(!wire.is_up() && wire.was_reached());
    assert!(woken().await.is_ok(), "the keeper does not wait for its next probe");
}

async fn connections_received(server: &Server) -> u64 {
    let stats: String = server.tell(cmd("INFO").arg("stats")).await;
    let line = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
    line.unwrap().trim().parse().unwrap()
}
