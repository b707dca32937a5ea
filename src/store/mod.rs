//! The store: what several gateways have to agree on, behind a few verbs. Two real backends: this process's memory,
//! and Redis, be it one server, a primary that sentinels watch, or a cluster.
//!
//! Called by `identity` (sessions, lock-outs), `directory` (records, news of changes), `admin` (readiness) and `app`
//! (which runs [`Store::run`] in the background).
//! Deliberately not here: what an outage *means* for a request (the policy core decides that), who a session belongs
//! to, and waiting: a call never waits for a connection to come back.

mod acknowledge;
mod address;
mod clock;
mod cluster;
mod ending;
mod error;
pub mod feed;
mod keeper;
mod link;
mod memory;
mod message;
mod patience;
mod primacy;
mod quota;
mod redis;
mod sentinel;
mod session;
mod slots;
mod state;
mod subscription;
mod tls;
mod topology;
mod watermark;
mod wire;

#[cfg(test)]
pub(crate) mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

pub use self::ending::Ending;
pub use self::error::{StoreError, StoreUrlError};
use self::feed::{Feed, Listener};
pub use self::memory::Memory;
pub use self::patience::Patience;
pub use self::quota::{Bucket, Draw, Drawn, EXACT_BELOW};
pub use self::redis::{Redis, RedisSettings};
pub use self::session::{Found, Session};
pub use self::state::{Eviction, Lock, Revocation};
pub use self::tls::TlsFiles;

/// A backend. Both behave alike; `tests.rs` holds the one suite that each has to pass.
///
/// Every call answers within the budget of its settings. A call whose future is dropped may still take effect in the
/// store, as may one that ended in [`StoreError::TimedOut`] or [`StoreError::Unreachable`]; its answer never reaches
/// another caller.
pub enum Store {
    /// Everything in this process, gone when it ends.
    Memory(Memory),
    /// A Redis server that all gateways share.
    Redis(Arc<Redis>),
}

impl Store {
    /// A store in this process, empty, on the system clock.
    pub fn memory() -> Self {
        Self::Memory(Memory::new())
    }

    /// A store on a Redis server. Makes no connection: until [`Store::run`] has made one, calls are
    /// [`StoreError::Unreachable`].
    ///
    /// # Errors
    /// The URL is not one this gateway can use; see [`StoreUrlError`].
    pub fn redis(settings: RedisSettings) -> Result<Self, StoreUrlError> {
        Redis::new(settings).map(|redis| Self::Redis(Arc::new(redis)))
    }

    /// The store's clock, asked and not estimated: milliseconds since the epoch. What has to be ordered against other
    /// gateways, a login against a revocation, takes its time from here.
    ///
    /// # Errors
    /// The store could not be asked.
    pub async fn time(&self) -> Result<u64, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.now_ms()),
            Self::Redis(redis) => redis.time().await,
        }
    }

    /// Keeps `session` until 60 s after it expires, by the store's clock, in place of an earlier one of that jti.
    /// One whose record's time is already over leaves no record, and is no error. Of the account's sessions `keep` stay:
    /// once the new one is acknowledged, the oldest are ended and announced, whether or not anybody waits for it. Of very
    /// many that are too many a login ends a hundred, and the next ones the others.
    ///
    /// # Errors
    /// The store could not be asked, refused, or no replica confirmed. Nobody is to be given its token; no other session
    /// has ended, and what there is of this one is taken away, as it is when this call is dropped.
    pub async fn start_session(&self, session: &Session, keep: u32) -> Result<Ending, StoreError> {
        debug_assert!(is_id(&session.jti) && is_id(&session.sub), "the caller validates ids");
        match self {
            Self::Memory(memory) => Ok(Ending::over(memory.start_session(session, keep))),
            Self::Redis(redis) => redis.start_session(session, keep).await,
        }
    }

    /// What the store holds of a session. `lineage` is the account's, ids joined by `/`, root first: a watermark of
    /// any of them that is no earlier than the session's start makes it [`Found::Revoked`].
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] for a record that is there but is not a [`Session`]: text that does not parse, more
    /// than 64 KiB, another Redis type; the same for a watermark. Otherwise: the store could not be asked, or refused.
    /// Never read as "missing".
    pub async fn session(&self, jti: &str, lineage: &str) -> Result<Found, StoreError> {
        debug_assert!(is_id(jti), "the caller validates a jti");
        match self {
            Self::Memory(memory) => Ok(memory.session(jti, lineage)),
            Self::Redis(redis) => redis.session(jti, lineage).await,
        }
    }

    /// The same of a session that somebody holds a genuine token of, begun at `began_ms` at the latest: milliseconds
    /// since the epoch, by the store's clock. [`Found::Missing`] is never the word of a server that may be an old primary.
    ///
    /// # Errors
    /// As above; [`StoreError::TimedOut`] also where it cannot be told whether the server is the primary.
    pub async fn session_begun(&self, jti: &str, lineage: &str, began_ms: u64) -> Result<Found, StoreError> {
        debug_assert!(is_id(jti), "the caller validates a jti");
        match self {
            Self::Memory(memory) => Ok(memory.session(jti, lineage)),
            Self::Redis(redis) => redis.session_begun(jti, lineage, began_ms).await,
        }
    }

    /// Ends the session with this jti, of this account, and announces it. True when it was there: of callers that
    /// race, exactly one gets true. A record that cannot be read is ended all the same, and one that is not there, since
    /// the store evicted it, is announced all the same: gateways may still believe in it.
    ///
    /// # Errors
    /// The store could not be asked, refused, or no replica confirmed. After a time-out the session may be gone
    /// nevertheless.
    pub async fn end_session(&self, jti: &str, account: &str) -> Result<bool, StoreError> {
        debug_assert!(is_id(jti), "the caller validates a jti");
        match self {
            Self::Memory(memory) => Ok(memory.end_session(jti, account)),
            Self::Redis(redis) => redis.end_session(jti, account).await,
        }
    }

    /// Ends sessions that began up to now, and announces it. For one jti: whether it was there; for an account or a
    /// subtree always true, since a watermark needs no session to be set.
    ///
    /// # Errors
    /// As for [`Store::end_session`]. A revocation that failed has to be repeated.
    pub async fn revoke(&self, revocation: Revocation<'_>) -> Result<bool, StoreError> {
        debug_assert!(is_id(revocation.id()), "the caller validates ids");
        match self {
            Self::Memory(memory) => Ok(memory.revoke(revocation)),
            Self::Redis(redis) => redis.revoke(revocation).await,
        }
    }

    /// The sessions of one account that have neither ended nor expired nor been revoked by a watermark of `lineage`
    /// (its last id is the account), oldest first.
    ///
    /// # Errors
    /// As for [`Store::session`].
    pub async fn sessions_of(&self, lineage: &str) -> Result<Vec<Session>, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.sessions_of(lineage)),
            Self::Redis(redis) => redis.sessions_of(lineage).await,
        }
    }

    /// A record of the directory: `kind` is `account`, `credential` or `email`, `id` what stands behind it in the key.
    /// At most 64 KiB. A store in memory has none.
    ///
    /// # Errors
    /// As for [`Store::session`]; [`StoreError::TimedOut`] after `within`.
    pub async fn record(&self, kind: &str, id: &str, within: Duration) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::Memory(_) => Ok(None),
            Self::Redis(redis) => redis.record(kind, id, within).await,
        }
    }

    /// Counts a failed attempt under `key` and says where the key stands now. From the `limit`-th failure on the key is
    /// locked: 1 s, doubled by every further failure, up to 15 min. Failures are forgotten `within` after the first of
    /// them, those of a key that was locked `within` after the end of its last lock: else a lock would open for good
    /// before it had doubled to its longest. Announced to every gateway as [`feed::News::Lock`].
    ///
    /// # Errors
    /// The store could not be asked, or refused.
    pub async fn count_failure(&self, key: &str, limit: u32, within: Duration) -> Result<Lock, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.count_failure(key, limit, within)),
            Self::Redis(redis) => redis.count_failure(key, limit, within).await,
        }
    }

    /// Where keys stand, in their order, without counting anything. One call.
    ///
    /// # Errors
    /// As above.
    pub async fn locks(&self, keys: &[&str]) -> Result<Vec<Lock>, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.locks(keys)),
            Self::Redis(redis) => redis.locks(keys).await,
        }
    }

    /// Forgets failures and lock of a key, and announces it as an open [`feed::News::Lock`].
    ///
    /// # Errors
    /// As above.
    pub async fn clear_lock(&self, key: &str) -> Result<(), StoreError> {
        match self {
            Self::Memory(memory) => {
                memory.clear_lock(key);
                Ok(())
            }
            Self::Redis(redis) => redis.clear_lock(key).await,
        }
    }

    /// Remembers for `life` that `member` was seen under `key`: an identifier that succeeded, from a client network. Of
    /// a key's members the 64 newest are kept.
    ///
    /// # Errors
    /// As above.
    pub async fn note_seen(&self, key: &str, member: &str, life: Duration) -> Result<(), StoreError> {
        match self {
            Self::Memory(memory) => {
                memory.note_seen(key, member, life);
                Ok(())
            }
            Self::Redis(redis) => redis.note_seen(key, member, life).await,
        }
    }

    /// When `member` was last seen under `key`, milliseconds since the epoch by the store's clock.
    ///
    /// # Errors
    /// As above.
    pub async fn seen(&self, key: &str, member: &str) -> Result<Option<u64>, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.seen(key, member)),
            Self::Redis(redis) => redis.seen(key, member).await,
        }
    }

    /// Notes when credentials were used last, seconds since the epoch, for all gateways to tell. Forgotten when nobody
    /// notes anything for 90 days. A store in memory keeps nothing: its one process knows.
    ///
    /// # Errors
    /// As above.
    pub async fn note_used(&self, used: &[(Arc<str>, u64)]) -> Result<(), StoreError> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Redis(redis) => redis.note_used(used).await,
        }
    }

    /// What was noted so, by any gateway. For operators: it reads all of it.
    ///
    /// # Errors
    /// As above.
    pub async fn used(&self) -> Result<Vec<(Box<str>, u64)>, StoreError> {
        match self {
            Self::Memory(_) => Ok(Vec::new()),
            Self::Redis(redis) => redis.used().await,
        }
    }

    /// The allowance of a request that begins now: the budget, for all its calls; memory is never waited for.
    pub fn patience(&self) -> Patience {
        Patience::new(match self {
            Self::Memory(_) => Duration::MAX,
            Self::Redis(redis) => redis.budget(),
        })
    }

    /// What gateways tell each other: whether it can be heard, and how often it spoke.
    pub fn feed(&self) -> &Feed {
        match self {
            Self::Memory(memory) => memory.feed(),
            Self::Redis(redis) => redis.feed(),
        }
    }

    /// Who is told; to be said before [`Store::run`], each time for one more.
    pub fn listen(&self, listener: Arc<dyn Listener>) {
        self.feed().add(listener);
    }

    /// The server's way to make room. A store in memory evicts nothing.
    pub fn eviction(&self) -> Eviction {
        match self {
            Self::Memory(_) => Eviction::Policy("noeviction".into()),
            Self::Redis(redis) => redis.eviction(),
        }
    }

    /// The store's clock: milliseconds since the epoch. For Redis an estimate that needs no call: the server's time
    /// as last measured, carried on by this process's monotonic clock; the local time before the first contact.
    pub fn now_ms(&self) -> u64 {
        match self {
            Self::Memory(memory) => memory.now_ms(),
            Self::Redis(redis) => redis.now_ms(),
        }
    }

    /// Whether the store answered when last heard of. Memory always does.
    pub fn is_up(&self) -> bool {
        match self {
            Self::Memory(_) => true,
            Self::Redis(redis) => redis.is_up(),
        }
    }

    /// Whether the store has answered at least once since the start. Memory always has.
    pub fn was_reached(&self) -> bool {
        match self {
            Self::Memory(_) => true,
            Self::Redis(redis) => redis.was_reached(),
        }
    }

    /// The background work, until `stop` resolves: memory sweeps what expired; Redis connects, reconnects, measures and
    /// listens. To be run once, on a runtime that lives as long as the gateway: the task that drives the connection
    /// lives there. A connection outlives `stop`, so that requests that drain can still use it.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        let work = async {
            match self {
                Self::Memory(memory) => memory.sweep_forever().await,
                Self::Redis(redis) => redis.run().await,
            }
        };
        tokio::select! {
            biased;
            () = stop => {}
            () = work => {}
        }
    }
}

/// Whether `text` is a jti or the id of an account: `[A-Za-z0-9._~-]{1,64}`. Without braces, so that it can stand in a
/// cluster hash tag, and without spaces, so that it can stand in a message.
fn is_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

/// Of sessions that are too many, how many one login ends.
const SURPLUS_AT_ONCE: usize = 100;
