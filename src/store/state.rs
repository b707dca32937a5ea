//! What the store holds and tells: sessions, what ends them, locks, and how its server makes room.
//!
//! Plain values, the same for both backends, which make them; `identity` and `admin` read them. Nothing here asks or
//! decides anything.

use serde::{Deserialize, Serialize};

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
    pub(super) fn record_ends_ms(&self) -> u64 {
        self.expires.saturating_add(AFTERLIFE_S).saturating_mul(1000)
    }
}

/// What the store holds of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It goes on.
    Live(Session),
    /// There is no record: it was ended, evicted, or the store was emptied.
    Missing,
    /// There is a record, but it began no later than a watermark.
    Revoked,
}

/// Which sessions end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation<'a> {
    /// The one with this jti.
    Session(&'a str),
    /// All of this account, none of those below it.
    Account(&'a str),
    /// All of this account and of every account below it.
    Subtree(&'a str),
}

impl<'a> Revocation<'a> {
    pub(super) fn id(self) -> &'a str {
        match self {
            Self::Session(id) | Self::Account(id) | Self::Subtree(id) => id,
        }
    }
}

/// What the server does when its memory is full.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Eviction {
    /// It was not asked yet.
    #[default]
    Unasked,
    /// It was asked and does not tell, for want of the right to INFO for example.
    Untold,
    /// Its `maxmemory-policy`: every one but `noeviction` can lose sessions.
    Policy(Box<str>),
}

/// Where a key of the lock-out stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Failures that are not forgotten yet.
    pub failures: u32,
    /// Locked until then: milliseconds since the epoch by the store's clock; 0 when it is open.
    pub until: u64,
}
