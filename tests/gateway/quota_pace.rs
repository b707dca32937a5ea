//! Quotas in time, at the real binary: how much passes in a window, what a client that obeys meets, and what a refusal
//! costs.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::accounts::key_of;
use crate::harness::lab::Lab;
use crate::harness::request::{Request, get};
use crate::harness::shop::Shop;
use crate::harness::upstream::{Upstream, json};

fn user(target: &str) -> Request {
    get(target).basic("ak_usr-1", &key_of("ak_usr-1"))
}

/// When each request that passed was sent, and when its answer was there.
type Passed = Vec<(Instant, Instant)>;

/// The most that can have passed in any span of `window`: counted is what lies in it whole.
fn most_in(passed: &Passed, window: Duration) -> usize {
    let within = |from: Instant| passed.iter().filter(|(sent, got)| *sent >= from && *got <= from + window).count();
    passed.iter().map(|(sent, _)| within(*sent)).max().unwrap_or(0)
}

#[test]
fn no_window_long_span_passes_more_than_the_burst_and_one_window_of_the_rate() {
    const RATE: usize = 40;
    let lab = Shop::default().quota("own", &format!("per = \"principal\"\nrate = \"{RATE}/s\""), &["items"]).lab();
    let (mut client, request) = (lab.gateway.client(), user("/s/items/1"));
    client.send(&user("/s/other")).assert_ok();
    let began = Instant::now();
    let mut passed = Passed::new();
    let (mut refused, mut at_edges) = (0, [0, 0]);
    while began.elapsed() < Duration::from_millis(3200) {
        let since = began.elapsed().as_millis() % 1000;
        // Only around the edges of what a fixed window would be: in its last and its first 50 ms.
        if !(50..950).contains(&since) {
            let sent = Instant::now();
            match client.send(&request).status {
                200 => {
                    passed.push((sent, Instant::now()));
                    at_edges[usize::from(began.elapsed() < Duration::from_millis(1500))] += 1;
                }
                _ => refused += 1,
            }
        } else {
            thread::sleep(Duration::from_millis(1));
        }
    }
    let (took, most) = (began.elapsed(), most_in(&passed, Duration::from_secs(1)));
    eprintln!("{} passed and {refused} were refused in {took:?}; {most} at most in a second", passed.len());
    assert!(most <= 2 * RATE, "{most} in one second");
    assert!(refused > RATE, "too little was asked: {refused}");
    let bound = RATE + (took.as_secs_f64() * RATE as f64).ceil() as usize;
    assert!(passed.len() <= bound, "{} of {bound}", passed.len());
    // What came back in between was not lost either: the burst at first, and again after each pause.
    assert!(at_edges.iter().sum::<usize>() >= 2 * RATE, "{at_edges:?}");
    // An edge has what was saved up, not a second whole burst on top: in the 100 ms around it, one burst and a tenth.
    let edge = most_in(&passed, Duration::from_millis(100));
    assert!(edge <= RATE + RATE.div_ceil(10) + 1, "{edge} around an edge");
}

/// Sends as fast as what it is told permits, for a while; how many answers it got, and how many of them were 429.
fn obey(lab: &Lab, target: &str, account: &str, time: Duration) -> (usize, usize) {
    let (began, id) = (Instant::now(), format!("ak_{account}"));
    let (mut client, request) = (lab.gateway.client(), get(target).basic(&id, &key_of(&id)));
    let (mut answers, mut refused) = (0, 0);
    while began.elapsed() < time {
        let response = client.send(&request);
        answers += 1;
        let told = response.told().expect("each is charged");
        let mut wait = if told.remaining == 0 { u64::try_from(told.more_in).expect("no sign") } else { 0 };
        if response.status == 429 {
            refused += 1;
            wait = wait.max(response.assert_over_quota());
        }
        thread::sleep(Duration::from_secs(wait));
    }
    (answers, refused)
}

#[test]
fn a_client_that_obeys_what_it_is_told_is_never_refused() {
    let shop = Shop::default()
        .quota("own", "per = \"principal\"\nrate = \"15/s\"\nburst = 20", &["items"])
        .quota("tenant", "per = \"customer\"\nrate = \"12/s\"\nburst = 30", &["items"])
        .quota("door", "per = \"address\"\nrate = \"30/s\"\nburst = 90", &["arrival"]);
    let lab = shop.lab();
    // Alone under its customer, but two customers behind one address: what one takes, the other is told with its answers.
    let (answers, refused) = obey(&lab, "/s/items/1", "usr-1", Duration::from_secs(10));
    eprintln!("{answers} answers, {refused} of them refusals");
    assert_eq!(refused, 0, "of {answers}");
    // It is not held back either: the burst, and most of ten seconds of the rate.
    assert!(answers >= 60, "{answers}");
}

/// CPU time of the gateway per answer, while this is asked on many connections: under load, each turn of its event loop
/// serves several. What it costs to wake an idle machine for one request is nothing that a refusal could save.
fn cost(lab: &Lab, request: &Request, status: u16, time: Duration) -> Duration {
    let (began, worked) = (Instant::now(), lab.gateway.worked());
    let answers: u32 = thread::scope(|scope| {
        let callers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut clients: Vec<_> = (0..32).map(|_| lab.gateway.client()).collect();
                    let (bytes, mut answers) = (request.bytes(), 0);
                    while began.elapsed() < time {
                        clients.iter_mut().for_each(|client| client.write(&bytes));
                        clients.iter_mut().for_each(|client| assert_eq!(client.read().status, status));
                        answers += 32;
                    }
                    answers
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().expect("requests go on")).sum()
    });
    (lab.gateway.worked() - worked) / answers.max(1)
}

#[test]
#[ignore = "soak: make soak"]
fn a_429_costs_at_most_a_fifth_of_the_cpu_of_a_forwarded_call() {
    // By turns, and short ones: what a core does at a time depends on what else the machine does just then.
    const TURNS: usize = 15;
    let time = Duration::from_secs(1);
    let upstream = || Upstream::forgetful(|_| json(200, "{}"));
    let wide = Shop::default().quota("door", "per = \"address\"\nrate = \"1000000/s\"", &["arrival"]);
    let narrow = Shop::default().quota("door", "per = \"address\"\nrate = \"1/h\"", &["arrival"]);
    let (open, shut) =
        (wide.lab_before(upstream(), |builder| builder), narrow.lab_before(upstream(), |builder| builder));
    open.call(&user("/s/items/1")).assert_ok();
    shut.call(&user("/s/items/1")).assert_ok();
    cost(&open, &user("/s/items/1"), 200, time);
    let mut ratios: Vec<f64> = (0..TURNS)
        .map(|_| {
            let (forwarded, refused) =
                (cost(&open, &user("/s/items/1"), 200, time), cost(&shut, &user("/s/items/1"), 429, time));
            let ratio = refused.as_secs_f64() / forwarded.as_secs_f64();
            eprintln!("a forwarded call costs {forwarded:?} of CPU, a 429 {refused:?}: {ratio:.3}");
            ratio
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    eprintln!("median of {TURNS}: {:.3}", ratios[TURNS / 2]);
    assert!(ratios[TURNS / 2] <= 0.2, "{ratios:?}");
}
