//! The store of a single gateway: everything in this process, spread over locked shards. A real backend, with the same
//! expiry as Redis. `store` calls the verbs; their parts are in `memory/`.
//!
//! It does not bound how many accounts have sessions; the lock-out's keys and the buckets of quotas, which strangers can
//! make, are bounded.

mod accounts;
mod bounded;
mod lockout;
mod quotas;

use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use self::accounts::{Accounts, Reach};
use self::lockout::Lockout;
use self::quotas::Buckets;
use super::feed::{Feed, News};
use super::quota::{Bucket, Draw, Drawn};
use super::watermark::{Marks, ids, is_revoked};
use super::{Found, Lock, Revocation, Session, clock};

/// Judged by the system clock. Whoever holds the lock of an account may take that of a session, never the other way
/// round, and nobody takes two of one kind. The feed is told when no lock is held.
pub struct Memory {
    shards: Box<[Mutex<Shard>; SHARDS]>,
    accounts: Box<[Mutex<Accounts>; SHARDS]>,
    lockout: Box<Lockout>,
    buckets: Box<Buckets>,
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
    /// The system's; what is counted finer than that and may not jump is counted from the start.
    System(Instant),
    /// Milliseconds since the epoch, moved by a test.
    #[cfg(test)]
    Manual(Arc<std::sync::atomic::AtomicU64>),
    /// The same in microseconds.
    #[cfg(test)]
    Fine(Arc<std::sync::atomic::AtomicU64>),
}

impl Memory {
    pub(super) fn new() -> Self {
        Self::on(Clock::System(Instant::now()))
    }

    /// On a clock that the test moves: milliseconds since the epoch.
    #[cfg(test)]
    pub(super) fn with_clock(now_ms: Arc<std::sync::atomic::AtomicU64>) -> Self {
        Self::on(Clock::Manual(now_ms))
    }

    /// On a clock that the test moves: microseconds since the epoch.
    #[cfg(test)]
    pub(crate) fn with_fine_clock(now_us: Arc<std::sync::atomic::AtomicU64>) -> Self {
        Self::on(Clock::Fine(now_us))
    }

    fn on(clock: Clock) -> Self {
        Self {
            shards: Default::default(),
            accounts: Default::default(),
            lockout: Box::new(Lockout::new()),
            buckets: Box::new(Buckets::new()),
            hasher: RandomState::default(),
            clock,
            feed: Feed::always(),
        }
    }

    pub(super) fn start_session(&self, session: &Session, keep: u32) -> Vec<Box<str>> {
        let now = self.now_ms();
        self.take_out(&session.jti);
        if session.record_ends_ms() <= now {
            return Vec::new();
        }
        let mut accounts = self.account(&session.sub);
        let surplus = accounts.enter(session, keep, now);
        self.shard(&session.jti).insert(session);
        for jti in &surplus {
            self.shard(jti).remove(jti);
        }
        drop(accounts);
        for jti in &surplus {
            self.feed.tell(&News::Session(jti));
        }
        surplus
    }

    pub(super) fn session(&self, jti: &str, lineage: &str) -> Found {
        match self.find(jti) {
            None => Found::Missing,
            // Read after the record: a revocation that is over before this call is seen by it.
            Some(session) if is_revoked(session.started, &self.marks(lineage)) => Found::Revoked,
            Some(session) => Found::Live(session),
        }
    }

    /// The account stands in the session's own record.
    pub(super) fn end_session(&self, jti: &str, _account: &str) -> bool {
        let now = self.now_ms();
        let was_there = self.take_out(jti).is_some_and(|session| session.record_ends_ms() > now);
        self.feed.tell(&News::Session(jti));
        was_there
    }

    pub(super) fn revoke(&self, revocation: Revocation<'_>) -> bool {
        let now = self.now_ms();
        match revocation {
            Revocation::Session(jti) => return self.end_session(jti, ""),
            Revocation::Account(id) => {
                let mark = self.account(id).raise(id, Reach::Account, now);
                self.feed.tell(&News::Account(id, mark));
            }
            Revocation::Subtree(id) => {
                let mark = self.account(id).raise(id, Reach::Subtree, now);
                self.feed.tell(&News::Subtree(id, mark));
            }
        }
        true
    }

    pub(super) fn sessions_of(&self, lineage: &str) -> Vec<Session> {
        let Some(account) = ids(lineage).next_back() else { return Vec::new() };
        let (now, marks) = (self.now_ms(), self.marks(lineage));
        let jtis = self.account(account).jtis(account);
        let goes_on =
            |session: &Session| session.expires.saturating_mul(1000) > now && !is_revoked(session.started, &marks);
        jtis.iter().filter_map(|jti| self.find(jti)).filter(goes_on).collect()
    }

    pub(super) fn count_failure(&self, key: &str, limit: u32, within: Duration) -> Lock {
        let lock = self.lockout.count_failure(key, limit, within, self.now_ms());
        self.feed.tell(&News::Lock(key, lock));
        lock
    }

    pub(super) fn locks(&self, keys: &[&str]) -> Vec<Lock> {
        self.lockout.find(keys, self.now_ms())
    }

    pub(super) fn clear_lock(&self, key: &str) {
        self.lockout.clear(key);
        self.feed.tell(&News::Lock(key, Lock::default()));
    }

    pub(super) fn note_seen(&self, key: &str, member: &str, life: Duration) {
        self.lockout.note_seen(key, member, life, self.now_ms());
    }

    pub(super) fn seen(&self, key: &str, member: &str) -> Option<u64> {
        self.lockout.seen(key, member, self.now_ms())
    }

    pub(super) fn draw(&self, draws: &[Draw<'_>]) -> Vec<Drawn> {
        self.buckets.draw(draws, self.now_us())
    }

    pub(super) fn give_back(&self, unused: &[(Bucket<'_>, u32)]) {
        self.buckets.give_back(unused, self.now_us());
    }

    pub(super) const fn feed(&self) -> &Feed {
        &self.feed
    }

    pub(super) fn now_ms(&self) -> u64 {
        match &self.clock {
            Clock::System(_) => clock::system_ms(),
            #[cfg(test)]
            Clock::Manual(now_ms) => now_ms.load(std::sync::atomic::Ordering::Relaxed),
            #[cfg(test)]
            Clock::Fine(now_us) => now_us.load(std::sync::atomic::Ordering::Relaxed) / 1000,
        }
    }

    /// Microseconds of a clock that never goes back.
    pub(super) fn now_us(&self) -> u64 {
        match &self.clock {
            Clock::System(began) => u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
            #[cfg(test)]
            Clock::Manual(now_ms) => now_ms.load(std::sync::atomic::Ordering::Relaxed) * 1000,
            #[cfg(test)]
            Clock::Fine(now_us) => now_us.load(std::sync::atomic::Ordering::Relaxed),
        }
    }

    /// Frees what expired, once a second. Nobody depends on it for the right answer: reads judge expiry themselves.
    pub(super) async fn sweep_forever(&self) {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            self.sweep().await;
        }
    }

    /// One round over everything. A lock of sessions is held for at most [`SWEEP_BATCH`] records, and other tasks run in
    /// between; an account's watermarks are few.
    pub(super) async fn sweep(&self) {
        for shard in &*self.shards {
            loop {
                let ended = lock(shard).remove_ended(self.now_ms());
                for session in &ended {
                    self.account(&session.sub).leave(session);
                }
                if ended.len() < SWEEP_BATCH {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        for accounts in &*self.accounts {
            lock(accounts).forget_marks(self.now_ms());
        }
        while self.buckets.forget(self.now_us(), SWEEP_BATCH) {
            tokio::task::yield_now().await;
        }
        while self.lockout.forget(self.now_ms(), SWEEP_BATCH) {
            tokio::task::yield_now().await;
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

    /// How many watermarks, keys of locks and keys of who was seen are held.
    #[cfg(test)]
    pub(super) fn held_beside(&self) -> (usize, usize, usize) {
        let marks = self.accounts.iter().map(|accounts| lock(accounts).held_marks()).sum();
        let (locks, seen) = self.lockout.held();
        (marks, locks, seen)
    }

    /// How many buckets are held: of their own, and shared.
    #[cfg(test)]
    pub(super) fn held_buckets(&self) -> (usize, usize) {
        self.buckets.held()
    }

    /// A session whose record's time is not over, whatever the watermarks say.
    fn find(&self, jti: &str) -> Option<Session> {
        let now = self.now_ms();
        let shard = self.shard(jti);
        shard.sessions.get(jti).filter(|session| session.record_ends_ms() > now).cloned()
    }

    /// Takes a session out of its shard and its account's index.
    fn take_out(&self, jti: &str) -> Option<Session> {
        let session = self.shard(jti).remove(jti)?;
        self.account(&session.sub).leave(&session);
        Some(session)
    }

    fn marks(&self, lineage: &str) -> Vec<Marks> {
        let now = self.now_ms();
        ids(lineage).map(|id| self.account(id).marks(id, now)).collect()
    }

    fn shard(&self, jti: &str) -> MutexGuard<'_, Shard> {
        lock(&self.shards[self.place(jti)])
    }

    fn account(&self, id: &str) -> MutexGuard<'_, Accounts> {
        lock(&self.accounts[self.place(id)])
    }

    fn place(&self, key: &str) -> usize {
        usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0)
    }
}

impl Shard {
    fn insert(&mut self, session: &Session) {
        self.remove(&session.jti);
        let jti: Arc<str> = Arc::from(&*session.jti);
        self.ends.insert((session.record_ends_ms(), Arc::clone(&jti)));
        self.sessions.insert(jti, session.clone());
    }

    fn remove(&mut self, jti: &str) -> Option<Session> {
        let (jti, session) = self.sessions.remove_entry(jti)?;
        self.ends.remove(&(session.record_ends_ms(), jti));
        Some(session)
    }

    /// Removes up to [`SWEEP_BATCH`] records whose time is over, and returns them.
    fn remove_ended(&mut self, now_ms: u64) -> Vec<Session> {
        let mut ended = Vec::new();
        while ended.len() < SWEEP_BATCH && self.ends.first().is_some_and(|(ends, _)| *ends <= now_ms) {
            let first = self.ends.pop_first();
            ended.extend(first.and_then(|(_, jti)| self.sessions.remove(&jti)));
        }
        ended
    }
}

/// Every part is whole between any two of its operations, so a panic elsewhere while it was locked does not make it
/// unusable.
fn lock<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

const SHARDS: usize = 16;
const SWEEP_BATCH: usize = 256;
const SWEEP_EVERY: Duration = Duration::from_secs(1);
