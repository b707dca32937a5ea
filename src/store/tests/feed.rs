//! What gateways hear of each other, and whether they notice when they do not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::cmd;

use super::server::Server;
use super::{CALM, Ear, KEEP, eventually, session};
use crate::store::feed::{Listener, News, SILENCE};
use crate::store::message::{Message, read, read_directory};
use crate::store::{Eviction, Found, Lock, Revocation, Store};

/// Longer than [`SILENCE`] by what a busy machine needs.
const NOTICED: Duration = Duration::from_millis(1500);

/// How long it may take to be heard again: the longest pause between two attempts, one attempt, one beat.
const RECOVERY: Duration = Duration::from_secs(3);

async fn heard_store(server: &Server) -> Arc<Store> {
    let store = server.reached_store(CALM).await;
    eventually("the feed is heard", CALM, || store.feed().is_alive()).await;
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_gateway_does_the_others_hear_within_a_second() {
    let server = Server::start();
    let doer = heard_store(&server).await;
    let others = [heard_store(&server).await, heard_store(&server).await];
    let ears = others.each_ref().map(|store| Ear::at(store));
    let mut slowest = Duration::ZERO;
    for round in 0..30 {
        let (jti, id) = (format!("j{round}"), format!("a{round}"));
        doer.start_session(&session(&jti), KEEP).await.unwrap();
        let begun = Instant::now();
        doer.end_session(&jti, "cus-42").await.unwrap();
        doer.revoke(Revocation::Account(&id)).await.unwrap();
        doer.revoke(Revocation::Subtree(&id)).await.unwrap();
        let lock = doer.count_failure(&id, 1, CALM).await.unwrap();
        for ear in &ears {
            let last = format!("{:?}", News::Lock(&id, lock));
            eventually("the lock is heard", Duration::from_secs(1), || ear.heard_at(&last).is_some()).await;
            slowest = slowest.max(ear.heard_at(&last).unwrap().duration_since(begun));
            let heard = ear.heard();
            assert_eq!(heard.len(), 4 * (round + 1), "each once, in order");
            assert_eq!(heard[4 * round], format!("{:?}", News::Session(&jti)));
            assert!(heard[4 * round + 1].starts_with(&format!("Account({id:?}, ")));
            assert!(heard[4 * round + 2].starts_with(&format!("Subtree({id:?}, ")));
        }
    }
    eprintln!("four announcements were made and heard by two others within {slowest:?}");
    assert!(slowest < Duration::from_secs(1));
}

/// Takes its time over each piece of news, as a listener with much to look through does.
struct Busy(Duration);

impl Listener for Busy {
    fn hear(&self, _news: &News<'_>) {
        let begun = Instant::now();
        while begun.elapsed() < self.0 {
            std::hint::spin_loop();
        }
    }
}

const NEWS: usize = 1500;

/// On one thread, so that whatever the ear does not leave, nobody has.
#[tokio::test]
async fn a_flood_of_news_leaves_the_others_their_turns() {
    let server = Server::start();
    // A third of what the news take in one go, and room for a busy machine.
    let store = server.reached_store(Duration::from_secs(1)).await;
    eventually("the feed is heard", CALM, || store.feed().is_alive()).await;
    store.listen(Arc::new(Busy(Duration::from_millis(2))));
    let ear = Ear::at(&store);
    let now = store.time().await.unwrap();
    let mut flood = redis::Pipeline::with_capacity(NEWS);
    for number in 0..NEWS {
        flood.cmd("PUBLISH").arg("portcullis:invalidations").arg(format!("account a{number} {now}")).ignore();
    }
    let () = flood.query_async(&mut server.connect().await.unwrap()).await.unwrap();
    let (last, begun) = (format!("{:?}", News::Account("a1499", now)), Instant::now());
    let epoch = store.feed().epoch();
    while ear.heard_at(&last).is_none() {
        assert!(begun.elapsed() < CALM * 4, "the last is not heard");
        assert_eq!(store.session("never", "").await, Ok(Found::Missing), "after {:?}", begun.elapsed());
        assert!(store.is_up());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eprintln!("{NEWS} pieces of news, 2 ms each, were heard within {:?}", begun.elapsed());
    assert!(begun.elapsed() > Duration::from_secs(2), "no flood");
    assert_eq!(store.feed().epoch(), epoch, "its own beat was heard in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_of_five_thousand_revocations_is_heard_within_a_second() {
    let server = Server::start();
    let (doer, other) = (heard_store(&server).await, heard_store(&server).await);
    let ear = Ear::at(&other);
    let mut calls = Vec::new();
    for number in 0..5000 {
        let doer = Arc::clone(&doer);
        calls.push(tokio::spawn(async move { doer.revoke(Revocation::Account(&format!("a{number}"))).await }));
    }
    for call in calls {
        assert_eq!(call.await.unwrap(), Ok(true));
    }
    assert!(other.is_up() && other.feed().is_alive());
    eventually("all are heard", Duration::from_secs(1), || ear.heard().len() == 5000).await;
    assert!(other.is_up() && other.feed().is_alive());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_session_that_the_server_evicted_is_heard_of_elsewhere() {
    let server = Server::start();
    let (doer, other) = (heard_store(&server).await, heard_store(&server).await);
    let ear = Ear::at(&other);
    assert_eq!(doer.revoke(Revocation::Session("evicted")).await, Ok(false));
    let news = format!("{:?}", News::Session("evicted"));
    eventually("its end is heard", Duration::from_secs(1), || ear.heard_at(&news).is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_subscription_is_noticed_and_another_one_is_another_epoch() {
    let server = Server::start();
    let store = heard_store(&server).await;
    let before = store.feed().epoch();
    let killed: u64 = server.tell(cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub")).await;
    assert_eq!(killed, 1);
    eventually("the feed is not believed", NOTICED, || !store.feed().is_alive()).await;
    eventually("the feed is heard again", RECOVERY, || store.feed().is_alive()).await;
    assert!(store.feed().epoch() > before);
    assert!(store.is_up());
    let ear = Ear::at(&store);
    let () = server.tell(cmd("PUBLISH").arg("portcullis:invalidations").arg("session j")).await;
    eventually("news are heard", CALM, || ear.heard_at(r#"Session("j")"#).is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_is_another_epoch() {
    let mut server = Server::start();
    let store = heard_store(&server).await;
    let before = store.feed().epoch();
    server.kill();
    eventually("the feed is not believed", NOTICED, || !store.feed().is_alive()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!store.feed().is_alive());
    server.launch();
    eventually("the feed is heard again", RECOVERY, || store.feed().is_alive()).await;
    assert!(store.feed().epoch() > before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_own_beat_for_a_second_the_feed_is_not_believed() {
    for way in ["pause", "stop"] {
        let server = Server::start();
        let store = heard_store(&server).await;
        let begun = Instant::now();
        if way == "stop" {
            server.signal("STOP");
        } else {
            let () = server.tell(cmd("CLIENT").arg("PAUSE").arg(2500).arg("ALL")).await;
        }
        eventually("the feed is not believed", NOTICED, || !store.feed().is_alive()).await;
        assert!(begun.elapsed() + Duration::from_millis(300) >= SILENCE, "{way}: {:?}", begun.elapsed());
        if way == "stop" {
            server.signal("CONT");
        }
        eventually("the feed is heard again", CALM, || store.feed().is_alive()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anothers_beat_is_not_ours() {
    let server = Server::start();
    let user = ["SETUSER", "mute", "on", ">p", "~*", "&*", "+@all", "-publish"];
    let () = server.tell(cmd("ACL").arg(&user)).await;
    let _other = heard_store(&server).await;
    let mute = super::server::store_at(format!("redis://mute:p@127.0.0.1:{}", server.port), CALM);
    eventually("it is subscribed", CALM, || mute.feed().epoch() > 0).await;
    let ear = Ear::at(&mute);
    let () = server.tell(cmd("PUBLISH").arg("portcullis:invalidations").arg("session j")).await;
    eventually("it hears", CALM, || !ear.heard().is_empty()).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(!mute.feed().is_alive(), "whoever cannot speak cannot know that it hears");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_message_moves_the_epoch_and_is_told_nobody() {
    let server = Server::start();
    let store = heard_store(&server).await;
    let ear = Ear::at(&store);
    let channels = ["portcullis:invalidations", "portcullis:directory"];
    for (count, bad) in (1..).zip(["", "x", "session", "session a b", "portcullis:account:", "\u{fffd}"]) {
        let before = store.feed().mark();
        let () = server.tell(cmd("PUBLISH").arg(channels[count % 2]).arg(bad)).await;
        eventually("the epoch moved", CALM, || store.feed().epoch() == before.epoch + 1).await;
        assert!(store.feed().is_alive() && ear.heard().is_empty(), "{bad:?}");
    }
    let before = store.feed().mark();
    let () = server.tell(cmd("PUBLISH").arg(channels[1]).arg("portcullis:credential:0a1b")).await;
    let () = server.tell(cmd("PUBLISH").arg(channels[1]).arg("portcullis:email:a:b@c.example")).await;
    eventually("both are heard", CALM, || ear.heard().len() == 2).await;
    assert_eq!(ear.heard(), [r#"Record("credential", "0a1b")"#, r#"Record("email", "a:b@c.example")"#]);
    let after = store.feed().mark();
    assert_eq!((after.epoch, after.count), (before.epoch, before.count + 2));
}

#[tokio::test]
async fn the_feed_of_a_store_in_memory_is_always_heard() {
    let store = Store::memory();
    let before = store.feed().mark();
    assert!(store.feed().is_alive());
    store.revoke(Revocation::Account("a")).await.unwrap();
    store.count_failure("k", 5, CALM).await.unwrap();
    let after = store.feed().mark();
    assert_eq!((after.epoch, after.count), (before.epoch, before.count + 1), "a lock invalidates nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_eviction_policy_is_known_and_asked_again_of_a_new_server() {
    let mut server = Server::start();
    let store = heard_store(&server).await;
    eventually("it is known", CALM, || store.eviction() == Eviction::Policy("noeviction".into())).await;
    server.kill();
    eventually("the server is missed", CALM, || !store.is_up()).await;
    server.launch();
    let () = server.tell(cmd("CONFIG").arg("SET").arg("maxmemory-policy").arg("allkeys-lru")).await;
    eventually("it is asked again", RECOVERY, || store.eviction() == Eviction::Policy("allkeys-lru".into())).await;
}

#[test]
fn a_message_is_read_exactly_or_not_at_all() {
    let lock = Lock { failures: 7, until: 1_700_000_000_000 };
    let good = [
        ("session j1.~_-A", Message::News(News::Session("j1.~_-A"))),
        ("account cus-42 5", Message::News(News::Account("cus-42", 5))),
        ("subtree r 18446744073709551615", Message::News(News::Subtree("r", u64::MAX))),
        ("lock 7 1700000000000 a b\r\n{}", Message::News(News::Lock("a b\r\n{}", lock))),
        ("lock 0 0 k", Message::News(News::Lock("k", Lock::default()))),
        ("lock 0 0 ", Message::News(News::Lock("", Lock::default()))),
        ("beat 00ff", Message::Beat("00ff")),
    ];
    for (text, message) in good {
        assert_eq!(read(text.as_bytes()), Some(message), "{text:?}");
    }
    let long = format!("session {}", "j".repeat(65));
    let bad = [
        "",
        " ",
        "session",
        "session ",
        "session a/b",
        "session  j",
        " session j",
        "Session j",
        "session j\n",
        &long,
        "account a",
        "account a ",
        "account a -1",
        "account a +1",
        "account a 1.5",
        "account a 18446744073709551616",
        "account a 1 ",
        "account  1",
        "lock 1 2",
        "lock x 2 k",
        "lock 4294967296 2 k",
        "lock 1 x k",
        "beat",
        "beat ",
        "record a",
        "1 2 3",
    ];
    for text in bad {
        assert_eq!(read(text.as_bytes()), None, "{text:?}");
    }
    assert_eq!(read(b"lock 1 2 \xff"), None);
}

#[test]
fn a_change_of_the_directory_is_the_full_name_of_a_key() {
    let read = |text: &'static str| read_directory("p:", text.as_bytes());
    assert_eq!(read("p:account:cus-42"), Some(News::Record("account", "cus-42")));
    assert_eq!(read("p:credential:0a"), Some(News::Record("credential", "0a")));
    assert_eq!(read("p:email:ops@customer.example"), Some(News::Record("email", "ops@customer.example")));
    for text in
        ["", "p:", "account:a", "p:account", "p:account:", "p:account:a b", "q:account:a", "p:role:a", "p:email:"]
    {
        assert_eq!(read(text), None, "{text:?}");
    }
    assert_eq!(read_directory("p:", format!("p:email:{}", "a".repeat(255)).as_bytes()), None);
    assert_eq!(read_directory("p:", b"p:email:\xff"), None);
}

#[test]
fn a_subscription_is_remembered_by_when_it_was_heard_last() {
    let feed = crate::store::feed::Feed::silent();
    assert_eq!(feed.heard_last(0), None);
    feed.begin();
    feed.note_beat();
    let first = feed.heard_last(1).unwrap();
    assert!(first <= feed.now() && feed.is_alive());
    feed.begin();
    assert_eq!((feed.heard_last(1), feed.heard_last(2), feed.is_alive()), (Some(first), None, false));
    for _ in 0..40 {
        feed.begin();
        feed.note_beat();
    }
    assert_eq!(feed.heard_last(1), None, "not for ever");
    assert!(feed.heard_last(42).is_some());
}
