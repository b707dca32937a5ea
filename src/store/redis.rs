//! The store in a Redis server that all gateways share: what its parts share, and where they are. The verbs are in
//! `sessions`, `records`, `locks` and `quotas`, the subscription in `hearing`, the set of gateways in `gateways`, the scripts
//! beside them. How a command travels is `link`'s part, the connection itself `keeper`'s.
//!
//! A user of the server's access lists needs `+getrange +exists +set +del +zadd +zrem +zcard +zrange
//! +zrangebyscore +zremrangebyscore +hget +hmget +hset +hincrby +hdel +hgetall +pexpire +pttl +evalsha +script|load` on `~{prefix}*`,
//! `+publish +subscribe` on `&{prefix}*`, `+ping +time`, `+wait` for `replicas`, `+info` to have the server's eviction
//! policy checked, `+select` where the URL names a database, `+role` behind sentinels, and `+cluster|info
//! +cluster|slots +asking` in a cluster.

mod gateways;
mod hearing;
mod locks;
mod logins;
mod quotas;
mod records;
mod scripts;
mod sessions;

use std::fmt;
use std::panic::resume_unwind;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::error::{StoreError, StoreUrlError};
use super::feed::Feed;
use super::link::Link;
use super::{Eviction, TlsFiles};

/// Where the server is and how long a call may take.
pub struct RedisSettings {
    /// `redis://[[user]:password@]host[:port][/database]`; port 6379 and database 0 where left out. `rediss://…` is the
    /// same over TLS. `redis+sentinel://[[user]:password@]host[:26379],…/name[/database]` asks sentinels for the server;
    /// its options are `?tls=true`, `sentinel_password` and `sentinel_user`.
    /// `redis+cluster://[[user]:password@]host[:port],…` names some servers of a cluster; its option is `?tls=true`.
    pub url: String,
    /// Put before every key, `portcullis:` by default.
    pub prefix: String,
    /// The longest a call takes, from its start to its answer or its error.
    pub budget: Duration,
    /// How many replicas have to confirm a login or a revocation; 0 asks none.
    pub replicas: u8,
    /// For connections over TLS: whom to trust, and our own certificate.
    pub tls: Option<TlsFiles>,
}

/// The URL may hold a password.
impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, prefix, budget, replicas, tls: _ } = self;
        let mut shown = f.debug_struct("RedisSettings");
        shown.field("prefix", prefix).field("budget", budget).field("replicas", replicas).finish_non_exhaustive()
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
    link: Link,
    feed: Feed,
    /// How the server makes room.
    eviction: RwLock<Eviction>,
    /// There is a new subscription, and so perhaps another server.
    renewed: Notify,
    /// The name by which this gateway is told from others.
    gateway: Box<str>,
    /// Whether it is to be in the set of those that live. Locked while the set is written.
    lives: Mutex<bool>,
    /// How many live, as last heard; 0 before that.
    gateways: AtomicU32,
}

impl Redis {
    pub(super) fn new(settings: RedisSettings) -> Result<Self, StoreUrlError> {
        let link = Link::new(&settings)?;
        let RedisSettings { prefix, budget, replicas, .. } = settings;
        let gateway = getrandom::u64().unwrap_or_else(|_| link.clock.now_ms());
        Ok(Self {
            invalidations: format!("{prefix}invalidations"),
            directory: format!("{prefix}directory"),
            prefix,
            budget,
            replicas,
            link,
            feed: Feed::silent(),
            eviction: RwLock::default(),
            renewed: Notify::new(),
            gateway: format!("{gateway:016x}").into(),
            lives: Mutex::new(true),
            gateways: AtomicU32::new(0),
        })
    }

    pub(super) async fn time(&self) -> Result<u64, StoreError> {
        self.link.time(self.deadline()).await
    }

    pub(super) const fn feed(&self) -> &Feed {
        &self.feed
    }

    pub(super) fn eviction(&self) -> Eviction {
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

    /// Everything that goes on beside the calls, each on a task of its own: those of one task share its turns, and a
    /// flood of news would leave none to the probes. Never returns; dropped, it ends them all.
    pub(super) async fn run(self: &Arc<Self>) {
        let mut tasks = JoinSet::new();
        let [keeper, ear, watcher, heart] = [(); 4].map(|()| Arc::clone(self));
        tasks.spawn(async move { keeper.link.keep().await });
        tasks.spawn(async move { ear.hear_forever().await });
        tasks.spawn(async move { watcher.watch_eviction().await });
        tasks.spawn(async move { heart.live().await });
        while let Some(ended) = tasks.join_next().await {
            if let Some(panic) = ended.err().and_then(|why| why.try_into_panic().ok()) {
                resume_unwind(panic);
            }
        }
    }

    /// Says once more what a script has announced, where that may not be enough: the servers of a cluster pass messages
    /// on without knowing whether they arrive. This one goes to the server at which gateways listen, as their beats do.
    async fn announce(&self, message: &str, deadline: Instant) -> Result<(), StoreError> {
        if self.link.spreads_messages() {
            self.link.publish(&self.invalidations, message.as_bytes(), deadline).await?;
        }
        Ok(())
    }

    pub(super) const fn budget(&self) -> Duration {
        self.budget
    }

    /// When a call that begins now has to be over.
    fn deadline(&self) -> Instant {
        Instant::now() + self.budget
    }
}

/// A hundred years: more than a token lives, less than what Redis refuses as an expiry.
const LONGEST_LIFE_MS: u64 = 100 * 365 * 24 * 3600 * 1000;
