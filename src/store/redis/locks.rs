//! The lock-out in Redis: failures and locks, one hash per key that forgets itself by expiring, and who was seen where.
//! `store` calls these verbs of [`Redis`]. What is a failure, and whom a lock refuses, is not known here.

use std::time::Duration;

use redis::{Value, cmd};

use super::super::Lock;
use super::super::error::StoreError;
use super::super::feed::News;
use super::super::message::number;
use super::Redis;
use super::scripts::{CLEAR, FAIL, SEE};

impl Redis {
    pub(in super::super) async fn count_failure(
        &self,
        key: &str,
        limit: u32,
        within: Duration,
    ) -> Result<Lock, StoreError> {
        let (limit, within) = (limit.max(1).to_string(), millis(within));
        let args = [limit.as_bytes(), within.as_bytes(), self.invalidations.as_bytes(), key.as_bytes()];
        let deadline = self.deadline();
        let counted: (Vec<u8>, Vec<u8>) = self.link.run_script(&FAIL, &[&self.lock_key(key)], &args, deadline).await?;
        let lock = lock(Some(&counted.0), Some(&counted.1))?;
        self.feed.tell(&News::Lock(key, lock));
        self.announce(&format!("lock {} {} {key}", lock.failures, lock.until), deadline).await?;
        Ok(lock)
    }

    pub(in super::super) async fn locks(&self, keys: &[&str]) -> Result<Vec<Lock>, StoreError> {
        let read = |key: &&str| cmd("HMGET").arg(self.lock_key(key)).arg("failures").arg("until").take();
        let reads: Vec<_> = keys.iter().map(read).collect();
        let answers = self.link.ask_each(&reads, self.deadline()).await?;
        let now = self.now_ms();
        let read = |answer: Value| {
            let (failures, until): (Option<Vec<u8>>, Option<Vec<u8>>) =
                redis::from_redis_value(answer).map_err(|_| StoreError::Unreadable)?;
            let Lock { failures, until } = lock(failures.as_deref(), until.as_deref())?;
            Ok(Lock { failures, until: if until > now { until } else { 0 } })
        };
        answers.into_iter().map(read).collect()
    }

    pub(in super::super) async fn clear_lock(&self, key: &str) -> Result<(), StoreError> {
        let message = format!("lock 0 0 {key}");
        let args = [self.invalidations.as_bytes(), message.as_bytes()];
        let deadline = self.deadline();
        let _: u64 = self.link.run_script(&CLEAR, &[&self.lock_key(key)], &args, deadline).await?;
        self.feed.tell(&News::Lock(key, Lock::default()));
        self.announce(&message, deadline).await
    }

    pub(in super::super) async fn note_seen(&self, key: &str, member: &str, life: Duration) -> Result<(), StoreError> {
        let (life, kept) = (millis(life), MEMBERS.to_string());
        let args = [member.as_bytes(), life.as_bytes(), kept.as_bytes()];
        let _: u64 = self.link.run_script(&SEE, &[&self.seen_key(key)], &args, self.deadline()).await?;
        Ok(())
    }

    pub(in super::super) async fn seen(&self, key: &str, member: &str) -> Result<Option<u64>, StoreError> {
        let read = cmd("HGET").arg(self.seen_key(key)).arg(member).take();
        let noted: Option<Vec<u8>> = self.link.ask(&read, self.deadline()).await?;
        let Some(noted) = noted else { return Ok(None) };
        let mut times = noted.splitn(2, |byte| *byte == b' ').map(number);
        let (Some(Some(seen)), Some(Some(ends))) = (times.next(), times.next()) else {
            return Err(StoreError::Unreadable);
        };
        Ok((ends > self.now_ms()).then_some(seen))
    }

    fn lock_key(&self, key: &str) -> String {
        format!("{}lockout:{{{key}}}", self.prefix)
    }

    fn seen_key(&self, key: &str) -> String {
        format!("{}seen:{{{key}}}", self.prefix)
    }
}

fn lock(failures: Option<&[u8]>, until: Option<&[u8]>) -> Result<Lock, StoreError> {
    let read = |text: Option<&[u8]>| text.map_or(Some(0), number).ok_or(StoreError::Unreadable);
    Ok(Lock { failures: u32::try_from(read(failures)?).unwrap_or(u32::MAX), until: read(until)? })
}

/// At least one, at most a hundred years: what Redis takes for an expiry.
fn millis(duration: Duration) -> String {
    duration.as_millis().clamp(1, super::LONGEST_LIFE_MS.into()).to_string()
}

/// How many members of a key are remembered.
const MEMBERS: usize = 64;
