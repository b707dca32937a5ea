//! What is read of the directory's records, and of watermarks that are not what they should be.

use std::time::{Duration, Instant};

use redis::cmd;

use super::server::Server;
use super::{CALM, KEEP, LINEAGE, session};
use crate::store::{Found, Revocation, Store, StoreError};

#[tokio::test]
async fn a_record_of_the_directory_is_read_whole_or_not_at_all() {
    let server = Server::start();
    let store = server.reached_store(CALM).await;
    let read = |id: &'static str| store.record("account", id, CALM);
    assert_eq!(read("a").await, Ok(None));
    for size in [1, 64 * 1024] {
        let () = server.tell(cmd("SET").arg("portcullis:account:a").arg("x".repeat(size))).await;
        assert_eq!(read("a").await, Ok(Some(vec![b'x'; size])));
    }
    for size in [0, 64 * 1024 + 1, 1024 * 1024] {
        let () = server.tell(cmd("SET").arg("portcullis:account:a").arg("\0".repeat(size))).await;
        assert_eq!(read("a").await, Err(StoreError::Unreadable), "{size} zeros");
    }
    let () = server.tell(cmd("LPUSH").arg("portcullis:account:b").arg("x")).await;
    assert_eq!(read("b").await, Err(StoreError::Unreadable));
    let () = server.tell(cmd("SET").arg("portcullis:email:a@b.example").arg("cus-42")).await;
    assert_eq!(store.record("email", "a@b.example", CALM).await, Ok(Some(b"cus-42".to_vec())));
    assert_eq!(Store::memory().record("account", "a", CALM).await, Ok(None));
}

#[tokio::test]
async fn a_look_up_in_the_directory_has_a_limit_of_its_own() {
    let server = Server::start();
    let store = server.reached_store(CALM).await;
    server.signal("STOP");
    let begun = Instant::now();
    let answer = store.record("account", "a", Duration::from_millis(50)).await;
    assert_eq!(answer, Err(StoreError::TimedOut));
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    server.signal("CONT");
}

#[tokio::test]
async fn a_watermark_that_cannot_be_read_is_unreadable_until_it_is_set_again() {
    let server = Server::start();
    let store = server.reached_store(CALM).await;
    store.start_session(&session("j"), KEEP).await.unwrap();
    let key = "portcullis:watermark:{res-7}";
    let unreadable = Err(StoreError::Unreadable);
    for text in ["", "soon", "-1", "+1", " 1", "1.5", "1e3", "99999999999999999999"] {
        let () = server.tell(cmd("HSET").arg(key).arg("subtree").arg(text)).await;
        assert_eq!(store.session("j", LINEAGE).await, unreadable, "{text:?}");
        assert_eq!(store.sessions_of(LINEAGE).await.map(|_| ()), Err(StoreError::Unreadable), "{text:?}");
        assert_eq!(store.session("never", LINEAGE).await, Ok(Found::Missing), "no watermark makes it less gone");
        assert_eq!(store.revoke(Revocation::Subtree("res-7")).await, Ok(true), "{text:?}");
        assert_eq!(store.session("j", LINEAGE).await, Ok(Found::Revoked), "{text:?}");
    }
    let () = server.tell(cmd("SET").arg(key).arg("text")).await;
    assert_eq!(store.session("j", LINEAGE).await, unreadable);
    assert_eq!(store.revoke(Revocation::Subtree("res-7")).await, Ok(true), "a key of another type is replaced");
    assert_eq!(store.session("j", LINEAGE).await, Ok(Found::Revoked));
    let left: u64 = server.tell(cmd("PTTL").arg(key)).await;
    assert!(left > 24 * 3600 * 1000, "{left} ms");
}

#[tokio::test]
async fn a_record_of_an_older_release_has_no_password_mark() {
    let server = Server::start();
    let store = server.reached_store(CALM).await;
    let record = r#"{"jti":"j","sub":"cus-42","started":5,"expires":9}"#;
    let () = server.tell(cmd("SET").arg("portcullis:session:{j}").arg(record)).await;
    let found = store.session("j", LINEAGE).await;
    assert!(matches!(&found, Ok(Found::Live(session)) if session.password_mark == 0), "{found:?}");
}

#[tokio::test]
async fn when_keys_were_used_is_told_by_every_gateway_to_every_other() {
    let server = Server::start();
    let (here, there) = (server.reached_store(CALM).await, server.reached_store(CALM).await);
    assert_eq!(here.used().await, Ok(Vec::new()));
    here.note_used(&[("a".into(), 5), ("b".into(), 6)]).await.unwrap();
    there.note_used(&[("b".into(), 9)]).await.unwrap();
    let mut used = here.used().await.unwrap();
    used.sort();
    assert_eq!(used, [("a".into(), 5), ("b".into(), 9)]);
}

#[tokio::test]
async fn a_record_is_an_object_and_no_array() {
    let server = Server::start();
    let store = server.reached_store(CALM).await;
    let look = async |record: &str| {
        let () = server.tell(cmd("SET").arg("portcullis:session:{j}").arg(record)).await;
        store.session("j", LINEAGE).await
    };
    for array in [r#"["j","cus-42",5,9,0]"#, r#" ["j","cus-42",5,9]"#, "\n[]", "5", " ", "null"] {
        assert_eq!(look(array).await, Err(StoreError::Unreadable), "{array:?}");
    }
    let object = " \t\r\n{\"x\":1,\"jti\":\"j\",\"sub\":\"cus-42\",\"started\":5,\"expires\":9,\"x\":[2]}";
    assert!(matches!(look(object).await, Ok(Found::Live(_))), "what is not known may stand there, even twice");
    let twice = r#"{"jti":"j","jti":"j","sub":"cus-42","started":5,"expires":9}"#;
    assert_eq!(look(twice).await, Err(StoreError::Unreadable));
}
