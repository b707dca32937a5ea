//! A real redis-server on a port of its own that can be killed, frozen and brought back on the same port, and a RESP
//! client of a page to look at what the gateway wrote. The gateway's own client is deliberately not used.

use std::io::{BufRead, BufReader, Write};
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
}

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
        Self { address: ports::free(), dir, process: None }
    }

    /// The url for `[store]`.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Kills it at once, as a crash does. The data is lost.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.kill());
            drop(process.wait());
        }
    }

    /// Starts it (again) on the same port, empty, and waits until it answers.
    pub(crate) fn restart(&mut self) {
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
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed (make test does it)");
        self.process = Some(process);
        eventually("redis-server answers PING", PATIENCE, || {
            let mut stream = TcpStream::connect(self.address).ok()?;
            exchange(&mut stream, &["PING"]).filter(|reply| *reply == Reply::Text("PONG".into()))
        });
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
        let mut stream = TcpStream::connect(self.address).expect("redis-server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        exchange(&mut stream, words).unwrap_or_else(|| panic!("no reply to {words:?}"))
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

    fn texts(self) -> Vec<String> {
        let Self::List(items) = self else { panic!("no list: {self:?}") };
        items
            .into_iter()
            .map(|item| if let Self::Text(text) = item { text } else { panic!("no text: {item:?}") })
            .collect()
    }
}

fn exchange(stream: &mut TcpStream, words: &[&str]) -> Option<Reply> {
    let mut wire = format!("*{}\r\n", words.len());
    for word in words {
        wire.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(wire.as_bytes()).ok()?;
    read_reply(&mut BufReader::new(stream))
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
