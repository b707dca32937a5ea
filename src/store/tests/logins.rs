//! A login at the limit of sessions, over a store that is slow, or does not confirm: who is refused costs nobody a
//! session, and leaves none behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::cmd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::server::{Server, store_at};
use super::{CALM, KEEP, LINEAGE, eventually, session, start, system_ms};
use crate::store::{Found, RedisSettings, Session, Store, StoreError};

/// A way to a server on which each reply comes so many milliseconds later; however many are under way.
struct Slow {
    url: String,
    delay_ms: Arc<AtomicU64>,
}

impl Slow {
    async fn before(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let (delay_ms, port) = (Arc::new(AtomicU64::new(0)), server.port);
        let delay = Arc::clone(&delay_ms);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::spawn(pass(client, server, Arc::clone(&delay)));
            }
        });
        Self { url, delay_ms }
    }

    fn set(&self, delay: Duration) {
        self.delay_ms.store(u64::try_from(delay.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

async fn pass(client: TcpStream, server: TcpStream, delay_ms: Arc<AtomicU64>) {
    client.set_nodelay(true).unwrap();
    let ((mut asks, mut hears), (mut answers, mut takes)) = (client.into_split(), server.into_split());
    tokio::spawn(async move { tokio::io::copy(&mut asks, &mut takes).await });
    let (sender, mut due) = tokio::sync::mpsc::unbounded_channel::<(tokio::time::Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((at, block)) = due.recv().await {
            tokio::time::sleep_until(at).await;
            if hears.write_all(&block).await.is_err() {
                break;
            }
        }
    });
    let mut block = vec![0; 65536];
    while let Ok(length @ 1..) = answers.read(&mut block).await {
        let at = tokio::time::Instant::now() + Duration::from_millis(delay_ms.load(Ordering::Relaxed));
        if sender.send((at, block[..length].to_vec())).is_err() {
            break;
        }
    }
}

const BUDGET: Duration = Duration::from_millis(100);

/// Three sessions of one account, oldest first.
async fn three(store: &Store) -> Vec<Session> {
    let mut three = Vec::new();
    for number in 0..3 {
        let session = Session { started: system_ms() - 10 + number, ..session(&format!("old-{number}")) };
        store.start_session(&session, KEEP).await.unwrap();
        three.push(session);
    }
    three
}

/// The three go on, and nothing else is there before long.
async fn assert_only(three: &[Session], store: &Store, server: &Server) {
    for session in three {
        assert_eq!(store.session(&session.jti, LINEAGE).await, Ok(Found::Live(session.clone())));
    }
    let give_up = Instant::now() + CALM;
    loop {
        let records: Vec<String> = server.tell(cmd("KEYS").arg("portcullis:session:*")).await;
        let entries: u64 = server.tell(cmd("ZCARD").arg("portcullis:sessions:{cus-42}")).await;
        let ends: u64 = server.tell(cmd("ZCARD").arg("portcullis:sessions-end:{cus-42}")).await;
        if (records.len(), entries, ends) == (3, 3, 3) {
            break;
        }
        assert!(Instant::now() < give_up, "{records:?}, {entries} and {ends} entries");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(store.sessions_of(LINEAGE).await.as_deref(), Ok(three));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_acknowledged_too_late_ends_no_other_session_and_leaves_none() {
    let server = Server::start();
    let near = server.reached_store(CALM).await;
    let three = three(&near).await;
    let slow = Slow::before(&server).await;
    let far = store_at(slow.url.clone(), BUDGET);
    eventually("the store is up", CALM, || far.is_up()).await;
    slow.set(BUDGET * 2);
    for number in 0..5 {
        let error = start(&far, &session(&format!("new-{number}")), 3).await.unwrap_err();
        assert!(matches!(error, StoreError::TimedOut | StoreError::Unreachable), "{error:?}");
    }
    let run: String = server.tell(cmd("INFO").arg("commandstats")).await;
    let tries = run.lines().find(|line| line.starts_with("cmdstat_zadd:calls=")).unwrap().to_owned();
    assert!(!tries.starts_with("cmdstat_zadd:calls=6,"), "the server did what nobody heard of: {tries}");
    assert_only(&three, &near, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_nobody_waits_for_leaves_no_session_and_ends_none() {
    let server = Server::start();
    let near = server.reached_store(CALM).await;
    let three = three(&near).await;
    let slow = Slow::before(&server).await;
    let far = store_at(slow.url.clone(), CALM);
    eventually("the store is up", CALM, || far.is_up()).await;
    slow.set(BUDGET);
    let new = session("new");
    let dropped = tokio::time::timeout(BUDGET / 2, far.start_session(&new, 3)).await;
    assert!(dropped.is_err());
    // What it asked for was done, and is undone.
    let give_up = Instant::now() + CALM;
    while server.tell::<u64>(cmd("EXISTS").arg("portcullis:session:{new}")).await == 0 {
        assert!(Instant::now() < give_up, "it was never asked for");
    }
    assert_only(&three, &near, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_no_replica_confirms_ends_no_other_session_and_leaves_none() {
    let server = Server::start();
    let near = server.reached_store(CALM).await;
    let three = three(&near).await;
    let settings = RedisSettings {
        url: server.url(),
        prefix: "portcullis:".to_owned(),
        budget: Duration::from_millis(200),
        replicas: 1,
        tls: None,
    };
    let store = Arc::new(Store::redis(settings).unwrap());
    let keeper = Arc::clone(&store);
    tokio::spawn(async move { keeper.run(std::future::pending()).await });
    eventually("the store is up", CALM, || store.is_up()).await;
    let mut told = Vec::new();
    for number in 0..5 {
        told.push(start(&store, &session(&format!("new-{number}")), 3).await.unwrap_err());
    }
    assert!(told.contains(&StoreError::Unacknowledged), "{told:?}");
    assert_only(&three, &near, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_waits_for_one_answer_however_many_sessions_it_ends() {
    let server = Server::start();
    let near = server.reached_store(CALM).await;
    let three = three(&near).await;
    start(&near, &session("last"), 3).await.unwrap();
    let slow = Slow::before(&server).await;
    let far = store_at(slow.url.clone(), CALM);
    eventually("the store is up", CALM, || far.is_up()).await;
    let delay = Duration::from_millis(300);
    slow.set(delay);
    let begun = Instant::now();
    let ending = far.start_session(&session("next"), 1).await.unwrap();
    let took = begun.elapsed();
    assert!((delay..delay * 2).contains(&took), "{took:?}");
    assert_eq!(ending.too_many(), 3);
    assert_eq!(ending.ended().await, [&*three[1].jti, &*three[2].jti, "last"].map(Box::from));
    assert_eq!(near.sessions_of(LINEAGE).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_end_though_nobody_waits_for_it() {
    let server = Server::start();
    let store = server.reached_store(CALM).await;
    three(&store).await;
    drop(store.start_session(&session("new"), 1).await.unwrap());
    let give_up = Instant::now() + CALM;
    while store.sessions_of(LINEAGE).await.unwrap().len() > 1 {
        assert!(Instant::now() < give_up);
    }
    assert!(matches!(store.session("new", LINEAGE).await, Ok(Found::Live(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_lowered_over_twenty_thousand_sessions_refuses_no_login() {
    let server = Server::start();
    let fill = "for i = 1, 20000 do redis.call('ZADD', KEYS[1], i, 'j' .. i) \
                redis.call('ZADD', KEYS[2], ARGV[1], 'j' .. i) redis.call('SET', ARGV[2] .. i .. '}', '{}') end";
    let keys = ["portcullis:sessions:{cus-42}", "portcullis:sessions-end:{cus-42}"];
    let ends = system_ms() + 1_200_000;
    let fill = cmd("EVAL").arg(fill).arg(2).arg(&keys).arg(ends).arg("portcullis:session:{j").take();
    let _: redis::Value = server.tell(&fill).await;
    // Not before: the server answers nobody while it runs that script, which a busy machine may draw out.
    let store = server.reached_store(BUDGET * 5).await;
    for number in 1..=5_u64 {
        let ended = start(&store, &session(&format!("new-{number}")), 100).await.unwrap();
        assert_eq!(ended.len(), 100);
        let left: u64 = server.tell(cmd("ZCARD").arg(keys[0])).await;
        assert_eq!(left, 20_000 - 99 * number, "each ends a hundred, and is one itself");
    }
    // The same many whose time is over.
    let age = "for i = 1, 20000 do redis.call('ZADD', KEYS[1], 'XX', 1, 'j' .. i)";
    let age = format!("{age} redis.call('ZADD', KEYS[2], 'XX', 1, 'j' .. i) end");
    let _: redis::Value = server.tell(cmd("EVAL").arg(age).arg(2).arg(&keys)).await;
    let store = server.reached_store(BUDGET * 5).await;
    for number in 6..=30 {
        assert_eq!(start(&store, &session(&format!("new-{number}")), 100).await, Ok(vec![]), "nobody ends too early");
    }
    assert_eq!(server.tell::<u64>(cmd("ZCARD").arg(keys[0])).await, 30, "only those that go on");
}
