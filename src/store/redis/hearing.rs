//! The Redis backend's ear: subscribes to what gateways and the directory announce, hears its own heartbeat among it,
//! and tells the feed. Also asks how the server makes room. Run in the background by `Store::run`; answers no calls,
//! and does not know what the news mean to those who listen.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};
use tracing::warn;

use super::super::Eviction;
use super::super::error::StoreError;
use super::super::message::{self, Message};
use super::super::subscription::Subscription;
use super::Redis;

impl Redis {
    /// Never returns. May be dropped at any point: without its beat the feed counts as lost by itself.
    pub(super) async fn hear_forever(self: &Arc<Self>) {
        let mut doubts = Doubts::default();
        let mut pause = QUICKEST;
        loop {
            // No attempts of its own where the keeper's fail: the server would see twice as many.
            while !self.link.is_up() {
                sleep(UP_EVERY).await;
            }
            if let Ok(subscription) = self.link.subscribe(&[&self.invalidations, &self.directory]).await {
                let begun = Instant::now();
                self.feed.begin();
                self.renewed.notify_one();
                // On a task of its own, so that the beat goes on however much there is to hear; it ends with the set.
                let mut beat = JoinSet::new();
                let heart = Arc::clone(self);
                beat.spawn(async move { heart.beat().await });
                self.hear(subscription, &mut doubts).await;
                drop(beat);
                self.feed.end();
                if begun.elapsed() >= SLOWEST {
                    pause = QUICKEST;
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(SLOWEST);
        }
    }

    /// Until the subscription is lost, or so silent that it may as well be.
    async fn hear(&self, mut subscription: Subscription, doubts: &mut Doubts) {
        let mut deaf_at = Instant::now() + DEAF_AFTER;
        let mut turn = Instant::now();
        while let Ok(Some((channel, payload))) = timeout_at(deaf_at, subscription.next()).await {
            let news = if channel == self.directory {
                message::read_directory(&self.prefix, &payload).map(Message::News)
            } else {
                message::read(&payload)
            };
            match news {
                Some(Message::News(news)) => self.feed.tell(&news),
                Some(Message::Beat(from)) if from == &*self.gateway => {
                    deaf_at = Instant::now() + DEAF_AFTER;
                    self.feed.note_beat();
                }
                Some(Message::Beat(_)) => {}
                None => {
                    self.feed.doubt();
                    doubts.note(&channel);
                }
            }
            // The task that drives the connection of all calls may wait for the same thread.
            if turn.elapsed() >= LONGEST_TURN {
                yield_now().await;
                turn = Instant::now();
            }
        }
    }

    /// Says that we can be heard, over the connection that our announcements take. Never returns. One beat that does
    /// not get through is no matter; the ear notices when none does.
    async fn beat(&self) {
        let message = format!("beat {}", self.gateway);
        let mut ticks = interval(BEAT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let _ = self.link.publish(&self.invalidations, message.as_bytes(), self.deadline()).await;
        }
    }

    /// Asks how the server makes room, once a minute and after each new subscription. Never returns.
    pub(super) async fn watch_eviction(&self) {
        loop {
            if !self.link.is_up() {
                sleep(UP_EVERY).await;
                continue;
            }
            let eviction = match self.link.eviction_policy(self.deadline()).await {
                Ok(Some(policy)) => Eviction::Policy(policy.into()),
                // Asked again no sooner: each refusal stands in the server's log of its access lists.
                Ok(None) | Err(StoreError::Refused(_) | StoreError::Unreadable) => Eviction::Untold,
                Err(StoreError::Unreachable | StoreError::TimedOut | StoreError::Unacknowledged) => {
                    sleep(SLOWEST).await;
                    continue;
                }
            };
            *self.eviction.write().unwrap_or_else(PoisonError::into_inner) = eviction;
            tokio::select! {
                () = sleep(EVICTION_EVERY) => {}
                () = self.renewed.notified() => {}
            }
        }
    }
}

/// Messages that cannot be read, told to the operator at most once a minute.
#[derive(Default)]
struct Doubts {
    untold: u64,
    told: Option<Instant>,
}

impl Doubts {
    /// What was said is not repeated: whoever speaks out of turn does not get to write our log.
    fn note(&mut self, channel: &str) {
        self.untold += 1;
        if self.told.is_none_or(|told| told.elapsed() >= DOUBTS_EVERY) {
            warn!(
                channel,
                messages = self.untold,
                "unreadable messages on the store's channel; all sessions are looked up anew"
            );
            *self = Self { untold: 0, told: Some(Instant::now()) };
        }
    }
}

const BEAT_EVERY: Duration = Duration::from_millis(250);

/// Without its own beat for so long a subscription is given up for a new one. Longer than what makes the feed count as
/// lost: a server that merely paused has kept all messages, and the feed goes on with the first beat.
const DEAF_AFTER: Duration = Duration::from_secs(2);

/// How long news may follow on each other before other tasks have their turn.
const LONGEST_TURN: Duration = Duration::from_millis(2);

/// How often to look whether there is a connection.
const UP_EVERY: Duration = Duration::from_millis(50);

/// Between two attempts to subscribe.
const QUICKEST: Duration = Duration::from_millis(100);
const SLOWEST: Duration = Duration::from_secs(1);

const EVICTION_EVERY: Duration = Duration::from_secs(60);
const DOUBTS_EVERY: Duration = Duration::from_secs(60);
