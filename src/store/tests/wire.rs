//! What the Redis backend writes and reads, how calls share its connection, and who may log in.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use redis::cmd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::server::{Server, store_at};
use super::{CALM, KEEP, LINEAGE, eventually, session, session_for, start, system_ms};
use crate::store::{Bucket, Draw, Eviction, Found, Revocation, Session, StoreError};

#[tokio::test]
async fn the_redis_record_is_plain_json_under_a_tagged_key_for_sixty_seconds_more() {
    let server = Server::start();
    let store = server.reached_store(CALM).await;
    let session = session_for("j-1", 1200);
    store.start_session(&session, KEEP).await.unwrap();
    let key = "portcullis:session:{j-1}";
    let left_ms: u64 = server.tell(cmd("PTTL").arg(key)).await;
    let due_ms = (session.expires + 60) * 1000 - system_ms();
    assert!(left_ms.abs_diff(due_ms) <= 1000, "{left_ms} ms are left, not {due_ms} ms");
    let record: String = server.tell(cmd("GET").arg(key)).await;
    let Session { started, expires, password_mark: mark, .. } = session;
    let expected =
        format!(r#"{{"jti":"j-1","sub":"cus-42","started":{started},"expires":{expires},"password_mark":{mark}}}"#);
    assert_eq!(record, expected);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_unreadable_and_never_missing() {
    let server = Server::start();
    let store = server.reached_store(CALM).await;
    let key = "portcullis:session:{j}";
    let fits = |size: usize| {
        let record = r#"{"jti":"j","sub":"a","started":1,"expires":2}"#;
        format!("{record}{}", " ".repeat(size - record.len()))
    };
    let records = [
        "garbage".to_owned(),
        String::new(),
        "null".to_owned(),
        r#"{"jti":"j","sub":"a","started":1}"#.to_owned(),
        r#"{"jti":"j","sub":"a","started":1,"expires":"2"}"#.to_owned(),
        r#"{"jti":"j","sub":"a","started":1,"expires":2}}"#.to_owned(),
        fits(64 * 1024 + 1),
        fits(70 * 1024),
    ];
    for record in &records {
        let () = server.tell(cmd("SET").arg(key).arg(record)).await;
        assert_eq!(store.session("j", LINEAGE).await, Err(StoreError::Unreadable), "{record:.60}");
    }
    let () = server.tell(cmd("DEL").arg(key)).await;
    let () = server.tell(cmd("LPUSH").arg(key).arg("x")).await;
    assert_eq!(store.session("j", LINEAGE).await, Err(StoreError::Unreadable));
    assert!(store.is_up(), "none of this is the connection's fault");
    assert_eq!(store.end_session("j", "cus-42").await, Ok(true));

    let newer = r#"{"v":2,"jti":"j","sub":"a","started":1,"expires":2}"#.to_owned();
    for record in [newer, fits(64 * 1024)] {
        let () = server.tell(cmd("SET").arg(key).arg(record)).await;
        assert!(matches!(store.session("j", LINEAGE).await, Ok(Found::Live(_))));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_lookup_never_gives_its_answer_to_another() {
    let server = Server::start();
    let store = server.reached_store(Duration::from_secs(30)).await;
    let sessions: Vec<Session> = (0..1000).map(|number| session(&format!("j{number}"))).collect();
    for session in &sessions {
        store.start_session(session, KEEP).await.unwrap();
    }
    let mut lookups = Vec::new();
    for (number, session) in sessions.into_iter().enumerate() {
        let store = Arc::clone(&store);
        lookups.push(tokio::spawn(async move {
            let jti = session.jti.clone();
            let mut lookup = pin!(store.session(&jti, LINEAGE));
            if number % 2 == 1 {
                assert_eq!(lookup.await, Ok(Found::Live(session)));
                return 1;
            }
            // Dropped after one to five polls: queued, being written, or on its way.
            for _ in 0..=number / 2 % 5 {
                let polled = poll_fn(|context| Poll::Ready(lookup.as_mut().poll(context))).await;
                if let Poll::Ready(answer) = polled {
                    assert_eq!(answer, Ok(Found::Live(session)));
                    break;
                }
                tokio::task::yield_now().await;
            }
            0
        }));
    }
    let mut answered = 0;
    for lookup in lookups {
        answered += lookup.await.unwrap();
    }
    assert_eq!(answered, 500);
    assert!(store.is_up());
}

/// What `redis.rs` says that a user of the server's access lists needs.
fn documented_commands() -> Vec<&'static str> {
    let header = include_str!("../redis.rs").lines().take_while(|line| line.starts_with("//!"));
    let words = header.flat_map(|line| line.split([' ', '`', ',']));
    let commands: Vec<_> = words.filter(|word| word.starts_with('+')).collect();
    assert!(commands.len() > 20, "{commands:?}");
    commands
}

#[tokio::test]
async fn an_acl_user_and_a_database_in_the_url_are_used() {
    let server = Server::start();
    let user = ["SETUSER", "gate", "on", ">p%/1", "~portcullis:*", "&portcullis:*", "+select"];
    let () = server.tell(cmd("ACL").arg(&user).arg(documented_commands())).await;
    let url = format!("redis://gate:p%25%2F1@127.0.0.1:{}/3", server.port);
    let store = store_at(url, CALM);
    eventually("the store is up", CALM, || store.is_up()).await;
    store.start_session(&session("j"), KEEP).await.unwrap();
    assert!(store.session("j", LINEAGE).await.unwrap() != Found::Missing);
    assert_eq!(store.session("k", LINEAGE).await, Ok(Found::Missing));
    assert_eq!(store.end_session("j", "cus-42").await, Ok(true));
    store.start_session(&session("j"), KEEP).await.unwrap();
    assert_eq!(server.tell::<u64>(cmd("EXISTS").arg("portcullis:session:{j}")).await, 0, "not in database 0");
    assert_eq!(start(&store, &session("k"), 1).await, Ok(vec!["j".into()]), "surplus");
    assert_eq!(store.sessions_of(LINEAGE).await.map(|sessions| sessions.len()), Ok(1));
    assert_eq!(store.revoke(Revocation::Account("cus-42")).await, Ok(true));
    assert_eq!(store.session("k", LINEAGE).await, Ok(Found::Revoked));
    let failed = store.count_failure("k", 1, CALM).await.unwrap();
    assert_eq!(store.locks(&["k"]).await, Ok(vec![failed]));
    store.clear_lock("k").await.unwrap();
    store.note_seen("k", "here", CALM).await.unwrap();
    assert!(store.seen("k", "here").await.unwrap().is_some());
    assert_eq!(store.record("account", "a", CALM).await, Ok(None));
    let wish = Draw { bucket: Bucket { realm: "r", key: "k", interval: 1_000_000_000, burst: 5 }, lease: 1, owed: 0 };
    assert_eq!(store.draw(&[wish]).await.map(|drawn| drawn[0].granted), Ok(1));
    assert_eq!(store.give_back(&[(wish.bucket, 1)]).await, Ok(()));
    eventually("the feed is heard", CALM, || store.feed().is_alive()).await;
    eventually("the eviction policy is known", CALM, || matches!(store.eviction(), Eviction::Policy(_))).await;
    assert_eq!(store.leave().await, Ok(()));
    let refused: Vec<redis::Value> = server.tell(cmd("ACL").arg("LOG")).await;
    assert_eq!(refused, [], "a command, or one of a script, that is not on the list");
}

/// Answers PING and TIME like a server whose clock is `ahead_ms` ahead of ours.
async fn serve_time(listener: TcpListener, ahead_ms: u64) {
    let (mut client, _) = listener.accept().await.unwrap();
    let mut command = [0; 256];
    while let Ok(length @ 1..) = client.read(&mut command).await {
        let now = system_ms() + ahead_ms;
        let (seconds, micros) = (now / 1000, now % 1000 * 1000);
        let reply = if command[..length].ends_with(b"TIME\r\n") {
            format!("*2\r\n:{seconds}\r\n:{micros}\r\n")
        } else {
            "+PONG\r\n".to_owned()
        };
        client.write_all(reply.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn the_clock_is_the_servers_own() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve_time(listener, 7_200_000));
    let store = store_at(format!("redis://{address}"), CALM);
    assert!(store.now_ms().abs_diff(system_ms()) <= 1000, "the local one before the first contact");
    eventually("the store is up", CALM, || store.is_up()).await;
    assert!(store.now_ms().abs_diff(system_ms() + 7_200_000) <= 1000);
}
