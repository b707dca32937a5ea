//! The rules of the lock-out as facts, on a clock that the test passes in.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::ledger::{Counted, DAY_MS, Judgement, Ledger, MONTH_MS, Proved};
use super::subject::{Key, Subject};
use super::*;
use crate::store::Lock;

/// Some time in 2026.
const NOW: u64 = 1_790_000_000_000;

/// An API id's failure: an e-mail's count is none of it.
const API: Counted = Counted { network: true, everywhere: false };

const HOME: &str = "192.0.2.1";
const AWAY: &str = "198.51.100.7";

fn rules() -> settings::Lockout {
    settings::Lockout { attempts: 5, network_attempts: 100, within: Duration::from_secs(900) }
}

fn ledger() -> Ledger {
    Ledger::new(rules(), &Metrics::new().unwrap())
}

fn at(client: &str) -> IpAddr {
    client.parse().unwrap()
}

fn api<'a>(id: &'a str, client: &str) -> Subject<'a> {
    Subject::api(Some(id), at(client))
}

fn user<'a>(email: &'a str, client: &str) -> Subject<'a> {
    Subject::email(Some(email), at(client))
}

/// Fails until the network of these ids is locked, one failure each.
fn lock_network(ledger: &Ledger, client: &str, now: u64) {
    for n in 0..100 {
        let id = format!("made-up-{n}");
        assert_eq!(ledger.fail(api(&id, client), now), Ok(API), "{n}");
    }
    assert!(matches!(ledger.judge(api("new", client), now), Judgement::Unless(1000, DAY_MS)));
}

#[test]
fn the_fifth_failure_locks_the_pair_and_right_and_wrong_get_the_same_answer() {
    let ledger = ledger();
    let pair = api("ak_1", HOME);
    for n in 0..5 {
        assert_eq!(ledger.judge(pair, NOW), Judgement::Open);
        assert_eq!(ledger.fail(pair, NOW), Ok(API), "failure {n} is told");
    }
    assert_eq!(ledger.judge(pair, NOW + 1), Judgement::Locked(999));
    assert_eq!(ledger.fail(pair, NOW + 1), Err(999));
    assert_eq!(ledger.prove(pair, NOW + 1), Err(999));
    assert_eq!(ledger.judge(pair, NOW + 1000), Judgement::Open);
    assert_eq!(ledger.fail(pair, NOW + 1000), Ok(API));
    assert_eq!(ledger.judge(pair, NOW + 1000), Judgement::Locked(2000));
}

#[test]
fn five_failures_from_one_network_lock_nobody_elsewhere() {
    let ledger = ledger();
    for _ in 0..5 {
        ledger.fail(api("ak_1", HOME), NOW).unwrap();
    }
    assert_eq!(ledger.judge(api("ak_1", AWAY), NOW), Judgement::Open);
    assert_eq!(ledger.judge(api("ak_2", HOME), NOW), Judgement::Open);
    assert_eq!(ledger.prove(api("ak_1", AWAY), NOW), Ok(Proved { clear: false, note: true }));
    assert!(matches!(ledger.judge(api("ak_1", HOME), NOW), Judgement::Locked(_)));
}

#[test]
fn a_success_makes_failures_forgotten() {
    let ledger = ledger();
    let pair = api("ak_1", HOME);
    for _ in 0..20 {
        for _ in 0..4 {
            ledger.fail(pair, NOW).unwrap();
        }
        assert!(ledger.prove(pair, NOW).unwrap().clear);
    }
    assert_eq!(ledger.failures(pair, NOW), (0, None));
}

#[test]
fn an_ipv6_64_is_one_network() {
    let ledger = ledger();
    for n in 1..=5 {
        ledger.fail(api("ak_1", &format!("2001:db8:1:2::{n}")), NOW).unwrap();
    }
    assert!(matches!(ledger.judge(api("ak_1", "2001:db8:1:2:ffff::1"), NOW), Judgement::Locked(_)));
    assert_eq!(ledger.judge(api("ak_1", "2001:db8:1:3::1"), NOW), Judgement::Open);
}

#[test]
fn a_locked_network_refuses_only_who_has_not_succeeded_from_it_within_a_day() {
    let ledger = ledger();
    let (honest, old, elsewhere) = (api("honest", HOME), api("old", HOME), api("elsewhere", AWAY));
    assert!(ledger.prove(old, NOW - DAY_MS).unwrap().note);
    assert!(ledger.prove(honest, NOW - DAY_MS + 5000).unwrap().note);
    assert!(ledger.prove(elsewhere, NOW).unwrap().note);
    lock_network(&ledger, HOME, NOW);
    assert_eq!(ledger.judge(honest, NOW), Judgement::Open);
    assert!(ledger.prove(honest, NOW).is_ok());
    for stranger in [old, api("elsewhere", HOME), user("a@b.example", HOME)] {
        assert_eq!(ledger.judge(stranger, NOW), Judgement::Unless(1000, DAY_MS));
        assert_eq!((ledger.prove(stranger, NOW), ledger.fail(stranger, NOW)), (Err(1000), Err(1000)));
    }
    assert_eq!(ledger.judge(Subject::api(Some("no id"), at(HOME)), NOW), Judgement::Locked(1000), "nobody asks for it");
    assert_eq!(ledger.judge(elsewhere, NOW), Judgement::Open);
    ledger.learn_seen(old, NOW, Some(NOW - DAY_MS + 1));
    assert_eq!(ledger.judge(old, NOW), Judgement::Open, "another gateway saw it");
    ledger.learn_seen(api("new", HOME), NOW, None);
    assert_eq!(ledger.judge(api("new", HOME), NOW), Judgement::Locked(1000));
}

#[test]
fn mistyped_keys_of_those_who_succeeded_lock_their_pair_but_never_their_network() {
    let ledger = ledger();
    for n in 0..1000 {
        let id = format!("honest-{n}");
        assert!(ledger.prove(api(&id, HOME), NOW).is_ok());
        assert_eq!(ledger.fail(api(&id, HOME), NOW), Ok(Counted { network: false, everywhere: false }));
    }
    assert_eq!(ledger.judge(api("newcomer", HOME), NOW), Judgement::Open);
    for _ in 0..4 {
        ledger.fail(api("honest-1", HOME), NOW).unwrap();
    }
    assert_eq!(ledger.judge(api("honest-1", HOME), NOW), Judgement::Locked(1000));
}

#[test]
fn an_email_is_locked_everywhere_but_where_it_logged_in_within_a_month() {
    let ledger = ledger();
    let home = user("a@b.example", HOME);
    assert!(ledger.prove(home, NOW - MONTH_MS + 5000).unwrap().note);
    for n in 0..=100 {
        let from = format!("203.0.113.{n}");
        assert_eq!(ledger.judge(user("a@b.example", &from), NOW), Judgement::Open, "{n}");
        assert!(ledger.fail(user("a@b.example", &from), NOW).is_ok(), "{n}");
    }
    assert_eq!(ledger.judge(user("a@b.example", AWAY), NOW), Judgement::Unless(1000, MONTH_MS));
    assert_eq!(ledger.judge(home, NOW), Judgement::Open);
    assert!(ledger.prove(home, NOW).is_ok());
    assert_eq!(ledger.judge(user("b@b.example", AWAY), NOW), Judgement::Open);
}

#[test]
fn a_flood_of_bad_signatures_is_soon_counted_no_more_and_starts_again_before_the_lock_ends() {
    let ledger = ledger();
    let counted = (0..10_000).filter(|_| ledger.fail_network(api("-", HOME), NOW)).count();
    assert!((101..=120).contains(&counted), "{counted}");
    assert!(!ledger.fail_network(api("-", HOME), NOW + 60_000));
    assert!(ledger.fail_network(api("-", HOME), NOW + 600_000));
    assert!(ledger.fail_network(api("-", AWAY), NOW));
}

#[test]
fn bad_signatures_lock_the_network_and_no_pair() {
    let ledger = ledger();
    for _ in 0..100 {
        ledger.fail_network(api("-", HOME), NOW);
    }
    let listed = ledger.list(NOW);
    assert_eq!(listed.len(), 1);
    assert_eq!((&*listed[0].key, listed[0].failures, listed[0].until), ("network:192.0.2.1", 100, NOW + 1000));
}

#[test]
fn a_spray_of_ids_gets_no_more_answers_than_the_network_may_have() {
    let ledger = ledger();
    let ids: Vec<String> = (0..1000).map(|n| format!("id-{n}")).collect();
    // All were judged open before the first was settled.
    let told = ids.iter().filter(|id| ledger.fail(api(id, HOME), NOW).is_ok()).count();
    assert_eq!(told, 100);
}

#[test]
fn what_keeps_no_grammar_shares_one_bucket_and_locks_no_name() {
    let ledger = ledger();
    for odd in ["no id", "", "a/b", "é", &"x".repeat(65)] {
        ledger.fail(api(odd, HOME), NOW).unwrap();
    }
    assert!(matches!(ledger.judge(api("another odd one", HOME), NOW), Judgement::Locked(_)));
    assert!(matches!(ledger.judge(Subject::email(None, at(HOME)), NOW), Judgement::Locked(_)));
    assert_eq!(ledger.judge(api("ak_1", HOME), NOW), Judgement::Open);
    assert_eq!(&*ledger.list(NOW)[1].key, "pair:*@192.0.2.1");
}

#[test]
fn other_settings_hold_from_the_next_failure() {
    let ledger = ledger();
    let pair = api("ak_1", HOME);
    ledger.fail(pair, NOW).unwrap();
    ledger.configure(settings::Lockout { attempts: 2, ..rules() });
    ledger.fail(pair, NOW).unwrap();
    assert_eq!(ledger.judge(pair, NOW), Judgement::Locked(1000));
}

#[test]
fn locks_that_are_set_are_counted_by_kind() {
    let metrics = Metrics::new().unwrap();
    let ledger = Ledger::new(rules(), &metrics);
    for _ in 0..5 {
        ledger.fail(api("ak_1", HOME), NOW).unwrap();
    }
    ledger.follow(Key::parse("pair:ak_2@192.0.2.1").unwrap(), Lock { failures: 9, until: NOW + 9 }, NOW);
    let count = |kind: Kind| metrics.lockouts.with_label_values(&[kind.name()]).get();
    assert_eq!((count(Kind::Pair), count(Kind::Network), count(Kind::Email)), (1, 0, 0));
}

#[test]
fn a_flood_of_made_up_ids_from_many_networks_locks_no_honest_pair_and_unlocks_no_guesser() {
    let ledger = ledger();
    let guesser = api("victim", AWAY);
    for _ in 0..5 {
        ledger.fail(guesser, NOW).unwrap();
    }
    assert!(ledger.prove(api("honest", HOME), NOW).is_ok());
    for n in 0..200_000_u32 {
        let id = format!("id-{n}");
        let from = IpAddr::from((0x0a00_0000 + n / 50).to_be_bytes());
        ledger.fail(Subject::api(Some(&id), from), NOW).unwrap();
    }
    assert!(ledger.list(NOW).len() <= 200_000);
    assert_eq!(ledger.judge(guesser, NOW), Judgement::Locked(1000));
    assert_eq!(ledger.judge(api("honest", HOME), NOW), Judgement::Open);
    assert!(ledger.prove(api("honest", HOME), NOW).is_ok());
}

fn lockout() -> Arc<Lockout> {
    let metrics = Arc::new(Metrics::new().unwrap());
    let store = Arc::new(Store::memory());
    let lockout = Arc::new(Lockout::new(Arc::clone(&store), rules(), metrics));
    store.listen(Arc::clone(&lockout) as _);
    lockout
}

#[test]
fn an_expired_or_suspended_credential_proved_right_and_one_of_another_realm_did_not() {
    let lockout = lockout();
    let key = ApiKey::new("ak_1", b"k");
    let answer = |found: Identity| lockout.settle(&key, at(HOME), found);
    for _ in 0..20 {
        assert_eq!(answer(Identity::Expired("-")), Identity::Expired("-"));
        assert_eq!(answer(Identity::DirectoryUnavailable("-")), Identity::DirectoryUnavailable("-"));
    }
    for _ in 0..5 {
        assert_eq!(answer(Identity::Invalid("-")), Identity::Invalid("-"));
    }
    assert_eq!(answer(Identity::Invalid("-")), Identity::Locked(1));
    assert_eq!(answer(Identity::Expired("-")), Identity::Locked(1));
}

#[test]
fn fifty_results_of_guesses_side_by_side_tell_five() {
    let lockout = lockout();
    let told = std::thread::scope(|scope| {
        let guess = || lockout.settle(&ApiKey::new("ak_1", b"wrong"), at(HOME), Identity::Invalid("-"));
        let all: Vec<_> = (0..50).map(|_| scope.spawn(guess)).collect();
        all.into_iter().map(|guess| guess.join().unwrap()).filter(|told| *told == Identity::Invalid("-")).count()
    });
    assert_eq!(told, 5);
}

/// Enters as `email` and settles what a slow check found.
async fn log_in(lockout: &Lockout, email: &str, client: &str, right: bool) -> Result<bool, u32> {
    match lockout.enter(Some(email), at(client), &lockout.store.patience()).await {
        Entry::Locked(seconds) => Err(seconds),
        Entry::Crowded => panic!("crowded"),
        Entry::Open(attempt) => {
            tokio::time::sleep(Duration::from_millis(2)).await;
            if right { attempt.succeeded().await.map(|()| true) } else { attempt.failed().await.map(|()| false) }
        }
    }
}

#[tokio::test]
async fn fifty_logins_with_wrong_passwords_get_five_checks_and_the_others_wait_and_are_locked_out() {
    let lockout = lockout();
    let all = (0..50).map(|_| log_in(&lockout, "a@b.example", HOME, false));
    let all = join_all(all).await;
    assert_eq!(all.iter().filter(|told| **told == Ok(false)).count(), 5);
    assert_eq!(all.iter().filter(|told| matches!(told, Err(1..=2))).count(), 45);
}

#[tokio::test]
async fn two_hundred_honest_logins_of_one_user_all_succeed() {
    let lockout = lockout();
    let all = (0..200).map(|_| log_in(&lockout, "a@b.example", HOME, true));
    let all = join_all(all).await;
    assert_eq!(all.iter().filter(|told| **told == Ok(true)).count(), 200);
}

#[tokio::test]
async fn a_login_that_leaves_frees_its_place_and_counts_nothing() {
    let lockout = lockout();
    let (patience, mut held) = (lockout.store.patience(), Vec::new());
    for _ in 0..5 {
        let Entry::Open(attempt) = lockout.enter(Some("a@b.example"), at(HOME), &patience).await else {
            panic!("not open")
        };
        held.push(attempt);
    }
    let sixth = log_in(&lockout, "a@b.example", HOME, true);
    let mut sixth = std::pin::pin!(sixth);
    assert!(futures_util::poll!(sixth.as_mut()).is_pending(), "it waits for a place");
    held.pop();
    assert_eq!(sixth.await, Ok(true));
    assert!(lockout.list().is_empty());
}

#[tokio::test]
async fn what_a_success_leaves_to_be_told_holds_nobody_up() {
    let lockout = lockout();
    assert_eq!(log_in(&lockout, "a@b.example", HOME, false).await, Ok(false));
    let pair = "pair:a@b.example@192.0.2.1";
    assert_eq!(lockout.store.locks(&[pair]).await.unwrap()[0].failures, 1);
    assert_eq!(log_in(&lockout, "a@b.example", HOME, true).await, Ok(true));
    let failures = async || lockout.store.locks(&[pair]).await.unwrap()[0].failures;
    let seen = async || lockout.store.seen("a@b.example", "192.0.2.1").await.unwrap();
    assert_eq!((failures().await, seen().await), (1, None), "the login did not wait for it");
    let told = async {
        while failures().await > 0 || seen().await.is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = lockout.run() => unreachable!("it goes on for ever"),
        done = tokio::time::timeout(Duration::from_secs(10), told) => done.unwrap(),
    }
}

#[tokio::test]
async fn a_failure_that_there_is_no_patience_left_for_is_told_in_the_background() {
    let lockout = lockout();
    let patience = Patience::new(Duration::from_millis(1));
    let Entry::Open(attempt) = lockout.enter(Some("a@b.example"), at(HOME), &patience).await else {
        panic!("not open")
    };
    assert_eq!(patience.wait(std::future::pending::<Result<(), _>>()).await, Err(StoreError::TimedOut));
    assert_eq!(attempt.failed().await, Ok(()));
    let names = ["pair:a@b.example@192.0.2.1", "network:192.0.2.1", "email:a@b.example"];
    let counted = async || lockout.store.locks(&names).await.unwrap().iter().map(|lock| lock.failures).sum::<u32>();
    assert_eq!(counted().await, 0, "the login did not wait for it");
    let told = async {
        while counted().await < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = lockout.run() => unreachable!("it goes on for ever"),
        done = tokio::time::timeout(Duration::from_secs(10), told) => done.unwrap(),
    }
}

#[tokio::test]
async fn a_right_password_is_not_told_when_the_pair_was_locked_during_the_check() {
    let lockout = lockout();
    let patience = lockout.store.patience();
    let Entry::Open(attempt) = lockout.enter(Some("a@b.example"), at(HOME), &patience).await else {
        panic!("not open")
    };
    let lock = Lock { failures: 7, until: lockout.now() + 4000 };
    lockout.hear(&News::Lock("pair:a@b.example@192.0.2.1", lock));
    assert_eq!(attempt.succeeded().await, Err(4));
    assert_eq!(lockout.login_locked(Some("a@b.example"), at(HOME)), Some(4));
    lockout.hear(&News::Lock("pair:a@b.example@192.0.2.1", Lock::default()));
    assert_eq!(log_in(&lockout, "a@b.example", HOME, true).await, Ok(true));
}

#[tokio::test]
async fn a_key_is_listed_and_cleared() {
    let lockout = lockout();
    for _ in 0..5 {
        assert_eq!(log_in(&lockout, "a@b.example", HOME, false).await, Ok(false));
    }
    let keys: Vec<_> = lockout.list().into_iter().map(|listed| (listed.key, listed.kind, listed.failures)).collect();
    let expected = [
        ("email:a@b.example".into(), Kind::Email, 5),
        ("network:192.0.2.1".into(), Kind::Network, 5),
        ("pair:a@b.example@192.0.2.1".into(), Kind::Pair, 5),
    ];
    assert_eq!(keys, expected);
    assert_eq!(lockout.clear("pair:a@b.example@192.0.2.1").await, Ok(true));
    assert_eq!(lockout.clear("pair:a@b.example@192.0.2.1").await, Ok(false));
    assert_eq!(lockout.clear("no key").await, Ok(false));
    assert_eq!(log_in(&lockout, "a@b.example", HOME, true).await, Ok(true));
    assert_eq!(lockout.clear_all().await, Ok(2));
    assert!(lockout.list().is_empty());
}
