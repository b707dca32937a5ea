//! Wiring: builds each part once and hands them to pingora.
//!
//! Called by `main` for `serve` and `demo`. After this file nothing is global.

mod signals;
mod small_server;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::apps::http_app::ServeHttp;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::proxy::http_proxy;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server, ShutdownWatch};
use pingora::services::background::{BackgroundService, background_service};
use pingora::services::listening::Service;
use tokio::sync::mpsc;

use self::signals::{Signals, close_log};
use self::small_server::{Bounds, SmallServer};
use crate::admin::reload::{InEffect, NewAccounts, Origin, Reloader, live};
use crate::admin::watch::follow_files;
use crate::admin::{Admin, Stage};
use crate::config::load::Config;
use crate::config::settings::{self, DirectorySource, Settings};
use crate::config::watched::Watched;
use crate::directory::file::{self, Followed};
use crate::directory::records::Records;
use crate::directory::{Directory, Surroundings};
use crate::identity::Resolver;
use crate::identity::lockout::Lockout;
use crate::identity::password::Passwords;
use crate::identity::sessions::Sessions;
use crate::identity::token::Tokens;
use crate::identity::usage;
use crate::limits::Limits;
use crate::proxy::Gateway;
use crate::proxy::edge::Edge;
use crate::proxy::hooks::Carrier;
use crate::proxy::listener::Front;
use crate::store::Store;
use crate::telemetry::access_log::{AccessLog, AccessLogGuard};
use crate::telemetry::errors::Errors;
use crate::telemetry::metrics::Metrics;
use crate::upstream::Upstreams;

/// Bytes of a client connection's read buffer; the carrier's own default is eight times that.
const READ_BUFFER: usize = 8 << 10;

/// Why the gateway cannot start; one clear line each.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum StartError {
    #[error("cannot listen on {address} ({key}): {error}")]
    Listen { address: SocketAddr, key: &'static str, error: std::io::Error },
    #[error("cannot open the access log `{path}`: {error}")]
    AccessLog { path: String, error: std::io::Error },
    #[error("cannot use store.url: {0}")]
    Store(#[from] crate::store::StoreUrlError),
    #[error("cannot call the directory: {0}")]
    Directory(#[from] crate::directory::https::CallsError),
    #[error("cannot start: {0}")]
    Part(String),
}

/// A gateway, built and not yet running.
pub struct App {
    gateway: Arc<Gateway>,
    store: Arc<Store>,
    directory: Arc<Directory>,
    accounts: Option<Followed>,
    in_effect: InEffect,
    /// Where it came from, if it can be read again.
    origin: Option<Origin>,
    log_guard: AccessLogGuard,
    extras: Vec<(String, SocketAddr, Arc<dyn ServeHttp + Send + Sync>)>,
}

impl App {
    /// Builds everything; makes no connection and opens no port. `accounts` is the file to follow.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn build(config: Config, records: Records, accounts: Option<Followed>) -> Result<Self, StartError> {
        let settings = &config.settings;
        let part = |error: &dyn std::fmt::Display| StartError::Part(error.to_string());
        let metrics = Arc::new(Metrics::new().map_err(|error| part(&error))?);
        let (access_log, log_guard) = AccessLog::open(settings.server.access_log.as_deref()).map_err(|error| {
            let path = settings.server.access_log.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
            StartError::AccessLog { path, error }
        })?;
        let store = Arc::new(open_store(&settings.store)?);
        let directory = Arc::new(open_directory(settings, records, &store, &metrics)?);
        let sessions = Sessions::new(Arc::clone(&store), settings.token.sessions_per_account, Arc::clone(&metrics));
        let tokens = Tokens::new(&settings.token, &metrics);
        let lockout = Arc::new(Lockout::new(Arc::clone(&store), settings.lockout, Arc::clone(&metrics)));
        store.listen(Arc::clone(&lockout) as _);
        let gateway = Gateway {
            live: ArcSwap::from_pointee(live(&metrics, &config, Upstreams::new(&settings.upstreams, &metrics))),
            resolver: Resolver::new(
                Arc::clone(&directory),
                sessions,
                tokens,
                lockout,
                (settings.token.cache, settings.token.stale),
                &metrics,
            ),
            limits: Arc::new(Limits::new(Arc::clone(&store)).measured(&metrics)),
            passwords: Passwords::new(settings.server.threads / 2).map_err(|error| part(&error))?,
            metrics,
            access_log,
            bounds: settings.limits,
            trusted_proxies: settings.server.trusted_proxies.clone(),
        };
        let gateway = Arc::new(gateway);
        let in_effect = InEffect::of(&config, accounts.as_ref());
        let (origin, extras) = (None, Vec::new());
        Ok(Self { gateway, store, directory, accounts, in_effect, origin, log_guard, extras })
    }

    /// Lets SIGHUP, `POST /reload` and a change of a file have the files read again.
    #[must_use]
    pub fn reloading_from(mut self, path: &Path, watched: Vec<Watched>) -> Self {
        self.origin = Some(Origin { path: path.to_owned(), watched });
        self
    }

    /// The gateway, for what is made before it runs.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Runs another small server in the same process.
    pub fn add_server(&mut self, name: &str, address: SocketAddr, app: Arc<dyn ServeHttp + Send + Sync>) {
        self.extras.push((name.to_owned(), address, app));
    }

    /// Whether the ports are free: the carrier would try for half a minute, an operator wants to know at once.
    ///
    /// # Errors
    /// The address that cannot be listened on.
    pub fn try_ports(&self) -> Result<(), StartError> {
        let server = &self.in_effect.settings.server;
        let listen = server.listen.iter().map(|address| (*address, "server.listen"));
        let mut held = Vec::new();
        for (address, key) in listen.chain([(server.admin, "server.admin")]) {
            let tried = std::net::TcpListener::bind(address);
            held.push(tried.map_err(|error| StartError::Listen { address, key, error })?);
        }
        Ok(())
    }

    /// Runs until a signal ends it.
    ///
    /// # Errors
    /// What stands in the way, a port in use above all.
    pub fn run(self) -> Result<(), StartError> {
        self.try_ports()?;
        let server = self.in_effect.settings.server.clone();
        count_panics(&self.gateway);
        let mut pingora = Server::new_with_opt_and_conf(None, carrier_conf(&server));
        pingora.bootstrap();
        let carrier = http_proxy(&pingora.configuration, Carrier(Arc::clone(&self.gateway)));
        let edge = Edge::new(Arc::clone(&self.gateway), carrier);
        let mut front = Service::new("gateway".to_owned(), Front::new(edge, self.gateway.metrics.connections.clone()));
        for address in &server.listen {
            let listener = ListenerConfig::tcp(address.to_string());
            front.add_listener(listener.l4_buffer(L4BufferSettings::new(READ_BUFFER, 1460)));
        }
        pingora.add_service(front);
        let stage = Arc::new(Stage::default());
        let (new_accounts, reloaded) = mpsc::channel(1);
        let reloader = Arc::new(Reloader::new(
            Arc::clone(&self.gateway),
            Arc::clone(&self.directory),
            self.origin,
            self.in_effect,
            new_accounts,
        ));
        let admin = Admin {
            gateway: Arc::clone(&self.gateway),
            store: Arc::clone(&self.store),
            stage: Arc::clone(&stage),
            reloader: Arc::clone(&reloader),
            address: server.admin,
        };
        let samples = self.extras.into_iter().map(|(name, address, app)| (name, address, app, Bounds::SAMPLE));
        let admin = ("admin".to_owned(), server.admin, Arc::new(admin) as _, Bounds::ADMIN);
        for (name, address, app, bounds) in samples.chain([admin]) {
            let mut service = Service::new(name, SmallServer::new(app, bounds));
            service.add_tcp(&address.to_string());
            service.threads = Some(1);
            pingora.add_service(service);
        }
        let (store, directory, accounts) = (self.store, self.directory, self.accounts);
        pingora.add_service(background_service(
            "background",
            Background {
                gateway: Arc::clone(&self.gateway),
                store,
                directory,
                accounts,
                reloaded: tokio::sync::Mutex::new(reloaded),
                reloader: Arc::clone(&reloader),
                listen: server.listen.clone(),
                stage: Arc::clone(&stage),
            },
        ));
        for address in &server.listen {
            tracing::info!("listening on http://{address}, admin on http://{}", server.admin);
        }
        let guard = Arc::new(Mutex::new(Some(self.log_guard)));
        let (gateway, pre_drain, drain) = (self.gateway, server.pre_drain, server.drain);
        let signals = Signals { stage, pre_drain, drain, gateway, reloader, guard: Arc::clone(&guard) };
        pingora.run(RunArgs { shutdown_signal: Box::new(signals) });
        close_log(&guard);
        Ok(())
    }
}

/// `records` are those of a `file:` directory.
fn open_directory(
    settings: &Settings,
    records: Records,
    store: &Arc<Store>,
    metrics: &Metrics,
) -> Result<Directory, StartError> {
    let around = Surroundings { store, prefix: &settings.store.prefix, stale: settings.token.stale, metrics };
    Ok(match &settings.directory.source {
        DirectorySource::File(_) => {
            let directory = Directory::new(records);
            directory.replace_peppers(&settings.directory.peppers);
            directory
        }
        DirectorySource::Redis => Directory::redis(&settings.directory, around),
        DirectorySource::Https(calls) => Directory::https(&settings.directory, calls, around)?,
    })
}

fn open_store(settings: &settings::Store) -> Result<Store, StartError> {
    Ok(match settings.redis_settings() {
        None => Store::memory(),
        Some(settings) => Store::redis(settings)?,
    })
}

fn carrier_conf(server: &settings::Server) -> ServerConf {
    let temporary = std::env::temp_dir();
    let name = |kind: &str| temporary.join(format!("portcullis-{}.{kind}", std::process::id())).display().to_string();
    ServerConf {
        threads: server.threads,
        upstream_keepalive_pool_size: 512,
        // Tries, not retries; each upstream's own bound is far below.
        max_retries: 8,
        grace_period_seconds: Some(server.drain.as_secs()),
        graceful_shutdown_timeout_seconds: Some(1),
        // Used only by daemons and upgrades, and by neither here.
        pid_file: name("pid"),
        upgrade_sock: name("sock"),
        ..ServerConf::default()
    }
}

/// Counts panics and logs where they happened, without what they say: that may hold anything.
fn count_panics(gateway: &Arc<Gateway>) {
    let gateway = Arc::clone(gateway);
    std::panic::set_hook(Box::new(move |panic| {
        gateway.metrics.panics.inc();
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // Nothing that could panic in turn: this is the last thing that may fail.
        let _ = writeln!(Errors, "panic at {place}; what it happened in was dropped");
    }));
}

/// Everything that goes on beside the requests, on one runtime: the store's connection lives there.
struct Background {
    gateway: Arc<Gateway>,
    store: Arc<Store>,
    directory: Arc<Directory>,
    accounts: Option<Followed>,
    /// Accounts that a reload read.
    reloaded: tokio::sync::Mutex<mpsc::Receiver<NewAccounts>>,
    reloader: Arc<Reloader>,
    listen: Vec<SocketAddr>,
    stage: Arc<Stage>,
}

impl Background {
    /// Keeps the accounts of a file in step with it. A reload begins it anew, with what it read itself.
    async fn follow_accounts(&self) {
        let (mut followed, mut reloaded) = (self.accounts.clone(), self.reloaded.lock().await);
        while let Some(current) = followed.take() {
            let new = tokio::select! {
                new = reloaded.recv() => new,
                () = file::follow(&self.directory, current) => None,
            };
            let Some(NewAccounts { followed: next, records, done }) = new else { return };
            self.directory.replace(records);
            // The reload may have been given up.
            let _ = done.send(());
            followed = Some(next);
        }
    }

    /// The carrier does not tell when its listeners are open, so each is tried.
    async fn await_listeners(&self) {
        for address in &self.listen {
            while tokio::net::TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        self.stage.note_listening();
    }
}

#[async_trait]
impl BackgroundService for Background {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let stop = async {
            // An error means that the server is gone, which is a stop as well.
            let _ = shutdown.wait_for(|stop| *stop).await;
        };
        let endless = async {
            let lookups = Upstreams::keep_looked_up(|| self.gateway.live.load().upstreams.clone());
            tokio::join!(
                self.await_listeners(),
                self.store.run(std::future::pending()),
                self.follow_accounts(),
                follow_files(&self.reloader),
                self.directory.watch(),
                self.gateway.resolver.lockout().run(),
                self.gateway.limits.run(),
                usage::share(&self.directory, &self.store),
                lookups
            );
        };
        tokio::select! {
            () = stop => {}
            () = endless => {}
        }
        // Requests that are still being finished need the store's connection, which this runtime drives.
        std::future::pending::<()>().await;
    }
}
