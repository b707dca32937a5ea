//! What the gateway runs with: `gateway.toml` compiled, every default filled in.
//!
//! Made by `gateway_file` and its neighbours; plain values from here on, read by `app`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use super::secret::Secret;
use super::value::ServerAddress;
use crate::policy::route::Timeouts;
use crate::reason::Reason;
use crate::store::RedisSettings;

/// Everything in `gateway.toml` but the policies themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `[server]`
    pub server: Server,
    /// `[server.limits]`
    pub limits: Limits,
    /// `[token]`
    pub token: Token,
    /// `[store]`
    pub store: Store,
    /// `[directory]`
    pub directory: Directory,
    /// `[lockout]`
    pub lockout: Lockout,
    /// `[upstreams.*]`, by name.
    pub upstreams: Vec<Upstream>,
    /// `[reasons.*]`
    pub reasons: Vec<(Reason, ReasonOverride)>,
}

impl Settings {
    /// The accounts file of a `file:` directory.
    #[must_use]
    pub fn accounts_file(&self) -> Option<&Path> {
        match &self.directory.source {
            DirectorySource::File(path) => Some(path),
            DirectorySource::Redis | DirectorySource::Https(_) => None,
        }
    }
}

/// `[server]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// For clients.
    pub listen: Vec<SocketAddr>,
    /// For operators.
    pub admin: SocketAddr,
    /// Bearer token of the admin listener.
    pub admin_token: Option<Secret>,
    /// Worker threads, at least 1.
    pub threads: usize,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long running requests may finish.
    pub drain: Duration,
    /// How long readiness is off before the listeners close.
    pub pre_drain: Duration,
    /// `None` is standard output.
    pub access_log: Option<PathBuf>,
    /// Level of the operational log.
    pub log: String,
}

/// `[server.limits]`, as far as built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For a whole request head.
    pub header_timeout: Duration,
    /// Longest gap between two reads of a body.
    pub body_timeout: Duration,
    /// Of a connection between two requests.
    pub idle_timeout: Duration,
    /// Bytes of request line and header section.
    pub head_size: usize,
    /// Field lines.
    pub head_lines: usize,
    /// Bytes of path and query.
    pub target_size: usize,
    /// Bytes of a body.
    pub body_size: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            head_size: 32 << 10,
            head_lines: 100,
            target_size: 8 << 10,
            body_size: 10 << 20,
        }
    }
}

/// How the `kid` of a key begins that is made at start where none is named; the rest is another at every start, so
/// that a token of the last one is unknown and not a forgery. No key of a file can have it: `:` is in no id.
pub const RANDOM_KEY: &str = "random:";

/// `[token]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// `iss`
    pub issuer: String,
    /// Life of a token, at least a second.
    pub ttl: Duration,
    /// The first signs, all verify; never empty.
    pub keys: Vec<(String, Secret)>,
    /// Verified tokens that this gateway keeps.
    pub cache: usize,
    /// How long a known token is honoured while the store is away.
    pub stale: Duration,
    /// The oldest session beyond it ends; at least 1.
    pub sessions_per_account: u32,
}

/// `[store]`
#[derive(Clone, PartialEq, Eq)]
pub struct Store {
    /// `None` is memory; otherwise one of the `redis` URLs, which may hold a password: show [`Store::shown_url`].
    pub redis: Option<String>,
    /// Replicas that must have a login or a revocation before it counts.
    pub replicas: u8,
    /// For `rediss:` and the other URLs with TLS.
    pub tls: Option<TlsFiles>,
    /// The longest a request waits.
    pub budget: Duration,
    /// Of every key.
    pub prefix: String,
}

impl Store {
    /// What the store itself is opened with; `None` for one in memory.
    #[must_use]
    pub fn redis_settings(&self) -> Option<RedisSettings> {
        let tls = self.tls.clone().map(|TlsFiles { ca, certificate, key }| crate::store::TlsFiles {
            ca,
            certificate,
            key: key.map(|key| key.reveal().to_vec()),
        });
        let (url, prefix) = (self.redis.clone()?, self.prefix.clone());
        Some(RedisSettings { url, prefix, budget: self.budget, replicas: self.replicas, tls })
    }

    /// The URL for eyes and logs: a password in it is left out.
    #[must_use]
    pub fn shown_url(&self) -> String {
        let Some(url) = self.redis.as_deref() else { return "memory:".to_owned() };
        let (scheme, rest) = url.split_once("://").unwrap_or((url, ""));
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if tail.contains('@') {
            // Not as URLs are written, so whatever stands before the `@` may be part of a password.
            return format!("{scheme}://{HIDDEN}");
        }
        let authority = match authority.rsplit_once('@') {
            Some((login, hosts)) => format!("{}:{HIDDEN}@{hosts}", login.split(':').next().unwrap_or_default()),
            None => authority.to_owned(),
        };
        let Some((path, query)) = tail.split_once('?') else { return format!("{scheme}://{authority}{tail}") };
        let shown = |pair: &str| match pair.split_once('=') {
            Some((key, _)) if key.contains("password") => format!("{key}={HIDDEN}"),
            Some(_) | None => pair.to_owned(),
        };
        let query: Vec<String> = query.split('&').map(shown).collect();
        format!("{scheme}://{authority}{path}?{}", query.join("&"))
    }

    /// Whether a store URL is one with TLS.
    #[must_use]
    pub fn speaks_tls(url: &str) -> bool {
        let query = url.split_once('?').map_or("", |(_, query)| query);
        url.starts_with("rediss://") || query.split('&').any(|pair| pair == "tls=true")
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { redis: _, replicas, tls, budget, prefix } = self;
        f.debug_struct("Store")
            .field("url", &self.shown_url())
            .field("replicas", replicas)
            .field("tls", tls)
            .field("budget", budget)
            .field("prefix", prefix)
            .finish()
    }
}

const HIDDEN: &str = "(redacted)";

/// `[directory]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Where the records are.
    pub source: DirectorySource,
    /// The longest a request waits for it.
    pub budget: Duration,
    /// How old a cached record may be where no change feed reaches us.
    pub cache: Duration,
    /// Records cached.
    pub cache_entries: usize,
    /// How long an unknown record is remembered as such.
    pub negative: Duration,
    /// Keys of `hmac-sha256:` digests; the first is for new ones.
    pub peppers: Vec<(String, Secret)>,
}

/// `directory.url`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectorySource {
    /// `file:PATH`
    File(PathBuf),
    /// `redis:`, on the store's server.
    Redis,
    /// `https://…`, or `http://` to loopback.
    Https(Box<DirectoryCalls>),
}

impl DirectorySource {
    /// Whether both are the same directory, with whatever secrets it is asked.
    pub(super) fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Https(own), Self::Https(theirs)) => own.url == theirs.url,
            (Self::File(_) | Self::Redis | Self::Https(_), _) => self == other,
        }
    }
}

/// How the directory's calls are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryCalls {
    /// Without a slash at its end.
    pub url: String,
    /// Our bearer token.
    pub token: Option<Secret>,
    /// Authority, and our client certificate with its key.
    pub tls: TlsFiles,
}

/// PEM texts, read already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Authorities that are believed instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// Our certificate chain.
    pub certificate: Option<Vec<u8>>,
    /// Its private key.
    pub key: Option<Secret>,
}

/// `[lockout]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lockout {
    /// Failures of one (identifier, client network) pair.
    pub attempts: u32,
    /// Failures of one client network.
    pub network_attempts: u32,
    /// Failures older than this are forgotten.
    pub within: Duration,
}

impl Default for Lockout {
    fn default() -> Self {
        Self { attempts: 5, network_attempts: 100, within: Duration::from_secs(900) }
    }
}

/// `[upstreams.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// As policies call it.
    pub name: String,
    /// At least one.
    pub servers: Vec<ServerAddress>,
    /// All set.
    pub timeouts: Timeouts,
    /// Tries after the first.
    pub retries: u8,
    /// `None`: requests are sent whatever became of the ones before.
    pub breaker: Option<Breaker>,
}

/// `upstreams.NAME.breaker`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// So many requests without a reply open it; at least 1.
    pub failures: u32,
    /// In which time.
    pub within: Duration,
    /// How long nothing is sent then; more than zero, as `within` is.
    pub open_for: Duration,
}

/// `[reasons.NAME]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReasonOverride {
    /// HTTP status.
    pub status: Option<u16>,
    /// `result`
    pub result: Option<String>,
    /// `msg`
    pub msg: Option<String>,
    /// `desc`
    pub desc: Option<String>,
}

/// Upstream time limits where nothing is written.
pub const DEFAULT_TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(1),
    read: Duration::from_secs(30),
    write: Duration::from_secs(30),
    idle: Duration::from_secs(50),
};

/// Whether an address can be reached from this machine only.
#[must_use]
pub fn is_loopback(address: &SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_loopback(),
    }
}

/// A path of a file, relative to the folder of the file that names it.
#[must_use]
pub fn beside(file: &str, path: &str) -> PathBuf {
    Path::new(file).parent().unwrap_or(Path::new("")).join(path)
}
