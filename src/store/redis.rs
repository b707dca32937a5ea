//! The store's verbs as Redis commands: which keys, which commands, what an answer means. How a command travels is
//! `link`'s part, the connection itself `keeper`'s.
//!
//! A user of the server's access lists needs `GETRANGE`, `EXISTS`, `SET` and `DEL` on `{prefix}*`, `PING`, `TIME`,
//! `SELECT` where the URL names a database, `ROLE` behind sentinels, and `CLUSTER INFO`, `CLUSTER SLOTS` and `ASKING` in
//! a cluster.

use std::fmt;
use std::time::Duration;

use redis::cmd;
use tokio::time::Instant;

use super::error::{StoreError, StoreUrlError};
use super::link::Link;
use super::{Session, TlsFiles};

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

/// Sessions in a Redis server, over one connection that all calls share.
pub struct Redis {
    prefix: String,
    budget: Duration,
    /// Boxed to keep `Store`, whose other backend is small, small.
    link: Box<Link>,
}

impl Redis {
    pub(super) fn new(settings: RedisSettings) -> Result<Self, StoreUrlError> {
        let link = Box::new(Link::new(&settings)?);
        let RedisSettings { prefix, budget, .. } = settings;
        Ok(Self { prefix, budget, link })
    }

    pub(super) async fn start_session(&self, session: &Session) -> Result<(), StoreError> {
        let deadline = self.deadline();
        let key = self.session_key(&session.jti);
        let lifetime_ms = session.record_ends_ms().saturating_sub(self.now_ms());
        if lifetime_ms == 0 {
            return self.link.ask(cmd("DEL").arg(key), deadline).await;
        }
        let record = serde_json::to_vec(session).map_err(|_| StoreError::Unreadable)?;
        let lifetime_ms = lifetime_ms.min(LONGEST_LIFE_MS);
        self.link.ask(cmd("SET").arg(key).arg(record).arg("PX").arg(lifetime_ms), deadline).await
    }

    pub(super) async fn session(&self, jti: &str) -> Result<Option<Session>, StoreError> {
        let deadline = self.deadline();
        let key = self.session_key(jti);
        // Not GET: a record of any size would come over the connection that every other call waits on.
        let record: Vec<u8> = self.link.ask(cmd("GETRANGE").arg(&key).arg(0).arg(RECORD_LIMIT), deadline).await?;
        if record.len() > RECORD_LIMIT {
            return Err(StoreError::Unreadable);
        }
        if record.is_empty() {
            // What GETRANGE says of a missing key, but also of an empty record, which must not pass for a logout.
            let records: u64 = self.link.ask(cmd("EXISTS").arg(&key), deadline).await?;
            return if records == 0 { Ok(None) } else { Err(StoreError::Unreadable) };
        }
        serde_json::from_slice(&record).map(Some).map_err(|_| StoreError::Unreadable)
    }

    pub(super) async fn end_session(&self, jti: &str) -> Result<bool, StoreError> {
        let ended: u64 = self.link.ask(cmd("DEL").arg(self.session_key(jti)), self.deadline()).await?;
        Ok(ended > 0)
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

    pub(super) async fn keep_connected(&self) {
        self.link.keep().await;
    }

    /// When a call that begins now has to be over.
    fn deadline(&self) -> Instant {
        Instant::now() + self.budget
    }

    /// The jti stands in literal braces: a cluster puts all keys of one session into one slot by them.
    fn session_key(&self, jti: &str) -> String {
        let prefix = &self.prefix;
        format!("{prefix}session:{{{jti}}}")
    }
}

/// The largest record that is read, in bytes. `GETRANGE` includes its last position, so it brings one byte more.
const RECORD_LIMIT: usize = 64 * 1024;

/// A hundred years: more than a token lives, less than what Redis refuses as an expiry.
const LONGEST_LIFE_MS: u64 = 100 * 365 * 24 * 3600 * 1000;
