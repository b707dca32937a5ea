//! Bench `quota`: what it costs to charge a request to quotas: local ones, many keys, several quotas, two threads, and leased cells of
//! shared ones.
//!
//! Run by people with `cargo bench --bench quota`; what it prints is explained in `benches/README.md`. It starts where the
//! policy has worked out whose allowance is charged and ends with what the client is told. The store is one in memory, and only asked for leases.

#![allow(clippy::expect_used, reason = "where the set-up fails there is nothing to measure")]

use std::hint::black_box;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use futures_util::FutureExt as _;
use portcullis::limits::{Limits, Taken};
use portcullis::policy::quota::{Charge, Charges, Limit, Per, Quota, QuotaIndex, Rate, Subject};
use portcullis::policy::route::Location;
use portcullis::store::{Patience, Store};

/// The gateway's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let world = World::new();
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("quota");
    group.throughput(Throughput::Elements(1));
    for check in Check::ALL {
        let mut next = 0;
        group.bench_function(check.name(), |bencher| {
            bencher.iter(|| {
                next += 1;
                world.check(check, next)
            });
        });
    }
    group.bench_function("the clock alone", |bencher| bencher.iter(Instant::now));
    group.finish();
    criterion.final_summary();
    // Not in criterion's test mode, where nothing is timed.
    if std::env::args().any(|argument| argument == "--bench") {
        report(&world).expect("standard output takes the report");
    }
}

/// What is charged.
#[derive(Clone, Copy)]
enum Check {
    /// One quota, each time to another of many subjects.
    ManyKeys,
    /// One quota, always to the same subject.
    OneKey,
    /// User, customer and realm, the user and the customer each time others.
    Nested,
    /// A subject that has nothing left.
    Refused,
    /// One quota that gateways share, of which a hundredth of the burst is leased at a time.
    Leased,
}

impl Check {
    const ALL: [Check; 5] = [Check::ManyKeys, Check::OneKey, Check::Nested, Check::Refused, Check::Leased];

    const fn name(self) -> &'static str {
        match self {
            Check::ManyKeys => "local, 100 000 keys",
            Check::OneKey => "local, one key",
            Check::Nested => "local, three nested",
            Check::Refused => "local, refused",
            Check::Leased => "shared, leased",
        }
    }
}

/// Limits with what is charged to them.
struct World {
    limits: Limits,
    patience: Patience,
    /// When all requests arrived: a request knows that, and a check looks at no clock.
    began: Instant,
    quotas: [Quota; 3],
    spent: Quota,
    shared: Quota,
    /// In the order of their turns: a request has just read whose it is, and does not have to look for that.
    users: String,
    customers: String,
}

impl World {
    fn new() -> Self {
        let world = Self {
            limits: Limits::new(Arc::new(Store::memory())),
            patience: Patience::new(Duration::from_secs(1)),
            began: Instant::now(),
            // So much that nothing is ever refused.
            quotas: [1, 2, 3].map(|mark| quota(mark, 1, u32::MAX)),
            spent: quota(4, 3_600_000_000_000, 1),
            // Leases of 1000, of a bucket that refills faster than anybody can ask.
            shared: Quota { limit: Limit::Rate(Rate { interval: 1, burst: 100_000, shared: true }), ..quota(5, 1, 1) },
            users: (0..KEYS).map(|turn| id("usr", turn * STRIDE % KEYS)).collect(),
            customers: (0..KEYS).map(|turn| id("cus", turn * STRIDE % KEYS / 100)).collect(),
        };
        // Not in the order of the turns: what is made one after the other may lie side by side.
        for number in 0..KEYS {
            assert!(world.take([(&world.quotas[0], Subject::Account(&id("usr", number)))]), "{number} has enough");
        }
        assert_eq!(world.limits.kept(), KEYS, "every key is there before anything is measured");
        assert!(world.check(Check::Refused, 0), "the first is admitted");
        assert!((0..KEYS).all(|turn| world.check(Check::Nested, turn)), "nested quotas have enough");
        assert!((0..KEYS).all(|turn| world.check(Check::Leased, turn)), "the store in memory gives leases");
        assert!(!world.check(Check::Refused, 1), "from then on, all are refused");
        world
    }

    fn take<const N: usize>(&self, wanted: [(&Quota, Subject<'_>); N]) -> bool {
        let charge = |(quota, subject)| Charge { index: QuotaIndex(0), quota, subject };
        let charges = Charges::of("ucaas", wanted.map(charge));
        let taken = self.limits.take(black_box(&charges), self.began, &self.patience, |_, _| {}).now_or_never();
        matches!(black_box(taken), Some(Taken::All { .. }))
    }

    /// Whether it was admitted.
    fn check(&self, check: Check, turn: usize) -> bool {
        let (user, customer) = (account(&self.users, turn), account(&self.customers, turn));
        let [per_user, per_customer, per_realm] = &self.quotas;
        match check {
            Check::ManyKeys => self.take([(per_user, user)]),
            Check::OneKey => self.take([(per_user, account(&self.users, 0))]),
            Check::Nested => self.take([(per_user, user), (per_customer, customer), (per_realm, Subject::Realm)]),
            Check::Refused => self.take([(&self.spent, Subject::Realm)]),
            Check::Leased => self.take([(&self.shared, customer)]),
        }
    }

    /// Nanoseconds a check.
    fn time_slice(&self, check: Check, begin: usize, checks: usize) -> f64 {
        let started = Instant::now();
        for turn in begin..begin + checks {
            black_box(self.check(check, turn));
        }
        started.elapsed().as_nanos() as f64 / checks as f64
    }

    /// Nanoseconds a check of one thread, alone or beside another that checks without a pause. Only slices count in which
    /// the other got somewhere: on a busy machine, two threads often take turns. `None` if there were too few.
    fn time_threads(&self, check: Check, threads: usize) -> Option<f64> {
        let (start, finished) = (Barrier::new(threads), [const { AtomicUsize::new(0) }; 2]);
        let slices = |thread: usize| {
            let (own, other) = (&finished[thread], &finished[1 - thread]);
            let mut times = Vec::new();
            start.wait();
            let begun = Instant::now();
            while begun.elapsed() < TOGETHER {
                let before = other.load(Ordering::Relaxed);
                let turn = thread * KEYS / 2 + own.load(Ordering::Relaxed) * SHORT_SLICE;
                let time = self.time_slice(check, turn, SHORT_SLICE);
                own.fetch_add(1, Ordering::Relaxed);
                if threads == 1 || other.load(Ordering::Relaxed) > before {
                    times.push(time);
                }
            }
            times
        };
        let times = thread::scope(|scope| {
            let slices = &slices;
            let others: Vec<_> = (1..threads).map(|thread| scope.spawn(move || slices(thread))).collect();
            let mut times = slices(0);
            for other in others {
                times.extend(other.join().expect("no check panics"));
            }
            times
        });
        (times.len() > 50).then(|| median(times))
    }
}

/// Of [`ID`] bytes.
fn id(kind: &str, number: usize) -> String {
    format!("{kind}-{number:08}")
}

fn account(ids: &str, turn: usize) -> Subject<'_> {
    let begin = turn % KEYS * ID;
    Subject::Account(&ids[begin..begin + ID])
}

fn quota(mark: u64, interval: u64, burst: u32) -> Quota {
    Quota {
        name: "standard".into(),
        location: Location { file: "ucaas.toml".into(), line: 1 },
        per: Per::Principal,
        limit: Limit::Rate(Rate { interval, burst, shared: false }),
        written: "".into(),
        mark,
    }
}

/// Times slices of all checks in turns, so that a machine that slows down slows all.
fn report(world: &World) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{:26} {:>9} {:>14}", "check", "median", "quickest 10 %")?;
    let mut row = |name: &str, times: Vec<f64>| {
        let (time, quickest) = (median(times.clone()), quantile(times, 0.1));
        writeln!(out, "{name:26} {time:6.0} ns {quickest:11.0} ns").map(|()| time)
    };
    // As criterion does it: 100 000 keys, and again from the first.
    let slices = (0..TURNS * KEYS / SLICE).map(|slice| world.time_slice(Check::ManyKeys, slice * SLICE, SLICE));
    let local = row(Check::ManyKeys.name(), slices.collect())?;
    let mut times = [const { Vec::new() }; Check::ALL.len()];
    for round in 0..ROUNDS {
        for (check, times) in Check::ALL.into_iter().zip(&mut times) {
            // Each elsewhere: none finds warm what the one before used.
            times.push(world.time_slice(check, round * SLICE + check as usize * KEYS / 4, SLICE));
        }
    }
    let [cold, one_key, nested, refused, leased] = times;
    row("the same, between others", cold)?;
    for (check, times) in [(Check::OneKey, one_key), (Check::Nested, nested), (Check::Refused, refused)] {
        row(check.name(), times)?;
    }
    let leased = row(Check::Leased.name(), leased)?;
    report_threads(world, &mut out)?;
    let verdict = |median, most| if median < most { "holds" } else { "IS BROKEN" };
    let (local, leased) = (verdict(local, MOST_NANOSECONDS), verdict(leased, MOST_LEASED_NANOSECONDS));
    writeln!(out, "bound (a local check at {KEYS} keys below {MOST_NANOSECONDS} ns): {local}")?;
    writeln!(out, "bound (a leased check below {MOST_LEASED_NANOSECONDS} ns): {leased}\n")
}

/// One thread beside two that check without a pause.
fn report_threads(world: &World, out: &mut impl std::io::Write) -> std::io::Result<()> {
    writeln!(out, "\n{:22} {:>9} {:>11} {:>6}", "threads", "one", "each of two", "ratio")?;
    for check in [Check::OneKey, Check::ManyKeys] {
        let (mut alone, mut together, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..THREAD_ROUNDS {
            // A B B A: a drift within the round hits both alike.
            let [Some(a), Some(b), Some(c), Some(d)] = [1, 2, 2, 1].map(|threads| world.time_threads(check, threads))
            else {
                continue;
            };
            ratios.push((b + c) / (a + d));
            alone.push(f64::midpoint(a, d));
            together.push(f64::midpoint(b, c));
        }
        if ratios.is_empty() {
            writeln!(out, "{:22} two threads never ran at once", check.name())?;
            continue;
        }
        let [alone, together, ratio] = [alone, together, ratios].map(median);
        writeln!(out, "{:22} {alone:6.0} ns {together:8.0} ns {ratio:6.2}", check.name())?;
    }
    Ok(())
}

fn median(values: Vec<f64>) -> f64 {
    quantile(values, 0.5)
}

fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() as f64 * share) as usize]
}

const KEYS: usize = 100_000;
const ID: usize = 12;
/// A prime: every subject has its turn, far from the one before.
const STRIDE: usize = 7_368_787;
/// How often all keys have their turn.
const TURNS: usize = 40;
const ROUNDS: usize = 400;
/// Checks in one timed slice: short, so that most slices are not interrupted.
const SLICE: usize = 2000;
/// Checks in a slice of a thread beside another.
const SHORT_SLICE: usize = 250;
/// How long threads check together.
const TOGETHER: Duration = Duration::from_millis(60);
const THREAD_ROUNDS: usize = 15;
/// The bounds that the issue states.
const MOST_NANOSECONDS: f64 = 150.0;
const MOST_LEASED_NANOSECONDS: f64 = 250.0;
