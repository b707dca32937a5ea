//! Verified tokens that this gateway keeps, so that the next request with one costs no signature and no store call.
//!
//! Asked by the resolver on every request with a token. Bounded: a full shard gives up what has expired or was not
//! used since the hand passed last (CLOCK). It admits only what was verified in full, and drops an insert that an
//! invalidation may have overtaken. It does not judge: whether an entry can be believed now is the resolver's question.

mod marks;

use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use foldhash::fast::RandomState;
use hashbrown::HashTable;

use self::marks::{Marks, Watermark};
use crate::policy::principal::Account;
use crate::store::feed::{Feed, Listener, Mark, News};

/// A token with everything that was found out about it.
pub struct Known {
    text: Box<str>,
    realm: Box<str>,
    /// The session id.
    pub jti: Arc<str>,
    /// The account as the token and its session describe it; the directory's own record, so that it costs nothing here.
    account: ArcSwap<Account>,
    /// Seconds since the epoch.
    pub expires: u64,
    /// When its session began: milliseconds since the epoch, by the store's clock.
    pub started: u64,
    /// Under which subscription the store was last asked for the session.
    epoch: AtomicU64,
    /// When that was, on the feed's clock.
    asked: AtomicU64,
    used: AtomicBool,
    /// Up to which watermark it was looked at.
    marked: AtomicU64,
}

impl Known {
    /// A token of a session that the store was asked for at this moment.
    #[must_use]
    pub fn new(text: &str, realm: &str, jti: Arc<str>, account: Arc<Account>, times: Times, asked: Asked) -> Self {
        Self {
            text: text.into(),
            realm: realm.into(),
            jti,
            account: ArcSwap::new(account),
            expires: times.expires,
            started: times.started,
            epoch: AtomicU64::new(asked.epoch),
            asked: AtomicU64::new(asked.at),
            used: AtomicBool::new(false),
            marked: AtomicU64::new(0),
        }
    }

    /// Under which subscription it was last confirmed.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The store confirmed the session in a read that began at this moment.
    pub fn confirm(&self, asked: Asked) {
        self.asked.store(asked.at, Ordering::Relaxed);
        self.epoch.store(asked.epoch, Ordering::Release);
    }

    /// How long ago it was last known to be good: confirmed by the store, or kept honest by what was heard since.
    #[must_use]
    pub fn age(&self, feed: &Feed) -> Duration {
        let good = self.asked.load(Ordering::Relaxed).max(feed.heard_last(self.epoch()).unwrap_or(0));
        Duration::from_millis(feed.now().saturating_sub(good))
    }

    /// The account as the token and its session describe it.
    #[must_use]
    pub fn account(&self) -> Guard<Arc<Account>> {
        self.account.load()
    }

    /// Takes over a record that says the same of the account: after a reload, the old one must not live on here.
    pub fn adopt(&self, account: &Arc<Account>) {
        self.account.store(Arc::clone(account));
    }
}

/// When the store was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Under which subscription.
    pub epoch: u64,
    /// On the feed's clock.
    pub at: u64,
}

impl Asked {
    /// To be taken before the question.
    #[must_use]
    pub fn now(feed: &Feed) -> Self {
        Self { epoch: feed.epoch(), at: feed.now() }
    }
}

/// The two times of a session.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Milliseconds since the epoch.
    pub started: u64,
    /// Seconds since the epoch.
    pub expires: u64,
}

/// Where a verification stood when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// What had been heard from other gateways.
    pub feed: Mark,
    /// Which signing keys were in use.
    keys: u64,
}

impl Since {
    /// Whether something came between this moment and `other`.
    #[must_use]
    pub fn is_before(&self, other: &Since) -> bool {
        self.feed.epoch < other.feed.epoch || self.feed.count < other.feed.count || self.keys < other.keys
    }
}

/// The cache.
pub struct Cache {
    shards: Box<[RwLock<Shard>]>,
    hasher: RandomState,
    /// Entries of one shard.
    room: usize,
    /// One more each time the signing keys were replaced.
    keys: AtomicU64,
    marks: RwLock<Marks>,
    /// One more for every watermark heard: an entry that was looked at under an earlier number is looked at again.
    marking: AtomicU64,
}

#[derive(Default)]
struct Shard {
    slots: Vec<Option<Arc<Known>>>,
    free: Vec<u32>,
    by_text: HashTable<u32>,
    by_jti: HashTable<u32>,
    /// Where the search for room goes on.
    hand: usize,
    /// Where the search for what has expired goes on.
    sweep: usize,
}

impl Cache {
    /// For at most so many tokens.
    #[must_use]
    pub fn new(entries: usize) -> Self {
        let shards = entries.div_ceil(LEAST_SHARD).clamp(1, SHARDS);
        Self {
            shards: std::iter::repeat_with(RwLock::default).take(shards).collect(),
            hasher: RandomState::default(),
            room: entries.div_ceil(shards),
            keys: AtomicU64::new(0),
            marks: RwLock::default(),
            marking: AtomicU64::new(0),
        }
    }

    /// To be taken before a verification begins; see [`Cache::insert`].
    #[must_use]
    pub fn since(&self, feed: &Feed) -> Since {
        Since { feed: feed.mark(), keys: self.keys.load(Ordering::Acquire) }
    }

    /// The entry of exactly this token, if it was verified for this realm and no watermark has ended its session.
    #[must_use]
    pub fn find(&self, token: &str, realm: &str) -> Option<Arc<Known>> {
        let known = self.held(token).filter(|known| *known.realm == *realm)?;
        let marking = self.marking.load(Ordering::Acquire);
        if known.marked.load(Ordering::Relaxed) != marking {
            if read(&self.marks).end(&known.account().lineage, known.started) {
                self.forget(&known.jti);
                return None;
            }
            known.marked.store(marking, Ordering::Relaxed);
        }
        // Written only when it changes: a token that is used all the time stays in every core's cache.
        if !known.used.load(Ordering::Relaxed) {
            known.used.store(true, Ordering::Relaxed);
        }
        Some(known)
    }

    fn held(&self, token: &str) -> Option<Arc<Known>> {
        let hash = self.hasher.hash_one(token);
        let shard = read(self.shard(hash));
        let index = *shard.by_text.find(hash, |index| shard.at(*index).is_some_and(|known| *known.text == *token))?;
        shard.at(index).cloned()
    }

    /// Keeps a verified token, unless an invalidation or a change of keys came since its verification began: it may
    /// have been about this very token, and would not come again. `now`: seconds since the epoch.
    pub fn insert(&self, known: Known, since: Since, feed: &Feed, now: u64) {
        let hash = self.hasher.hash_one(&*known.text);
        let mut shard = write(self.shard(hash));
        // Before the question below: a watermark that comes after it has a higher number than the entry.
        known.marked.store(self.marking.load(Ordering::Acquire), Ordering::Relaxed);
        // Under the lock: what is counted from here on finds the entry when it comes to look for it.
        if self.since(feed) != since {
            return;
        }
        shard.insert(Arc::new(known), hash, &self.hasher, self.room, now);
    }

    /// Takes in a piece of news.
    pub fn hear(&self, news: &News<'_>) {
        match *news {
            News::Session(jti) => self.forget(jti),
            News::Account(id, until) => self.mark(id, |mark| mark.account = mark.account.max(until)),
            News::Subtree(id, until) => self.mark(id, |mark| mark.subtree = mark.subtree.max(until)),
            News::Record(..) | News::Lock(..) => {}
        }
    }

    fn mark(&self, id: &str, set: impl FnOnce(&mut Watermark)) {
        let mut marks = write(&self.marks);
        if !marks.set(id, set) {
            // Rather than forget a watermark, every entry goes: each is then verified by the store's own.
            self.clear();
        }
        // Under the lock: whoever sees the new number sees the watermark too.
        self.marking.fetch_add(1, Ordering::AcqRel);
    }

    /// Drops the token of one session.
    pub fn forget(&self, jti: &str) {
        let hash = self.hasher.hash_one(jti);
        for shard in &*self.shards {
            let found = {
                let shard = read(shard);
                shard.find_jti(hash, jti)
            };
            if found.is_some() {
                let mut shard = write(shard);
                // Another may have taken the slot in between.
                if let Some(index) = shard.find_jti(hash, jti) {
                    shard.remove(index, &self.hasher);
                }
            }
        }
    }

    /// Drops everything: the signing keys are others now.
    pub fn rekey(&self) {
        self.keys.fetch_add(1, Ordering::AcqRel);
        self.clear();
    }

    fn clear(&self) {
        for shard in &*self.shards {
            *write(shard) = Shard::default();
        }
    }

    /// How many tokens are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| read(shard).by_text.len()).sum()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, hash: u64) -> &RwLock<Shard> {
        // The table inside uses the low bits and the highest seven.
        &self.shards[(hash >> 32) as usize % self.shards.len()]
    }
}

impl Listener for Cache {
    fn hear(&self, news: &News<'_>) {
        Cache::hear(self, news);
    }
}

impl Shard {
    fn at(&self, index: u32) -> Option<&Arc<Known>> {
        self.slots.get(index as usize)?.as_ref()
    }

    fn find_jti(&self, hash: u64, jti: &str) -> Option<u32> {
        self.by_jti.find(hash, |index| self.at(*index).is_some_and(|known| *known.jti == *jti)).copied()
    }

    fn insert(&mut self, known: Arc<Known>, hash: u64, hasher: &RandomState, room: usize, now: u64) {
        // The token itself again, or the session under another text: the newer verification counts.
        let twin = self.by_text.find(hash, |index| self.at(*index).is_some_and(|other| other.text == known.text));
        if let Some(index) = twin.copied() {
            self.remove(index, hasher);
        }
        for _ in 0..SWEPT_PER_INSERT {
            self.sweep_one(hasher, now);
        }
        let index = self.make_room(hasher, room, now);
        let (slots, jti_hash) = (&mut self.slots, hasher.hash_one(&*known.jti));
        slots[index as usize] = Some(known);
        let text_of = |index: &u32| slots[*index as usize].as_ref().map_or(0, |known| hasher.hash_one(&*known.text));
        self.by_text.insert_unique(hash, index, text_of);
        let jti_of = |index: &u32| slots[*index as usize].as_ref().map_or(0, |known| hasher.hash_one(&*known.jti));
        self.by_jti.insert_unique(jti_hash, index, jti_of);
    }

    /// A free slot; a taken one is freed for it when there is no other.
    fn make_room(&mut self, hasher: &RandomState, room: usize, now: u64) -> u32 {
        if let Some(index) = self.free.pop() {
            return index;
        }
        if self.slots.len() < room {
            self.slots.push(None);
            return u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX);
        }
        // The second time around, nothing is marked as used any more.
        loop {
            self.hand = (self.hand + 1) % self.slots.len();
            let spared = self.slots[self.hand]
                .as_ref()
                .is_some_and(|known| known.expires > now && known.used.swap(false, Ordering::Relaxed));
            if !spared {
                self.remove(u32::try_from(self.hand).unwrap_or(0), hasher);
                return self.free.pop().unwrap_or(0);
            }
        }
    }

    fn sweep_one(&mut self, hasher: &RandomState, now: u64) {
        if self.slots.is_empty() {
            return;
        }
        self.sweep = (self.sweep + 1) % self.slots.len();
        if self.slots[self.sweep].as_ref().is_some_and(|known| known.expires <= now) {
            self.remove(u32::try_from(self.sweep).unwrap_or(0), hasher);
        }
    }

    fn remove(&mut self, index: u32, hasher: &RandomState) {
        let Some(known) = self.slots.get_mut(index as usize).and_then(Option::take) else { return };
        if let Ok(entry) = self.by_text.find_entry(hasher.hash_one(&*known.text), |other| *other == index) {
            entry.remove();
        }
        if let Ok(entry) = self.by_jti.find_entry(hasher.hash_one(&*known.jti), |other| *other == index) {
            entry.remove();
        }
        self.free.push(index);
    }
}

/// A shard is whole between any two of its operations, so a panic elsewhere while it was locked spoils nothing.
fn read<T>(shard: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    shard.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(shard: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    shard.write().unwrap_or_else(PoisonError::into_inner)
}

/// Enough that two threads rarely want the same one.
const SHARDS: usize = 64;
/// A small cache is not split into shards that overflow by chance.
const LEAST_SHARD: usize = 64;
/// What has expired goes at least as fast as new entries come.
const SWEPT_PER_INSERT: usize = 2;

#[cfg(test)]
mod tests;
