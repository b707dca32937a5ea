//! A session as the store keeps it, and how its record is read. Made by `identity`; both backends hold it, and
//! `identity` and `admin` are told of it. It does not know whether a watermark has ended it.

use serde::{Deserialize, Serialize};

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

    /// Reads a record. An array is none, though serde would take its members in their order for the object's.
    pub(super) fn parse(record: &[u8]) -> Option<Self> {
        let opens = record.iter().find(|byte| !b" \t\r\n".contains(byte));
        opens.filter(|byte| **byte == b'{').and_then(|_| serde_json::from_slice(record).ok())
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

/// How long a session's record outlives its token, in seconds: a token past its `exp` is then told apart from one
/// whose session is gone, even where two clocks differ a little.
const AFTERLIFE_S: u64 = 60;
