//! Sessions and watermarks in Redis: a record per session, an index per account, watermarks per account, each in a
//! slot of its own. `store` calls these verbs of [`Redis`]; the tests of both backends say what they have to do. How a
//! session begins, and the oldest end for it, is in `logins`.
//!
//! A logout takes the record first and leaves the index last: an index may name a session that is gone. Replicas confirm
//! what somebody relies on: a login's record, a logout, a watermark.

use futures_util::future::try_join_all;
use redis::{Cmd, Value, cmd};
use tokio::time::Instant;

use super::super::error::StoreError;
use super::super::feed::News;
use super::super::message::number;
use super::super::primacy::Absence;
use super::super::watermark::{MARK_LIFE_MS, Marks, ids, is_revoked};
use super::super::{Found, Revocation, Session, is_id};
use super::Redis;
use super::records::bounded_read;
use super::scripts::{END, MARK};

/// Everything an account's index is made of: the two keys of one slot.
pub(super) struct Index {
    /// jtis by start.
    pub(super) starts: String,
    /// jtis by the end of their records.
    pub(super) ends: String,
}

impl Redis {
    pub(in super::super) async fn session_begun(
        &self,
        jti: &str,
        lineage: &str,
        began_ms: u64,
    ) -> Result<Found, StoreError> {
        let absence = Absence { began_ms, asked: Instant::now() };
        let deadline = absence.asked + self.budget;
        let found = self.session_by(jti, lineage, deadline).await?;
        if found == Found::Missing {
            self.link.confirm(absence, deadline).await?;
        }
        Ok(found)
    }

    pub(in super::super) async fn session(&self, jti: &str, lineage: &str) -> Result<Found, StoreError> {
        self.session_by(jti, lineage, self.deadline()).await
    }

    async fn session_by(&self, jti: &str, lineage: &str, deadline: Instant) -> Result<Found, StoreError> {
        let key = self.session_key(jti);
        let mut commands = vec![bounded_read(&key)];
        commands.extend(self.mark_reads(lineage));
        let mut answers = self.link.ask_each(&commands, deadline).await?.into_iter();
        let record = self.whole(&key, answers.next(), deadline).await?;
        let Some(record) = record else { return Ok(Found::Missing) };
        let marks = answers.map(marks).collect::<Result<Vec<_>, _>>()?;
        let session = Session::parse(&record).ok_or(StoreError::Unreadable)?;
        if is_revoked(session.started, &marks) { Ok(Found::Revoked) } else { Ok(Found::Live(session)) }
    }

    pub(in super::super) async fn end_session(&self, jti: &str, account: &str) -> Result<bool, StoreError> {
        let deadline = self.deadline();
        let ended = self.end_record(jti, self.replicas, deadline).await?;
        self.feed.tell(&News::Session(jti));
        // The session is gone, and whoever ended it has to learn that; what stays in the index names nothing.
        let _ = self.leave(&self.index(account), &[jti], deadline).await;
        Ok(ended)
    }

    pub(in super::super) async fn revoke(&self, revocation: Revocation<'_>) -> Result<bool, StoreError> {
        let (field, account) = match revocation {
            Revocation::Session(jti) => return self.revoke_session(jti).await,
            Revocation::Account(id) => ("account", id),
            Revocation::Subtree(id) => ("subtree", id),
        };
        let deadline = self.deadline();
        let now = self.link.time(deadline).await?.to_string();
        let life = MARK_LIFE_MS.to_string();
        let message = format!("{field} {account} ");
        let args =
            [field.as_bytes(), now.as_bytes(), life.as_bytes(), self.invalidations.as_bytes(), message.as_bytes()];
        let keys = [&*self.mark_key(account)];
        let mark: Vec<u8> = self.link.run_script_acknowledged(&MARK, &keys, &args, self.replicas, deadline).await?;
        let mark = number(&mark).ok_or(StoreError::Unreadable)?;
        self.feed.tell(&match revocation {
            Revocation::Session(jti) => News::Session(jti),
            Revocation::Account(id) => News::Account(id, mark),
            Revocation::Subtree(id) => News::Subtree(id, mark),
        });
        self.announce(&format!("{message}{mark}"), deadline).await?;
        Ok(true)
    }

    /// The record tells whose index is to forget the session; ended it is in any case.
    async fn revoke_session(&self, jti: &str) -> Result<bool, StoreError> {
        match self.session(jti, "").await {
            Ok(Found::Live(session)) => self.end_session(jti, &session.sub).await,
            Ok(Found::Missing | Found::Revoked) | Err(StoreError::Unreadable) => {
                let ended = self.end_record(jti, self.replicas, self.deadline()).await?;
                self.feed.tell(&News::Session(jti));
                Ok(ended)
            }
            Err(why) => Err(why),
        }
    }

    pub(in super::super) async fn sessions_of(&self, lineage: &str) -> Result<Vec<Session>, StoreError> {
        let deadline = self.deadline();
        let Some(account) = ids(lineage).next_back() else { return Ok(Vec::new()) };
        let listing = cmd("ZRANGE").arg(self.index(account).starts).arg(0).arg(-1).take();
        let listed: Vec<Vec<u8>> = self.link.ask(&listing, deadline).await?;
        let text = |jti: Vec<u8>| String::from_utf8(jti).ok().filter(|jti| is_id(jti));
        let keys: Vec<String> = listed.into_iter().filter_map(text).map(|jti| self.session_key(&jti)).collect();
        let mut commands: Vec<Cmd> = keys.iter().map(|key| bounded_read(key)).collect();
        commands.extend(self.mark_reads(lineage));
        let mut answers = self.link.ask_each(&commands, deadline).await?;
        let marks = answers.split_off(keys.len()).into_iter().map(marks).collect::<Result<Vec<_>, _>>()?;
        let records = keys.iter().zip(answers).map(|(key, answer)| self.whole(key, Some(answer), deadline));
        let records = try_join_all(records).await?;
        let now = self.now_ms();
        let mut sessions = Vec::with_capacity(records.len());
        for record in records.into_iter().flatten() {
            let session = Session::parse(&record).ok_or(StoreError::Unreadable)?;
            let goes_on = session.expires.saturating_mul(1000) > now && !is_revoked(session.started, &marks);
            if goes_on && *session.sub == *account {
                sessions.push(session);
            }
        }
        Ok(sessions)
    }

    /// Ends a record; announced by the script, there or not. Whether it was there.
    pub(super) async fn end_record(&self, jti: &str, replicas: u8, deadline: Instant) -> Result<bool, StoreError> {
        let message = format!("session {jti}");
        let args = [self.invalidations.as_bytes(), message.as_bytes()];
        let keys = [&*self.session_key(jti)];
        let ended: Vec<u64> = self.link.run_script_acknowledged(&END, &keys, &args, replicas, deadline).await?;
        self.announce(&message, deadline).await?;
        Ok(ended.first().is_some_and(|ended| *ended > 0))
    }

    pub(super) async fn leave(&self, index: &Index, jtis: &[&str], deadline: Instant) -> Result<(), StoreError> {
        let leave = |key: &str| cmd("ZREM").arg(key).arg(jtis).take();
        self.link.ask_each(&[leave(&index.starts), leave(&index.ends)], deadline).await.map(drop)
    }

    fn mark_reads(&self, lineage: &str) -> impl Iterator<Item = Cmd> {
        let read = |id| cmd("HMGET").arg(self.mark_key(id)).arg("account").arg("subtree").take();
        ids(lineage).map(read)
    }

    /// The jti stands in literal braces: a cluster puts all keys of one session into one slot by them.
    pub(super) fn session_key(&self, jti: &str) -> String {
        format!("{}session:{{{jti}}}", self.prefix)
    }

    fn mark_key(&self, account: &str) -> String {
        format!("{}watermark:{{{account}}}", self.prefix)
    }

    pub(super) fn index(&self, account: &str) -> Index {
        let prefix = &self.prefix;
        let starts = format!("{prefix}sessions:{{{account}}}");
        let ends = format!("{prefix}sessions-end:{{{account}}}");
        Index { starts, ends }
    }
}

/// The watermarks of one account, as `HMGET` answers.
fn marks(answer: Value) -> Result<Marks, StoreError> {
    let (account, subtree): (Option<Vec<u8>>, Option<Vec<u8>>) =
        redis::from_redis_value(answer).map_err(|_| StoreError::Unreadable)?;
    let mark = |text: Option<Vec<u8>>| text.map(|text| number(&text).ok_or(StoreError::Unreadable)).transpose();
    Ok(Marks { account: mark(account)?, subtree: mark(subtree)? })
}
