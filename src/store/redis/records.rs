//! Reading records from Redis, each at most 64 KiB: a record of any size would come over the connection that every
//! other call waits on. Used for sessions, and the verb for records of the directory. Writes nothing.

use std::time::Duration;

use redis::{Cmd, Value, cmd};
use tokio::time::Instant;

use super::super::error::StoreError;
use super::Redis;

impl Redis {
    pub(in super::super) async fn record(
        &self,
        kind: &str,
        id: &str,
        within: Duration,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let deadline = Instant::now() + within;
        let key = format!("{}{kind}:{id}", self.prefix);
        let answer = self.link.ask(&bounded_read(&key), deadline).await?;
        self.whole(&key, Some(answer), deadline).await
    }

    /// The record that a bounded read of `key` brought; `None` when there is none.
    pub(super) async fn whole(
        &self,
        key: &str,
        answer: Option<Value>,
        deadline: Instant,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(Value::BulkString(record)) = answer else { return Err(StoreError::Unreadable) };
        if record.len() > RECORD_LIMIT {
            return Err(StoreError::Unreadable);
        }
        if !record.is_empty() {
            return Ok(Some(record));
        }
        // What GETRANGE says of a missing key, but also of an empty record, which must not pass for a logout.
        let records: u64 = self.link.ask(cmd("EXISTS").arg(key), deadline).await?;
        if records == 0 { Ok(None) } else { Err(StoreError::Unreadable) }
    }
}

/// Reads at most [`RECORD_LIMIT`] bytes, and one more to tell when there is more: `GETRANGE` includes its last
/// position.
pub(super) fn bounded_read(key: &str) -> Cmd {
    cmd("GETRANGE").arg(key).arg(0).arg(RECORD_LIMIT).take()
}

/// The largest record that is read, in bytes.
const RECORD_LIMIT: usize = 64 * 1024;
