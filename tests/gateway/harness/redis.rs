//! A real redis-server on a port of its own that can be killed, frozen and brought back on the same port, and a RESP
//! client of a page to look at what the gateway wrote. The gateway's own client is deliberately not used.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::ports;
use crate::harness::wait::{PATIENCE, eventually};

/// The server; it ends with this value.
pub(crate) struct RedisServer {
    address: SocketAddr,
    dir: TempDir,
    process: Option<Child>,
    /// Options on top of those that every server has; they count from the next start on.
    options: Vec<String>,
}

/// One connection to it.
pub(crate) struct RedisClient(BufReader<TcpStream>);

/// A reply.
#[derive(Debug, PartialEq)]
pub(crate) enum Reply {
    /// A simple or bulk string.
    Text(String),
    Error(String),
    Number(i64),
    Nil,
    List(Vec<Reply>),
}

impl RedisServer {
    /// Starts an empty server that writes nothing to disk.
    pub(crate) fn start() -> Self {
        let mut server = Self::absent();
        server.restart();
        server
    }

    /// An address where a server may come later.
    pub(crate) fn absent() -> Self {
        let dir = tempfile::Builder::new().prefix("portcullis-redis-").tempdir().expect("a directory");
        Self { address: ports::free(), dir, process: None, options: Vec::new() }
    }

    /// The url for `[store]`.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// The url of an ACL user.
    pub(crate) fn url_as(&self, user: &str, password: &str) -> String {
        format!("redis://{user}:{password}@{}", self.address)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Options of the command line, from the next start on.
    pub(crate) fn set_options(&mut self, options: &[&str]) {
        self.options = options.iter().map(|option| (*option).to_owned()).collect();
    }

    /// Kills it at once, as a crash does. The data is lost.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.kill());
            drop(process.wait());
        }
    }

    /// Starts it (again) on the same port, empty unless it was told to save, and waits until it answers.
    pub(crate) fn restart(&mut self) {
        self.launch();
        eventually("redis-server answers PING", PATIENCE, || {
            let reply = RedisClient::connect(self.address)?.ask(&["PING"]);
            reply.filter(|reply| *reply == Reply::Text("PONG".into()))
        });
    }

    /// The same without waiting.
    pub(crate) fn launch(&mut self) {
        self.kill();
        let process = Command::new("redis-server")
            .args([
                "--port",
                &self.address.port().to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .args(["--daemonize", "no", "--dir"])
            .arg(self.dir.path())
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed (make test does it)");
        self.process = Some(process);
    }

    /// Freezes the process: connections stay open and nothing answers.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// Ends the freeze.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.process.as_ref().expect("redis-server runs").id();
        let done = Command::new("kill").args([signal, &id.to_string()]).status().expect("kill runs");
        assert!(done.success(), "kill {signal} {id}");
    }

    /// One command over a connection of its own.
    pub(crate) fn command(&self, words: &[&str]) -> Reply {
        self.connect().command(words)
    }

    /// A connection that stays.
    pub(crate) fn connect(&self) -> RedisClient {
        RedisClient::connect(self.address).expect("redis-server listens")
    }

    /// The same while it may not listen yet.
    pub(crate) fn try_connect(&self) -> Option<RedisClient> {
        RedisClient::connect(self.address)
    }

    /// A field of `INFO`; empty where there is none.
    pub(crate) fn info(&self, field: &str) -> String {
        let Reply::Text(text) = self.command(&["INFO", "all"]) else { panic!("INFO is text") };
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap_or_default().trim_end().to_owned()
    }

    /// How often each command ran since `CONFIG RESETSTAT`, those of this client left out.
    pub(crate) fn calls(&self) -> BTreeMap<String, u64> {
        let Reply::Text(text) = self.command(&["INFO", "commandstats"]) else { panic!("INFO is text") };
        let lines = text.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="));
        let calls = lines.map(|(name, rest)| {
            let count = rest.split(',').next().and_then(|count| count.parse().ok()).expect("calls are counted");
            (name.to_owned(), count)
        });
        calls.filter(|(name, _)| !["info", "config|resetstat", "client|kill"].contains(&name.as_str())).collect()
    }

    /// The same without what each gateway runs once a second to show that it lives, to the call: nothing else runs the
    /// command by which those are counted.
    pub(crate) fn calls_beside_heartbeats(&self) -> BTreeMap<String, u64> {
        let mut calls = self.calls();
        let beats = calls.get("zremrangebyscore").copied().unwrap_or_default();
        for command in HEARTBEAT {
            let Some(count) = calls.get_mut(command) else { continue };
            assert!(*count >= beats, "{beats} heartbeats, but {count} of {command}");
            *count -= beats;
        }
        calls.retain(|_, count| *count > 0);
        calls
    }

    /// Ends every subscription; how many there were.
    pub(crate) fn cut_subscriptions(&self) -> i64 {
        self.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).number()
    }

    /// Makes it a read-only copy of another and waits until it is one.
    pub(crate) fn follow(&self, primary: &Self) {
        let port = primary.address.port().to_string();
        assert_eq!(self.command(&["REPLICAOF", "127.0.0.1", &port]), Reply::Text("OK".into()));
        eventually("the replica is in step", PATIENCE, || (self.info("master_link_status") == "up").then_some(()));
    }

    /// Makes it take writes again.
    pub(crate) fn lead(&self) {
        assert_eq!(self.command(&["REPLICAOF", "NO", "ONE"]), Reply::Text("OK".into()));
    }

    /// The keys that hold `part` in their name.
    pub(crate) fn keys_with(&self, part: &str) -> Vec<String> {
        self.command(&["KEYS", &format!("*{part}*")]).texts()
    }

    /// The one key that holds a session.
    #[track_caller]
    pub(crate) fn session_key(&self, jti: &str) -> String {
        let mut keys = self.keys_with(jti);
        assert_eq!(keys.len(), 1, "one record under the jti: {keys:?}");
        keys.remove(0)
    }

    /// Puts the value of one key, of whatever type, under another. By a script, since COPY is younger than the Redis of
    /// some distributions.
    pub(crate) fn copy(&self, from: &str, to: &str) {
        let script = "return redis.call('RESTORE', KEYS[2], 60000, redis.call('DUMP', KEYS[1]), 'REPLACE')";
        assert_eq!(self.command(&["EVAL", script, "2", from, to]), Reply::Text("OK".into()), "{from} to {to}");
    }

    /// How long a key still lives.
    pub(crate) fn lifetime(&self, key: &str) -> Duration {
        let left = self.command(&["PTTL", key]).number();
        Duration::from_millis(
            u64::try_from(left).unwrap_or_else(|_| panic!("{key} lives for ever or not at all: {left}")),
        )
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Reply {
    /// The number of an integer reply.
    #[track_caller]
    pub(crate) fn number(&self) -> i64 {
        let Self::Number(number) = self else { panic!("no number: {self:?}") };
        *number
    }

    /// The strings of a list.
    #[track_caller]
    pub(crate) fn texts(self) -> Vec<String> {
        let Self::List(items) = self else { panic!("no list: {self:?}") };
        items
            .into_iter()
            .map(|item| if let Self::Text(text) = item { text } else { panic!("no text: {item:?}") })
            .collect()
    }
}

impl RedisClient {
    /// A connection to whatever speaks RESP there; `None` while nobody listens.
    pub(crate) fn connect(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Some(Self(BufReader::new(stream)))
    }

    /// One command.
    #[track_caller]
    pub(crate) fn command(&mut self, words: &[&str]) -> Reply {
        self.ask(words).unwrap_or_else(|| panic!("no reply to {words:?}"))
    }

    /// Many commands in one go, each of which has to succeed.
    #[track_caller]
    pub(crate) fn pipeline(&mut self, commands: &[Vec<String>]) {
        let wire: Vec<u8> = commands.iter().flat_map(|words| encode(words)).collect();
        self.0.get_mut().write_all(&wire).expect("redis-server reads");
        for words in commands {
            let reply = read_reply(&mut self.0).unwrap_or_else(|| panic!("no reply to {words:?}"));
            assert!(!matches!(reply, Reply::Error(_)), "{words:?}: {reply:?}");
        }
    }

    /// The same where the server may be gone: `None` then.
    pub(crate) fn ask(&mut self, words: &[&str]) -> Option<Reply> {
        self.0.get_mut().write_all(&encode(words)).ok()?;
        read_reply(&mut self.0)
    }
}

fn encode<W: AsRef<str>>(words: &[W]) -> Vec<u8> {
    let mut wire = format!("*{}\r\n", words.len());
    for word in words.iter().map(AsRef::as_ref) {
        wire.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    wire.into_bytes()
}

fn read_reply(from: &mut impl BufRead) -> Option<Reply> {
    let mut line = String::new();
    from.read_line(&mut line).ok()?;
    let rest = line.get(1..)?.trim_end();
    match line.as_bytes().first()? {
        b'+' => Some(Reply::Text(rest.to_owned())),
        b'-' => Some(Reply::Error(rest.to_owned())),
        b':' => rest.parse().ok().map(Reply::Number),
        b'$' => {
            let Ok(length) = rest.parse::<usize>() else { return Some(Reply::Nil) };
            let mut bytes = vec![0; length + 2];
            from.read_exact(&mut bytes).ok()?;
            bytes.truncate(length);
            Some(Reply::Text(String::from_utf8_lossy(&bytes).into_owned()))
        }
        b'*' => {
            let Ok(length) = rest.parse::<usize>() else { return Some(Reply::Nil) };
            (0..length).map(|_| read_reply(from)).collect::<Option<Vec<_>>>().map(Reply::List)
        }
        _ => None,
    }
}

/// One of each makes a heartbeat.
const HEARTBEAT: [&str; 7] = ["evalsha", "time", "zadd", "zrangebyscore", "zremrangebyscore", "pexpire", "zcard"];
