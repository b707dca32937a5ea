//! A real cluster: three primaries with a replica each.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Cmd, Value, cmd};

use super::certificates::Authority;
use super::lag::Lag;
use super::link::{ask, in_, link_at, reached, swap};
use super::load::Load;
use super::server::Server;
use super::{CALM, eventually, system_ms};
use crate::store::link::Link;
use crate::store::slots::slot_of;
use crate::store::{StoreError, TlsFiles};

const BUDGET: Duration = Duration::from_millis(100);

/// The first three are the primaries.
pub(super) struct Cluster {
    pub(super) servers: Vec<Server>,
}

impl Cluster {
    pub(super) async fn start() -> Self {
        let cluster = Self { servers: (0..6).map(|_| Server::start_for_cluster()).collect() };
        let addresses: Vec<String> =
            cluster.servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
        let mut command = Command::new("redis-cli");
        command.args(["--cluster", "create"]).args(&addresses).args(["--cluster-replicas", "1", "--cluster-yes"]);
        let output = command.stdin(Stdio::null()).output().expect("redis-cli");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let give_up = Instant::now() + Duration::from_secs(30);
        while !cluster.is_ready().await {
            assert!(Instant::now() < give_up, "the cluster does not come together");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        cluster
    }

    async fn is_ready(&self) -> bool {
        for (place, server) in self.servers.iter().enumerate() {
            let info: String = server.tell(cmd("CLUSTER").arg("INFO")).await;
            let is_replica = place >= 3;
            if !info.contains("cluster_state:ok") || server.follows().await != is_replica {
                return false;
            }
        }
        true
    }

    /// With two of the six as seeds.
    pub(super) fn url(&self) -> String {
        format!("redis+cluster://127.0.0.1:{},127.0.0.1:{}", self.servers[1].port, self.servers[4].port)
    }

    /// Which of the first three keeps a slot.
    async fn keeper(&self, slot: u16) -> usize {
        let ranges: Vec<(u16, u16, Value)> = {
            let table: Vec<Vec<Value>> = self.servers[1].tell(cmd("CLUSTER").arg("SLOTS")).await;
            let number = |value: &Value| redis::from_redis_value(value.clone()).unwrap();
            table.into_iter().map(|row| (number(&row[0]), number(&row[1]), row[2].clone())).collect()
        };
        let (_, _, node) = ranges.into_iter().find(|(first, last, _)| (*first..=*last).contains(&slot)).unwrap();
        let (_, port, _): (String, u16, Value) = redis::from_redis_value(cut(node)).unwrap();
        self.servers.iter().position(|server| server.port == port).unwrap()
    }

    async fn id(&self, place: usize) -> String {
        self.servers[place].tell(cmd("CLUSTER").arg("MYID")).await
    }
}

/// Host, port and id of an entry, without what newer servers add.
fn cut(node: Value) -> Value {
    if let Value::Array(parts) = node { Value::Array(parts.into_iter().take(3).collect()) } else { node }
}

/// A key of a slot that the server at `place` keeps.
async fn key_at(cluster: &Cluster, place: usize) -> String {
    for number in 0..100_000 {
        let key = format!("key:{number}");
        if cluster.keeper(slot_of(key.as_bytes())).await == place {
            return key;
        }
    }
    panic!("no key for {place}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_of_asking_works_over_a_cluster() {
    let cluster = Cluster::start().await;
    let link = reached(link_at(&cluster.url(), CALM, 1, None)).await;
    keys_of_all_slots_are_kept(&cluster, &link).await;
    scripts_run_where_their_keys_are(&link).await;
    messages_of_all_servers_arrive(&cluster, &link).await;

    let clock = cluster.keeper(slot_of(b"portcullis:clock")).await;
    let asked = async || {
        let stats: String = cluster.servers[clock].tell(cmd("INFO").arg("commandstats")).await;
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_time:calls=")).unwrap_or("0,");
        line.split(',').next().unwrap().parse::<u64>().unwrap()
    };
    let before = asked().await;
    for _ in 0..100 {
        assert!(link.time(in_(CALM)).await.unwrap().abs_diff(system_ms()) <= 1000);
    }
    assert!(asked().await >= before + 100, "one server tells the time");

    assert_eq!(link.eviction_policy(in_(CALM)).await, Ok(Some("noeviction".to_owned())));
    let () = cluster.servers[2].tell(cmd("CONFIG").arg("SET").arg("maxmemory-policy").arg("allkeys-lru")).await;
    assert_eq!(link.eviction_policy(in_(CALM)).await, Ok(Some("allkeys-lru".to_owned())));

    a_slot_may_move(&cluster, &link).await;
}

async fn keys_of_all_slots_are_kept(cluster: &Cluster, link: &Link) {
    let sets: Vec<Cmd> = (0..2000).map(|number| cmd("SET").arg(format!("{number}")).arg(number).to_owned()).collect();
    assert_eq!(link.ask_each(&sets, in_(CALM)).await, Ok(vec![Value::Okay; 2000]));
    for number in 0..200 {
        assert_eq!(ask::<u64>(link, cmd("GET").arg(format!("{number}"))).await, Ok(number));
    }
    let gets: Vec<Cmd> = (0..2000).map(|number| cmd("GET").arg(format!("{number}")).to_owned()).collect();
    let expected: Vec<Value> = (0..2000).map(|number| Value::BulkString(number.to_string().into_bytes())).collect();
    assert_eq!(link.ask_each(&gets, in_(CALM)).await, Ok(expected));
    for server in &cluster.servers[..3] {
        assert!(server.tell::<u64>(&cmd("DBSIZE")).await > 500, "the keys are spread");
    }
    let two_slots = cmd("DEL").arg("0").arg("1").to_owned();
    assert_eq!(ask::<()>(link, &two_slots).await, Err(StoreError::Refused("CROSSSLOT")));
}

async fn scripts_run_where_their_keys_are(link: &Link) {
    for number in 0..50_u8 {
        let (key, value) = (format!("script:{number}"), [number]);
        let run = link.run_script_acknowledged::<Value>(&swap(), &[&key], &[&value], 1, in_(CALM)).await;
        assert_eq!(run, Ok(Value::Nil));
        let run = link.run_script::<Value>(&swap(), &[&key], &[b"2"], in_(CALM)).await;
        assert_eq!(run, Ok(Value::BulkString(vec![number])));
    }
    let run = link.run_script_acknowledged::<Value>(&swap(), &["k"], &[b"1"], 2, in_(BUDGET)).await;
    assert_eq!(run, Err(StoreError::Unacknowledged), "each primary has one replica only");
}

async fn messages_of_all_servers_arrive(cluster: &Cluster, link: &Link) {
    let mut subscription = link.subscribe(&["c"]).await.unwrap();
    for server in &cluster.servers {
        let () = server.tell(cmd("PUBLISH").arg("c").arg(server.port)).await;
        let message = tokio::time::timeout(CALM, subscription.next()).await.unwrap();
        assert_eq!(message, Some(("c".to_owned(), server.port.to_string().into_bytes())));
    }
    link.publish("c", b"ours", in_(CALM)).await.unwrap();
    assert_eq!(subscription.next().await, Some(("c".to_owned(), b"ours".to_vec())));
}

/// First half-way (ASK, TRYAGAIN), then wholly (MOVED).
async fn a_slot_may_move(cluster: &Cluster, link: &Link) {
    let slot = slot_of(b"moving");
    let from = cluster.keeper(slot).await;
    let to = (from + 1) % 3;
    let set = |key: &str| cmd("SET").arg(format!("{{moving}}{key}")).arg(key).to_owned();
    assert_eq!(ask::<()>(link, &set("stays")).await, Ok(()));
    let setslot = |state: &str, id: &str| cmd("CLUSTER").arg(&["SETSLOT", &slot.to_string(), state, id]).to_owned();
    let () = cluster.servers[to].tell(&setslot("IMPORTING", &cluster.id(from).await)).await;
    let () = cluster.servers[from].tell(&setslot("MIGRATING", &cluster.id(to).await)).await;
    assert_eq!(ask::<()>(link, &set("goes")).await, Ok(()), "a new key is made at the new place");
    assert_eq!(ask::<String>(link, cmd("GET").arg("{moving}goes")).await, Ok("goes".to_owned()));
    assert_eq!(ask::<String>(link, cmd("GET").arg("{moving}stays")).await, Ok("stays".to_owned()));
    let swapped = link.run_script_acknowledged::<String>(&swap(), &["{moving}goes"], &[b"2"], 1, in_(CALM)).await;
    assert_eq!(swapped, Ok("goes".to_owned()), "a script goes along");
    let both = cmd("EXISTS").arg("{moving}goes").arg("{moving}stays").to_owned();
    let error = link.ask::<u64>(&both, in_(BUDGET)).await.unwrap_err();
    assert!(matches!(error, StoreError::TimedOut | StoreError::Refused("TRYAGAIN")), "{error:?}");

    let migrate = ["127.0.0.1", &cluster.servers[to].port.to_string(), "{moving}stays", "0", "5000"].map(str::to_owned);
    let () = cluster.servers[from].tell(cmd("MIGRATE").arg(&migrate)).await;
    for place in [to, from] {
        let () = cluster.servers[place].tell(&setslot("NODE", &cluster.id(to).await)).await;
    }
    assert_eq!(link.ask::<u64>(&both, in_(CALM)).await, Ok(2), "at the new place");
    assert!(link.is_up());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_primary_is_replaced_and_no_acknowledged_write_is_lost() {
    let mut cluster = Cluster::start().await;
    let link = reached(link_at(&cluster.url(), BUDGET, 1, None)).await;
    let (load, lag) = (Load::start(&link, 1, BUDGET), Lag::watch());
    load.go_on(200, CALM).await;
    let key = key_at(&cluster, 0).await;
    assert_eq!(ask::<()>(&link, cmd("SET").arg(&key).arg(1)).await, Ok(()));
    cluster.servers[0].kill();
    eventually("not all slots are served", CALM, || !link.is_up()).await;
    eventually("all slots are served again", Duration::from_secs(20), || link.is_up()).await;
    assert_eq!(ask::<()>(&link, cmd("SET").arg(&key).arg(2)).await, Ok(()));
    cluster.servers[0].launch();
    load.go_on(200, Duration::from_secs(10)).await;
    let slowest = load.end(&link).await;
    assert!(slowest <= BUDGET + lag.slack(), "a call took {slowest:?}, slack {:?}", lag.slack());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_costs_only_the_calls_to_its_own_keys() {
    let cluster = Cluster::start().await;
    let link = reached(link_at(&cluster.url(), BUDGET, 1, None)).await;
    let (frozen, other) = (key_at(&cluster, 0).await, key_at(&cluster, 1).await);
    // Acknowledged: what a primary alone has seen dies with it.
    for key in [&frozen, &other] {
        let set = link.run_script_acknowledged::<()>(&swap(), &[key], &[b"1"], 1, in_(CALM)).await;
        assert_eq!(set, Ok(()));
    }
    let mut subscription = link.subscribe(&["c"]).await.unwrap();
    let lag = Lag::watch();
    cluster.servers[0].signal("STOP");
    let mut told = Vec::new();
    for _ in 0..6 {
        let begun = Instant::now();
        told.push(link.ask::<u64>(cmd("GET").arg(&frozen), in_(BUDGET)).await.unwrap_err());
        assert!(begun.elapsed() <= BUDGET + lag.slack(), "{:?}, slack {:?}", begun.elapsed(), lag.slack());
        let begun = Instant::now();
        assert_eq!(link.ask::<u64>(cmd("GET").arg(&other), in_(BUDGET + lag.slack())).await, Ok(1));
        assert!(begun.elapsed() <= lag.slack(), "{:?}, slack {:?}", begun.elapsed(), lag.slack());
    }
    assert_eq!(told[0], StoreError::TimedOut);
    assert_eq!(told[5], StoreError::Unreachable, "after three nobody waits: {told:?}");
    assert!(!link.is_up());
    eventually("the replica takes over", Duration::from_secs(20), || link.is_up()).await;
    assert_eq!(ask::<u64>(&link, cmd("GET").arg(&frozen)).await, Ok(1));
    cluster.servers[0].signal("CONT");
    // Whether or not it was at the frozen server, whoever listens gets messages or learns that some may be missing.
    link.publish("c", b"m", in_(CALM)).await.unwrap();
    let heard = tokio::time::timeout(CALM, subscription.next()).await.unwrap();
    assert!(heard.is_none() || heard == Some(("c".to_owned(), b"m".to_vec())));
    let give_up = Instant::now() + CALM;
    while link.ask::<()>(cmd("SET").arg(&frozen).arg(2), in_(BUDGET)).await.is_err() {
        assert!(Instant::now() < give_up, "the one that woke up is asked in vain");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A server alone does not know its own host, so this also shows that the one we asked is taken for it.
#[tokio::test]
async fn a_cluster_over_tls_takes_a_login_with_few_rights() {
    let authority = Authority::new();
    let server = Server::start_for_cluster_over_tls(&authority);
    let () = server.tell(cmd("CLUSTER").arg(&["ADDSLOTSRANGE", "0", "16383"])).await;
    let rights = ["+ping", "+time", "+cluster|info", "+cluster|slots", "+asking", "+get", "+set"];
    let () = server.tell(cmd("ACL").arg(&["SETUSER", "gate", "on", ">p", "~*"]).arg(&rights)).await;
    let (certificate, key) = authority.issue("gate");
    let files = TlsFiles { ca: Some(authority.certificate()), certificate: Some(certificate), key: Some(key) };
    let url = format!("redis+cluster://gate:p@127.0.0.1:{}?tls=true", server.tls_port());
    let wrong = link_at(&url.replace(":p@", ":x@"), CALM, 0, Some(files.clone()));
    let link = reached(link_at(&url, CALM, 0, Some(files))).await;
    assert_eq!(ask::<()>(&link, cmd("SET").arg("k").arg(1)).await, Ok(()));
    assert_eq!(ask::<u64>(&link, cmd("GET").arg("k")).await, Ok(1));
    let give_up = Instant::now() + CALM;
    while ask::<u64>(&wrong, cmd("GET").arg("k")).await != Err(StoreError::Refused("AUTH")) {
        assert!(Instant::now() < give_up, "a wrong password is not told");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!wrong.is_up() && !wrong.was_reached());
}

#[tokio::test]
async fn a_cluster_that_is_away_is_told_at_once_and_found_again() {
    let mut cluster = Cluster::start().await;
    let link = reached(link_at(&cluster.url(), BUDGET, 0, None)).await;
    for server in &mut cluster.servers {
        server.kill();
    }
    eventually("the cluster is away", CALM, || !link.is_up()).await;
    let give_up = Instant::now() + CALM;
    while ask::<u64>(&link, cmd("GET").arg("k")).await != Err(StoreError::Unreachable) {
        assert!(Instant::now() < give_up, "still something else than unreachable");
    }
    let begun = Instant::now();
    for _ in 0..1000 {
        assert_eq!(ask::<u64>(&link, cmd("GET").arg("k")).await, Err(StoreError::Unreachable));
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "nobody waits");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    for server in &mut cluster.servers {
        server.launch();
    }
    let give_up = Instant::now() + Duration::from_secs(30);
    for server in &cluster.servers {
        while !server.tell::<String>(cmd("CLUSTER").arg("INFO")).await.contains("cluster_state:ok") {
            assert!(Instant::now() < give_up, "the cluster does not come together again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    eventually("the cluster is found", Duration::from_secs(2), || link.is_up()).await;
    assert_eq!(ask::<()>(&link, cmd("SET").arg("k").arg(1)).await, Ok(()));
}
