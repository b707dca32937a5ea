//! A shared quota while its store is away, slow or read-only: each gateway goes on with its share, never without a limit
//! and never closed, and after the repair the limit is exact again (contract section 8, RATE-015).

use std::time::{Duration, Instant};

use crate::harness::pressure::{Answers, Sharers};
use crate::harness::redis::RedisServer;
use crate::harness::toxic::{Mood, Toxic};

/// Of two gateways each has 20 a second.
const QUOTA: &str = "rate = \"40/s\"\nburst = 40";
const RATE: f64 = 40.0;
const BURST: f64 = 40.0;

/// How long the store is away.
const OUTAGE: Duration = Duration::from_secs(4);

/// After so long all is exact: contract section 9, and some for a busy machine.
const RECOVERY: Duration = Duration::from_secs(3);

/// Gateways come back one after the other: what one of them admits on its share while the other draws again.
const APART: f64 = RATE / 2.0 * 0.5;

/// What happened when.
struct Course {
    begun: Instant,
    broken: Instant,
    repaired: Instant,
    over: Instant,
}

/// Two gateways under pressure before, during and after an outage.
fn outage(sharers: &Sharers, breaks: impl FnOnce(), repairs: impl FnOnce()) -> (Answers, Course) {
    let pause = std::thread::sleep;
    sharers.press(|| {
        let begun = Instant::now();
        // Long enough to use the burst up.
        pause(Duration::from_secs(2));
        breaks();
        let broken = Instant::now();
        pause(OUTAGE);
        let repaired = Instant::now();
        repairs();
        pause(RECOVERY);
        let shares = sharers.decided("admitted_on_share") + sharers.decided("refused_on_share");
        pause(Duration::from_secs(2));
        let later = sharers.decided("admitted_on_share") + sharers.decided("refused_on_share");
        assert!(shares > 0.5, "nothing was decided on a share");
        assert!(later - shares < 0.5, "{} decisions on a share long after the repair", later - shares);
        Course { begun, broken, repaired, over: Instant::now() }
    })
}

fn assert_shared_out(sharers: &Sharers, answers: &Answers, course: &Course) {
    let time = (course.repaired - course.broken).as_secs_f64();
    for gateway in 0..2 {
        let admitted = f64::from(answers.admitted(Some(gateway), course.broken, course.repaired));
        eprintln!("gateway {gateway} admitted {admitted} in {time} s");
        assert!(admitted <= BURST / 2.0 + RATE / 2.0 * time + 3.0, "{admitted}: more than its share in {time} s");
        assert!(admitted >= RATE / 2.0 * time * 0.8 - 3.0, "{admitted}: less than its share in {time} s");
        let second = Duration::from_secs(1);
        for begin in 0..3 {
            let from = course.broken + second * begin;
            assert!(answers.admitted(Some(gateway), from, from + second) > 0, "closed {begin} s into the outage");
        }
        let log = sharers.gateways[gateway].stderr();
        assert_eq!(log.matches("shared quotas go on with this gateway's share").count(), 1, "{log}");
        assert_eq!(log.matches("shared quotas are exact again").count(), 1, "{log}");
    }
}

/// The limit over the whole time, and over what came after the repair. `again` are cells that the store forgot.
fn assert_bounded(answers: &Answers, course: &Course, again: f64) {
    for (from, what) in
        [(course.begun, "in all"), (course.broken, "since it broke"), (course.repaired, "since its repair")]
    {
        let time = (course.over - from).as_secs_f64();
        let (admitted, most) = (f64::from(answers.admitted(None, from, course.over)), BURST + RATE * time + again);
        eprintln!("{admitted} of at most {most} {what}");
        assert!(admitted <= most + APART + 4.0, "{admitted} of {most} {what}, {time} s");
        assert!(admitted >= RATE * time * 0.75 - 5.0, "{admitted} of {most} {what}, {time} s");
    }
}

fn two(url: &str, server: &RedisServer) -> Sharers {
    let sharers = Sharers::start(2, QUOTA, |builder| builder.store_with(url, "budget = \"250ms\""));
    sharers.wait_until_counted(server);
    sharers
}

/// RATE-015
#[test]
fn killed_store_leaves_each_gateway_its_share() {
    let mut server = RedisServer::start();
    let sharers = two(&server.url(), &server);
    let server = std::cell::RefCell::new(&mut server);
    let (answers, course) = outage(&sharers, || server.borrow_mut().kill(), || server.borrow_mut().restart());
    assert_shared_out(&sharers, &answers, &course);
    // The new server knows nothing of what was spent before.
    assert_bounded(&answers, &course, BURST);
}

#[test]
fn frozen_store_leaves_each_gateway_its_share() {
    let server = RedisServer::start();
    let sharers = two(&server.url(), &server);
    let (answers, course) = outage(&sharers, || server.pause(), || server.resume());
    assert_shared_out(&sharers, &answers, &course);
    assert_bounded(&answers, &course, 0.0);
}

#[test]
fn slow_store_leaves_each_gateway_its_share() {
    let server = RedisServer::start();
    let toxic = Toxic::before(server.address());
    let sharers = two(&toxic.url(), &server);
    let slow = Mood::Delay(Duration::from_millis(600));
    let (answers, course) = outage(&sharers, || toxic.set(slow), || toxic.heal());
    assert_shared_out(&sharers, &answers, &course);
    assert_bounded(&answers, &course, 0.0);
}

#[test]
fn read_only_store_leaves_each_gateway_its_share() {
    let (primary, server) = (RedisServer::start(), RedisServer::start());
    let sharers = two(&server.url(), &server);
    let (answers, course) = outage(&sharers, || server.follow(&primary), || server.lead());
    assert_shared_out(&sharers, &answers, &course);
    // A copy of another is as empty as that one.
    assert_bounded(&answers, &course, BURST);
}
