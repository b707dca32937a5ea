//! A real redis-server for one test, on a free port, ended by its process id; spoken to past the store.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::store::{RedisSettings, Store};

pub(super) const PREFIX: &str = "portcullis:";

pub(super) struct RedisServer {
    port: u16,
    folder: tempfile::TempDir,
    process: Option<Child>,
}

impl RedisServer {
    pub(super) fn start() -> Self {
        // Between finding a port and using it somebody else may take it; the server then ends, and we look again.
        for _ in 0..10 {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            drop(listener);
            let mut server = Self { port, folder: tempfile::tempdir().unwrap(), process: None };
            if server.launch() {
                return server;
            }
        }
        panic!("no redis-server could be started");
    }

    /// Starts it on its port, and waits until it listens. False when the port is taken.
    pub(super) fn launch(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(self.folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = command.spawn().expect("redis-server");
        let give_up = Instant::now() + Duration::from_secs(10);
        loop {
            if process.try_wait().unwrap().is_some() {
                return false;
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                self.process = Some(process);
                return true;
            }
            assert!(Instant::now() < give_up, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Sends it a signal by name: `STOP`, `CONT`.
    pub(super) fn signal(&self, name: &str) {
        let id = self.process.as_ref().expect("a running server").id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Sends it a command, and waits for the answer, which is no error.
    pub(super) fn tell(&self, words: &[&str]) {
        let mut command = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            command.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        connection.write_all(&command).unwrap();
        let mut answer = [0; 1];
        connection.read_exact(&mut answer).unwrap();
        assert_ne!(answer[0], b'-', "{words:?} was refused");
    }

    /// Writes or deletes a record, without a word about it.
    pub(super) fn put(&self, key: &str, value: Option<&str>) {
        let key = format!("{PREFIX}{key}");
        match value {
            Some(value) => self.tell(&["SET", &key, value]),
            None => self.tell(&["DEL", &key]),
        }
    }

    /// Announces that a record changed.
    pub(super) fn announce(&self, key: &str) {
        self.tell(&["PUBLISH", &format!("{PREFIX}directory"), &format!("{PREFIX}{key}")]);
    }

    /// A store on this server; it is to be run, and may not be connected yet.
    pub(super) fn store(&self) -> Arc<Store> {
        let url = format!("redis://127.0.0.1:{}", self.port);
        let budget = Duration::from_millis(500);
        let settings = RedisSettings { url, prefix: PREFIX.to_owned(), budget, replicas: 0, tls: None };
        Arc::new(Store::redis(settings).unwrap())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
