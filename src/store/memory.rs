//! The store of a single gateway: sessions in this process, spread over locked shards. A real backend, with the same
//! expiry as Redis. It does not bound how many sessions there are: the caller ends an account's oldest ones.

use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;

use super::feed::Feed;
use super::{Found, Lock, Revocation, Session, clock};

/// Sessions by jti, judged by the system clock.
pub struct Memory {
    shards: Box<[Mutex<Shard>; SHARDS]>,
    hasher: RandomState,
    clock: Clock,
    feed: Feed,
}

/// What one lock guards. `ends` names exactly the sessions in `sessions`, so that a sweep touches only what is over.
#[derive(Default)]
struct Shard {
    sessions: HashMap<Arc<str>, Session, RandomState>,
    /// (end of the record in milliseconds since the epoch, jti).
    ends: BTreeSet<(u64, Arc<str>)>,
}

/// Where the time comes from.
enum Clock {
    System,
    /// Milliseconds since the epoch, moved by a test.
    #[cfg(test)]
    Manual(Arc<std::sync::atomic::AtomicU64>),
}

impl Memory {
    pub(super) fn new() -> Self {
        Self::on(Clock::System)
    }

    /// On a clock that the test moves: milliseconds since the epoch.
    #[cfg(test)]
    pub(super) fn with_clock(now_ms: Arc<std::sync::atomic::AtomicU64>) -> Self {
        Self::on(Clock::Manual(now_ms))
    }

    fn on(clock: Clock) -> Self {
        Self { shards: Default::default(), hasher: RandomState::default(), clock, feed: Feed::always() }
    }

    pub(super) fn start_session(&self, session: &Session, _keep: u32) -> Vec<Box<str>> {
        let ends = session.record_ends_ms();
        let now = self.now_ms();
        let mut shard = self.shard(&session.jti);
        shard.remove(&session.jti);
        if ends > now {
            let jti: Arc<str> = Arc::from(&*session.jti);
            shard.ends.insert((ends, Arc::clone(&jti)));
            shard.sessions.insert(jti, session.clone());
        }
        Vec::new()
    }

    pub(super) fn session(&self, jti: &str, _lineage: &str) -> Found {
        let now = self.now_ms();
        let shard = self.shard(jti);
        let session = shard.sessions.get(jti).filter(|session| session.record_ends_ms() > now);
        session.cloned().map_or(Found::Missing, Found::Live)
    }

    pub(super) fn revoke(&self, _revocation: Revocation<'_>) -> bool {
        false
    }

    pub(super) fn sessions_of(&self, _lineage: &str) -> Vec<Session> {
        Vec::new()
    }

    pub(super) fn count_failure(&self, _key: &str, _limit: u32, _within: Duration) -> Lock {
        Lock::default()
    }

    pub(super) fn locks(&self, keys: &[&str]) -> Vec<Lock> {
        vec![Lock::default(); keys.len()]
    }

    pub(super) fn clear_lock(&self, _key: &str) {}

    pub(super) fn note_seen(&self, _key: &str, _member: &str, _life: Duration) {}

    pub(super) fn seen(&self, _key: &str, _member: &str) -> Option<u64> {
        None
    }

    pub(super) const fn feed(&self) -> &Feed {
        &self.feed
    }

    pub(super) fn end_session(&self, jti: &str, _account: &str) -> bool {
        let now = self.now_ms();
        self.shard(jti).remove(jti).is_some_and(|session| session.record_ends_ms() > now)
    }

    pub(super) fn now_ms(&self) -> u64 {
        match &self.clock {
            Clock::System => clock::system_ms(),
            #[cfg(test)]
            Clock::Manual(now_ms) => now_ms.load(std::sync::atomic::Ordering::Relaxed),
        }
    }

    /// Frees what expired, once a second. Nobody depends on it for the right answer: reads judge expiry themselves.
    pub(super) async fn sweep_forever(&self) {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            self.sweep().await;
        }
    }

    /// One round over all shards. A lock is held for at most [`SWEEP_BATCH`] records, and other tasks run in between.
    pub(super) async fn sweep(&self) {
        for shard in &*self.shards {
            while lock(shard).remove_ended(self.now_ms()) == SWEEP_BATCH {
                tokio::task::yield_now().await;
            }
        }
    }

    /// How many records are held, expired or not.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        let count = |shard| {
            let shard: MutexGuard<'_, Shard> = lock(shard);
            assert_eq!(shard.sessions.len(), shard.ends.len(), "every record has exactly one end");
            shard.sessions.len()
        };
        self.shards.iter().map(count).sum()
    }

    fn shard(&self, jti: &str) -> MutexGuard<'_, Shard> {
        let hash = usize::try_from(self.hasher.hash_one(jti) % SHARDS as u64).unwrap_or(0);
        lock(&self.shards[hash])
    }
}

impl Shard {
    fn remove(&mut self, jti: &str) -> Option<Session> {
        let (jti, session) = self.sessions.remove_entry(jti)?;
        self.ends.remove(&(session.record_ends_ms(), jti));
        Some(session)
    }

    /// Removes up to [`SWEEP_BATCH`] records whose time is over; returns how many.
    fn remove_ended(&mut self, now_ms: u64) -> usize {
        for removed in 0..SWEEP_BATCH {
            match self.ends.pop_first() {
                Some((ends, jti)) if ends <= now_ms => {
                    self.sessions.remove(&jti);
                }
                Some(still_alive) => {
                    self.ends.insert(still_alive);
                    return removed;
                }
                None => return removed,
            }
        }
        SWEEP_BATCH
    }
}

/// A shard is whole between any two of its operations, so a panic elsewhere while it was locked does not make its
/// sessions unusable.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

const SHARDS: usize = 16;
const SWEEP_BATCH: usize = 256;
const SWEEP_EVERY: Duration = Duration::from_secs(1);
