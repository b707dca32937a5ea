//! Reading records from Redis, each at most 64 KiB: a record of any size would come over the connection that every
//! other call waits on. Used for sessions, and the verb for records of the directory, which it never writes; and when
//! credentials were used last, which gateways note for each other in one hash.

use std::sync::Arc;
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

    pub(in super::super) async fn note_used(&self, used: &[(Arc<str>, u64)]) -> Result<(), StoreError> {
        let key = self.used_key();
        for some in used.chunks(USES_AT_ONCE) {
            let mut note = cmd("HSET");
            note.arg(&key);
            for (id, seconds) in some {
                note.arg(&**id).arg(*seconds);
            }
            let _: u64 = self.link.ask(&note, self.deadline()).await?;
        }
        let _: u64 = self.link.ask(cmd("PEXPIRE").arg(&key).arg(USES_LIFE_MS), self.deadline()).await?;
        Ok(())
    }

    pub(in super::super) async fn used(&self) -> Result<Vec<(Box<str>, u64)>, StoreError> {
        let used: Vec<(String, u64)> = self.link.ask(cmd("HGETALL").arg(self.used_key()), self.deadline()).await?;
        Ok(used.into_iter().map(|(id, seconds)| (id.into(), seconds)).collect())
    }

    fn used_key(&self) -> String {
        format!("{}credentials-used", self.prefix)
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

/// Of one command, so that no other call waits long behind it.
const USES_AT_ONCE: usize = 500;
const USES_LIFE_MS: u64 = 90 * 24 * 3600 * 1000;

/// The largest record that is read, in bytes.
const RECORD_LIMIT: usize = 64 * 1024;
