//! The store in a Redis server that all gateways share: what its parts share, and where they are. The verbs are in
//! `sessions`, `records` and `locks`, the subscription in `hearing`, the scripts beside them. How a command travels is
//! `link`'s part, the connection itself `keeper`'s.
//!
//! A user of the server's access lists needs `+getrange +exists +set +del +zadd +zrem +zcard +zscore +zrange
//! +zrangebyscore +hget +hmget +hset +hincrby +hdel +hgetall +pexpire +pttl +evalsha +script|load` on `~{prefix}*`,
//! `+publish +subscribe` on `&{prefix}*`, `+ping +time`, `+wait` for `replicas`, `+info` to have the server's eviction
//! policy checked, and `+select` where the URL names a database.

mod hearing;
mod locks;
mod records;
mod scripts;
mod sessions;

use std::fmt;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use redis::{Client, ConnectionInfo, IntoConnectionInfo, parse_redis_url};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::error::{StoreError, StoreUrlError};
use super::feed::Feed;
use super::keeper;
use super::link::Link;

/// Where the server is and how long a call may take.
pub struct RedisSettings {
    /// `redis://[[user]:password@]host[:port][/database]`; port 6379 and database 0 where left out.
    pub url: String,
    /// Put before every key, `portcullis:` by default.
    pub prefix: String,
    /// The longest a call takes, from its start to its answer or its error.
    pub budget: Duration,
}

/// The URL may hold a password.
impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, prefix, budget } = self;
        f.debug_struct("RedisSettings").field("prefix", prefix).field("budget", budget).finish_non_exhaustive()
    }
}

/// Everything in a Redis server, over one connection that all calls share.
pub struct Redis {
    prefix: String,
    /// The channel on which gateways announce.
    invalidations: String,
    /// The channel on which changes of the directory's records are announced.
    directory: String,
    budget: Duration,
    /// How many replicas confirm a login or a revocation.
    replicas: u8,
    /// Boxed to keep `Store`, whose other backend is small, small.
    link: Box<Link>,
    feed: Feed,
    /// How the server makes room, once that was asked.
    eviction: RwLock<Option<Box<str>>>,
    /// There is a new subscription, and so perhaps another server.
    renewed: Notify,
}

impl Redis {
    pub(super) fn new(settings: RedisSettings) -> Result<Self, StoreUrlError> {
        let RedisSettings { url, prefix, budget } = settings;
        let target = parse_url(&url)?;
        let address = target.addr().to_string();
        let client = Client::open(target).map_err(|_| StoreUrlError::Unparsable)?;
        Ok(Self {
            invalidations: format!("{prefix}invalidations"),
            directory: format!("{prefix}directory"),
            prefix,
            budget,
            replicas: 0,
            link: Box::new(Link::new(client, address, budget)),
            feed: Feed::silent(),
            eviction: RwLock::default(),
            renewed: Notify::new(),
        })
    }

    pub(super) async fn time(&self) -> Result<u64, StoreError> {
        self.link.time(self.deadline()).await
    }

    pub(super) const fn feed(&self) -> &Feed {
        &self.feed
    }

    pub(super) fn eviction_policy(&self) -> Option<Box<str>> {
        self.eviction.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.link.clock.now_ms()
    }

    pub(super) fn is_up(&self) -> bool {
        self.link.is_up()
    }

    pub(super) fn was_reached(&self) -> bool {
        self.link.was_reached()
    }

    /// Everything that goes on beside the calls. Never returns.
    pub(super) async fn run(&self) {
        tokio::join!(keeper::keep(&self.link), self.hear_forever(), self.watch_eviction());
    }

    /// When a call that begins now has to be over.
    fn deadline(&self) -> Instant {
        Instant::now() + self.budget
    }
}

/// The URL's parts, or what is wrong with it. Stricter than the client, which drops what it does not understand and
/// logs in as nobody when only a user is given.
fn parse_url(text: &str) -> Result<ConnectionInfo, StoreUrlError> {
    if !text.starts_with("redis://") {
        return Err(StoreUrlError::Scheme);
    }
    let url = parse_redis_url(text).ok_or(StoreUrlError::Unparsable)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(StoreUrlError::Options);
    }
    if url.host_str().is_none_or(str::is_empty) || url.port() == Some(0) {
        return Err(StoreUrlError::Host);
    }
    if !url.username().is_empty() && url.password().is_none() {
        return Err(StoreUrlError::UserWithoutPassword);
    }
    let database = url.path().strip_prefix('/').unwrap_or_default();
    if !database.is_empty() && database.parse::<u16>().is_err() {
        return Err(StoreUrlError::Database);
    }
    let target = url.into_connection_info().map_err(|_| StoreUrlError::Host)?;
    let tcp = target.tcp_settings().clone().set_nodelay(true);
    let login = target.redis_settings().clone().set_skip_set_lib_name();
    Ok(target.set_tcp_settings(tcp).set_redis_settings(login))
}

/// A hundred years: more than a token lives, less than what Redis refuses as an expiry.
const LONGEST_LIFE_MS: u64 = 100 * 365 * 24 * 3600 * 1000;
