//! Which sessions go on: watermarks, the limit per account, the list of an account's sessions, and who is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redis::cmd;

use super::server::Server;
use super::{CALM, Ear, KEEP, LINEAGE, session, session_for, start, system_ms};
use crate::store::{Found, Memory, RedisSettings, Revocation, Session, Store, StoreError};

/// A session of that account that began at `started`.
fn begun(jti: &str, account: &str, started: u64) -> Session {
    Session { sub: account.into(), started, ..session(jti) }
}

async fn jtis_of(store: &Store, lineage: &str) -> Vec<String> {
    store.sessions_of(lineage).await.unwrap().into_iter().map(|session| session.jti.into()).collect()
}

/// The time in the last news of a watermark.
fn last_mark(ear: &Ear) -> u64 {
    let heard = ear.heard();
    let mark = heard.last().and_then(|news| news.rsplit(' ').next());
    mark.unwrap().trim_end_matches(')').parse().unwrap()
}

mod facts {
    use super::*;

    pub(super) async fn a_watermark_of_the_lineage_ends_what_began_no_later(store: Arc<Store>) {
        use Revocation::{Account, Subtree};
        let cases = [
            (Account("cus-42"), true),
            (Subtree("cus-42"), true),
            (Account("res-7"), false),
            (Subtree("res-7"), true),
            (Account("root"), false),
            (Subtree("root"), true),
            (Subtree("cus-9"), false),
            (Account("cus-4"), false),
        ];
        for (number, (revocation, ends)) in cases.into_iter().enumerate() {
            // Other ids in every case, since watermarks stay.
            let own = |id: &str| format!("{id}-{number}");
            let lineage = ["root", "res-7", "cus-42"].map(own).join("/");
            let id = own(revocation.id());
            let revocation = match revocation {
                Revocation::Session(_) => unreachable!(),
                Account(_) => Account(&id),
                Subtree(_) => Subtree(&id),
            };
            let ear = Ear::at(&store);
            assert_eq!(store.revoke(revocation).await, Ok(true));
            let mark = last_mark(&ear);
            for (jti, started, revoked) in [("old", mark - 1, ends), ("at", mark, ends), ("new", mark + 1, false)] {
                let session = begun(&own(jti), &own("cus-42"), started);
                store.start_session(&session, KEEP).await.unwrap();
                let expected = if revoked { Found::Revoked } else { Found::Live(session) };
                assert_eq!(store.session(&own(jti), &lineage).await, Ok(expected), "{revocation:?} {jti}");
            }
            let listed = jtis_of(&store, &lineage).await;
            assert_eq!(listed.len(), if ends { 1 } else { 3 }, "{revocation:?}");
        }
    }

    pub(super) async fn a_watermark_takes_the_stores_time_and_never_falls(store: Arc<Store>) {
        let ear = Ear::at(&store);
        let mut last = store.time().await.unwrap();
        for _ in 0..20 {
            store.revoke(Revocation::Account("a")).await.unwrap();
            let mark = last_mark(&ear);
            assert!(mark >= last && mark <= store.time().await.unwrap(), "{mark} after {last}");
            last = mark;
        }
    }

    pub(super) async fn a_session_revoked_by_its_jti_is_gone(store: Arc<Store>) {
        store.start_session(&session("j"), KEEP).await.unwrap();
        store.start_session(&session("k"), KEEP).await.unwrap();
        assert_eq!(store.revoke(Revocation::Session("j")).await, Ok(true));
        assert_eq!(store.revoke(Revocation::Session("j")).await, Ok(false));
        assert_eq!(store.revoke(Revocation::Session("never")).await, Ok(false));
        assert_eq!(store.session("j", LINEAGE).await, Ok(Found::Missing));
        assert_eq!(jtis_of(&store, LINEAGE).await, ["k"]);
    }

    pub(super) async fn the_end_of_a_session_is_announced_though_its_record_is_gone(store: Arc<Store>) {
        let ear = Ear::at(&store);
        assert_eq!(store.revoke(Revocation::Session("evicted")).await, Ok(false));
        assert_eq!(store.end_session("lost", "cus-42").await, Ok(false));
        for jti in ["evicted", "lost"] {
            assert!(ear.heard_at(&format!("Session({jti:?})")).is_some(), "{jti}");
        }
    }

    pub(super) async fn of_an_accounts_sessions_the_oldest_end(store: Arc<Store>) {
        let ear = Ear::at(&store);
        let now = system_ms();
        // In an order of calls that is not that of their starts.
        for (jti, started, ended) in [
            ("c", now + 3, vec![]),
            ("a", now + 1, vec![]),
            ("b", now + 2, vec![]),
            ("d", now + 4, vec!["a"]),
            ("z", now, vec!["z"]),
            ("e", now + 5, vec!["b"]),
        ] {
            let ended: Vec<Box<str>> = ended.into_iter().map(Box::from).collect();
            assert_eq!(start(&store, &begun(jti, "cus-42", started), 3).await, Ok(ended), "{jti}");
        }
        store.start_session(&begun("x", "cus-43", now), 3).await.unwrap();
        assert_eq!(jtis_of(&store, LINEAGE).await, ["c", "d", "e"]);
        for jti in ["a", "b", "z"] {
            assert_eq!(store.session(jti, LINEAGE).await, Ok(Found::Missing), "{jti}");
            assert!(ear.heard_at(&format!("Session({jti:?})")).is_some(), "{jti}");
        }
        let lowered = start(&store, &begun("f", "cus-42", now + 6), 1).await;
        assert_eq!(lowered, Ok(vec!["c".into(), "d".into(), "e".into()]));
    }

    pub(super) async fn of_very_many_that_are_too_many_each_login_ends_a_hundred(store: Arc<Store>) {
        let now = system_ms();
        for number in 0..250 {
            store.start_session(&begun(&format!("j{number}"), "cus-42", now + number), KEEP).await.unwrap();
        }
        for (number, left) in [(250, 151), (251, 52), (252, 10), (253, 10)] {
            start(&store, &begun(&format!("j{number}"), "cus-42", now + number), 10).await.unwrap();
            assert_eq!(jtis_of(&store, LINEAGE).await.len(), left, "{number}");
        }
        assert_eq!(jtis_of(&store, LINEAGE).await[0], "j244");
    }

    pub(super) async fn logins_that_race_leave_no_more_than_stay(store: Arc<Store>) {
        let now = system_ms();
        for keep in [1, 3] {
            let account = format!("cus-{keep}");
            let logins: Vec<_> = (0..40)
                .map(|number| {
                    let session = begun(&format!("{account}-{number}"), &account, now + number % 7);
                    let store = Arc::clone(&store);
                    tokio::spawn(async move { start(&store, &session, keep).await.unwrap() })
                })
                .collect();
            for login in logins {
                login.await.unwrap();
            }
            let listed = jtis_of(&store, &account).await;
            assert_eq!(listed.len(), usize::try_from(keep).unwrap(), "{listed:?}");
            for number in 0..40 {
                let jti = format!("{account}-{number}");
                let lives = store.session(&jti, &account).await.unwrap() != Found::Missing;
                assert_eq!(lives, listed.contains(&jti), "no session goes on that is not listed");
            }
        }
    }

    pub(super) async fn the_list_has_what_goes_on_by_start(store: Arc<Store>) {
        let now = system_ms();
        let past = Session { expires: now / 1000 - 5, ..begun("past", "cus-42", now - 9000) };
        store.start_session(&past, KEEP).await.unwrap();
        for (jti, started) in [("b", now - 10), ("ended", now - 15), ("a", now - 20)] {
            store.start_session(&begun(jti, "cus-42", started), KEEP).await.unwrap();
        }
        store.start_session(&begun("x", "res-7", now), KEEP).await.unwrap();
        store.end_session("ended", "cus-42").await.unwrap();
        assert!(matches!(store.session("past", LINEAGE).await, Ok(Found::Live(_))), "its record is there");
        let listed = store.sessions_of(LINEAGE).await.unwrap();
        assert_eq!(listed.len(), 2);
        assert_eq!((&*listed[0].jti, &*listed[1].jti), ("a", "b"));
        assert_eq!(listed[1].started, now - 10);
        assert_eq!(store.sessions_of("").await, Ok(vec![]));
        assert_eq!(store.sessions_of("root/nobody").await, Ok(vec![]));
    }

    pub(super) async fn whoever_ends_something_is_told_before_the_call_returns(store: Arc<Store>) {
        let ear = Ear::at(&store);
        let before = store.feed().mark();
        store.start_session(&session("j"), KEEP).await.unwrap();
        assert_eq!(store.feed().mark().count, before.count, "a login invalidates nothing");
        store.end_session("j", "cus-42").await.unwrap();
        assert_eq!(ear.heard().first().unwrap(), r#"Session("j")"#);
        assert!(store.feed().mark().count > before.count);
        store.revoke(Revocation::Subtree("cus-42")).await.unwrap();
        assert!(ear.heard().iter().any(|news| news.starts_with(r#"Subtree("cus-42", "#)));
    }
}

every_backend! {
    a_watermark_of_the_lineage_ends_what_began_no_later,
    a_watermark_takes_the_stores_time_and_never_falls,
    a_session_revoked_by_its_jti_is_gone,
    the_end_of_a_session_is_announced_though_its_record_is_gone,
    of_an_accounts_sessions_the_oldest_end,
    of_very_many_that_are_too_many_each_login_ends_a_hundred,
    logins_that_race_leave_no_more_than_stay,
    the_list_has_what_goes_on_by_start,
    whoever_ends_something_is_told_before_the_call_returns,
}

#[tokio::test]
async fn memory_forgets_watermarks_after_twenty_five_hours() {
    let now = Arc::new(AtomicU64::new(1_000_000_000));
    let memory = Memory::with_clock(Arc::clone(&now));
    memory.revoke(Revocation::Account("cus-42"));
    memory.start_session(&Session { expires: 2_000_000, ..begun("j", "cus-42", 1) }, KEEP);
    now.fetch_add(25 * 3600 * 1000 - 1, Ordering::Relaxed);
    assert_eq!(memory.session("j", LINEAGE), Found::Revoked);
    now.fetch_add(1, Ordering::Relaxed);
    assert!(matches!(memory.session("j", LINEAGE), Found::Live(_)));
    assert_eq!(memory.held_beside().0, 1);
    memory.sweep().await;
    assert_eq!(memory.held_beside().0, 0);
}

#[tokio::test]
async fn memory_counts_only_sessions_that_are_not_over_against_the_limit() {
    let now = Arc::new(AtomicU64::new(1_000_000_000));
    let memory = Memory::with_clock(Arc::clone(&now));
    for (jti, expires) in [("a", 1_000_010), ("b", 1_000_500)] {
        memory.start_session(&Session { expires, ..begun(jti, "cus-42", 5) }, 2);
    }
    now.fetch_add(70_000, Ordering::Relaxed);
    let third = Session { expires: 1_000_500, ..begun("c", "cus-42", 6) };
    assert!(memory.start_session(&third, 2).is_empty(), "the first is over");
    assert!(matches!(memory.session("b", LINEAGE), Found::Live(_)));
}

#[tokio::test]
async fn redis_keeps_watermarks_for_twenty_five_hours_and_the_index_as_long_as_its_longest_session() {
    let server = Server::start();
    let store = server.reached_store(CALM).await;
    store.revoke(Revocation::Subtree("cus-42")).await.unwrap();
    let left: u64 = server.tell(cmd("PTTL").arg("portcullis:watermark:{cus-42}")).await;
    assert!((24 * 3600 * 1000..=25 * 3600 * 1000).contains(&left), "{left} ms");
    let long = session_for("long", 7200);
    store.start_session(&long, KEEP).await.unwrap();
    store.start_session(&session_for("short", 60), KEEP).await.unwrap();
    let due = (long.expires + 60) * 1000 - system_ms();
    for key in ["portcullis:sessions:{cus-42}", "portcullis:sessions-end:{cus-42}"] {
        let left: u64 = server.tell(cmd("PTTL").arg(key)).await;
        assert!(left.abs_diff(due) <= 1000, "{key}: {left} ms, not {due} ms");
    }
}

#[tokio::test]
async fn what_a_crash_left_in_the_index_is_not_listed_and_goes_first() {
    let server = Server::start();
    let store = server.reached_store(CALM).await;
    // A login that stopped before it wrote its record.
    let () = server.tell(cmd("ZADD").arg("portcullis:sessions:{cus-42}").arg(1).arg("half")).await;
    store.start_session(&session("a"), 2).await.unwrap();
    assert_eq!(jtis_of(&store, LINEAGE).await, ["a"]);
    assert_eq!(start(&store, &session("b"), 2).await, Ok(vec![]), "nothing that was there has ended");
    assert_eq!(jtis_of(&store, LINEAGE).await, ["a", "b"]);
    let entries: u64 = server.tell(cmd("ZCARD").arg("portcullis:sessions:{cus-42}")).await;
    assert_eq!(entries, 2);
}

#[tokio::test]
async fn without_a_replica_to_confirm_nothing_is_acknowledged() {
    let server = Server::start();
    let settings = RedisSettings {
        url: server.url(),
        prefix: "portcullis:".to_owned(),
        budget: std::time::Duration::from_millis(200),
        replicas: 1,
        tls: None,
    };
    let store = Arc::new(Store::redis(settings).unwrap());
    let keeper = Arc::clone(&store);
    tokio::spawn(async move { keeper.run(std::future::pending()).await });
    super::eventually("the store is up", CALM, || store.is_up()).await;
    // A script that the server does not know yet costs a first attempt, and that one's confirmation its time.
    unconfirmed(async || store.start_session(&session("j"), KEEP).await.map(drop)).await;
    unconfirmed(async || store.revoke(Revocation::Account("a")).await.map(drop)).await;
    let () = server.tell(cmd("SET").arg("portcullis:session:{k}").arg("{}")).await;
    unconfirmed(async || store.end_session("k", "a").await.map(drop)).await;
    assert_eq!(store.session("k", LINEAGE).await, Ok(Found::Missing), "it has taken effect all the same");
    assert!(store.count_failure("k", 5, CALM).await.is_ok(), "the lock-out waits for no replica");
}

/// Repeats a call until it says that no replica confirmed; until then it may be late, but never well.
async fn unconfirmed(call: impl AsyncFn() -> Result<(), StoreError>) {
    let begun = std::time::Instant::now();
    loop {
        match call().await {
            Err(StoreError::Unacknowledged) => return,
            answer => assert_eq!(answer, Err(StoreError::TimedOut)),
        }
        assert!(begun.elapsed() < CALM);
    }
}
