//! Many reloads under load, and a policy of ten thousand routes: nobody fails, no decision is mixed, nothing leaks, and
//! what else the machine does is hardly slowed down (LIFE-006 and CONF-016 of the shared cases).

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::accounts::key_of;
use crate::harness::client::Client;
use crate::harness::lab::{LAB_POLICY, Lab};
use crate::harness::request::{Request, get};
use crate::harness::upstream::{Upstream, json as answer};
use crate::harness::wait::{PATIENCE, eventually};

/// How many policies follow each other.
const RELOADS: usize = 50;

/// Threads with connections that stay open, and connections of each.
const THREADS: usize = 4;
const CONNECTIONS: usize = 8;

/// Between two requests of a thread: 250 requests a second in all.
const PACE: Duration = Duration::from_millis(20);

fn order() -> Request {
    get("/orders/1").basic("ak_alice", &key_of("ak_alice"))
}

/// A policy that permits the order, or one that does not; each text is another.
fn policy(number: usize) -> String {
    let allow = if number.is_multiple_of(2) { "[\"administrator\", \"user\"]" } else { "[\"administrator\"]" };
    let rule = |allow: &str| format!("match = \"GET /orders/{{id}}\"\nallow = {allow}");
    let old = rule("[\"administrator\", \"user\"]");
    assert!(LAB_POLICY.contains(&old));
    format!("{}\n# {number}\n", LAB_POLICY.replacen(&old, &rule(allow), 1))
}

/// Puts policies in effect, one after the other; gives the revision of each number.
fn reload_all(lab: &Lab, numbers: std::ops::Range<usize>, pause: Duration) -> HashMap<String, usize> {
    let mut revisions = HashMap::new();
    for number in numbers {
        let due = Instant::now() + pause;
        lab.gateway.replace_file("lab.toml", &policy(number));
        let answer = lab.gateway.admin_json("POST", "/reload", &json!({})).assert_ok().json();
        revisions.insert(answer["revision"].as_str().expect("a revision").to_owned(), number);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    revisions
}

/// Asks on open connections and on new ones while `work` is done; gives the status of each request by its id.
fn under_load<R>(lab: &Lab, work: impl FnOnce() -> R) -> (R, HashMap<String, u16>) {
    let (over, answers) = (AtomicBool::new(false), Mutex::new(HashMap::new()));
    let ask = |clients: &mut dyn FnMut() -> Client, keep: bool| {
        let mut clients: Vec<Client> = (0..if keep { CONNECTIONS } else { 1 }).map(|_| clients()).collect();
        let mut next = 0;
        while !over.load(Ordering::Relaxed) {
            if !keep {
                clients[0] = lab.gateway.client();
            }
            let count = clients.len();
            let response = clients[next % count].send(&order());
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            assert!(answers.insert(response.request_id(), response.status).is_none(), "ids are unique");
            drop(answers);
            next += 1;
            thread::sleep(PACE);
        }
        next
    };
    let worked = thread::scope(|scope| {
        let asking: Vec<_> = (0..=THREADS)
            .map(|number| scope.spawn(move || ask(&mut || lab.gateway.client(), number < THREADS)))
            .collect();
        let worked = work();
        over.store(true, Ordering::Relaxed);
        for thread in asking {
            assert!(thread.join().expect("no request failed") > CONNECTIONS, "each connection was used");
        }
        worked
    });
    (worked, answers.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Asserts that every answer is the one of the policy that its access line names.
#[track_caller]
fn assert_unmixed(lab: &Lab, revisions: &HashMap<String, usize>, answers: &HashMap<String, u16>) {
    let mut judged = [0, 0];
    for line in lab.gateway.access_lines(answers.len()) {
        let Some(status) = answers.get(&line.text("request_id")) else { continue };
        let number = revisions.get(&line.text("revision")).unwrap_or_else(|| panic!("a policy of ours: {line:?}"));
        let expected =
            if number.is_multiple_of(2) { ("200", "permitted", "") } else { ("403", "denied", "role_forbidden") };
        line.assert(&[("status", expected.0), ("outcome", expected.1), ("reason", expected.2)]);
        assert_eq!(line.text("status"), status.to_string(), "what the client got: {line:?}");
        judged[number % 2] += 1;
    }
    assert_eq!(judged[0] + judged[1], answers.len(), "each has its line");
    assert!(judged.iter().all(|count| *count > answers.len() / 5), "both rules were at work: {judged:?}");
}

/// A realm of so many routes.
fn large(name: &str, routes: usize) -> String {
    let mut text = format!(
        "[realm]\nname = \"{name}\"\nbase = \"/{name}\"\nroles = [\"administrator\", \"user\"]\n\
         schemes = [\"basic\"]\nupstream = \"lab\"\n"
    );
    for number in 0..routes {
        let _ = write!(
            text,
            "[[route]]\nname = \"route-{number}\"\nmatch = \"GET /area-{}/things-{number}/{{id}}\"\n\
             allow = [\"administrator\", \"user\"]\n",
            number % 100
        );
    }
    text
}

fn lab_with(routes: usize) -> Lab {
    let upstream = Upstream::forgetful(|_| answer(200, "{}"));
    Lab::before(upstream, |builder| builder.policy("large", &large("large", routes)))
}

#[test]
fn fifty_reloads_under_load_fail_nobody_and_mix_nothing() {
    let lab = lab_with(1);
    reload_all(&lab, 0..1, Duration::ZERO);
    let (first, applied) = (lab.gateway.revision(), lab.gateway.reloads("applied"));
    let (mut revisions, answers) = under_load(&lab, || reload_all(&lab, 1..RELOADS + 1, Duration::from_millis(200)));
    revisions.insert(first, 0);
    assert_unmixed(&lab, &revisions, &answers);
    assert_eq!(lab.gateway.reloads("applied") - applied, RELOADS as f64, "each once");
    assert_eq!(lab.gateway.reloads("faults"), 0.0);
    assert_eq!(lab.gateway.metrics().sum("portcullis_policy_info", &[]), 1.0);
}

#[test]
#[ignore = "soak: make soak"]
fn fifty_reloads_in_a_minute_leave_memory_and_files_as_they_were() {
    let lab = lab_with(1000);
    // Pools, connections and the allocator's own reserves are there before it is measured.
    under_load(&lab, || reload_all(&lab, 0..RELOADS, Duration::from_millis(400)));
    thread::sleep(Duration::from_secs(2));
    let (first, memory, files) = (lab.gateway.revision(), lab.gateway.resident_kib(), lab.gateway.open_files());
    let numbers = RELOADS..2 * RELOADS;
    let (mut revisions, answers) = under_load(&lab, || reload_all(&lab, numbers, Duration::from_millis(1200)));
    thread::sleep(Duration::from_secs(2));
    let after = lab.gateway.resident_kib();
    eprintln!("{} requests, {RELOADS} reloads: {memory} KiB before, {after} KiB after", answers.len());
    revisions.insert(first, RELOADS - 1);
    assert_unmixed(&lab, &revisions, &answers);
    assert!(after.saturating_sub(memory) * 20 <= memory, "more than 5 %");
    // Idle connections to upstreams may live for a while.
    let open = eventually("as many files are open as before", PATIENCE * 6, || {
        Some(lab.gateway.open_files()).filter(|open| *open <= files)
    });
    eprintln!("{files} files open before, {open} after");
}

#[test]
fn ten_thousand_routes_are_taken_over_while_requests_go_on() {
    let lab = lab_with(1);
    let thing = |number: usize| {
        let path = format!("/large/area-{}/things-{number}/x", number % 100);
        lab.call(&get(&path).basic("ak_alice", &key_of("ak_alice"))).status
    };
    assert_eq!((thing(0), thing(9_999)), (200, 404));
    let first = lab.gateway.revision();
    let (last, answers) = under_load(&lab, || {
        lab.gateway.replace_file("large.toml", &large("large", 10_000));
        let exit = lab.gateway.verb(&["reload", "--wait"]);
        assert_eq!(exit.code, 0, "{exit:?}");
        lab.gateway.revision()
    });
    assert!(first != last && answers.values().all(|status| *status == 200), "{answers:?}");
    assert_eq!((thing(0), thing(9_999), thing(10_000)), (200, 200, 404));
}

/// What one of the paced callers measured: when it asked, and how long it waited.
type Waits = Vec<(Instant, Duration)>;

/// The 99th percentile.
fn p99(mut waits: Vec<Duration>) -> Duration {
    waits.sort_unstable();
    assert!(waits.len() > 500, "only {} requests were measured", waits.len());
    waits[waits.len() * 99 / 100]
}

#[test]
#[ignore = "soak: make soak"]
fn ten_thousand_routes_are_taken_over_within_a_second_and_hardly_felt() {
    const TURNS: usize = 24;
    let lab = lab_with(10_000);
    let over = AtomicBool::new(false);
    let ask = || {
        let (mut client, mut waits) = (lab.gateway.client(), Waits::new());
        while !over.load(Ordering::Relaxed) {
            let asked = Instant::now();
            client.send(&order()).assert_ok();
            waits.push((asked, asked.elapsed()));
            thread::sleep(Duration::from_millis(4).saturating_sub(asked.elapsed()));
        }
        waits
    };
    let mut reloads: Vec<(Instant, Instant)> = Vec::new();
    // Two callers, 500 requests a second together; a reload every second or so, and as much time without one.
    let waits: Waits = thread::scope(|scope| {
        let asking: Vec<_> = (0..2).map(|_| scope.spawn(ask)).collect();
        for number in 0..TURNS {
            lab.gateway.replace_file("large.toml", &format!("{}# {number}\n", large("large", 10_000)));
            thread::sleep(Duration::from_millis(100));
            let began = Instant::now();
            let answer = lab.gateway.admin_json("POST", "/reload", &json!({})).assert_ok().json();
            reloads.push((began, Instant::now()));
            assert_eq!(answer["changed"], true);
            thread::sleep(Duration::from_millis(1000));
        }
        over.store(true, Ordering::Relaxed);
        asking.into_iter().flat_map(|thread| thread.join().expect("no request failed")).collect()
    });
    let took: Vec<Duration> = reloads.iter().map(|(began, done)| *done - *began).collect();
    let slowest = took.iter().max().copied().unwrap_or_default();
    let beside = |asked: &Instant| reloads.iter().any(|(began, done)| (*began..*done).contains(asked));
    let (during, quiet): (Waits, Waits) = waits.into_iter().partition(|(asked, _)| beside(asked));
    let [during, quiet] = [during, quiet].map(|waits| p99(waits.into_iter().map(|(_, wait)| wait).collect()));
    eprintln!("{TURNS} reloads of 10 000 routes took at most {slowest:?}; p99 {quiet:?}, during them {during:?}");
    assert!(slowest < Duration::from_secs(1), "{took:?}");
    assert!(during < quiet * 2, "{during:?} during, {quiet:?} otherwise");
}
