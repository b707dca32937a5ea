//! A real redis-server for one test, on a free port, ended by its process id.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use redis::Cmd;

use super::super::{RedisSettings, Store};
use super::certificates::Authority;
use super::eventually;

/// A server, and the directory it runs in.
pub(super) struct Server {
    pub(super) port: u16,
    password: Option<&'static str>,
    /// Of its command line, besides what every server here has.
    options: Vec<String>,
    directory: PathBuf,
    process: Option<Child>,
}

impl Server {
    pub(super) fn start() -> Self {
        Self::start_with(None)
    }

    pub(super) fn start_with(password: Option<&'static str>) -> Self {
        Self::started(|| Self::stopped(password))
    }

    /// With further words of its command line; `{port}` in them stands for its port.
    pub(super) fn start_as(options: &[&str]) -> Self {
        Self::started(|| {
            let mut server = Self::stopped(None);
            let port = server.port.to_string();
            server.options = options.iter().map(|option| option.replace("{port}", &port)).collect();
            server
        })
    }

    /// Over TLS only, for clients with a certificate of the authority only.
    pub(super) fn start_over_tls(authority: &Authority) -> Self {
        authority.issue("server");
        let file = |name: &str| authority.file(name).display().to_string();
        let (certificate, key, ca) = (file("server.pem"), file("server.key"), file("ca.pem"));
        let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
        Self::start_as(&[&["--port", "0", "--tls-port", "{port}", "--tls-auth-clients", "yes"], &files[..]].concat())
    }

    fn started(stopped: impl Fn() -> Self) -> Self {
        // Between finding a port and using it somebody else may take it; the server then ends, and we look again.
        for _ in 0..10 {
            let mut server = stopped();
            if server.try_launch() {
                return server;
            }
        }
        panic!("no redis-server could be started");
    }

    /// A port on which nobody listens yet.
    pub(super) fn stopped(password: Option<&'static str>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("portcullis-store-{}-{count}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { port, password, options: Vec::new(), directory, process: None }
    }

    /// Starts it on its port, again or for the first time, and waits until it listens.
    pub(super) fn launch(&mut self) {
        assert!(self.try_launch(), "port {} was taken", self.port);
    }

    fn try_launch(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(&self.directory);
        if let Some(password) = self.password {
            command.args(["--requirepass", password]);
        }
        command.args(&self.options);
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("redis-server");
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
        let status = Command::new("kill").args(["-s", name, &id]).status().unwrap();
        assert!(status.success());
    }

    /// Takes away the directory it would save its snapshots to.
    pub(super) fn lose_directory(&self) {
        std::fs::remove_dir_all(&self.directory).unwrap();
    }

    pub(super) fn url(&self) -> String {
        let login = self.password.map(|password| format!(":{password}@")).unwrap_or_default();
        format!("redis://{login}127.0.0.1:{}", self.port)
    }

    /// A store on this server whose keeper runs; it may not be connected yet.
    pub(super) fn store(&self, budget: Duration) -> Arc<Store> {
        store_at(self.url(), budget)
    }

    /// A store that is connected.
    pub(super) async fn reached_store(&self, budget: Duration) -> Arc<Store> {
        let store = self.store(budget);
        eventually("the store is up", Duration::from_secs(10), || store.is_up()).await;
        store
    }

    /// Sends it a command past the store.
    pub(super) async fn tell<T: redis::FromRedisValue>(&self, command: &Cmd) -> T {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        command.query_async(&mut connection).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

pub(super) fn store_at(url: String, budget: Duration) -> Arc<Store> {
    let settings = RedisSettings { url, prefix: "portcullis:".to_owned(), budget, replicas: 0, tls: None };
    let store = Arc::new(Store::redis(settings).unwrap());
    let keeper = Arc::clone(&store);
    tokio::spawn(async move { keeper.run(std::future::pending()).await });
    store
}
