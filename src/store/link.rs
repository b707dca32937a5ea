//! The one connection to the Redis server that all calls share, and what is known of it. The Redis backend asks over
//! it; `keeper` puts connections into it. It never connects and never waits for a connection: a call made while there
//! is none is told so at once.
//!
//! Dropping a call's future is safe at any point. In redis-rs (`aio/multiplexed_connection.rs`) a command and the
//! sender of its own one-shot channel travel to the driver task as one message, and the driver queues that sender in
//! the moment in which it writes the command. Replies come in the order of the commands and each takes the sender at
//! the head of the queue. A dropped future only closes its channel: not yet written, the command is skipped together
//! with its place in the queue; written, its place stays and its reply is thrown away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use redis::aio::MultiplexedConnection;
use redis::{Client, Cmd, FromRedisValue};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use super::clock::RemoteClock;
use super::error::{StoreError, Verdict, judge};

/// The way to the server.
pub(super) struct Link {
    pub(super) client: Client,
    /// `host:port`, for logs.
    pub(super) address: String,
    pub(super) budget: Duration,
    pub(super) clock: RemoteClock,
    /// Wakes the keeper; a wake-up while it is busy is kept for it.
    pub(super) wake: Notify,
    state: ArcSwap<State>,
    reached: AtomicBool,
    /// Whether the log has said how things stand: from then on only changes are news.
    announced: AtomicBool,
}

/// Replaced as a whole, never changed: two states are the same connection exactly when they are the same allocation.
pub(super) enum State {
    /// This connection passed its last probe.
    Up(Live),
    /// There is none; what a call is told.
    Down(StoreError),
}

/// A connection in use.
pub(super) struct Live {
    pub(super) connection: MultiplexedConnection,
    /// Time-outs since the last answer.
    silent: AtomicU32,
    /// Still usable, but the keeper is to put another in its place.
    replace: AtomicBool,
}

impl Link {
    pub(super) fn new(client: Client, address: String, budget: Duration) -> Self {
        Self {
            client,
            address,
            budget,
            clock: RemoteClock::new(),
            wake: Notify::new(),
            state: ArcSwap::from_pointee(State::Down(StoreError::Unreachable)),
            reached: AtomicBool::new(false),
            announced: AtomicBool::new(false),
        }
    }

    /// Sends one command and waits for its answer until `deadline`.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd, deadline: Instant) -> Result<T, StoreError> {
        let state = self.state();
        let live = match &*state {
            State::Up(live) => live,
            State::Down(why) => return Err(*why),
        };
        let mut connection = live.connection.clone();
        match timeout_at(deadline, command.query_async(&mut connection)).await {
            Ok(Ok(answer)) => {
                live.silent.store(0, Ordering::Relaxed);
                Ok(answer)
            }
            Ok(Err(error)) => {
                let (told, verdict) = judge(&error);
                match verdict {
                    Verdict::Keep => live.silent.store(0, Ordering::Relaxed),
                    Verdict::Replace => self.replace(live),
                    Verdict::Drop => self.lose(&state, told),
                }
                Err(told)
            }
            Err(_elapsed) => {
                if live.silent.fetch_add(1, Ordering::Relaxed) + 1 >= SILENT_LIMIT {
                    self.lose(&state, StoreError::TimedOut);
                }
                Err(StoreError::TimedOut)
            }
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(**self.state.load(), State::Up(_))
    }

    pub(super) fn was_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    pub(super) fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Puts a connection that passed its probe into use.
    pub(super) fn gain(&self, connection: MultiplexedConnection) {
        let live = Live { connection, silent: AtomicU32::new(0), replace: AtomicBool::new(false) };
        self.reached.store(true, Ordering::Relaxed);
        self.announced.store(true, Ordering::Relaxed);
        let before = self.state.swap(Arc::new(State::Up(live)));
        if matches!(*before, State::Down(_)) {
            info!(store = self.address, "the store is reached");
        }
    }

    /// Takes the connection of `seen` away, unless another has taken its place since, and wakes the keeper.
    pub(super) fn lose(&self, seen: &Arc<State>, why: StoreError) {
        // Without a connection there is nothing left to time out: the next call is refused or cannot reach anybody.
        let told = match why {
            StoreError::Refused(_) => why,
            StoreError::Unreachable | StoreError::TimedOut | StoreError::Unreadable => StoreError::Unreachable,
        };
        let before = self.state.compare_and_swap(seen, Arc::new(State::Down(told)));
        if !Arc::ptr_eq(&before, seen) {
            return;
        }
        let news = match &**before {
            State::Up(_) => {
                self.wake.notify_one();
                true
            }
            State::Down(known) => *known != told || !self.announced.load(Ordering::Relaxed),
        };
        if news {
            self.announced.store(true, Ordering::Relaxed);
            warn!(store = self.address, error = why.kind(), detail = %why, "the store does not serve us");
        }
    }

    fn replace(&self, live: &Live) {
        live.silent.store(0, Ordering::Relaxed);
        if !live.replace.swap(true, Ordering::Relaxed) {
            self.wake.notify_one();
        }
    }
}

impl Live {
    /// Whether the keeper should put another connection in this one's place.
    pub(super) fn wants_replacement(&self) -> bool {
        self.replace.load(Ordering::Relaxed)
    }
}

/// So many time-outs without an answer between them take the connection away. One may be a slow command or a lost
/// packet; after three, every further call would wait its whole budget for nothing. Without a connection calls fail at
/// once, until the keeper has seen a new one answer: this is the breaker in front of the store.
const SILENT_LIMIT: u32 = 3;
