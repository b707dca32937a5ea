//! The store: what several gateways have to agree on, behind a few verbs. Two real backends: this process's memory,
//! and a Redis server.
//!
//! Called by `identity` (sessions), `admin` (readiness) and `app` (which runs [`Store::run`] in the background).
//! Deliberately not here: what an outage *means* for a request (the policy core decides that), who a session belongs
//! to, and waiting: a call never waits for a connection to come back.

mod acknowledge;
mod address;
mod clock;
mod cluster;
mod error;
mod keeper;
mod link;
mod memory;
mod redis;
mod sentinel;
mod slots;
mod subscription;
mod tls;
mod topology;
mod wire;

#[cfg(test)]
mod tests;

use std::future::Future;

use serde::{Deserialize, Serialize};

pub use self::error::{StoreError, StoreUrlError};
pub use self::memory::Memory;
pub use self::redis::{Redis, RedisSettings};
pub use self::tls::TlsFiles;

/// How long a session's record outlives its token, in seconds: a token past its `exp` is then told apart from one
/// whose session is gone, even where two clocks differ a little.
const AFTERLIFE_S: u64 = 60;

/// One login that has not been ended. Kept in the store as a JSON object with exactly these keys; keys that a newer
/// gateway may add are skipped, a missing or repeated one makes the record unreadable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The token's `jti`: `[A-Za-z0-9._~-]{1,64}`.
    pub jti: Box<str>,
    /// The account the token was made for, as in the token's `sub`.
    pub sub: Box<str>,
    /// When it began: milliseconds since the epoch, by the store's clock.
    pub started: u64,
    /// When the token expires: seconds since the epoch. The record itself lives 60 s longer.
    pub expires: u64,
    /// Which password it began with, as the directory marks passwords; another one ends the session.
    #[serde(default)]
    pub password_mark: u64,
}

impl Session {
    /// The end of the record's life: milliseconds since the epoch.
    fn record_ends_ms(&self) -> u64 {
        self.expires.saturating_add(AFTERLIFE_S).saturating_mul(1000)
    }
}

/// A backend. Both behave alike; `tests.rs` holds the one suite that each has to pass.
///
/// Every call answers within the budget of its settings. A call whose future is dropped may still take effect in the
/// store, as may one that ended in [`StoreError::TimedOut`] or [`StoreError::Unreachable`]; its answer never reaches
/// another caller.
pub enum Store {
    /// Everything in this process, gone when it ends.
    Memory(Memory),
    /// A Redis server that all gateways share.
    Redis(Redis),
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
        Redis::new(settings).map(Self::Redis)
    }

    /// Keeps `session` until 60 s after it expires, by the store's clock, in place of an earlier one of that jti.
    /// One whose record's time is already over leaves no record, and is no error.
    ///
    /// # Errors
    /// The store could not be asked, or refused.
    pub async fn start_session(&self, session: &Session) -> Result<(), StoreError> {
        debug_assert!(is_jti(&session.jti), "the caller validates a jti");
        match self {
            Self::Memory(memory) => {
                memory.start_session(session);
                Ok(())
            }
            Self::Redis(redis) => redis.start_session(session).await,
        }
    }

    /// The session with this jti; `None` when the store answered and has none.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] for a record that is there but is not a [`Session`]: text that does not parse, more
    /// than 64 KiB, another Redis type. Otherwise: the store could not be asked, or refused. Never read as "missing".
    pub async fn session(&self, jti: &str) -> Result<Option<Session>, StoreError> {
        debug_assert!(is_jti(jti), "the caller validates a jti");
        match self {
            Self::Memory(memory) => Ok(memory.session(jti)),
            Self::Redis(redis) => redis.session(jti).await,
        }
    }

    /// Ends the session with this jti. True when it was there: of callers that race, exactly one gets true. A record
    /// that cannot be read is ended all the same.
    ///
    /// # Errors
    /// The store could not be asked, or refused. After a time-out the session may be gone nevertheless.
    pub async fn end_session(&self, jti: &str) -> Result<bool, StoreError> {
        debug_assert!(is_jti(jti), "the caller validates a jti");
        match self {
            Self::Memory(memory) => Ok(memory.end_session(jti)),
            Self::Redis(redis) => redis.end_session(jti).await,
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

    /// The background work, until `stop` resolves: memory sweeps what expired; Redis connects, reconnects and
    /// measures. To be run once, on a runtime that lives as long as the gateway: the task that drives the connection
    /// lives there. A connection outlives `stop`, so that requests that drain can still use it.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        let work = async {
            match self {
                Self::Memory(memory) => memory.sweep_forever().await,
                Self::Redis(redis) => redis.keep_connected().await,
            }
        };
        tokio::select! {
            biased;
            () = stop => {}
            () = work => {}
        }
    }
}

/// Whether `text` is a jti: `[A-Za-z0-9._~-]{1,64}`. Without braces, so that it can stand in a cluster hash tag.
fn is_jti(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}
