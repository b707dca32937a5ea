//! What sources without a file do: reads that are shared and bounded, records that are kept and dropped, outages.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;

use super::book::PASSWORD;
use super::fixture::{BUDGET, CACHE, Fixture, Kind, SLACK};
use super::{account, eventually, is, proved, usual, whose};
use crate::directory::{Directory, PasswordCheck, Surroundings, Unavailable};

const USER: &str = "root/res-7/cus-42/usr-1";
const TIMED_OUT: Unavailable = Unavailable("the directory did not answer in time");

/// The lineage of the user in the deepest place.
async fn lineage(directory: &Directory) -> Result<Option<String>, Unavailable> {
    Ok(account(directory, "usr-1").await?.map(|account| account.0))
}

#[tokio::test]
async fn concurrent_misses_make_one_call_that_survives_clients_that_leave() {
    let mut fixture = Fixture::start(Kind::Https).await;
    fixture.far().delay(Duration::from_millis(80));
    let lookups: Vec<_> = (0..60)
        .map(|_| {
            let directory = Arc::clone(&fixture.directory);
            tokio::spawn(async move { directory.credential("ak_cus-42").await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    for (number, lookup) in lookups.into_iter().enumerate() {
        if number % 2 == 0 {
            // The first of all, who began the call, among them.
            lookup.abort();
        } else {
            assert_eq!(&*lookup.await.unwrap().unwrap().unwrap().id, "ak_cus-42");
        }
    }
    assert_eq!(fixture.far().calls("/credentials/ak_cus-42"), 1);
}

#[tokio::test]
async fn a_lookup_that_nobody_waits_for_any_more_is_kept() {
    let mut fixture = Fixture::start(Kind::Https).await;
    fixture.far().delay(Duration::from_millis(50));
    let directory = Arc::clone(&fixture.directory);
    let lookup = tokio::spawn(async move { directory.credential("ak_cus-42").await });
    tokio::time::sleep(Duration::from_millis(10)).await;
    lookup.abort();
    eventually(true, async || fixture.directory.credential("ak_cus-42").now_or_never().is_some()).await;
    assert_eq!(fixture.far().calls("/credentials/ak_cus-42"), 1);
}

#[tokio::test]
async fn what_the_shelves_hold_needs_no_waiting_and_no_call() {
    for kind in [Kind::Redis, Kind::Https] {
        let fixture = Fixture::start(kind).await;
        lineage(&fixture.directory).await.unwrap();
        fixture.directory.credential("ak_cus-42").await.unwrap();
        fixture.directory.account("nobody").await.unwrap();
        let (hits, misses) = (fixture.came("hit"), fixture.came("miss"));
        for _ in 0..100 {
            let known = fixture.directory.account("usr-1").now_or_never().expect("no waiting");
            assert!(known.unwrap().is_some(), "{kind:?}");
            assert!(fixture.directory.credential("ak_cus-42").now_or_never().expect("no waiting").unwrap().is_some());
            assert!(fixture.directory.account("nobody").now_or_never().expect("no waiting").unwrap().is_none());
        }
        assert_eq!((fixture.came("hit"), fixture.came("miss")), (hits + 300, misses), "{kind:?}");
    }
}

#[tokio::test]
async fn a_lookup_waits_for_the_budget_in_all_and_is_never_unknown() {
    let mut fixture = Fixture::with(Kind::Https, |settings| settings.cache = Duration::from_secs(60)).await;
    // Each of the four records in time, all four together not.
    fixture.far().delay(BUDGET.mul_f64(0.4));
    let started = Instant::now();
    assert_eq!(lineage(&fixture.directory).await, Err(TIMED_OUT));
    let waited = started.elapsed();
    assert!(waited >= BUDGET - Duration::from_millis(5) && waited < BUDGET + SLACK, "{waited:?}");
    // What was read meanwhile was not read in vain.
    eventually(Ok(Some(USER.to_owned())), async || lineage(&fixture.directory).await).await;
    assert!(fixture.far().calls("/accounts/usr-1") == 1 && fixture.far().calls("/accounts/root") == 1);
}

#[tokio::test]
async fn a_source_that_failed_is_left_alone_and_costs_nobody_the_budget_twice() {
    let mut fixture = Fixture::start(Kind::Https).await;
    fixture.directory.account("root").await.unwrap();
    let calls = fixture.far().calls("/accounts/usr-1");
    fixture.far().delay(BUDGET * 10);
    let started = Instant::now();
    assert_eq!(account(&fixture.directory, "usr-1").await, Err(TIMED_OUT));
    assert!(started.elapsed() < BUDGET + SLACK, "{:?}", started.elapsed());
    let started = Instant::now();
    let mut longest = Duration::ZERO;
    while started.elapsed() < Duration::from_millis(200) {
        let one = Instant::now();
        assert!(account(&fixture.directory, "usr-1").await.is_err());
        assert!(whose(&fixture.directory, "usr-1@book.example", PASSWORD).await.is_err());
        longest = longest.max(one.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(longest < BUDGET / 4, "{longest:?}");
    assert_eq!(fixture.far().calls("/accounts/usr-1"), calls + 1);
    assert!(!fixture.directory.is_up());
    fixture.far().delay(Duration::ZERO);
    let give_up = Instant::now() + Duration::from_secs(4);
    while lineage(&fixture.directory).await != Ok(Some(USER.to_owned())) {
        assert!(Instant::now() < give_up, "back to normal within a second of the last pause's end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(fixture.directory.is_up());
}

#[tokio::test]
async fn an_announced_record_is_believed_until_told_otherwise() {
    let mut fixture = Fixture::start(Kind::Redis).await;
    lineage(&fixture.directory).await.unwrap();
    let changed = usual().account("cus-42", |row| row.suspended = true).keys();
    fixture.server().put("account:cus-42", Some(&changed["account:cus-42"]));
    tokio::time::sleep(CACHE * 2).await;
    assert!(!account(&fixture.directory, "usr-1").await.unwrap().unwrap().2, "nobody announced it");
    assert_eq!(fixture.came("stale"), 0);
    fixture.server().announce("account:cus-42");
    eventually(true, async || account(&fixture.directory, "usr-1").await.unwrap().unwrap().2).await;
}

#[tokio::test]
async fn what_was_missed_between_two_subscriptions_is_seen_with_the_second() {
    let mut fixture = Fixture::with(Kind::Redis, |settings| settings.cache = Duration::from_secs(60)).await;
    lineage(&fixture.directory).await.unwrap();
    let changed = usual().account("cus-42", |row| row.suspended = true).keys();
    fixture.server().put("account:cus-42", Some(&changed["account:cus-42"]));
    let none = fixture.directory.account("late").await;
    fixture.server().put("account:late", Some(r#"{"id":"late","role":"user"}"#));
    // What was said while nobody listened is lost; the new subscription tells nothing of it.
    fixture.server().tell(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    eventually(true, async || account(&fixture.directory, "usr-1").await.unwrap().unwrap().2).await;
    assert_eq!(none, Ok(None));
    eventually(true, async || account(&fixture.directory, "late").await.unwrap().is_some()).await;
}

#[tokio::test]
async fn a_change_reaches_three_gateways_within_a_second() {
    let mut fixture = Fixture::start(Kind::Redis).await;
    let mut gateways = vec![(Arc::clone(&fixture.directory), Arc::clone(&fixture.store))];
    for _ in 0..2 {
        let store = fixture.server().store();
        let settings = Fixture::settings();
        let stale = Duration::from_secs(20);
        let around = Surroundings { store: &store, prefix: "portcullis:", stale, metrics: &fixture.metrics };
        let directory = Arc::new(Directory::redis(&settings, around));
        let running = Arc::clone(&store);
        tokio::spawn(async move { running.run(std::future::pending()).await });
        eventually(true, async || store.feed().is_alive()).await;
        gateways.push((directory, store));
    }
    for round in 0..10 {
        let suspended = round % 2 == 0;
        for (directory, _) in &gateways {
            assert_eq!(account(directory, "usr-1").await.unwrap().unwrap().2, !suspended);
        }
        let book = fixture.book().account("res-7", |row| row.suspended = suspended);
        fixture.put(book).await;
        for (directory, _) in &gateways {
            eventually(suspended, async || account(directory, "usr-1").await.unwrap().unwrap().2).await;
        }
    }
}

#[tokio::test]
async fn a_change_that_nobody_announces_is_seen_within_the_cache() {
    let mut fixture = Fixture::start(Kind::Https).await;
    lineage(&fixture.directory).await.unwrap();
    let changed = usual().account("cus-42", |row| row.parent = Some("res-8"));
    fixture.far().sample().replace(super::fixture::records(&changed));
    let started = Instant::now();
    let moved = Ok(Some("root/res-8/cus-42/usr-1".to_owned()));
    eventually(moved, async || lineage(&fixture.directory).await).await;
    assert!(started.elapsed() < CACHE + SLACK, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_session_begins_with_the_mark_of_the_password_that_proved_right() {
    let mut fixture = Fixture::with(Kind::Https, |settings| settings.cache = Duration::from_secs(60)).await;
    let before = fixture.directory.account("usr-1").await.unwrap().unwrap().password_mark;
    let changed = usual().account("usr-1", |row| row.password = Some(super::book::record_of("another password")));
    // Nobody announces it, and what is held is fresh enough.
    fixture.far().sample().replace(super::fixture::records(&changed));
    assert_eq!(fixture.directory.account("usr-1").await.unwrap().unwrap().password_mark, before);
    let checked = fixture.directory.check_password("usr-1@book.example", "another password").await.unwrap();
    let PasswordCheck::There(Some(account)) = checked else { panic!("{checked:?}") };
    assert_ne!(account.password_mark, before);
}

#[tokio::test]
async fn an_old_password_that_proved_right_before_it_was_changed_is_wrong() {
    let mut fixture = Fixture::start(Kind::Https).await;
    let right = async |fixture: &Fixture| fixture.directory.check_password("usr-1@book.example", "x").await.unwrap();
    let answer = |fixture: &mut Fixture, json: &str| fixture.far().answer("/passwords/verify", Some((200, json)));
    // The answer is about another password than the record that is read after it.
    answer(&mut fixture, r#"{"account":"usr-1","password_version":"the one before"}"#);
    assert_eq!(right(&fixture).await, PasswordCheck::There(None));
    // One that does not say which password it compared is asked for again, after the record was read.
    let before = fixture.far().calls("/passwords/verify");
    answer(&mut fixture, r#"{"account":"usr-1"}"#);
    assert!(matches!(right(&fixture).await, PasswordCheck::There(Some(_))));
    assert_eq!(fixture.far().calls("/passwords/verify"), before + 2);
}

#[tokio::test]
async fn a_change_is_not_undone_by_a_read_that_began_before_it() {
    let mut fixture = Fixture::with(Kind::Https, |settings| settings.cache = Duration::from_secs(60)).await;
    for round in 0..5 {
        let realms = vec![format!("realm-{round}")];
        fixture.far().delay(Duration::from_millis(60));
        fixture.directory.forget(["credential:ak_cus-42"]);
        let directory = Arc::clone(&fixture.directory);
        let early = tokio::spawn(async move { directory.credential("ak_cus-42").await.unwrap().unwrap() });
        // The far side has the old record in its hands already: it is looked at again only at the end of the delay.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let old = fixture.book().keys()["credential:ak_cus-42"].clone();
        fixture.far().answer("/credentials/ak_cus-42", Some((200, &old)));
        let book = fixture.book().credential("ak_cus-42", |row| row.realms = Some(realms.clone()));
        fixture.put(book).await;
        early.await.unwrap();
        fixture.far().delay(Duration::ZERO);
        fixture.far().answer("/credentials/ak_cus-42", None);
        let now = fixture.directory.credential("ak_cus-42").await.unwrap().unwrap();
        assert_eq!(now.realms.as_ref(), Some(&realms), "round {round}");
    }
}

#[tokio::test]
async fn what_is_unknown_is_asked_for_again_after_a_while_only() {
    let mut fixture = Fixture::with(Kind::Https, |settings| settings.negative = Duration::from_millis(150)).await;
    for _ in 0..20 {
        assert_eq!(account(&fixture.directory, "late").await, Ok(None));
    }
    assert_eq!(fixture.far().calls("/accounts/late"), 1);
    let with = usual().with("late", "user", "cus-9");
    fixture.far().sample().replace(super::fixture::records(&with));
    let late = is("root/res-8/cus-9/late", "administrator/reseller/customer/user", false);
    eventually(late, async || account(&fixture.directory, "late").await).await;
    assert_eq!(fixture.far().calls("/accounts/late"), 2);
}

#[tokio::test]
async fn the_shelves_are_bounded_and_connections_are_used_again() {
    let mut fixture = Fixture::with(Kind::Https, |settings| settings.cache_entries = 64).await;
    for id in 0..300 {
        let id = format!("made-up-{id}");
        assert_eq!(fixture.directory.credential(&id).await, Ok(None));
        assert_eq!(account(&fixture.directory, &id).await, Ok(None));
    }
    assert!(fixture.directory.held() <= 64, "{}", fixture.directory.held());
    assert!(fixture.far().connections() <= 3, "{} connections", fixture.far().connections());
}

#[tokio::test]
async fn known_records_stay_in_use_in_an_outage_up_to_their_bound() {
    for kind in [Kind::Redis, Kind::Https] {
        let mut fixture = Fixture::with_stale(kind, Duration::from_millis(1500), |_| {}).await;
        lineage(&fixture.directory).await.unwrap();
        // Longer than the bound, in which the source is there and the record is used.
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(1600) {
            lineage(&fixture.directory).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        fixture.cut().await;
        let cut = Instant::now();
        let mut last = Duration::ZERO;
        while lineage(&fixture.directory).await.is_ok() {
            last = cut.elapsed();
            assert!(last < Duration::from_secs(4), "{kind:?}: still used");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(last > Duration::from_millis(900), "{kind:?}: used for {last:?} only");
        assert!(fixture.came("stale") > 0, "{kind:?}");
        assert!(lineage(&fixture.directory).await.is_err(), "not unknown either");
    }
}

#[tokio::test]
async fn a_change_that_was_heard_is_not_forgotten_in_an_outage() {
    let mut fixture = Fixture::start(Kind::Https).await;
    lineage(&fixture.directory).await.unwrap();
    fixture.cut().await;
    fixture.directory.forget(["portcullis:account:cus-42"]);
    assert!(lineage(&fixture.directory).await.is_err(), "what was known is known to be old");
    assert!(account(&fixture.directory, "res-7").await.is_ok());
}

#[tokio::test]
async fn a_server_that_hangs_costs_the_budget_once_and_known_records_nothing() {
    let mut fixture = Fixture::start(Kind::Redis).await;
    let known = lineage(&fixture.directory).await;
    proved(&fixture.directory, "ak_cus-42", "").await.unwrap();
    fixture.server().signal("STOP");
    let started = Instant::now();
    let mut slow = 0;
    while started.elapsed() < BUDGET * 5 {
        let one = Instant::now();
        assert_eq!(lineage(&fixture.directory).await, known);
        assert_eq!(proved(&fixture.directory, "ak_cus-42", "").await, Ok(Some(false)));
        slow += u32::from(one.elapsed() > BUDGET / 2);
        assert!(fixture.directory.account("never-asked").await.is_err());
        assert!(one.elapsed() < BUDGET * 3, "{:?}", one.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(slow <= 2, "{slow} look-ups of known records waited");
    fixture.server().signal("CONT");
    let give_up = Instant::now() + Duration::from_secs(3);
    while fixture.directory.account("never-asked").await != Ok(None) || !fixture.directory.is_up() {
        assert!(Instant::now() < give_up, "not back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
