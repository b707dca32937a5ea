//! The same verdicts everywhere: a thousand seeded traces go through a real Redis in real time, and once more, by the times
//! that its server told, through the store in memory and through this module's own arithmetic. Every answer has to be the
//! same, to the cell and to the nanosecond. A failure names its seed; `PORTCULLIS_SEED` begins with that one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::bucket::conform;
use super::tests::Dice;
use crate::policy::quota::Rate;
use crate::store::tests::server::Server;
use crate::store::{Bucket, Draw, Drawn, EXACT_BELOW, Memory, Store};

const TRACES: u64 = 1000;
const STEPS: usize = 25;

/// How many run at the same time: more, and each waits for the others longer than its buckets take to fill.
const AT_ONCE: u64 = 50;

/// One bucket of a trace.
struct Kind {
    key: String,
    rate: Rate,
    lease: u32,
}

impl Kind {
    fn roll(dice: &mut Dice, key: String) -> Self {
        // From a few microseconds to a tenth of a second, and no round number.
        let interval = (1 << (12 + dice.below(15))) + dice.below(4001);
        let burst = [1, 2, 3 + small(dice, 10), 20 + small(dice, 100)][usize::try_from(dice.below(4)).unwrap()];
        let lease = [1, 1, 2, 3][usize::try_from(dice.below(4)).unwrap()];
        Self { key, rate: Rate { interval, burst, shared: true }, lease }
    }

    fn bucket(&self) -> Bucket<'_> {
        Bucket { realm: "ucaas", key: &self.key, interval: self.rate.interval, burst: self.rate.burst }
    }
}

/// What is done to the buckets, which are named by their places.
enum Step {
    /// Each with the cells that are owed.
    Draw(Vec<(usize, u32)>),
    GiveBack(Vec<(usize, u32)>),
}

impl Step {
    fn roll(dice: &mut Dice, kinds: &[Kind]) -> Self {
        let first = usize::try_from(dice.below(kinds.len() as u64)).unwrap();
        let some = 1 + usize::try_from(dice.below(kinds.len() as u64)).unwrap();
        let places = (first..first + some).map(|place| place % kinds.len());
        if dice.below(5) == 0 {
            return Self::GiveBack(places.map(|place| (place, small(dice, 4))).collect());
        }
        let owed = |place: usize| {
            if dice.below(8) == 0 { (place, small(dice, kinds[place].rate.burst + 2)) } else { (place, 0) }
        };
        Self::Draw(places.map(owed).collect())
    }
}

fn small(dice: &mut Dice, limit: u32) -> u32 {
    u32::try_from(dice.below(limit.into())).unwrap()
}

fn draws<'k>(kinds: &'k [Kind], wishes: &[(usize, u32)]) -> Vec<Draw<'k>> {
    let draw = |&(place, owed): &(usize, u32)| Draw { bucket: kinds[place].bucket(), lease: kinds[place].lease, owed };
    wishes.iter().map(draw).collect()
}

fn unused<'k>(kinds: &'k [Kind], cells: &[(usize, u32)]) -> Vec<(Bucket<'k>, u32)> {
    cells.iter().map(|&(place, cells)| (kinds[place].bucket(), cells)).collect()
}

/// The buckets as this module counts them: by the time at which each is full.
struct Local<'k> {
    kinds: &'k [Kind],
    tats: Vec<u64>,
}

impl Local<'_> {
    fn draw(&mut self, wishes: &[(usize, u32)], at_us: u64) -> Vec<Drawn> {
        let (now, kinds) = (at_us * 1000, self.kinds);
        for &(place, owed) in wishes.iter().filter(|(_, owed)| *owed > 0) {
            let rate = &kinds[place].rate;
            let owing = self.tats[place].max(now) + u64::from(owed) * rate.interval;
            self.tats[place] = owing.min(now + rate.capacity());
        }
        let fits = |tats: &[u64], place: usize, cells| conform(tats[place], now, &kinds[place].rate, cells);
        let enough = wishes.iter().all(|&(place, _)| fits(&self.tats, place, 1).is_ok());
        let mut take = |&(place, _): &(usize, u32)| {
            let lease = kinds[place].lease;
            let has_many = fits(&self.tats, place, EXACT_BELOW * lease).is_ok();
            let granted = if !enough {
                0
            } else if has_many {
                lease
            } else {
                1
            };
            if granted > 0 {
                self.tats[place] = fits(&self.tats, place, granted).unwrap();
            }
            Drawn { granted, debt: self.tats[place].saturating_sub(now) }
        };
        wishes.iter().map(&mut take).collect()
    }

    fn give_back(&mut self, cells: &[(usize, u32)]) {
        for &(place, cells) in cells {
            self.tats[place] = self.tats[place].saturating_sub(u64::from(cells) * self.kinds[place].rate.interval);
        }
    }
}

/// What the traces have shown.
#[derive(Debug, Default)]
struct Shown {
    traces: u64,
    given: u64,
    leased: u64,
    refused: u64,
    /// Refused for the sake of another bucket.
    spared: u64,
    owed: u64,
    given_back: u64,
}

impl Shown {
    fn note(&mut self, wishes: &[(usize, u32)], drawn: &[Drawn], kinds: &[Kind]) {
        for (&(place, owed), drawn) in wishes.iter().zip(drawn) {
            let rate = &kinds[place].rate;
            self.given += u64::from(drawn.granted == 1);
            self.leased += u64::from(drawn.granted > 1);
            self.refused += u64::from(drawn.granted == 0);
            self.spared += u64::from(drawn.granted == 0 && drawn.debt + rate.interval <= rate.capacity());
            self.owed += u64::from(owed > 0);
        }
    }

    fn add(&mut self, other: &Self) {
        self.traces += other.traces;
        self.given += other.given;
        self.leased += other.leased;
        self.refused += other.refused;
        self.spared += other.spared;
        self.owed += other.owed;
        self.given_back += other.given_back;
    }
}

/// Nothing is shown by a trace during which the server's clock was set back.
async fn run(store: &Store, seed: u64) -> Shown {
    let (mut dice, mut shown) = (Dice(seed), Shown::default());
    let many = 1 + dice.below(3);
    let kinds: Vec<Kind> = (0..many).map(|place| Kind::roll(&mut dice, format!("{seed}-{place}"))).collect();
    let clock = Arc::new(AtomicU64::new(0));
    let memory = Store::Memory(Memory::with_fine_clock(Arc::clone(&clock)));
    let mut local = Local { kinds: &kinds, tats: vec![0; kinds.len()] };
    for step in 0..STEPS {
        let place = format!("PORTCULLIS_SEED={seed}, step {step}");
        match Step::roll(&mut dice, &kinds) {
            Step::Draw(wishes) => {
                let draws = draws(&kinds, &wishes);
                let (at, drawn) = store.draw_at(&draws).await.unwrap();
                if clock.swap(at, Ordering::Relaxed) > at {
                    return Shown::default();
                }
                assert_eq!(memory.draw(&draws).await.unwrap(), drawn, "in memory: {place}");
                assert_eq!(local.draw(&wishes, at), drawn, "here: {place}");
                shown.note(&wishes, &drawn, &kinds);
            }
            Step::GiveBack(cells) => {
                let unused = unused(&kinds, &cells);
                store.give_back(&unused).await.unwrap();
                memory.give_back(&unused).await.unwrap();
                local.give_back(&cells);
                shown.given_back += 1;
            }
        }
        tokio::time::sleep(Duration::from_micros(dice.below(4000))).await;
    }
    Shown { traces: 1, ..shown }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_traces_have_the_same_verdicts_in_redis_in_memory_and_here() {
    let server = Server::start();
    let store = server.reached_store(Duration::from_secs(30)).await;
    let first = std::env::var("PORTCULLIS_SEED").map_or(1, |seed| seed.parse().unwrap());
    let worker = |number: u64| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut shown = Shown::default();
            for seed in (first + number..first + TRACES).step_by(usize::try_from(AT_ONCE).unwrap()) {
                shown.add(&run(&store, seed).await);
            }
            shown
        })
    };
    let workers: Vec<_> = (0..AT_ONCE).map(worker).collect();
    let mut shown = Shown::default();
    for worker in workers {
        shown.add(&worker.await.unwrap());
    }
    eprintln!("{shown:?}");
    let Shown { traces, given, leased, refused, spared, owed, given_back } = shown;
    assert!(traces >= TRACES - 2 * AT_ONCE, "{traces} traces");
    assert!([given, leased, refused, spared, owed, given_back].iter().all(|times| *times >= 500), "too little");
}
