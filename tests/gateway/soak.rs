//! What takes minutes or means something only on an idle machine and an optimised binary: `make soak` runs it, one test
//! at a time, with `PORTCULLIS_BINARY` naming the release build. Each prints its figures.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::accounts::Accounts;
use crate::harness::client::Client;
use crate::harness::fleet::wait_until_heard;
use crate::harness::lab::{Lab, builder, login_request};
use crate::harness::mint::Mint;
use crate::harness::redis::RedisServer;
use crate::harness::request::get;
use crate::harness::toxic::{Mood, Toxic};
use crate::harness::trial::{Trial, waits_of};
use crate::harness::upstream::{Upstream, json};
use crate::harness::wait::{PATIENCE, eventually};

const MIB: u64 = 1024;

/// Waits measured until now: all, those above 25 ms, those above 70 ms.
fn so_far(trial: &Trial) -> [f64; 3] {
    let metrics = trial.lab.gateway.metrics();
    let ((all, waited), (_, late)) = (waits_of(&metrics, "0.025"), waits_of(&metrics, "0.07"));
    [all, waited, late]
}

#[test]
#[ignore = "soak: make soak"]
fn waits_for_a_black_holed_store_keep_to_the_budget_and_twenty_milliseconds() {
    let redis = RedisServer::start();
    let toxic = Toxic::before(redis.address());
    let trial = Trial::start(&redis, &toxic.url(), |builder| builder);
    let load = trial.load();
    // Of the holes alone: the quick waits of a healthy store in between would hide the slow ones.
    let mut holes = [0.0; 3];
    for _ in 0..40 {
        let before = so_far(&trial);
        toxic.set(Mood::Hole);
        thread::sleep(Duration::from_millis(400));
        let after = so_far(&trial);
        toxic.heal();
        for (sum, (after, before)) in holes.iter_mut().zip(after.iter().zip(before)) {
            *sum += after - before;
        }
        eventually("the store is back", PATIENCE, || trial.lab.gateway.degraded().is_empty().then_some(()));
    }
    load.stop().assert_truthful();
    let [all, waited, late] = holes;
    eprintln!("in the holes: {all} waits, {waited} above 25 ms, {late} above 70 ms");
    assert!(waited > 100.0, "only {waited} requests met a hole");
    assert!(late <= all / 1000.0, "p99.9: {late} of {all} waits took longer than 70 ms");
}

#[test]
#[ignore = "soak: make soak"]
fn hundred_thousand_known_tokens_take_less_than_64_mib() {
    const TOKENS: usize = 100_000;
    const ACCOUNTS: usize = 100;
    let redis = RedisServer::start();
    let upstream = Upstream::forgetful(|_| json(200, "{}"));
    let names: Vec<String> = (0..ACCOUNTS).map(|number| format!("p{number:02}")).collect();
    let accounts = names.iter().fold(Accounts::lab(), |accounts, name| accounts.with(name, "user", Some("root")));
    let gateway = builder()
        .accounts(&accounts)
        .store_with(&redis.url(), "budget = \"2s\"")
        .token("cache = 131072")
        .upstream("lab", upstream.address())
        .start();
    let lab = Lab::of(gateway, upstream);
    wait_until_heard(&lab.gateway);
    let mint = Mint::of(&lab.gateway, &redis);
    let mut tokens = Vec::with_capacity(TOKENS);
    let mut writer = redis.connect();
    for batch in 0..TOKENS / 1000 {
        let minted: Vec<_> =
            (0..1000).map(|number| mint.session(&names[number % ACCOUNTS], batch * 1000 + number)).collect();
        writer.pipeline(&minted.iter().map(|session| session.command.clone()).collect::<Vec<_>>());
        tokens.extend(minted.into_iter().map(|session| session.token));
    }
    let gateway = &lab.gateway;
    let ask_for = |tokens: &[String]| {
        thread::scope(|scope| {
            for part in tokens.chunks(tokens.len().div_ceil(8)) {
                scope.spawn(move || {
                    let mut client = gateway.client();
                    for token in part {
                        client.send(&get("/orders/1").token(token)).assert_ok();
                    }
                });
            }
        });
    };
    // Connections, pools and the allocator's own reserves are there before it is measured.
    let warm = vec![lab.login("alice"); 20_000];
    ask_for(&warm);
    let before = lab.gateway.resident_kib();
    ask_for(&tokens);
    let after = lab.gateway.resident_kib();
    let kept = lab.gateway.metrics().sum("portcullis_token_cache_entries", &[]);
    eprintln!("{kept} tokens kept: {} KiB before, {} KiB after, {} KiB more", before, after, after - before);
    assert!(kept >= 100_000.0, "{kept} tokens are kept");
    assert!(after - before < 64 * MIB, "{} KiB", after - before);
}

/// The 99th percentile of token requests on two connections, paced so that they are no load themselves: each at a pace of its
/// own, or their timers would wake both at once, and each would be measured behind the other.
fn p99_while(lab: &Lab, token: &str, work: impl FnOnce()) -> Duration {
    let stop = AtomicBool::new(false);
    let mut times: Vec<Duration> = thread::scope(|scope| {
        let callers: Vec<_> = [1700, 2300]
            .map(|pause| {
                let stop = &stop;
                scope.spawn(move || {
                    let (mut client, mut times) = (lab.gateway.client(), Vec::new());
                    let request = get("/orders/1").token(token);
                    while !stop.load(Ordering::Relaxed) {
                        let asked = Instant::now();
                        client.send(&request).assert_ok();
                        times.push(asked.elapsed());
                        thread::sleep(Duration::from_micros(pause));
                    }
                    times
                })
            })
            .into();
        work();
        stop.store(true, Ordering::Relaxed);
        callers.into_iter().flat_map(|caller| caller.join().expect("requests go on")).collect()
    });
    times.sort_unstable();
    assert!(times.len() > 200, "only {} requests were measured", times.len());
    let at = |share: usize| times[times.len() * share / 1000];
    eprintln!("{} requests: p50 {:?}, p95 {:?}, p99 {:?}, p99.9 {:?}", times.len(), at(500), at(950), at(990), at(999));
    at(990)
}

/// Crowds in a run, one after the other: a single one gives too few requests for a 99th percentile that means something.
const CROWDS: usize = 6;

/// Two hundred logins at once; how many of them were granted. Written and read by one thread of a low priority: what is asked
/// is what logins cost the gateway, not what their clients, who sit elsewhere, cost the machine.
fn log_in_at_once(clients: &mut [Client]) -> usize {
    let request = login_request("", "bob").bytes();
    clients.iter_mut().for_each(|client| client.write(&request));
    let statuses: Vec<u16> = clients.iter_mut().map(|client| client.read().status).collect();
    let granted = statuses.iter().filter(|status| **status == 200).count();
    let refused = statuses.iter().filter(|status| **status == 503).count();
    assert_eq!(granted + refused, 200, "{statuses:?}");
    assert!(granted > 0, "{statuses:?}");
    granted
}

fn at_low_priority<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    const LOWEST: i32 = 19;
    let stepped_back = || {
        rustix::process::setpriority_process(Some(rustix::thread::gettid()), LOWEST).expect("less needs no right");
        work()
    };
    thread::scope(|scope| scope.spawn(stepped_back).join().expect("logins go on"))
}

#[test]
#[ignore = "soak: make soak"]
fn two_hundred_parallel_logins_leave_token_requests_below_twice_their_idle_p99() {
    let redis = RedisServer::start();
    let lab = Lab::with(|builder| builder.store_with(&redis.url(), "budget = \"1s\""));
    wait_until_heard(&lab.gateway);
    let token = lab.login("alice");
    // Each was served before: what a connection costs at first is no part of what is measured.
    let client = |_| {
        let mut client = lab.gateway.client().patience(PATIENCE * 3);
        client.send(&get("/orders/1").token(&token)).assert_ok();
        client
    };
    let crowd = || (0..200).map(client).collect::<Vec<_>>();
    let questions = || redis.calls().get("hmget").copied().unwrap_or_default();
    let before = questions();
    lab.login("alice");
    let of_one = questions() - before;
    log_in_at_once(&mut crowd());
    let mut ratios: Vec<f64> = (0..5)
        .map(|run| {
            let idle = p99_while(&lab, &token, || thread::sleep(Duration::from_secs(5)));
            let mut crowds: [_; CROWDS] = std::array::from_fn(|_| crowd());
            let (before, mut granted) = (questions(), 0);
            let busy = p99_while(&lab, &token, || {
                granted = at_low_priority(|| crowds.iter_mut().map(|crowd| log_in_at_once(crowd)).sum())
            });
            let ratio = busy.as_secs_f64() / idle.as_secs_f64();
            eprintln!(
                "run {run}: idle p99 {idle:?}, beside {CROWDS} x 200 logins {busy:?} ({granted} granted): {ratio:.2}"
            );
            let asked = questions() - before;
            // A few may ask while the last places are taken.
            let most = of_one * (granted + CROWDS * 8) as u64;
            assert!(asked <= most, "refused logins asked the store: {asked} questions, one login has {of_one}");
            ratio
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    eprintln!("median of 5: {:.2}", ratios[2]);
    assert!(ratios[2] < 2.0, "{ratios:?}");
}
