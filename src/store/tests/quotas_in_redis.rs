//! Shared quotas as they are in Redis: the records, what a garbled one leads to, what a call costs, and the gateways that
//! live.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::cmd;
use tokio::task::JoinHandle;

use super::cluster::Cluster;
use super::quotas::{SECOND, bucket, draw};
use super::sentinel::Set;
use super::server::{Server, store_at};
use super::{CALM, eventually, system_ms};
use crate::store::slots::slot_of;
use crate::store::{Bucket, Draw, Drawn, RedisSettings, Store, StoreError};

const KEY: &str = "portcullis:quota:{ucaas}:k";

#[tokio::test]
async fn a_bucket_is_two_numbers_under_a_key_tagged_by_its_realm_until_its_debt_is_over() {
    let server = Server::start();
    let store = server.reached_store(CALM).await;
    let wish = Draw { owed: 3, ..draw(bucket("k", 10 * SECOND, 6)) };
    let (at, drawn) = store.draw_at(&[wish]).await.unwrap();
    assert!(at.abs_diff(system_ms() * 1000) < 2_000_000, "{at}");
    assert_eq!(drawn, [Drawn { granted: 1, debt: 40 * SECOND }]);
    let record: String = server.tell(cmd("GET").arg(KEY)).await;
    assert_eq!(record, format!("{at} 40000000000"));
    let life = async || server.tell::<u64>(cmd("PTTL").arg(KEY)).await;
    let left = life().await;
    assert!((38_000..=41_000).contains(&left), "{left} ms");
    store.give_back(&[(wish.bucket, 2)]).await.unwrap();
    let left = life().await;
    assert!((18_000..=21_000).contains(&left), "{left} ms");
    store.give_back(&[(wish.bucket, 2)]).await.unwrap();
    assert_eq!(server.tell::<u64>(cmd("EXISTS").arg(KEY)).await, 0, "a full bucket is no record");
    let tag = |key: &str| slot_of(format!("portcullis:quota:{{ucaas}}:{key}").as_bytes());
    assert_eq!(tag("k"), tag("another{x}"));
    assert_ne!(tag("k"), slot_of(b"portcullis:quota:{cpaas}:k"));
}

#[tokio::test]
async fn a_bucket_that_cannot_be_read_is_unreadable_and_nothing_is_taken_of_any() {
    let server = Server::start();
    let store = server.reached_store(CALM).await;
    let (garbled, good) = (draw(bucket("k", SECOND, 100)), draw(bucket("good", 1000 * SECOND, 3)));
    let unreadable = async |what: &str| {
        for draws in [vec![garbled], vec![good, garbled], vec![garbled, good], vec![Draw { owed: 1, ..good }, garbled]]
        {
            assert_eq!(store.draw(&draws).await, Err(StoreError::Unreadable), "{what}");
        }
        let unused = [(good.bucket, 1), (garbled.bucket, 1)];
        assert_eq!(store.give_back(&unused).await, Err(StoreError::Unreadable), "{what}");
    };
    let now = system_ms() * 1000;
    let records = [
        String::new(),
        " ".to_owned(),
        "garbage".to_owned(),
        format!("{now}"),
        format!("{now} "),
        format!("{now} -1"),
        format!("{now} 1.5"),
        format!("{now} 1e3"),
        format!("{now} 0x10"),
        format!("{now} 1 "),
        format!(" {now} 1"),
        format!("{now}  1"),
        format!("{now} 1\n"),
        format!("{now} nan"),
        format!("inf {}", SECOND),
        format!("{now} {}", 100 * SECOND + 1),
        "9007199254740992 1".to_owned(),
        format!("{now} 00000000000000000001"),
        format!("{now} {}", "1".repeat(1 << 20)),
    ];
    for record in &records {
        let () = server.tell(cmd("SET").arg(KEY).arg(record)).await;
        unreadable(&format!("{record:.60}")).await;
        assert_eq!(server.tell::<String>(cmd("GET").arg(KEY)).await, *record, "it stays for whoever looks into it");
    }
    for make in
        [cmd("LPUSH").arg(KEY).arg("x"), cmd("HSET").arg(KEY).arg("a").arg("b"), cmd("ZADD").arg(KEY).arg(1).arg("x")]
    {
        let () = server.tell(cmd("DEL").arg(KEY)).await;
        let () = server.tell(make).await;
        unreadable("another type").await;
    }
    let () = server.tell(cmd("SET").arg(KEY).arg(format!("{now} {}", 50 * SECOND))).await;
    let drawn = store.draw(&[garbled, good]).await.unwrap();
    assert_eq!(drawn[1], Drawn { granted: 1, debt: 1000 * SECOND }, "nothing was taken before");
    assert!(store.is_up());
}

#[tokio::test]
async fn a_server_whose_clock_is_behind_gives_no_more_than_one_whose_clock_stands() {
    let server = Server::start();
    let store = server.reached_store(CALM).await;
    let wish = draw(bucket("k", SECOND, 3));
    // As a server an hour ahead would have left it.
    let ahead = (system_ms() + 3_600_000) * 1000;
    let () = server.tell(cmd("SET").arg(KEY).arg(format!("{ahead} {SECOND}"))).await;
    for expected in [(1, 2), (1, 3), (0, 3), (0, 3)].map(|(granted, debt)| Drawn { granted, debt: debt * SECOND }) {
        assert_eq!(store.draw(&[wish]).await, Ok(vec![expected]));
    }
    assert_eq!(server.tell::<String>(cmd("GET").arg(KEY)).await, format!("{ahead} 3000000000"));
    let left: u64 = server.tell(cmd("PTTL").arg(KEY)).await;
    assert!(left <= 4000, "closed no longer than the debt would have taken: {left} ms");
    let () = server.tell(cmd("SET").arg(KEY).arg(format!("0 {}", 3 * SECOND))).await;
    assert_eq!(store.draw(&[wish]).await, Ok(vec![Drawn { granted: 1, debt: SECOND }]), "long ago");
}

#[tokio::test]
async fn a_bucket_that_was_empty_when_the_clock_went_back_is_closed_no_longer_than_its_debt_would_take() {
    let server = Server::start();
    let store = server.reached_store(CALM).await;
    let ahead = format!("{} {}", (system_ms() + 3_600_000) * 1000, 3 * SECOND);
    let () = server.tell(cmd("SET").arg(KEY).arg(&ahead).arg("PX").arg(3_604_000)).await;
    let wish = draw(bucket("k", SECOND, 3));
    let refused = Ok(vec![Drawn { granted: 0, debt: 3 * SECOND }]);
    assert_eq!(store.draw(&[wish]).await, refused);
    let until: u64 = server.tell(cmd("PEXPIRETIME").arg(KEY)).await;
    assert!(until <= system_ms() + 4000, "{until}");
    // Asking again does not put it off.
    assert_eq!(store.draw(&[wish]).await, refused);
    let later: u64 = server.tell(cmd("PEXPIRETIME").arg(KEY)).await;
    assert_eq!((later, server.tell::<String>(cmd("GET").arg(KEY)).await), (until, ahead));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draw_is_one_question_however_many_buckets_and_answers_never_get_mixed_up() {
    let server = Server::start();
    let store = server.reached_store(CALM).await;
    let buckets: Vec<String> = (0..8).map(|number| format!("b{number}")).collect();
    let draws: Vec<Draw<'_>> = buckets.iter().map(|key| draw(bucket(key, 1000 * SECOND, 1000))).collect();
    store.draw(&draws).await.unwrap();
    let asked = async || {
        let stats: String = server.tell(cmd("INFO").arg("commandstats")).await;
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).unwrap_or("0,");
        line.split(',').next().unwrap().parse::<u64>().unwrap()
    };
    let before = asked().await;
    for _ in 0..100 {
        store.draw(&draws).await.unwrap();
    }
    // A gateway's heartbeat is one, too.
    let calls = asked().await - before;
    assert!((100..=100 + 20).contains(&calls), "{calls}");
    // Refusals of one caller, cells of another, and calls that nobody waits for, side by side.
    let () = server.tell(cmd("SET").arg(KEY).arg("garbage")).await;
    let callers = (0..600_u64).map(|number| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let (key, burst) = (format!("own{number}"), u32::try_from(number % 50 + 2).unwrap());
            let wish = draw(bucket(&key, (number + 1) * SECOND * 100, burst));
            match number % 3 {
                0 => assert_eq!(store.draw(&[draw(bucket("k", SECOND, 1))]).await, Err(StoreError::Unreadable)),
                1 => drop(tokio::time::timeout(Duration::from_micros(number), store.draw(&[wish])).await),
                _ => {
                    let drawn = store.draw(&[wish]).await.unwrap();
                    assert_eq!(drawn, [Drawn { granted: 1, debt: wish.bucket.interval }]);
                }
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn very_many_buckets_come_back_in_one_call() {
    let server = Server::start();
    let store = server.reached_store(CALM).await;
    let keys: Vec<String> = (0..3000).map(|number| format!("k{number}")).collect();
    let buckets: Vec<Bucket<'_>> = keys.iter().map(|key| bucket(key, 1000 * SECOND, 10)).collect();
    for some in buckets.chunks(500) {
        store.draw(&some.iter().copied().map(draw).collect::<Vec<_>>()).await.unwrap();
    }
    let held = async || server.tell::<Vec<String>>(cmd("KEYS").arg("portcullis:quota:*")).await.len();
    assert_eq!(held().await, 3000);
    store.give_back(&buckets.iter().map(|bucket| (*bucket, 1)).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(held().await, 0);
}

/// Draws until one call is answered, while another server takes over.
async fn drawn_at_last(store: &Store, draws: &[Draw<'_>]) -> Vec<Drawn> {
    let give_up = Instant::now() + Duration::from_secs(30);
    loop {
        match store.draw(draws).await {
            Ok(drawn) => return drawn,
            Err(why) => assert!(Instant::now() < give_up, "{why}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// `primary` dies, after its replicas have what was drawn.
async fn a_debt_outlives_the_primary(url: String, primary: &mut Server, realm: &str) {
    let store = store_at(url, Duration::from_millis(100));
    eventually("the store is up", CALM, || store.is_up()).await;
    let bucket = |key| Bucket { realm, ..bucket(key, 1000 * SECOND, 2) };
    let draws = [draw(bucket("k")), draw(Bucket { burst: 3, ..bucket("l") })];
    assert!(drawn_at_last(&store, &draws).await.iter().all(|drawn| drawn.granted == 1));
    eventually("the gateway is counted", CALM, || store.gateways() == 1).await;
    // A write behind the draws that a replica has confirmed: it has those, too.
    let mut marker = redis::pipe();
    marker.cmd("SET").arg(format!("{{{realm}}}:marker")).arg(1).ignore();
    marker.cmd("WAIT").arg(1).arg(8_000);
    let (copies,): (u32,) = marker.query_async(&mut primary.connect().await.unwrap()).await.unwrap();
    assert!(copies >= 1, "no replica has what was drawn");
    primary.kill();
    eventually("the store is down", CALM, || !store.is_up()).await;
    eventually("the store is up again", Duration::from_secs(30), || store.is_up()).await;
    let drawn = drawn_at_last(&store, &draws).await;
    assert!(drawn.iter().all(|drawn| drawn.granted == 1 && drawn.debt > 1900 * SECOND), "{drawn:?}");
    assert!(drawn_at_last(&store, &draws).await.iter().all(|drawn| drawn.granted == 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_debt_outlives_a_sentinel_sets_primary() {
    let mut set = Set::start().await;
    let url = set.url();
    a_debt_outlives_the_primary(url, &mut set.servers[0], "ucaas").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_debt_outlives_a_clusters_primary_and_realms_are_spread_over_servers() {
    let mut cluster = Cluster::start().await;
    let store = store_at(cluster.url(), CALM);
    eventually("the cluster is up", CALM, || store.is_up()).await;
    let realms: Vec<String> = (0..60).map(|number| format!("realm{number}")).collect();
    for realm in &realms {
        let draws = ["a", "b", "c{d}"].map(|key| draw(Bucket { realm, ..bucket(key, 1000 * SECOND, 1) }));
        assert_eq!(store.draw(&draws).await.unwrap(), [Drawn { granted: 1, debt: 1000 * SECOND }; 3]);
        assert!(store.draw(&draws).await.unwrap().iter().all(|drawn| drawn.granted == 0));
        store.give_back(&draws.map(|wish| (wish.bucket, 1))).await.unwrap();
        assert!(store.draw(&draws).await.unwrap().iter().all(|drawn| drawn.granted == 1));
    }
    let mut here = None;
    for server in &cluster.servers[..3] {
        let keys: Vec<String> = server.tell(cmd("KEYS").arg("portcullis:quota:*:a")).await;
        assert!(keys.len() > 5, "{keys:?}");
        here = here.or(keys.into_iter().next());
    }
    let here = here.unwrap();
    let realm = here.trim_start_matches("portcullis:quota:{").trim_end_matches("}:a").to_owned();
    a_debt_outlives_the_primary(cluster.url(), &mut cluster.servers[0], &realm).await;
}

/// A store, and the task that runs it.
fn gateway(server: &Server) -> (Arc<Store>, JoinHandle<()>) {
    let settings =
        RedisSettings { url: server.url(), prefix: "portcullis:".to_owned(), budget: CALM, replicas: 0, tls: None };
    let store = Arc::new(Store::redis(settings).unwrap());
    assert_eq!(store.gateways(), 1, "itself, before it heard of any");
    let keeper = Arc::clone(&store);
    (store, tokio::spawn(async move { keeper.run(std::future::pending()).await }))
}

fn all_count(count: u32, stores: &[&Arc<Store>]) -> bool {
    stores.iter().all(|store| store.gateways() == count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_that_live_are_counted_and_who_falls_silent_or_leaves_is_not() {
    let mut server = Server::start();
    let [(one, _), (two, _), (three, silent), (four, _)] = [(); 4].map(|()| gateway(&server));
    eventually("there are four", CALM, || all_count(4, &[&one, &two, &three, &four])).await;
    four.leave().await.unwrap();
    eventually("one has left", Duration::from_millis(2500), || all_count(3, &[&one, &two, &three])).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(all_count(3, &[&one, &two, &three]), "it does not come back");
    silent.abort();
    let begun = Instant::now();
    eventually("one is silent", Duration::from_secs(7), || all_count(2, &[&one, &two])).await;
    assert!(begun.elapsed() > Duration::from_secs(3), "one who pauses is still there");
    server.kill();
    eventually("the store is away", CALM, || !one.is_up() && !two.is_up()).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(all_count(2, &[&one, &two]), "as last heard");
    server.launch();
    eventually("the set is empty at first, and all are back", CALM, || all_count(2, &[&one, &two])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_garbled_set_of_gateways_is_made_anew_and_who_was_heard_in_the_future_goes_too() {
    let server = Server::start();
    let [(one, _), (two, _)] = [(); 2].map(|()| gateway(&server));
    eventually("there are two", CALM, || all_count(2, &[&one, &two])).await;
    let () = server.tell(cmd("SET").arg("portcullis:gateways").arg("text")).await;
    let is_a_set = async || server.tell::<String>(cmd("TYPE").arg("portcullis:gateways")).await == "zset";
    let give_up = Instant::now() + CALM;
    while !is_a_set().await {
        assert!(Instant::now() < give_up, "nobody makes it anew");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let future = system_ms() + 3_600_000;
    let () = server.tell(cmd("ZADD").arg("portcullis:gateways").arg(future).arg("ghost")).await;
    eventually("the ghost is counted", CALM, || all_count(3, &[&one, &two])).await;
    eventually("the ghost is gone", Duration::from_secs(8), || all_count(2, &[&one, &two])).await;
    let life: u64 = server.tell(cmd("PTTL").arg("portcullis:gateways")).await;
    assert!(life <= 5000, "{life} ms");
}
