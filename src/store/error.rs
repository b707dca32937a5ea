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
    /// The write was made, but too few replicas confirmed it within the budget: a failover may lose it.
    #[error("too few replicas of the store confirmed the write")]
    Unacknowledged,
}

impl StoreError {
    /// The label for metrics and logs, from a closed set.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timeout",
            Self::Refused(_) => "refused",
            Self::Unreadable => "unreadable",
            Self::Unacknowledged => "unacknowledged",
        }
    }
}

/// Why a store cannot be used as it is configured. None repeats the URL, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StoreUrlError {
    /// Another scheme, or none.
    #[error("the store URL has to begin with redis://, rediss://, redis+sentinel:// or redis+cluster://")]
    Scheme,
    /// Not a URL: an odd port, or a reserved character in the password that is not percent-encoded.
    #[error("the store URL cannot be read; reserved characters in a password have to be percent-encoded")]
    Unparsable,
    /// No host, a wildcard address, port 0, or several hosts where there can be one.
    #[error("the store URL needs a host to connect to; several, with commas, only for Sentinel and Cluster")]
    Host,
    /// A path that is not one database number; for a cluster, one that is not 0.
    #[error("the path of the store URL has to be a database number, as in redis://host/0; a cluster has only 0")]
    Database,
    /// A Sentinel URL without the name under which the sentinels know the primary.
    #[error("a Sentinel URL needs the primary's name, as in redis+sentinel://host:26379/name")]
    Primary,
    /// A user without a password: Redis would be asked as nobody, in silence.
    #[error("the store URL has a user but no password; a lone password is written redis://:password@host")]
    UserWithoutPassword,
    /// A fragment, or a query that nothing here would read.
    #[error(
        "the store URL takes no #fragment, and in its ?query only tls=true (Sentinel, Cluster), sentinel_user and \
         sentinel_password (Sentinel)"
    )]
    Options,
    /// Certificates for a connection that would not use them.
    #[error("the store has tls files, but its URL asks for no TLS; write rediss://, or ?tls=true")]
    TlsWithoutNeed,
    /// The CA file holds no certificate that can be trusted.
    #[error("the store's tls.ca is not a PEM file with CA certificates")]
    Ca,
    /// One of certificate and key is missing, is not PEM, or is not of the other.
    #[error("the store's tls.certificate and tls.key have to be PEM files of one certificate and its key")]
    Certificate,
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

/// A call that one server did not answer.
#[derive(Debug)]
pub(super) struct Refusal {
    /// What the caller is told.
    pub(super) told: StoreError,
    /// Who would answer, when the server, one of a cluster, says so.
    pub(super) elsewhere: Option<Redirect>,
}

/// Where a server of a cluster says that a key is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Redirect {
    /// `host:port`; the host is empty where the server does not know it.
    pub(super) address: String,
    /// The slot is on its way there: this one call is to be announced with `ASKING`, and the table does not change.
    pub(super) asking: bool,
}

impl From<StoreError> for Refusal {
    fn from(told: StoreError) -> Self {
        Self { told, elsewhere: None }
    }
}

/// The server's pointer to another one, if it gave one.
pub(super) fn redirect(error: &RedisError) -> Option<Redirect> {
    let (address, _slot) = error.redirect_node()?;
    Some(Redirect { address: address.to_owned(), asking: error.code() == Some("ASK") })
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
