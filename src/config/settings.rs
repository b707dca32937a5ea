//! What the gateway runs with: `gateway.toml` compiled, every default filled in.
//!
//! Made by `gateway_file` and its neighbours; plain values from here on, read by `app`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use super::secret::Secret;
use super::value::ServerAddress;
use crate::policy::route::Timeouts;
use crate::reason::Reason;

/// Everything in `gateway.toml` but the policies themselves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `[server]`
    pub server: Server,
    /// `[server.limits]`
    pub limits: Limits,
    /// `[token]`
    pub token: Token,
    /// `[store]`
    pub store: Store,
    /// `[directory]`: the accounts file.
    pub accounts: PathBuf,
    /// `[upstreams.*]`, by name.
    pub upstreams: Vec<Upstream>,
    /// `[reasons.*]`
    pub reasons: Vec<(Reason, ReasonOverride)>,
}

/// `[server]`
#[derive(Clone, Debug)]
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

/// `[token]`
#[derive(Clone, Debug)]
pub struct Token {
    /// `iss`
    pub issuer: String,
    /// Life of a token, at least a second.
    pub ttl: Duration,
    /// The first signs, all verify; never empty.
    pub keys: Vec<(String, Secret)>,
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// `None` is memory.
    pub redis: Option<String>,
    /// The longest a request waits.
    pub budget: Duration,
    /// Of every key.
    pub prefix: String,
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
