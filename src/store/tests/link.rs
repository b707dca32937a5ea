//! Every way of asking over one server, over TLS as well, and what replicas have to do with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, FromRedisValue, Script, Value, cmd};

use super::certificates::Authority;
use super::lag::Lag;
use super::server::Server;
use super::{CALM, eventually, system_ms};
use crate::store::link::Link;
use crate::store::{RedisSettings, StoreError, TlsFiles};

/// A link whose keeper runs.
pub(super) fn link_at(url: &str, budget: Duration, replicas: u8, tls: Option<TlsFiles>) -> Arc<Link> {
    let settings = RedisSettings { url: url.to_owned(), prefix: "portcullis:".to_owned(), budget, replicas, tls };
    let link = Arc::new(Link::new(&settings).unwrap());
    let keeper = Arc::clone(&link);
    tokio::spawn(async move { keeper.keep().await });
    link
}

pub(super) async fn reached(link: Arc<Link>) -> Arc<Link> {
    eventually("the link is up", Duration::from_secs(10), || link.is_up()).await;
    link
}

pub(super) fn in_(duration: Duration) -> tokio::time::Instant {
    tokio::time::Instant::now() + duration
}

pub(super) async fn ask<T: FromRedisValue>(link: &Link, command: &Cmd) -> Result<T, StoreError> {
    link.ask(command, in_(CALM)).await
}

/// Sets `KEYS[1]` to `ARGV[1]` and returns what was there.
pub(super) fn swap() -> Script {
    Script::new("local before = redis.call('GET', KEYS[1]) redis.call('SET', KEYS[1], ARGV[1]) return before")
}

#[tokio::test]
async fn tls_takes_the_own_authority_and_shows_the_own_certificate() {
    let authority = Authority::new();
    let server = Server::start_over_tls(&authority);
    let (certificate, key) = authority.issue("gate");
    let files = |ca: &Authority, own: bool| TlsFiles {
        ca: Some(ca.certificate()),
        certificate: own.then(|| certificate.clone()),
        key: own.then(|| key.clone()),
    };
    let url = format!("rediss://127.0.0.1:{}", server.port);
    let stranger = Authority::new();
    let refused = [files(&authority, false), files(&stranger, true)].map(|files| link_at(&url, CALM, 0, Some(files)));
    let link = reached(link_at(&url, CALM, 1, Some(files(&authority, true)))).await;
    assert_eq!(ask::<()>(&link, cmd("SET").arg("k").arg("v")).await, Ok(()));
    assert_eq!(ask::<String>(&link, cmd("GET").arg("k")).await, Ok("v".to_owned()));
    let mut subscription = link.subscribe(&["c"]).await.unwrap();
    link.publish("c", b"m", in_(CALM)).await.unwrap();
    assert_eq!(subscription.next().await, Some(("c".to_owned(), b"m".to_vec())));
    tokio::time::sleep(Duration::from_millis(500)).await;
    for link in refused {
        assert!(!link.is_up() && !link.was_reached());
        assert_eq!(ask::<()>(&link, &cmd("PING")).await, Err(StoreError::Unreachable));
    }
}

#[tokio::test]
async fn independent_commands_are_answered_in_order_and_fail_together() {
    let server = Server::start();
    let link = reached(link_at(&server.url(), CALM, 0, None)).await;
    let mut commands: Vec<Cmd> = (0..100).map(|number| cmd("SET").arg(number).arg(number).to_owned()).collect();
    assert_eq!(link.ask_each(&commands, in_(CALM)).await, Ok(vec![Value::Okay; 100]));
    commands = (0..100).map(|number| cmd("GET").arg(number).to_owned()).collect();
    let answers = link.ask_each(&commands, in_(CALM)).await.unwrap();
    let expected: Vec<Value> = (0..100).map(|number| Value::BulkString(number.to_string().into_bytes())).collect();
    assert_eq!(answers, expected);
    commands[50] = cmd("LPOP").arg(50).to_owned();
    assert_eq!(link.ask_each(&commands, in_(CALM)).await, Err(StoreError::Unreadable));
    assert_eq!(link.ask_each(&[], in_(CALM)).await, Ok(Vec::new()));
    assert!(link.is_up());
}

#[tokio::test]
async fn a_script_is_loaded_where_it_is_missing() {
    let server = Server::start();
    let link = reached(link_at(&server.url(), CALM, 0, None)).await;
    let run = async |value: &[u8]| link.run_script::<Option<String>>(&swap(), &["k"], &[value], in_(CALM)).await;
    assert_eq!(run(b"1").await, Ok(None));
    assert_eq!(run(b"2").await, Ok(Some("1".to_owned())));
    let () = server.tell(cmd("SCRIPT").arg("FLUSH")).await;
    assert_eq!(run(b"3").await, Ok(Some("2".to_owned())));
    let () = server.tell(cmd("DEL").arg("k")).await;
    let () = server.tell(cmd("LPUSH").arg("k").arg("x")).await;
    assert_eq!(run(b"4").await, Err(StoreError::Unreadable), "an error inside a script keeps its code");
}

/// A primary and one replica that is in step with it.
async fn pair() -> (Server, Server) {
    let primary = Server::start_as(&["--repl-diskless-sync-delay", "0"]);
    let replica = Server::start_as(&["--replicaof", &format!("127.0.0.1 {}", primary.port)]);
    let give_up = Instant::now() + Duration::from_secs(10);
    while !replica.follows().await {
        assert!(Instant::now() < give_up, "the replica does not follow");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (primary, replica)
}

#[tokio::test]
async fn a_write_counts_only_when_the_replica_has_it() {
    let (primary, replica) = pair().await;
    let link = reached(link_at(&primary.url(), CALM, 1, None)).await;
    let run = async |value: &[u8], replicas, within| {
        let deadline = in_(within);
        link.run_script_acknowledged::<Option<String>>(&swap(), &["k"], &[value], replicas, deadline).await
    };
    assert_eq!(run(b"1", 1, CALM).await, Ok(None));
    assert_eq!(replica.tell::<String>(cmd("GET").arg("k")).await, "1", "without any delay");
    let within = Duration::from_millis(100);
    assert_eq!(run(b"2", 2, within).await, Err(StoreError::Unacknowledged));
    replica.signal("STOP");
    let (begun, lag) = (Instant::now(), Lag::watch());
    let error = run(b"3", 1, within).await.unwrap_err();
    assert!(begun.elapsed() <= within + lag.slack(), "{:?}, slack {:?}", begun.elapsed(), lag.slack());
    assert_eq!((error, error.kind()), (StoreError::Unacknowledged, "unacknowledged"));
    assert_eq!(run(b"4", 0, within).await, Ok(Some("3".to_owned())), "it was made all the same");
    replica.signal("CONT");
    assert_eq!(run(b"5", 1, CALM).await, Ok(Some("4".to_owned())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_replica_holds_up_no_other_call_and_is_forgiven() {
    let (primary, replica) = pair().await;
    let budget = Duration::from_millis(100);
    let link = reached(link_at(&primary.url(), budget, 1, None)).await;
    let script = Arc::new(swap());
    let lag = Arc::new(Lag::watch());
    replica.signal("STOP");
    let mut writes = Vec::new();
    for _ in 0..200 {
        let (link, script, lag) = (Arc::clone(&link), Arc::clone(&script), Arc::clone(&lag));
        writes.push(tokio::spawn(async move {
            let begun = Instant::now();
            let run = link.run_script_acknowledged::<Value>(&script, &["k"], &[b"1"], 1, in_(budget)).await;
            // Two hundred of them are woken at once, and share what cores there are.
            let most = budget + lag.slack() + Duration::from_millis(100);
            assert!(begun.elapsed() <= most, "{:?}, at most {most:?}", begun.elapsed());
            run
        }));
    }
    for _ in 0..20 {
        // Held up, each would take as long as the sixteen writes before it that wait for the replica.
        assert_eq!(link.ask::<()>(cmd("SET").arg("other").arg(1), in_(budget + lag.slack())).await, Ok(()));
    }
    for write in writes {
        let error = write.await.unwrap().unwrap_err();
        assert!(matches!(error, StoreError::Unacknowledged | StoreError::TimedOut), "{error:?}");
    }
    assert!(link.is_up(), "the server itself is well");
    replica.signal("CONT");
    let give_up = Instant::now() + Duration::from_secs(2);
    while link.run_script_acknowledged::<Value>(&script, &["k"], &[b"1"], 1, in_(budget)).await.is_err() {
        assert!(Instant::now() < give_up, "no write is confirmed any more");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_time_is_the_servers() {
    let server = Server::start();
    let link = reached(link_at(&server.url(), CALM, 0, None)).await;
    assert!(link.time(in_(CALM)).await.unwrap().abs_diff(system_ms()) <= 1000);
}

#[tokio::test]
async fn a_subscription_is_confirmed_before_it_returns_and_lost_with_its_server() {
    let mut server = Server::start();
    let link = reached(link_at(&server.url(), CALM, 0, None)).await;
    let mut subscription = link.subscribe(&["a", "b"]).await.unwrap();
    for round in 0..1000_u32 {
        let channel = if round % 2 == 0 { "a" } else { "b" };
        link.publish(channel, &round.to_be_bytes(), in_(CALM)).await.unwrap();
    }
    link.publish("c", b"not ours", in_(CALM)).await.unwrap();
    for round in 0..1000_u32 {
        let channel = if round % 2 == 0 { "a" } else { "b" };
        assert_eq!(subscription.next().await, Some((channel.to_owned(), round.to_be_bytes().to_vec())));
    }
    let none = tokio::time::timeout(Duration::from_millis(50), subscription.next()).await;
    assert!(none.is_err(), "nothing else came");
    server.kill();
    assert_eq!(tokio::time::timeout(CALM, subscription.next()).await, Ok(None));
    assert_eq!(subscription.next().await, None, "and it stays lost");
    eventually("the link is down", CALM, || !link.is_up()).await;
    assert_eq!(link.subscribe(&["a"]).await.err(), Some(StoreError::Unreachable));
    server.launch();
    eventually("the link is back", CALM, || link.is_up()).await;
    let mut subscription = link.subscribe(&["a"]).await.unwrap();
    link.publish("a", b"again", in_(CALM)).await.unwrap();
    assert_eq!(subscription.next().await, Some(("a".to_owned(), b"again".to_vec())));
}

#[tokio::test]
async fn a_frozen_server_confirms_no_subscription_and_holds_nobody_up() {
    let server = Server::start();
    let link = reached(link_at(&server.url(), Duration::from_millis(100), 0, None)).await;
    server.signal("STOP");
    let begun = Instant::now();
    let error = link.subscribe(&["a"]).await.err();
    assert!(begun.elapsed() <= Duration::from_millis(1500), "{:?}", begun.elapsed());
    assert_eq!(error, Some(StoreError::TimedOut));
}

#[tokio::test]
async fn a_server_that_was_demoted_ends_the_subscription() {
    let server = Server::start();
    let link = reached(link_at(&server.url(), CALM, 0, None)).await;
    let mut subscription = link.subscribe(&["a"]).await.unwrap();
    let () = server.tell(cmd("REPLICAOF").arg("127.0.0.1").arg(1)).await;
    assert_eq!(ask::<()>(&link, cmd("SET").arg("k").arg(1)).await, Err(StoreError::Refused("READONLY")));
    assert_eq!(tokio::time::timeout(CALM, subscription.next()).await, Ok(None));
}

#[tokio::test]
async fn the_eviction_policy_is_told_where_it_may_be() {
    let server = Server::start();
    let link = reached(link_at(&server.url(), CALM, 0, None)).await;
    assert_eq!(link.eviction_policy(in_(CALM)).await, Ok(Some("noeviction".to_owned())));
    let () = server.tell(cmd("CONFIG").arg("SET").arg("maxmemory-policy").arg("allkeys-lru")).await;
    assert_eq!(link.eviction_policy(in_(CALM)).await, Ok(Some("allkeys-lru".to_owned())));
    let () = server.tell(cmd("ACL").arg(&["SETUSER", "gate", "on", ">p", "~*", "+ping", "+time"])).await;
    let url = format!("redis://gate:p@127.0.0.1:{}", server.port);
    let link = reached(link_at(&url, CALM, 0, None)).await;
    assert_eq!(link.eviction_policy(in_(CALM)).await, Err(StoreError::Refused("NOPERM")));
    assert!(link.is_up());
}
