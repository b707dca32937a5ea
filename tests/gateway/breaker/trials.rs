//! What follows when a breaker was open for its time: who may try, and what comes of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::{CLOSED, OPEN, Shop, until, wait_of};
use crate::harness::request::{get, post};
use crate::harness::upstream::{Seen, Step, json as answer};
use crate::harness::wait::{PATIENCE, eventually};

#[test]
fn after_its_time_exactly_one_of_many_tries_and_its_answer_closes_it() {
    const MANY: usize = 20;
    let released = Arc::new(AtomicBool::new(false));
    let script = {
        let released = Arc::clone(&released);
        move |seen: &Seen| {
            let deadline = Instant::now() + PATIENCE;
            while seen.target == "/frail/held" && !released.load(Ordering::Acquire) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(5));
            }
            answer(200, "{}")
        }
    };
    let open_for = Duration::from_secs(6);
    let shop = Shop::before(r#"{ failures = 2, within = "60s", open_for = "6s" }"#, script, |builder| builder);
    let opened = shop.fail(2);
    shop.toxic.heal();
    assert!((1..=6).contains(&wait_of(&shop.call("/frail/a"))));
    until(opened, open_for);
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..MANY {
            let (tell, shop) = (tell.clone(), &shop);
            scope.spawn(move || tell.send(shop.call("/frail/held")));
        }
        for _ in 1..MANY {
            let refused = told.recv_timeout(PATIENCE).expect("all but one are refused while it tries");
            assert_eq!(wait_of(&refused), 1);
        }
        released.store(true, Ordering::Release);
        told.recv_timeout(PATIENCE).expect("the one that tried is answered").assert_ok();
    });
    assert_eq!(shop.frail.seen().iter().filter(|seen| seen.target == "/frail/held").count(), 1);
    for _ in 0..3 {
        shop.call("/frail/a").assert_ok();
    }
    // The failures of before lie within the minute, and are forgotten.
    shop.fail(1);
    shop.toxic.heal();
    shop.call("/frail/a").assert_ok();
    assert_eq!((shop.logged(OPEN), shop.logged(CLOSED)), (1, 1));
}

#[test]
fn a_trial_that_fails_opens_it_again_and_the_log_says_so_once() {
    let open_for = Duration::from_secs(2);
    let shop = Shop::with(r#"{ failures = 2, within = "60s", open_for = "2s" }"#);
    let mut opened = shop.fail(2);
    for _ in 0..2 {
        until(opened, open_for);
        opened = shop.fail(1);
        shop.toxic.forget_taken();
        assert!((1..=2).contains(&wait_of(&shop.call("/frail/a"))));
        assert_eq!(shop.toxic.taken().len(), 0);
    }
    assert_eq!((shop.logged(OPEN), shop.logged(CLOSED)), (1, 0));
    shop.toxic.heal();
    until(opened, open_for);
    shop.call("/frail/a").assert_ok();
    assert_eq!(shop.logged(CLOSED), 1);
}

#[test]
fn a_trial_whose_client_leaves_makes_room_for_the_next_at_once() {
    let open_for = Duration::from_secs(4);
    let script = |seen: &Seen| match &*seen.target {
        "/frail/silent" => vec![Step::Silence],
        _ => answer(200, "{}"),
    };
    let shop = Shop::before(r#"{ failures = 1, within = "60s", open_for = "4s" }"#, script, |builder| builder);
    let opened = shop.fail(1);
    shop.toxic.heal();
    until(opened, open_for);
    let begun = Instant::now();
    let mut leaving = shop.gateway.client();
    leaving.write(&get("/frail/silent").bytes());
    eventually("the trial arrives", PATIENCE, || shop.frail.saw_target("/frail/silent").then_some(()));
    assert_eq!(wait_of(&shop.call("/frail/a")), 1);
    leaving.leave();
    eventually("another may try", PATIENCE, || (shop.call("/frail/a").status == 200).then_some(()));
    assert!(begun.elapsed() < open_for, "{:?}: it may be another's for having taken so long", begun.elapsed());
}

#[test]
fn a_trial_that_dawdles_over_its_body_keeps_nobody_out_for_long() {
    let open_for = Duration::from_secs(2);
    let shop = Shop::with(r#"{ failures = 1, within = "60s", open_for = "2s" }"#);
    let opened = shop.fail(1);
    shop.toxic.heal();
    shop.toxic.forget_taken();
    until(opened, open_for);
    let begun = Instant::now();
    let mut dawdling = shop.gateway.client();
    dawdling.write(&post("/frail/body").owing(10, b"half ").bytes());
    eventually("it tries", PATIENCE, || (!shop.toxic.taken().is_empty()).then_some(()));
    assert_eq!(wait_of(&shop.call("/frail/a")), 1);
    eventually("another may try", PATIENCE, || (shop.call("/frail/a").status == 200).then_some(()));
    assert!(begun.elapsed() >= open_for, "{:?}", begun.elapsed());
    dawdling.write(b"of it");
    dawdling.read().assert_ok();
}
