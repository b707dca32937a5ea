//! A primary that sentinels watch: real sets that fail over, and made-up sentinels that say what a test wants.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redis::cmd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::lag::Lag;
use super::link::{ask, in_, link_at, reached};
use super::load::Load;
use super::server::{Server, store_at};
use super::{CALM, KEEP, LINEAGE, eventually, session};
use crate::store::link::Link;
use crate::store::{Found, Session, StoreError};

const BUDGET: Duration = Duration::from_millis(100);

/// One primary, two replicas, three sentinels that know each other and them.
pub(super) struct Set {
    pub(super) servers: Vec<Server>,
    sentinels: Vec<Server>,
}

impl Set {
    pub(super) async fn start() -> Self {
        let mut servers = vec![Server::start_as(&["--repl-diskless-sync-delay", "0"])];
        let primary = servers[0].port;
        let options = ["--replicaof", &format!("127.0.0.1 {primary}"), "--repl-diskless-sync-delay", "0"];
        servers.extend((0..2).map(|_| Server::start_as(&options)));
        let sentinels: Vec<Server> = (0..3).map(|_| Server::start_sentinel(primary)).collect();
        let set = Self { servers, sentinels };
        let give_up = Instant::now() + Duration::from_secs(30);
        while !set.is_ready().await {
            assert!(Instant::now() < give_up, "the sentinels do not see each other");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        set
    }

    async fn is_ready(&self) -> bool {
        for sentinel in &self.sentinels {
            let seen: String = sentinel.tell(cmd("INFO").arg("sentinel")).await;
            if !seen.contains("status=ok") || !seen.contains("slaves=2,sentinels=3") {
                return false;
            }
        }
        self.servers[1].follows().await && self.servers[2].follows().await
    }

    pub(super) fn url(&self) -> String {
        let sentinels: Vec<String> = self.sentinels.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
        format!("redis+sentinel://{}/main", sentinels.join(","))
    }

    /// Waits until one of the servers, other than the one at `old`, is a primary.
    async fn promoted(&self, old: u16) -> u16 {
        let give_up = Instant::now() + Duration::from_secs(30);
        loop {
            for server in self.servers.iter().filter(|server| server.port != old) {
                // Whoever is promoted ends the connections that it has, this one among them.
                let role: Option<Vec<redis::Value>> = server.try_tell(&cmd("ROLE")).await.ok();
                if role.is_some_and(|role| role[0] == redis::Value::BulkString(b"master".to_vec())) {
                    return server.port;
                }
            }
            assert!(Instant::now() < give_up, "nobody was promoted");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The port of the server that answers.
async fn port_of(link: &Link) -> Option<u16> {
    let answer: String = ask(link, cmd("INFO").arg("server")).await.ok()?;
    answer.lines().find_map(|line| line.strip_prefix("tcp_port:")).map(|port| port.trim().parse().unwrap())
}

async fn led_to(link: &Link, port: u16, within: Duration) {
    let give_up = Instant::now() + within;
    while port_of(link).await != Some(port) {
        assert!(Instant::now() < give_up, "not led to {port} within {within:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_primary_is_followed_by_another_and_no_acknowledged_write_is_lost() {
    let mut set = Set::start().await;
    let link = reached(link_at(&set.url(), BUDGET, 1, None)).await;
    let (load, lag) = (Load::start(&link, 1, BUDGET), Lag::watch());
    load.go_on(100, CALM).await;
    let mut subscription = link.subscribe(&["c"]).await.unwrap();
    let old = set.servers[0].port;
    set.servers[0].kill();
    assert_eq!(tokio::time::timeout(CALM, subscription.next()).await, Ok(None));
    eventually("the link is down", CALM, || !link.is_up()).await;
    let promoted = set.promoted(old).await;
    // Repaired is the set when the sentinels tell of it.
    eventually("the link is back", Duration::from_secs(3), || link.is_up()).await;
    led_to(&link, promoted, CALM).await;
    let mut subscription = link.subscribe(&["c"]).await.unwrap();
    link.publish("c", b"m", in_(CALM)).await.unwrap();
    assert_eq!(subscription.next().await, Some(("c".to_owned(), b"m".to_vec())));
    load.go_on(100, Duration::from_secs(15)).await;
    let slowest = load.end(&link).await;
    assert!(slowest <= BUDGET + lag.slack(), "a call took {slowest:?}, slack {:?}", lag.slack());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_primary_is_left_and_not_gone_back_to() {
    let set = Set::start().await;
    let link = reached(link_at(&set.url(), BUDGET, 1, None)).await;
    let (load, lag) = (Load::start(&link, 1, BUDGET), Lag::watch());
    load.go_on(20, CALM).await;
    let old = set.servers[0].port;
    set.servers[0].signal("STOP");
    let mut subscription = link.subscribe(&["c"]).await.ok();
    let promoted = set.promoted(old).await;
    assert_ne!(promoted, old);
    led_to(&link, promoted, Duration::from_secs(3)).await;
    set.servers[0].signal("CONT");
    load.go_on(100, Duration::from_secs(15)).await;
    assert_eq!(port_of(&link).await, Some(promoted));
    if let Some(subscription) = &mut subscription {
        assert_eq!(tokio::time::timeout(CALM, subscription.next()).await, Ok(None), "it was the old primary's");
    }
    let slowest = load.end(&link).await;
    assert!(slowest <= BUDGET + lag.slack(), "a call took {slowest:?}, slack {:?}", lag.slack());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_on_demand_loses_nothing_that_every_replica_confirmed() {
    let set = Set::start().await;
    let link = reached(link_at(&set.url(), BUDGET, 1, None)).await;
    // Both, since the old primary lives on: what it takes while the other replica is promoted, one alone would confirm.
    let load = Load::start(&link, 2, BUDGET);
    load.go_on(100, CALM).await;
    let old = set.servers[0].port;
    assert_eq!(port_of(&link).await, Some(old));
    let give_up = Instant::now() + CALM;
    // A sentinel that was kept waiting takes its replicas for unfit until it has heard of them again.
    while set.sentinels[0].try_tell::<()>(cmd("SENTINEL").arg("FAILOVER").arg("main")).await.is_err() {
        assert!(Instant::now() < give_up, "the sentinels refuse to fail over");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let promoted = set.promoted(old).await;
    led_to(&link, promoted, Duration::from_secs(3)).await;
    load.go_on(100, Duration::from_secs(15)).await;
    load.end(&link).await;
}

/// A sentinel that names whomever it is told to.
struct Parrot {
    port: u16,
    names: Arc<Mutex<u16>>,
    task: tokio::task::JoinHandle<()>,
}

impl Parrot {
    async fn naming(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let names = Arc::new(Mutex::new(port));
        let port = listener.local_addr().unwrap().port();
        let named = Arc::clone(&names);
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let named = Arc::clone(&named);
                tokio::spawn(async move {
                    let mut question = [0; 512];
                    while let Ok(1..) = client.read(&mut question).await {
                        let name = named.lock().unwrap().to_string();
                        let reply = format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{name}\r\n", name.len());
                        client.write_all(reply.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        Self { port, names, task }
    }

    async fn three(port: u16) -> [Self; 3] {
        [Self::naming(port).await, Self::naming(port).await, Self::naming(port).await]
    }

    fn name(&self, port: u16) {
        *self.names.lock().unwrap() = port;
    }
}

fn parrots_url(parrots: &[Parrot]) -> String {
    let hosts: Vec<String> = parrots.iter().map(|parrot| format!("127.0.0.1:{}", parrot.port)).collect();
    format!("redis+sentinel://{}/main", hosts.join(","))
}

#[tokio::test]
async fn a_demoted_primary_is_left_even_where_it_keeps_its_connections() {
    let (old, new) = (Server::start(), Server::start());
    let parrots = Parrot::three(old.port).await;
    let link = reached(link_at(&parrots_url(&parrots), BUDGET, 0, None)).await;
    led_to(&link, old.port, CALM).await;
    let mut subscription = link.subscribe(&["c"]).await.unwrap();
    let () = old.tell(cmd("REPLICAOF").arg("127.0.0.1").arg(new.port)).await;
    eventually("the demoted one is left", Duration::from_secs(1), || !link.is_up()).await;
    assert_eq!(ask::<()>(&link, cmd("GET").arg("k")).await, Err(StoreError::Refused("READONLY")));
    for parrot in &parrots {
        parrot.name(new.port);
    }
    led_to(&link, new.port, Duration::from_secs(2)).await;
    assert_eq!(ask::<()>(&link, cmd("SET").arg("k").arg(1)).await, Ok(()));
    assert_eq!(tokio::time::timeout(CALM, subscription.next()).await, Ok(None), "changes are told elsewhere now");
}

#[tokio::test]
async fn an_old_primary_that_does_not_know_of_its_successor_is_left() {
    let (old, new) = (Server::start(), Server::start());
    let parrots = Parrot::three(old.port).await;
    let link = reached(link_at(&parrots_url(&parrots), BUDGET, 0, None)).await;
    led_to(&link, old.port, CALM).await;
    parrots[0].name(new.port);
    parrots[1].name(new.port);
    led_to(&link, new.port, Duration::from_millis(2500)).await;
}

/// What the old primary says of sessions, while others already use the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_the_new_primary_is_never_missing_for_who_still_reads_the_old_one() {
    let (old, new) = (Server::start(), Server::start());
    let parrots = Parrot::three(old.port).await;
    let late = store_at(parrots_url(&parrots), CALM);
    eventually("it reads the old one", CALM, || late.is_up()).await;
    let ahead = new.reached_store(CALM).await;
    let (mut doubted, mut rounds) = (0, 0);
    for parrot in &parrots {
        parrot.name(new.port);
    }
    let give_up = Instant::now() + CALM;
    // Each is younger than the gateway's latest look at the sentinels.
    loop {
        let jti = format!("young-{rounds}");
        let started = ahead.time().await.unwrap();
        ahead.start_session(&Session { started, ..session(&jti) }, KEEP).await.unwrap();
        let within = Duration::from_millis(100);
        match tokio::time::timeout(within, late.session_begun(&jti, LINEAGE, started)).await {
            Ok(Ok(Found::Live(_))) => break,
            Ok(Err(_)) | Err(_) => doubted += 1,
            Ok(Ok(found)) => panic!("round {rounds}: {found:?}"),
        }
        rounds += 1;
        assert!(Instant::now() < give_up, "never led to the new primary");
    }
    assert!(doubted > 1, "the old primary was not asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_gone_is_missing_as_soon_as_the_primary_is_proven() {
    let server = Server::start();
    let parrots = Parrot::three(server.port).await;
    let store = store_at(parrots_url(&parrots), BUDGET);
    eventually("it is up", CALM, || store.is_up()).await;
    let now = || store.now_ms();
    // Proven on demand, again and again, and within the budget.
    for _ in 0..20 {
        assert_eq!(store.session_begun("never", LINEAGE, now()).await, Ok(Found::Missing));
    }
    // Without sentinels what began before the last proof is gone, and nothing can be said of what began after it.
    let before = now() - 3000;
    for parrot in parrots {
        parrot.task.abort();
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(store.session_begun("never", LINEAGE, before).await, Ok(Found::Missing));
    assert_eq!(store.session_begun("never", LINEAGE, now()).await, Err(StoreError::TimedOut));
    assert_eq!(store.session("never", LINEAGE).await, Ok(Found::Missing), "the server's own word");
    assert!(store.is_up(), "sentinels that are away are no outage");
}

#[tokio::test]
async fn one_sentinel_alone_moves_nobody_and_their_absence_neither() {
    let (old, new) = (Server::start(), Server::start());
    let parrots = Parrot::three(old.port).await;
    let link = reached(link_at(&parrots_url(&parrots), BUDGET, 0, None)).await;
    parrots[0].name(new.port);
    parrots[1].task.abort();
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        assert_eq!(port_of(&link).await, Some(old.port));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for parrot in &parrots {
        parrot.task.abort();
    }
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        assert_eq!(port_of(&link).await, Some(old.port));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_login_is_the_servers_and_takes_few_rights() {
    let server = Server::start();
    let () =
        server.tell(cmd("ACL").arg(&["SETUSER", "gate", "on", ">p", "~*", "+ping", "+time", "+role", "+get"])).await;
    let parrots = [Parrot::naming(server.port).await];
    let url = parrots_url(&parrots).replace("://", "://gate:p@");
    let link = reached(link_at(&url, BUDGET, 0, None)).await;
    assert_eq!(ask::<Option<String>>(&link, cmd("GET").arg("k")).await, Ok(None));
    assert_eq!(ask::<()>(&link, cmd("SET").arg("k").arg(1)).await, Err(StoreError::Refused("NOPERM")));
}

#[tokio::test]
async fn a_replica_that_is_named_the_primary_is_not_used() {
    let (primary, other) = (Server::start(), Server::start());
    let () = other.tell(cmd("REPLICAOF").arg("127.0.0.1").arg(primary.port)).await;
    let parrots = [Parrot::naming(other.port).await];
    let link = link_at(&parrots_url(&parrots), BUDGET, 0, None);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(!link.is_up() && !link.was_reached());
    parrots[0].name(primary.port);
    led_to(&link, primary.port, Duration::from_secs(2)).await;
}

#[tokio::test]
async fn without_any_sentinel_the_link_is_down_and_asks_at_most_ten_times_a_second() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let link = link_at(&format!("redis+sentinel://{}/main", listener.local_addr().unwrap()), BUDGET, 0, None);
    let mut attempts = 0;
    let second = tokio::time::sleep(Duration::from_secs(1));
    tokio::pin!(second);
    loop {
        tokio::select! {
            () = &mut second => break,
            accepted = listener.accept() => {
                drop(accepted.unwrap());
                attempts += 1;
            }
        }
    }
    assert!((2..=10).contains(&attempts), "{attempts} attempts");
    assert!(!link.is_up());
    assert_eq!(ask::<()>(&link, cmd("GET").arg("k")).await, Err(StoreError::Unreachable));
}
