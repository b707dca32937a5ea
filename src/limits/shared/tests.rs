//! Leases and shares on a store in memory, and on one that cannot be reached.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};

use super::lease::{share_of, told};
use super::*;
use crate::limits::bucket::{conform, remaining};
use crate::policy::quota::{Limit, Per, Quota, QuotaIndex, Subject};
use crate::policy::route::Location;
use crate::store::RedisSettings;

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3600 * SECOND;
const BEGIN: u64 = 1 << 62;

/// A gateway with one quota of so many cells, and a clock that stands unless it is moved.
struct Node {
    shared: Shared,
    quota: Quota,
    rate: Rate,
    now: AtomicU64,
}

impl Node {
    fn new(store: &Arc<Store>, interval: u64, burst: u32) -> Self {
        Self::with(store, interval, burst, Leases::new())
    }

    fn with(store: &Arc<Store>, interval: u64, burst: u32, leases: Leases) -> Self {
        let rate = Rate { interval, burst, shared: true };
        let quota = Quota {
            name: "q".into(),
            location: Location { file: "p.toml".into(), line: 1 },
            per: Per::Address,
            limit: Limit::Rate(rate),
            written: "".into(),
            mark: 7,
        };
        Self { shared: Shared::with(Arc::clone(store), leases), quota, rate, now: AtomicU64::new(BEGIN) }
    }

    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    fn pass(&self, time: u64) {
        self.now.fetch_add(time, Ordering::Relaxed);
    }

    fn wanted(&self, subject: u8) -> Wanted<'_> {
        let network = IpAddr::V4(Ipv4Addr::new(192, 0, 2, subject));
        let charge = Charge { index: QuotaIndex(0), quota: &self.quota, subject: Subject::Network(network) };
        let key = Key { mark: self.quota.mark, hash: [subject.into(), 0] };
        Wanted { place: 0, key, realm: "r", charge, rate: self.rate }
    }

    fn leased(&self, subject: u8) -> Option<u64> {
        self.shared.take_leased(self.wanted(subject).key, self.now())
    }

    async fn draw(&self, subjects: &[u8]) -> Drawn {
        let wanted: Vec<_> = subjects.iter().map(|subject| self.wanted(*subject)).collect();
        self.shared.draw(&wanted, || self.now(), &self.shared.0.store.patience()).await
    }

    /// As `limits` takes: whether one was to be had.
    async fn take(&self, subject: u8) -> bool {
        self.leased(subject).is_some() || !matches!(self.draw(&[subject]).await, Drawn::Refused { .. })
    }

    fn left(&self, subject: u8) -> u32 {
        remaining(self.shared.peek(self.wanted(subject).key, self.now()), self.now(), &self.rate)
    }

    async fn tidy(&self) {
        self.shared.0.tidy(&|| self.now()).await;
    }
}

/// Nobody listens there, and nobody tries to connect.
fn no_store() -> Arc<Store> {
    let settings = RedisSettings {
        url: "redis://127.0.0.1:1".into(),
        prefix: "portcullis:".into(),
        budget: std::time::Duration::from_millis(50),
        replicas: 0,
        tls: None,
    };
    Arc::new(Store::redis(settings).unwrap())
}

#[tokio::test]
async fn a_hundredth_is_leased_at_a_time_and_serves_without_the_store() {
    let node = Node::new(&Arc::new(Store::memory()), HOUR / 4, 1000);
    assert!(node.leased(1).is_none(), "nothing is leased yet");
    let Drawn::Cells(tats) = node.draw(&[1]).await else { panic!("the store has 1000") };
    assert_eq!(remaining(tats[0], node.now(), &node.rate), 999);
    for left in (990..999).rev() {
        let tat = node.leased(1).unwrap_or_else(|| panic!("one of ten, {left}"));
        assert_eq!(remaining(tat, node.now(), &node.rate), left);
    }
    assert!(node.leased(1).is_none(), "ten were leased");
    node.shared.put_back(node.wanted(1).key);
    assert_eq!(node.left(1), 991);
    assert!(node.leased(1).is_some(), "the one that came back");
}

#[tokio::test]
async fn whoever_the_store_is_not_asked_for_is_told_the_whole_wait_too() {
    let node = Node::new(&Arc::new(Store::memory()), HOUR, 1);
    assert!(node.take(1).await);
    for refusal in 0..3 {
        let Drawn::Refused { wait, .. } = node.draw(&[1]).await else { panic!("one an hour") };
        assert!((HOUR - 60 * SECOND..=HOUR).contains(&wait), "{refusal}: {wait}");
        node.pass(SECOND / 4);
    }
}

#[tokio::test]
async fn cells_of_a_client_that_left_stay_in_the_lease() {
    let node = Node::new(&Arc::new(Store::memory()), HOUR / 4, 1000);
    let (pool, wanted) = (&node.shared.0, node.wanted(1));
    let gate = pool.gate("r");
    let order = pool.order(&wanted, &gate, Purpose::Lease, node.now());
    let answer = Arc::clone(pool).ask(vec![order], gate, Pass::Open, || BEGIN).await;
    assert!(matches!(answer, Ok(Answer::Granted(_))));
    drop(answer);
    assert_eq!((0..20).filter(|_| node.leased(1).is_some()).count(), 10);
}

#[tokio::test]
async fn of_what_many_left_at_once_no_more_than_a_lease_stays_however_busy_the_bucket_is() {
    let store = Arc::new(Store::memory());
    let nodes = [(); 2].map(|()| Node::new(&store, HOUR / 4, 1000));
    let wanted = nodes[0].wanted(1);
    for _ in 0..50 {
        assert!(matches!(nodes[0].draw(&[1]).await, Drawn::Cells(_)));
    }
    // All of them are refused by another quota.
    (0..50).for_each(|_| nodes[0].shared.put_back(wanted.key));
    assert!(nodes[0].leased(1).is_some(), "in use");
    nodes[0].tidy().await;
    assert!(matches!(nodes[1].draw(&[1]).await, Drawn::Cells(_)));
    assert_eq!(nodes[1].left(1), 988, "all but one that was used, a lease, and its own");
    assert_eq!((0..20).filter(|_| nodes[0].leased(1).is_some()).count(), 10);
}

#[tokio::test]
async fn a_lease_goes_back_after_an_outage_that_nobody_else_sees_the_end_of() {
    let store = Arc::new(Store::memory());
    let nodes = [(); 2].map(|()| Node::new(&store, HOUR / 4, 1000));
    assert!(nodes[0].take(1).await);
    nodes[0].shared.0.gate("r").hear(Pass::Open, Err(StoreError::TimedOut), nodes[0].now());
    for _ in 0..4 {
        nodes[0].pass(SECOND);
        nodes[0].tidy().await;
    }
    assert!(nodes[0].leased(1).is_none(), "given back");
    assert!(matches!(nodes[1].draw(&[1]).await, Drawn::Cells(_)));
    assert_eq!(nodes[1].left(1), 998, "two were used");
}

#[tokio::test]
async fn while_a_lease_is_asked_for_others_ask_for_one_cell() {
    let node = Node::new(&Arc::new(Store::memory()), HOUR / 4, 1000);
    let (pool, wanted) = (&node.shared.0, node.wanted(1));
    let gate = pool.gate("r");
    let order = || pool.order(&wanted, &gate, Purpose::Lease, node.now());
    let first = order();
    assert_eq!((first.draw().lease, order().draw().lease, order().draw().lease), (10, 1, 1));
    // Whoever asked for it never came back.
    node.pass(3 * SECOND);
    assert_eq!(order().draw().lease, 10);
    let answer = Arc::clone(pool).ask(vec![order()], Arc::clone(&gate), Pass::Open, || node.now()).await;
    assert!(answer.is_ok());
    assert_eq!(order().draw().lease, 1, "an answer to another order ends nobody's asking");
}

#[tokio::test]
async fn several_gateways_admit_exactly_the_burst_once_idle_leases_are_back() {
    let store = Arc::new(Store::memory());
    let nodes: Vec<Node> = (0..3).map(|_| Node::new(&store, HOUR / 4, 1000)).collect();
    let mut admitted = 0;
    for at in [0, 1, 1, 2, 0, 2, 1] {
        for _ in 0..57 {
            admitted += u32::from(nodes[at].take(1).await);
        }
    }
    assert_eq!(admitted, 399);
    while nodes[0].take(1).await {
        admitted += 1;
    }
    assert_eq!(admitted, 985, "the others hold nine and six");
    for node in &nodes[1..] {
        node.tidy().await;
    }
    node_is_dry(&nodes[0]).await;
    for node in &nodes {
        node.pass(2 * SECOND);
    }
    for node in &nodes[1..] {
        node.tidy().await;
        assert!(node.leased(1).is_none(), "it gave its lease back");
    }
    while nodes[0].take(1).await {
        admitted += 1;
    }
    assert_eq!(admitted, 1000);
}

async fn node_is_dry(node: &Node) {
    let Drawn::Refused { wait, on_share: false, .. } = node.draw(&[1]).await else { panic!("there is none") };
    assert!(wait > 0);
}

#[tokio::test]
async fn close_gives_everything_back_at_once() {
    let store = Arc::new(Store::memory());
    let (first, second) = (Node::new(&store, HOUR / 4, 1000), Node::new(&store, HOUR / 4, 1000));
    assert!(first.take(1).await && first.take(2).await);
    first.shared.give_back_all(|| first.now()).await;
    let mut admitted = 0;
    while second.take(1).await {
        admitted += 1;
    }
    assert_eq!(admitted, 999);
}

#[tokio::test]
async fn one_that_is_empty_takes_nothing_of_the_others_and_is_told() {
    let node = Node::new(&Arc::new(Store::memory()), HOUR, 3);
    for _ in 0..3 {
        assert!(node.take(2).await);
    }
    for _ in 0..5 {
        let Drawn::Refused { which: 1, wait, on_share: false, .. } = node.draw(&[1, 2]).await else {
            panic!("the second has nothing left")
        };
        // By the store's clock, and by what was told of it: the same wait, whether or not the store is asked.
        assert!((HOUR - 10 * SECOND..=HOUR).contains(&wait), "{wait}");
    }
    assert_eq!(node.left(1), 3);
    assert!(node.take(1).await);
}

#[tokio::test]
async fn a_gateway_alone_without_its_store_admits_the_quota_and_no_more() {
    let node = Node::new(&no_store(), SECOND / 10, 20);
    let mut admitted = 0;
    for _ in 0..1000 {
        admitted += u32::from(node.take(1).await);
        node.pass(SECOND / 100);
    }
    // Ten seconds at ten a second, and the burst.
    assert!((119..=120).contains(&admitted), "{admitted}");
    while node.take(1).await {}
    let Drawn::Refused { on_share: true, wait, .. } = node.draw(&[1]).await else { panic!("on its share") };
    assert!((1..=SECOND / 10).contains(&wait), "{wait}");
}

#[tokio::test]
async fn the_own_share_is_all_or_none_too() {
    let node = Node::new(&no_store(), HOUR, 3);
    for _ in 0..3 {
        assert!(matches!(node.draw(&[2]).await, Drawn::Share(_)));
    }
    for _ in 0..5 {
        assert!(matches!(node.draw(&[1, 2]).await, Drawn::Refused { which: 1, on_share: true, .. }));
    }
    assert_eq!((node.left(1), node.left(2)), (3, 0));
    node.shared.refund_share(node.wanted(2).key);
    assert_eq!(node.left(2), 1);
    assert!(matches!(node.draw(&[1, 2]).await, Drawn::Share(_)));
}

#[tokio::test]
async fn keys_beyond_the_room_are_exact_and_share_one_bucket_in_an_outage() {
    let room = || Leases::with_room(64);
    let store = Arc::new(Store::memory());
    let node = Node::with(&store, HOUR / 4, 1000, room());
    assert!(node.take(1).await && node.take(2).await);
    assert_eq!(node.shared.0.leases.held(), 1, "one for each of 64 shards, and all keys here are of one");
    assert!(node.leased(1).is_some() && node.leased(2).is_none());
    let mut admitted = 1;
    while node.take(2).await {
        admitted += 1;
    }
    assert_eq!(admitted, 1000);

    let node = Node::with(&no_store(), HOUR, 10, room());
    let mut admitted = [0; 4];
    for turn in 0..80 {
        admitted[turn % 4] += u32::from(node.take(u8::try_from(turn % 4).unwrap()).await);
    }
    assert_eq!(admitted[0], 10);
    assert_eq!(admitted[1..].iter().sum::<u32>(), 10);
}

#[tokio::test]
async fn what_is_full_and_idle_is_forgotten_and_what_is_not_is_kept() {
    let node = Node::new(&Arc::new(Store::memory()), SECOND, 10);
    for _ in 0..5 {
        assert!(node.take(1).await);
    }
    node.pass(2 * SECOND);
    node.tidy().await;
    assert_eq!(node.shared.0.leases.held(), 1);
    node.pass(4 * SECOND);
    node.tidy().await;
    assert_eq!(node.shared.0.leases.held(), 0);
}

fn lease(interval: u64, burst: u32) -> Lease {
    let rate = Rate { interval, burst, shared: true };
    let origin = Origin { gate: Arc::new(Gate::new("r")), key: "k".into(), rate };
    Lease::new(Key { mark: 1, hash: [1, 1] }, Arc::new(origin), BEGIN)
}

/// How many a share admits in so long, asked every millisecond.
fn admitted(lease: &mut Lease, gateways: u32, from: u64, time: u64) -> u64 {
    (from..from + time).step_by(1_000_000).map(|now| u64::from(lease.take_share(gateways, now).is_ok())).sum()
}

#[test]
fn a_share_is_the_quota_over_the_gateways_never_all_and_never_nothing() {
    for (gateways, burst) in [(1, 60), (2, 60), (3, 60), (3, 1), (7, 3), (10, 100)] {
        let mut lease = lease(SECOND / 60, burst);
        let admitted = admitted(&mut lease, gateways, BEGIN, 60 * SECOND);
        let (rate, share) = (3600 / u64::from(gateways), u64::from((burst / gateways).max(1)));
        assert!((rate - 1..=rate + share).contains(&admitted), "{gateways} gateways, burst {burst}: {admitted}");
    }
}

#[test]
fn a_share_begins_where_the_quota_stood() {
    let mut lease = lease(SECOND, 10);
    let order = lease.order(Purpose::Lease, BEGIN);
    // Empty, as the store told last.
    let empty = crate::store::Drawn { granted: 0, debt: 10 * SECOND };
    assert_eq!(lease.settle(&order, empty, BEGIN), Some(SECOND));
    assert!(matches!(lease.take_share(2, BEGIN), Err((wait, _)) if wait == 2 * SECOND));
    // In ten seconds a share of two admits five, and not the burst first.
    let admitted = admitted(&mut lease, 2, BEGIN, 10 * SECOND);
    assert!((4..=5).contains(&admitted), "{admitted}");
}

#[test]
fn the_store_is_told_the_level_that_the_share_came_to_once() {
    let mut lease = lease(SECOND, 100);
    for _ in 0..50 {
        assert!(lease.take_share(2, BEGIN).is_ok());
    }
    assert!(lease.take_share(2, BEGIN).is_err());
    // This gateway's fifty, and those of the other; one a second comes back.
    assert_eq!([0, 20, 1000].map(|later| lease.owed(BEGIN + later * SECOND)), [100, 80, 0]);
    let now = BEGIN + 20 * SECOND;
    assert_eq!(lease.order(Purpose::Probe, now).draw().owed, 0, "a probe may come late, and more than once");
    // The level first.
    let order = lease.order(Purpose::Lease, now);
    assert_eq!((order.draw().owed, order.draw().lease), (0, 1));
    lease.settle(&order, crate::store::Drawn { granted: 1, debt: 30 * SECOND }, now);
    let order = lease.order(Purpose::Settle, now);
    assert_eq!((order.draw().owed, order.draw().lease), (50, 1));
    lease.fail(&order);
    assert_eq!(lease.owed(now), 50);
    let order = lease.order(Purpose::Lease, now);
    // Spent while it was on its way.
    let later = now + 2 * SECOND;
    assert!(lease.take_share(2, later).is_ok());
    lease.settle(&order, crate::store::Drawn { granted: 1, debt: 79 * SECOND }, later);
    assert_eq!(lease.owed(later), 2);
}

#[test]
fn of_two_that_come_back_the_second_has_nothing_to_add() {
    let store = crate::store::Drawn { granted: 0, debt: 100 * SECOND };
    let mut lease = lease(SECOND, 100);
    while lease.take_share(2, BEGIN).is_ok() {}
    let order = lease.order(Purpose::Settle, BEGIN);
    // The other was here before.
    lease.settle(&order, store, BEGIN);
    assert_eq!(lease.owed(BEGIN), 0);
    let order = lease.order(Purpose::Lease, BEGIN);
    assert_eq!((order.draw().owed, order.draw().lease), (0, 1));
    lease.settle(&order, store, BEGIN);
    assert!(lease.peek(BEGIN) == BEGIN + 100 * SECOND);
}

#[test]
fn a_share_reads_as_what_is_left_of_it_and_empty_as_the_time_it_takes() {
    let whole = Rate { interval: SECOND, burst: 100, shared: true };
    let share = share_of(&whole, 4);
    let mut tat = BEGIN;
    for left in (0..25).rev() {
        tat = conform(tat, BEGIN, &share, 1).unwrap();
        assert_eq!(remaining(told(tat, BEGIN, &whole, &share), BEGIN, &whole), left);
    }
    assert_eq!(conform(told(tat, BEGIN, &whole, &share), BEGIN, &whole, 1), Err(4 * SECOND));
}
