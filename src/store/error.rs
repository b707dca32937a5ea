//! What can go wrong between the gateway and its store, as closed lists. Used by every file of `store`, and by its
//! callers. Neither type can hold a secret, a key or a record: their words come from lists in this file.

use redis::{ErrorKind, RedisError};
use thiserror::Error;

/// Why the store gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StoreError {
    /// There is no connection, or it broke under the call.
    #[error("the store cannot be reached")]
    Unreachable,
    /// No answer within the budget.
    #[error("the store did not answer in time")]
    TimedOut,
    /// The server answered with an error; holds its code word (`READONLY`, `OOM`, …), `AUTH` for a login that it
    /// turned down, or `OTHER` for a word that is not on our list.
    #[error("the store refused: {0}")]
    Refused(&'static str),
    /// There is a record, but it is not what it should be.
    #[error("the record in the store cannot be read")]
    Unreadable,
}

impl StoreError {
    /// The label for metrics and logs, from a closed set.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timeout",
            Self::Refused(_) => "refused",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Why a store URL cannot be used. None repeats the URL, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StoreUrlError {
    /// Another scheme, or none.
    #[error("the store URL has to begin with redis://")]
    Scheme,
    /// Not a URL: an odd port, or a reserved character in the password that is not percent-encoded.
    #[error("the store URL cannot be read; reserved characters in a password have to be percent-encoded")]
    Unparsable,
    /// No host, a wildcard address, or port 0.
    #[error("the store URL needs a host to connect to")]
    Host,
    /// A path that is not one database number.
    #[error("the path of the store URL has to be a database number, as in redis://host/0")]
    Database,
    /// A user without a password: Redis would be asked as nobody, in silence.
    #[error("the store URL has a user but no password; a lone password is written redis://:password@host")]
    UserWithoutPassword,
    /// A query or a fragment, which nothing here would read.
    #[error("the store URL takes no ?query and no #fragment")]
    Options,
}

/// What an error says about the connection it came over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The connection is fine.
    Keep,
    /// The connection works, but a new one may lead to a server that serves us better.
    Replace,
    /// Nothing more will come over this connection.
    Drop,
}

/// What the caller is told about a failure of the Redis client, and what becomes of the connection.
pub(super) fn judge(error: &RedisError) -> (StoreError, Verdict) {
    if let Some(code) = error.code() {
        return match refusal(code) {
            "WRONGTYPE" => (StoreError::Unreadable, Verdict::Keep),
            // A primary that was demoted keeps its connections, and an address that now leads to its successor is
            // looked up only on connecting. A server that wants a login will not come to know us by itself either.
            word @ ("READONLY" | "NOAUTH") => (StoreError::Refused(word), Verdict::Replace),
            word => (StoreError::Refused(word), Verdict::Keep),
        };
    }
    if error.kind() == ErrorKind::AuthenticationFailed {
        return (StoreError::Refused("AUTH"), Verdict::Drop);
    }
    if error.is_timeout() {
        return (StoreError::TimedOut, Verdict::Drop);
    }
    // Input and output errors, and bytes that are not the protocol: either way the stream has lost its place.
    (StoreError::Unreachable, Verdict::Drop)
}

/// The server's code word, if it is on our list: labels have to be from a closed set, and whatever else a server
/// writes there is none of a log's business.
fn refusal(code: &str) -> &'static str {
    REFUSALS.iter().find(|word| **word == code).copied().unwrap_or("OTHER")
}

const REFUSALS: [&str; 20] = [
    "ASK",
    "BUSY",
    "CLUSTERDOWN",
    "CROSSSLOT",
    "ERR",
    "EXECABORT",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "MOVED",
    "NOAUTH",
    "NOPERM",
    "NOREPLICAS",
    "NOSCRIPT",
    "OOM",
    "READONLY",
    "TRYAGAIN",
    "UNKILLABLE",
    "WRONGPASS",
    "WRONGTYPE",
];
