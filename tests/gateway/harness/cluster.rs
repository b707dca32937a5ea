//! Three primaries of a third of the slots each, and a replica for each of them: the cluster of `redis+cluster://`.
//! Failures are the test's to make, at [`Ensemble::servers_mut`]; what the other servers make of them is theirs.

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::harness::ensemble::{Ensemble, FAILOVER, Succession, await_replica};
use crate::harness::redis::{RedisClient, RedisServer, Reply};
use crate::harness::wait::{PATIENCE, eventually};

/// The cluster.
pub(crate) struct ClusterSet {
    servers: Vec<RedisServer>,
}

impl ClusterSet {
    /// Started, whole and in step.
    pub(crate) fn start() -> Self {
        let servers: Vec<RedisServer> = (0..6).map(|_| started()).collect();
        let addresses: Vec<String> = servers.iter().map(|server| server.address().to_string()).collect();
        let mut command = Command::new("redis-cli");
        command.args(["--cluster", "create"]).args(&addresses).args(["--cluster-replicas", "1", "--cluster-yes"]);
        let output = command.stdin(Stdio::null()).output().expect("redis-cli comes with redis-server");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let cluster = Self { servers };
        for server in &cluster.servers {
            eventually("the cluster is whole", FAILOVER, || serves(&mut server.connect()).then_some(()));
        }
        (3..6).for_each(|place| cluster.wait_until_in_step(place));
        cluster
    }

    fn others(&self, old: usize) -> impl Iterator<Item = &RedisServer> {
        self.servers.iter().enumerate().filter(move |(place, _)| *place != old).map(|(_, server)| server)
    }
}

impl Ensemble for ClusterSet {
    /// With two of the six as seeds, neither of them the first that fails.
    fn url(&self) -> String {
        format!("redis+cluster://{},{}", self.servers[1].address(), self.servers[4].address())
    }

    fn servers(&self) -> &[RedisServer] {
        &self.servers
    }

    fn servers_mut(&mut self) -> &mut [RedisServer] {
        &mut self.servers
    }

    /// Of the first third of the slots.
    fn primary(&self) -> usize {
        let mut ranges = ranges(&mut self.servers[1].connect());
        ranges.sort_unstable();
        self.place_of(ranges[0].1)
    }

    fn writes_without_it(&self) -> bool {
        false
    }

    fn wait_for_successor(&self, old: usize) -> Succession {
        let port = self.servers[old].address().port();
        let mut others: Vec<RedisClient> = self.others(old).map(RedisServer::connect).collect();
        let mut moved = |client: &mut RedisClient| {
            let ranges = ranges(client);
            serves(client) && ranges.iter().all(|(_, keeper)| *keeper != port)
        };
        let promoted =
            eventually("another keeps the slots", FAILOVER, || others.iter_mut().any(&mut moved).then(Instant::now));
        let known = eventually("all know", FAILOVER, || others.iter_mut().all(&mut moved).then(Instant::now));
        Succession { promoted, known }
    }

    fn write(&self, commands: &[Vec<String>]) {
        let mut connections: HashMap<u16, RedisClient> = HashMap::new();
        let mut port = self.servers[1].address().port();
        for words in commands {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let connect = |port: u16| self.servers[self.place_of(port)].connect();
            let mut reply = connections.entry(port).or_insert_with(|| connect(port)).command(&words);
            if let Some(keeper) = moved_to(&reply) {
                port = keeper;
                reply = connections.entry(port).or_insert_with(|| connect(port)).command(&words);
            }
            assert!(!matches!(reply, Reply::Error(_)), "{words:?}: {reply:?}");
        }
        for connection in connections.values_mut() {
            if leads(connection) {
                await_replica(connection);
            }
        }
    }

    fn connections(&self, old: usize) -> Vec<u64> {
        let count = |server: &RedisServer| server.info("total_connections_received").parse().expect("a count");
        self.others(old).map(count).collect()
    }
}

/// With a free port for its bus, which is higher by ten thousand.
fn started() -> RedisServer {
    let free =
        |server: &RedisServer| TcpListener::bind((Ipv4Addr::LOCALHOST, server.address().port() + 10_000)).is_ok();
    let mut server = eventually("two free ports", PATIENCE, || Some(RedisServer::absent()).filter(&free));
    let quick = ["--cluster-node-timeout", "1500", "--repl-diskless-sync-delay", "0"];
    server.set_options(&["--cluster-enabled", "yes", quick[0], quick[1], quick[2], quick[3]]);
    server.restart();
    server
}

fn serves(client: &mut RedisClient) -> bool {
    matches!(client.command(&["CLUSTER", "INFO"]), Reply::Text(text) if text.contains("cluster_state:ok"))
}

fn leads(client: &mut RedisClient) -> bool {
    matches!(client.command(&["INFO", "replication"]), Reply::Text(text) if text.contains("role:master"))
}

/// The first slot of each range, and the port of its primary.
fn ranges(client: &mut RedisClient) -> Vec<(i64, u16)> {
    let Reply::List(rows) = client.command(&["CLUSTER", "SLOTS"]) else { panic!("CLUSTER SLOTS is a list") };
    let range = |row: &Reply| {
        let Reply::List(row) = row else { panic!("a range is a list") };
        let Reply::List(primary) = &row[2] else { panic!("a server is a list") };
        (row[0].number(), u16::try_from(primary[1].number()).expect("a port"))
    };
    rows.iter().map(range).collect()
}

/// The port that `MOVED slot host:port` names.
fn moved_to(reply: &Reply) -> Option<u16> {
    let Reply::Error(text) = reply else { return None };
    text.strip_prefix("MOVED ")?.rsplit_once(':')?.1.parse().ok()
}
