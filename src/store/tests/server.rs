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
pub(crate) struct Server {
    pub(super) port: u16,
    password: Option<&'static str>,
    /// Of its command line, besides what every server here has.
    options: Vec<String>,
    /// The port of the primary that it watches, when it is a sentinel.
    watches: Option<u16>,
    directory: PathBuf,
    process: Option<Child>,
}

impl Server {
    pub(crate) fn start() -> Self {
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

    /// A sentinel of `main`, the primary at a port; two of them have to agree on a failure.
    pub(super) fn start_sentinel(primary: u16) -> Self {
        Self::started(|| {
            let mut server = Self::stopped(None);
            server.watches = Some(primary);
            server
        })
    }

    /// One that can be in a cluster.
    pub(super) fn start_for_cluster() -> Self {
        Self::started(Self::stopped_for_cluster)
    }

    fn stopped_for_cluster() -> Self {
        let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--repl-diskless-sync-delay", "0"];
        loop {
            let mut server = Self::stopped(None);
            // The port by which the servers talk is higher by ten thousand, that over TLS by one.
            let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
            if server.port < 55_000 && [1, 10_000, 10_001].iter().all(|more| free(server.port + more)) {
                server.options = options.map(str::to_owned).to_vec();
                return server;
            }
        }
    }

    /// Over TLS only, for clients with a certificate of the authority only.
    pub(super) fn start_over_tls(authority: &Authority) -> Self {
        let options = ["--port", "0", "--tls-port", "{port}"].map(str::to_owned).to_vec();
        let options = [options, tls_options(authority)].concat();
        Self::start_as(&options.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// One that can be in a cluster, over TLS at [`Server::tls_port`]; without TLS it listens too.
    pub(super) fn start_for_cluster_over_tls(authority: &Authority) -> Self {
        let files = tls_options(authority);
        Self::started(|| {
            let mut server = Self::stopped_for_cluster();
            let port = server.tls_port().to_string();
            server.options.extend(["--tls-cluster", "yes", "--tls-port", &port].map(str::to_owned));
            server.options.extend(files.clone());
            server
        })
    }

    pub(super) fn tls_port(&self) -> u16 {
        self.port + 1
    }

    fn started(stopped: impl Fn() -> Self) -> Self {
        // Between finding a port and using it somebody else may take it; the server then ends, and we look again.
        for _ in 0..10 {
            let mut server = stopped();
            if server.try_launch() && server.stays() {
                return server;
            }
        }
        panic!("no redis-server could be started");
    }

    /// A server that finds another of its ports taken ends after it has begun to listen on the first.
    fn stays(&mut self) -> bool {
        if !self.options.is_empty() {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.process.as_mut().is_some_and(|process| process.try_wait().unwrap().is_none())
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
        Self { port, password, options: Vec::new(), watches: None, directory, process: None }
    }

    /// Starts it on its port, again or for the first time, and waits until it listens.
    pub(super) fn launch(&mut self) {
        assert!(self.try_launch(), "port {} was taken", self.port);
    }

    fn try_launch(&mut self) -> bool {
        let mut command = self.command();
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

    fn command(&self) -> Command {
        let mut command = Command::new("redis-server");
        let port = self.port.to_string();
        if let Some(primary) = self.watches {
            let file = self.directory.join("sentinel.conf");
            let directory = self.directory.display();
            let text = format!(
                "port {port}\nbind 127.0.0.1\ndir {directory}\nsentinel monitor main 127.0.0.1 {primary} 2\n\
                 sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 3000\n"
            );
            std::fs::write(&file, text).unwrap();
            command.arg(file).arg("--sentinel");
            return command;
        }
        command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(&self.directory);
        if let Some(password) = self.password {
            command.args(["--requirepass", password]);
        }
        command.args(&self.options);
        command
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
    pub(crate) async fn reached_store(&self, budget: Duration) -> Arc<Store> {
        let store = self.store(budget);
        eventually("the store is up", Duration::from_secs(10), || store.is_up()).await;
        store
    }

    /// Whether it is a replica that has all its primary has. The primary counts a replica before that.
    pub(super) async fn follows(&self) -> bool {
        let state: String = self.tell(redis::cmd("INFO").arg("replication")).await;
        state.contains("role:slave") && state.contains("master_link_status:up")
    }

    /// Sends it a command past the store.
    pub(super) async fn tell<T: redis::FromRedisValue>(&self, command: &Cmd) -> T {
        self.try_tell(command).await.unwrap()
    }

    /// The same to one that may end the connection over it.
    pub(super) async fn try_tell<T: redis::FromRedisValue>(&self, command: &Cmd) -> redis::RedisResult<T> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        command.query_async(&mut connection).await
    }
}

fn tls_options(authority: &Authority) -> Vec<String> {
    authority.issue("server");
    let file = |name: &str| authority.file(name).display().to_string();
    let (certificate, key, ca) = (file("server.pem"), file("server.key"), file("ca.pem"));
    let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
    [&files[..], &["--tls-auth-clients", "yes"]].concat().into_iter().map(str::to_owned).collect()
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
