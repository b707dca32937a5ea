//! The store's verbs as Redis commands: which keys, which commands, what an answer means. How a command travels is
//! `link`'s part, the connection itself `keeper`'s.
//!
//! A user of the server's access lists needs `GETRANGE`, `EXISTS`, `SET` and `DEL` on `{prefix}*`, `PING`, `TIME`, and
//! `SELECT` where the URL names a database.

use std::fmt;
use std::time::Duration;

use redis::{Client, ConnectionInfo, IntoConnectionInfo, cmd, parse_redis_url};
use tokio::time::Instant;

use super::error::{StoreError, StoreUrlError};
use super::feed::Feed;
use super::link::Link;
use super::{Found, Lock, Revocation, Session, keeper};

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

/// Sessions in a Redis server, over one connection that all calls share.
pub struct Redis {
    prefix: String,
    budget: Duration,
    /// Boxed to keep `Store`, whose other backend is small, small.
    link: Box<Link>,
    feed: Feed,
}

impl Redis {
    pub(super) fn new(settings: RedisSettings) -> Result<Self, StoreUrlError> {
        let RedisSettings { url, prefix, budget } = settings;
        let target = parse_url(&url)?;
        let address = target.addr().to_string();
        let client = Client::open(target).map_err(|_| StoreUrlError::Unparsable)?;
        Ok(Self { prefix, budget, link: Box::new(Link::new(client, address, budget)), feed: Feed::silent() })
    }

    pub(super) async fn start_session(&self, session: &Session, _keep: u32) -> Result<Vec<Box<str>>, StoreError> {
        let deadline = self.deadline();
        let key = self.session_key(&session.jti);
        let lifetime_ms = session.record_ends_ms().saturating_sub(self.now_ms());
        if lifetime_ms == 0 {
            self.link.ask::<()>(cmd("DEL").arg(key), deadline).await?;
            return Ok(Vec::new());
        }
        let record = serde_json::to_vec(session).map_err(|_| StoreError::Unreadable)?;
        let lifetime_ms = lifetime_ms.min(LONGEST_LIFE_MS);
        self.link.ask::<()>(cmd("SET").arg(key).arg(record).arg("PX").arg(lifetime_ms), deadline).await?;
        Ok(Vec::new())
    }

    pub(super) async fn time(&self) -> Result<u64, StoreError> {
        let (seconds, micros): (u64, u64) = self.link.ask(&cmd("TIME"), self.deadline()).await?;
        Ok(seconds.saturating_mul(1000) + micros / 1000)
    }

    pub(super) async fn revoke(&self, _revocation: Revocation<'_>) -> Result<bool, StoreError> {
        Err(StoreError::Unreachable)
    }

    pub(super) async fn sessions_of(&self, _lineage: &str) -> Result<Vec<Session>, StoreError> {
        Err(StoreError::Unreachable)
    }

    pub(super) async fn record(&self, _: &str, _: &str, _: Duration) -> Result<Option<Vec<u8>>, StoreError> {
        Err(StoreError::Unreachable)
    }

    pub(super) async fn count_failure(&self, _: &str, _: u32, _: Duration) -> Result<Lock, StoreError> {
        Err(StoreError::Unreachable)
    }

    pub(super) async fn locks(&self, _: &[&str]) -> Result<Vec<Lock>, StoreError> {
        Err(StoreError::Unreachable)
    }

    pub(super) async fn clear_lock(&self, _: &str) -> Result<(), StoreError> {
        Err(StoreError::Unreachable)
    }

    pub(super) async fn note_seen(&self, _: &str, _: &str, _: Duration) -> Result<(), StoreError> {
        Err(StoreError::Unreachable)
    }

    pub(super) async fn seen(&self, _: &str, _: &str) -> Result<Option<u64>, StoreError> {
        Err(StoreError::Unreachable)
    }

    pub(super) const fn feed(&self) -> &Feed {
        &self.feed
    }

    pub(super) fn eviction_policy(&self) -> Option<Box<str>> {
        None
    }

    pub(super) async fn session(&self, jti: &str, _lineage: &str) -> Result<Found, StoreError> {
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
            return if records == 0 { Ok(Found::Missing) } else { Err(StoreError::Unreadable) };
        }
        serde_json::from_slice(&record).map(Found::Live).map_err(|_| StoreError::Unreadable)
    }

    pub(super) async fn end_session(&self, jti: &str, _account: &str) -> Result<bool, StoreError> {
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
        keeper::keep(&self.link).await;
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

/// The largest record that is read, in bytes. `GETRANGE` includes its last position, so it brings one byte more.
const RECORD_LIMIT: usize = 64 * 1024;

/// A hundred years: more than a token lives, less than what Redis refuses as an expiry.
const LONGEST_LIFE_MS: u64 = 100 * 365 * 24 * 3600 * 1000;
