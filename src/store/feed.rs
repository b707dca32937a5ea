//! What gateways tell each other through the store: sessions ended, watermarks set, records changed, keys locked; and
//! whether it can be heard at all.
//!
//! The store's backends speak into it; caches of `identity` and `directory` listen and judge by [`Feed::mark`] whether
//! what they hold can be believed. It decides nothing and holds no record.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::Lock;

/// One piece of news. Everything in it was checked for its grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News<'a> {
    /// The session with this jti has ended.
    Session(&'a str),
    /// Sessions of this account that began no later are revoked: milliseconds by the store's clock.
    Account(&'a str, u64),
    /// The same for the account and everything below it.
    Subtree(&'a str, u64),
    /// A record of the directory changed: kind (`account`, `credential`, `email`) and id.
    Record(&'a str, &'a str),
    /// A key of the lock-out stands here now.
    Lock(&'a str, Lock),
}

/// Who wants to know. Called on the task that reads the subscription: no waiting, no long work.
pub trait Listener: Send + Sync {
    /// There is news.
    fn hear(&self, news: &News<'_>);
}

/// Where a reader stood when it began: what it read may be kept only if [`Feed::mark`] still says the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    /// Which subscription: one more each time a new one was confirmed, or something unreadable was heard.
    pub epoch: u64,
    /// How many invalidations were heard.
    pub count: u64,
}

/// The state of the subscription, and its listeners.
pub struct Feed {
    origin: Instant,
    epoch: AtomicU64,
    count: AtomicU64,
    /// Milliseconds after `origin` when our own beat was heard last, plus one; 0 for never; `ALWAYS` in memory.
    beat: AtomicU64,
    /// When which subscription was heard last: (epoch, milliseconds after `origin`), newest last.
    heard: Mutex<VecDeque<(u64, u64)>>,
    listeners: RwLock<Vec<Arc<dyn Listener>>>,
}

/// Without its own beat for so long the subscription counts as lost.
pub const SILENCE: Duration = Duration::from_secs(1);

const ALWAYS: u64 = u64::MAX;

/// How many subscriptions are remembered.
const REMEMBERED: usize = 32;

impl Feed {
    /// Not heard yet.
    pub(super) fn silent() -> Self {
        Self {
            origin: Instant::now(),
            epoch: AtomicU64::new(0),
            count: AtomicU64::new(0),
            beat: AtomicU64::new(0),
            heard: Mutex::default(),
            listeners: RwLock::default(),
        }
    }

    /// Within one process: nothing can be lost.
    pub(super) fn always() -> Self {
        let feed = Self::silent();
        feed.beat.store(ALWAYS, Ordering::Relaxed);
        feed
    }

    /// Where it stands; to be taken before a read from the store begins.
    pub fn mark(&self) -> Mark {
        Mark { epoch: self.epoch.load(Ordering::Acquire), count: self.count.load(Ordering::Acquire) }
    }

    /// Which subscription this is; what was learned under an earlier one may have missed something.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Whether it can be heard.
    pub fn is_alive(&self) -> bool {
        match self.beat.load(Ordering::Acquire) {
            0 => false,
            ALWAYS => true,
            beat => self.now().saturating_sub(beat) < SILENCE.as_millis() as u64,
        }
    }

    /// A new subscription was confirmed: until its first beat nothing is believed.
    pub(super) fn begin(&self) {
        self.beat.store(0, Ordering::Release);
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Something was said that cannot be read: what was known until now may be wrong.
    pub(super) fn doubt(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Our own beat came back.
    pub(crate) fn note_beat(&self) {
        let (now, epoch) = (self.now(), self.epoch());
        self.beat.store(now, Ordering::Release);
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        match heard.back_mut() {
            Some((known, at)) if *known == epoch => *at = now,
            Some(_) | None => {
                if heard.len() == REMEMBERED {
                    heard.pop_front();
                }
                heard.push_back((epoch, now));
            }
        }
    }

    /// When this subscription was heard last, on the clock of [`Feed::now`]; what it kept honest was good until then.
    /// `None` for one that never was, or was forgotten since.
    pub fn heard_last(&self, epoch: u64) -> Option<u64> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.iter().find(|(known, _)| *known == epoch).map(|(_, at)| *at)
    }

    /// The subscription is gone.
    pub(super) fn end(&self) {
        self.beat.store(0, Ordering::Release);
    }

    /// Tells every listener. Counted first, so that a read that began before cannot slip its answer in behind.
    pub(crate) fn tell(&self, news: &News<'_>) {
        if !matches!(news, News::Lock(..)) {
            self.count.fetch_add(1, Ordering::AcqRel);
        }
        for listener in &*self.listeners.read().unwrap_or_else(PoisonError::into_inner) {
            listener.hear(news);
        }
    }

    pub(super) fn add(&self, listener: Arc<dyn Listener>) {
        self.listeners.write().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    /// Milliseconds since this was made, and one.
    pub fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(0) + 1
    }
}
