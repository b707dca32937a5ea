//! How a session begins in Redis, and how the oldest of its account end when there are too many. `store` calls the one
//! verb of [`Redis`]; records and indexes are laid out in `sessions`.
//!
//! What makes the session exist is written and acknowledged before any other ends for it: a login that is refused costs
//! nobody a session. On one server that is one question, and a session and its entry come about together. Where slots
//! are apart the record comes first, so that whoever finds a session in the index also finds what to end.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::super::ending::Ending;
use super::super::error::StoreError;
use super::super::feed::News;
use super::super::{SURPLUS_AT_ONCE, Session};
use super::scripts::{END, ENTER, START, START_AND_ENTER};
use super::{LONGEST_LIFE_MS, Redis};

impl Redis {
    pub(in super::super) async fn start_session(
        self: &Arc<Self>,
        session: &Session,
        keep: u32,
    ) -> Result<Ending, StoreError> {
        let deadline = self.deadline();
        if session.record_ends_ms() <= self.now_ms() {
            self.end_record(&session.jti, NOBODY, deadline).await?;
            self.leave(&self.index(&session.sub), &[&session.jti], deadline).await?;
            return Ok(Ending::over(Vec::new()));
        }
        let (tell, told) = oneshot::channel();
        let (redis, begun) = (Arc::clone(self), session.clone());
        // On a task of its own: a session that nobody waits for any more has to be taken away like one that failed.
        tokio::spawn(async move {
            let surplus = redis.begin(&begun, keep, deadline).await;
            let failed = surplus.is_err();
            if tell.send(surplus).is_err() || failed {
                redis.undo(&begun).await;
            }
        });
        let surplus = told.await.unwrap_or(Err(StoreError::Unreachable))?;
        if surplus.is_empty() {
            return Ok(Ending::over(Vec::new()));
        }
        let (redis, account, too_many) = (Arc::clone(self), session.sub.clone(), surplus.len());
        // Here and not on the task above: only who is still there to be told makes others end.
        let task = tokio::spawn(async move { redis.end_surplus(&account, &surplus).await });
        Ok(Ending::under_way(too_many, task))
    }

    /// Writes the record and enters it; the jtis that are too many, oldest first.
    async fn begin(&self, session: &Session, keep: u32, deadline: Instant) -> Result<Vec<Box<str>>, StoreError> {
        let record = serde_json::to_vec(session).map_err(|_| StoreError::Unreadable)?;
        let index = self.index(&session.sub);
        let (starts, ends, key) = (&*index.starts, &*index.ends, &*self.session_key(&session.jti));
        let over = session.record_ends_ms().min(self.now_ms().saturating_add(LONGEST_LIFE_MS));
        let [started, over, keep, at_once, longest] =
            [session.started, over, keep.into(), SURPLUS_AT_ONCE as u64, LONGEST_LIFE_MS].map(|n| n.to_string());
        let enter = [&*session.jti, &started, &over, &keep, &at_once, &longest].map(str::as_bytes);
        let start = [&*record, over.as_bytes(), longest.as_bytes()];
        let surplus: Vec<String> = if self.link.keeps_slots_apart() {
            let replicas = self.replicas;
            let () = self.link.run_script_acknowledged(&START, &[key], &start, replicas, deadline).await?;
            self.link.run_script(&ENTER, &[starts, ends], &enter, deadline).await?
        } else {
            let (keys, args) = ([starts, ends, key], [&enter[..], &start[..]].concat());
            self.link.run_script_acknowledged(&START_AND_ENTER, &keys, &args, self.replicas, deadline).await?
        };
        Ok(surplus.into_iter().map(String::into_boxed_str).collect())
    }

    /// Takes away what there may be of a session whose token nobody was given. Waits longer than calls do: it is no news
    /// that the server is slow, and the connection may have been given up for it. What cannot be taken away ends with
    /// the account's oldest.
    async fn undo(&self, session: &Session) {
        let deadline = self.deadline() + UNDO_WITHIN;
        while self.take_back(session, deadline).await == Err(StoreError::Unreachable) && Instant::now() < deadline {
            sleep(UNDO_AGAIN).await;
        }
    }

    async fn take_back(&self, session: &Session, deadline: Instant) -> Result<(), StoreError> {
        let jti = &*session.jti;
        let message = format!("session {jti}");
        let args = [self.invalidations.as_bytes(), message.as_bytes()];
        let keys = [&*self.session_key(jti)];
        let _: Vec<u64> = self.link.run_script_behind(&END, &keys, &args, deadline).await?;
        self.leave(&self.index(&session.sub), &[jti], deadline).await
    }

    /// Ends sessions of one account that are too many; returns those that were there. Their entries go last: those of
    /// sessions that could not be ended stay for the next login.
    async fn end_surplus(&self, account: &str, surplus: &[Box<str>]) -> Vec<Box<str>> {
        let deadline = self.deadline();
        let answers = if self.link.keeps_slots_apart() {
            let ends = surplus.iter().map(|jti| self.end_record(jti, NOBODY, deadline));
            join_all(ends).await.into_iter().map(Result::ok).collect()
        } else {
            let answers = self.end_together(surplus, deadline).await;
            answers.map_or_else(|_| Vec::new(), |ended| ended.into_iter().map(Some).collect())
        };
        let (mut gone, mut ended) = (Vec::new(), Vec::new());
        for (jti, was_there) in surplus.iter().zip(answers) {
            let Some(was_there) = was_there else { continue };
            gone.push(&**jti);
            if was_there {
                self.feed.tell(&News::Session(jti));
                ended.push(jti.clone());
            }
        }
        if !gone.is_empty() {
            // They name nothing any more, and go with the next login if not now.
            let _ = self.leave(&self.index(account), &gone, deadline).await;
        }
        ended
    }

    async fn end_together(&self, jtis: &[Box<str>], deadline: Instant) -> Result<Vec<bool>, StoreError> {
        let keys: Vec<String> = jtis.iter().map(|jti| self.session_key(jti)).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let messages: Vec<String> = jtis.iter().map(|jti| format!("session {jti}")).collect();
        let mut args = vec![self.invalidations.as_bytes()];
        args.extend(messages.iter().map(String::as_bytes));
        let ended: Vec<u64> = self.link.run_script(&END, &keys, &args, deadline).await?;
        Ok(ended.into_iter().map(|ended| ended > 0).collect())
    }
}

/// No replica has to confirm.
const NOBODY: u8 = 0;

/// Beyond the budget; enough for what may be in front of it.
const UNDO_WITHIN: Duration = Duration::from_secs(2);

/// While there is no connection.
const UNDO_AGAIN: Duration = Duration::from_millis(100);
