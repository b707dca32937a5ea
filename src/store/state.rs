//! What the store is told and tells beside its sessions: what ends them, locks, and how its server makes room.
//!
//! Plain values, the same for both backends, which make them; `identity` and `admin` read them. Nothing here asks or
//! decides anything.

use serde::{Deserialize, Serialize};

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
