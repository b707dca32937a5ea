//! One primary with two replicas, and three sentinels that watch it: the set of `redis+sentinel://`. Failures are the
//! test's to make, at [`Ensemble::servers_mut`]; what the sentinels make of them is theirs.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use crate::harness::ensemble::{Ensemble, FAILOVER, Succession, await_replica};
use crate::harness::ports;
use crate::harness::redis::{RedisClient, RedisServer, Reply};
use crate::harness::wait::{PATIENCE, eventually};

/// The set.
pub(crate) struct SentinelSet {
    sentinels: Vec<Sentinel>,
    servers: Vec<RedisServer>,
}

struct Sentinel {
    address: SocketAddr,
    process: Child,
    _dir: TempDir,
}

impl SentinelSet {
    /// Started, and every sentinel knows all of it.
    pub(crate) fn start() -> Self {
        let quick = ["--repl-diskless-sync-delay", "0"];
        let mut servers = vec![started(&quick)];
        let primary = servers[0].address();
        let follow = format!("{} {}", primary.ip(), primary.port());
        servers.extend((0..2).map(|_| started(&["--replicaof", &follow, quick[0], quick[1]])));
        let sentinels: Vec<Sentinel> = (0..3).map(|_| Sentinel::start(primary)).collect();
        let set = Self { sentinels, servers };
        for sentinel in &set.sentinels {
            eventually("a sentinel knows the set", PATIENCE * 3, || {
                let Reply::Text(seen) = sentinel.connect()?.ask(&["INFO", "sentinel"])? else { return None };
                (seen.contains("status=ok") && seen.contains("slaves=2,sentinels=3")).then_some(())
            });
        }
        set.wait_until_in_step(1);
        set.wait_until_in_step(2);
        set
    }
}

impl Ensemble for SentinelSet {
    fn url(&self) -> String {
        let hosts: Vec<String> = self.sentinels.iter().map(|sentinel| sentinel.address.to_string()).collect();
        format!("redis+sentinel://{}/main", hosts.join(","))
    }

    fn servers(&self) -> &[RedisServer] {
        &self.servers
    }

    fn servers_mut(&mut self) -> &mut [RedisServer] {
        &mut self.servers
    }

    fn primary(&self) -> usize {
        let port = self.sentinels[0].connect().and_then(|mut client| named(&mut client)).expect("a primary is named");
        self.place_of(port)
    }

    fn writes_without_it(&self) -> bool {
        true
    }

    fn wait_for_successor(&self, old: usize) -> Succession {
        let port = self.servers[old].address().port();
        let others = || self.servers.iter().filter(|server| server.address().port() != port);
        // Over a new connection each time: whoever is promoted ends those that it has.
        let leads = |server: &RedisServer| match server.try_connect().and_then(|mut client| client.ask(&["ROLE"])) {
            Some(Reply::List(role)) => role.first() == Some(&Reply::Text("master".into())),
            Some(_) | None => false,
        };
        let promoted = eventually("another is the primary", FAILOVER, || others().any(leads).then(Instant::now));
        let mut sentinels: Vec<RedisClient> = self.sentinels.iter().filter_map(Sentinel::connect).collect();
        assert_eq!(sentinels.len(), self.sentinels.len());
        let known = eventually("every sentinel names another", FAILOVER, || {
            let moved = |client: &mut RedisClient| named(client).is_some_and(|named| named != port);
            sentinels.iter_mut().all(moved).then(Instant::now)
        });
        Succession { promoted, known }
    }

    fn write(&self, commands: &[Vec<String>]) {
        let mut connection = self.servers[self.primary()].connect();
        connection.pipeline(commands);
        await_replica(&mut connection);
    }

    fn connections(&self, _old: usize) -> Vec<u64> {
        let count = |sentinel: &Sentinel| {
            let Reply::Text(text) = sentinel.connect()?.ask(&["INFO", "stats"])? else { return None };
            let count = text.lines().find_map(|line| line.strip_prefix("total_connections_received:"))?;
            count.trim().parse().ok()
        };
        self.sentinels.iter().map(|sentinel| count(sentinel).expect("a sentinel counts its connections")).collect()
    }
}

impl Sentinel {
    fn start(primary: SocketAddr) -> Self {
        let dir = tempfile::Builder::new().prefix("portcullis-sentinel-").tempdir().expect("a directory");
        let address = ports::free();
        let file = dir.path().join("sentinel.conf");
        let (ip, port) = (primary.ip(), primary.port());
        let text = format!(
            "port {}\nbind 127.0.0.1\ndir {}\nsentinel monitor main {ip} {port} 2\n\
             sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 3000\n",
            address.port(),
            dir.path().display()
        );
        fs::write(&file, text).expect("a file in our own directory");
        let process = Command::new("redis-server")
            .arg(&file)
            .arg("--sentinel")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed (make test does it)");
        let sentinel = Self { address, process, _dir: dir };
        eventually("a sentinel listens", PATIENCE, || sentinel.connect().map(drop));
        sentinel
    }

    fn connect(&self) -> Option<RedisClient> {
        RedisClient::connect(self.address)
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn started(options: &[&str]) -> RedisServer {
    let mut server = RedisServer::absent();
    server.set_options(options);
    server.restart();
    server
}

/// The port of the primary that a sentinel names.
fn named(sentinel: &mut RedisClient) -> Option<u16> {
    let Reply::List(address) = sentinel.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"])? else { return None };
    let Reply::Text(port) = address.get(1)? else { return None };
    port.parse().ok()
}
