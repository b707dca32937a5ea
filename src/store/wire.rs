//! The way to one Redis server: the connection that all calls share, and what is known of it. `link` and `cluster` ask
//! over it; `keeper` puts connections into it. It never connects and never waits for a connection: a call made while
//! there is none is told so at once.
//!
//! Dropping a call's future is safe at any point. In redis-rs (`aio/multiplexed_connection.rs`) a message to the
//! driver task holds one command, or one pipeline, and the sender of its own one-shot channel, and the driver queues
//! that sender in the moment in which it writes the message. Replies come in the order of the commands and each goes to
//! the head of the queue. A dropped future only closes its channel: not yet written, the message is skipped together
//! with its place in the queue; written, its place stays and its replies are thrown away.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use redis::aio::MultiplexedConnection;
use redis::{Client, Cmd, Pipeline, RedisError, RedisResult, Script, Value};
use tokio::sync::{Notify, watch};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use super::acknowledge::{Acknowledging, Unconfirmed};
use super::clock::RemoteClock;
use super::error::{Refusal, StoreError, Verdict, judge, redirect};
use super::primacy::{Absence, Primacy};
use super::sentinel::Sentinels;

/// The way to one server.
pub(super) struct Wire {
    pub(super) target: Target,
    pub(super) settings: WireSettings,
    /// Whether the server's clock is the store's: of a cluster's servers, one is.
    pub(super) keeps_time: AtomicBool,
    /// Wakes the keeper; a wake-up while it is busy is kept for it.
    pub(super) wake: Notify,
    /// Counts the servers: goes up when the connection leads to another one than before.
    pub(super) tenure: watch::Sender<u64>,
    /// Whether the server can be believed about what is not there.
    pub(super) primacy: Primacy,
    state: ArcSwap<State>,
    /// Where the latest connection led to.
    latest: Mutex<Option<String>>,
    /// The server answered that it is a replica: its successor is another server, even under the same name.
    demoted: AtomicBool,
    reached: AtomicBool,
    /// Whether the log has said how things stand: from then on only changes are news.
    announced: AtomicBool,
}

/// What is the same for all wires of a store.
#[derive(Clone)]
pub(super) struct WireSettings {
    /// The longest a call takes.
    pub(super) budget: Duration,
    /// Whether a second connection is kept, for calls that wait for replicas.
    pub(super) acknowledging: bool,
    pub(super) clock: Arc<RemoteClock>,
    /// Told when the connection is lost or comes back.
    pub(super) changed: Arc<Notify>,
}

/// Whom to connect to.
pub(super) enum Target {
    /// Always the same address.
    Fixed {
        client: Client,
        /// `host:port`.
        address: String,
    },
    /// Whoever the sentinels say is the primary.
    Sentinels(Sentinels),
}

/// Replaced as a whole, never changed: two states are the same connection exactly when they are the same allocation.
pub(super) enum State {
    /// This connection passed its last probe.
    Up(Box<Live>),
    /// There is none; what a call is told.
    Down(StoreError),
}

/// A connection in use.
pub(super) struct Live {
    pub(super) connection: MultiplexedConnection,
    /// For calls that wait for replicas, where there are such calls.
    pub(super) acknowledging: Option<Acknowledging>,
    /// Makes further connections to the same server.
    pub(super) client: Client,
    /// `host:port` of the server.
    pub(super) address: String,
    /// Time-outs since the last answer.
    silent: AtomicU32,
    /// Still usable, but the keeper is to put another in its place.
    replace: AtomicBool,
}

/// One question to one server.
pub(super) enum Order<'a> {
    Command(&'a Cmd),
    /// Independent commands, sent together; an array answers them.
    Together(&'a Pipeline),
    /// `run` is `EVALSHA` of `script`. With `replicas`, even none, it comes after whatever was sent before to be
    /// confirmed, and so many of them have to confirm what it wrote.
    Script {
        script: &'a Script,
        run: &'a Cmd,
        replicas: Option<u8>,
    },
}

impl Wire {
    pub(super) fn new(target: Target, settings: WireSettings) -> Self {
        Self {
            target,
            settings,
            keeps_time: AtomicBool::new(true),
            wake: Notify::new(),
            tenure: watch::Sender::new(0),
            primacy: Primacy::default(),
            state: ArcSwap::from_pointee(State::Down(StoreError::Unreachable)),
            latest: Mutex::new(None),
            demoted: AtomicBool::new(false),
            reached: AtomicBool::new(false),
            announced: AtomicBool::new(false),
        }
    }

    /// Asks, and waits for the answer until `deadline`. `asking` announces a slot that is on its way to this server.
    pub(super) async fn ask(&self, order: &Order<'_>, asking: bool, deadline: Instant) -> Result<Value, Refusal> {
        let state = self.state();
        let live = match &*state {
            State::Up(live) => live,
            State::Down(why) => return Err(Refusal::from(*why)),
        };
        let answer = self.ask_once(&state, live, order, asking, deadline).await;
        let Order::Script { script, .. } = order else {
            return answer;
        };
        if !matches!(&answer, Err(Refusal { told: StoreError::Refused("NOSCRIPT"), .. })) {
            return answer;
        }
        // A server that was restarted, or became the primary, has none of our scripts.
        let mut connection = live.connection.clone();
        let loaded = timeout_at(deadline, script.load_async(&mut connection)).await;
        self.settle(&state, live, loaded)?;
        self.ask_once(&state, live, order, asking, deadline).await
    }

    async fn ask_once(
        &self,
        state: &Arc<State>,
        live: &Live,
        order: &Order<'_>,
        asking: bool,
        deadline: Instant,
    ) -> Result<Value, Refusal> {
        let mut connection = live.connection.clone();
        let command = match order {
            Order::Together(pipeline) => {
                let sent = send_together(&mut connection, pipeline);
                return self.settle(state, live, timeout_at(deadline, sent).await).map(Value::Array);
            }
            Order::Script { run, replicas: Some(replicas), .. } if *replicas > 0 || self.settings.acknowledging => {
                return self.ask_acknowledged(live, run, *replicas, asking, deadline).await;
            }
            Order::Command(command) | Order::Script { run: command, .. } => *command,
        };
        if !asking {
            let sent = async { connection.send_packed_command(command).await?.extract_error() };
            return self.settle(state, live, timeout_at(deadline, sent).await);
        }
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("ASKING").add_command(command.clone());
        let answers = self.settle(state, live, timeout_at(deadline, send_together(&mut connection, &pipeline)).await);
        answers.map(|mut answers| answers.pop().unwrap_or(Value::Nil))
    }

    /// Over the second connection. Its time-outs take nothing away: what it waits for is the replicas, and the first
    /// connection may be well.
    async fn ask_acknowledged(
        &self,
        live: &Live,
        run: &Cmd,
        replicas: u8,
        asking: bool,
        deadline: Instant,
    ) -> Result<Value, Refusal> {
        let Some(acknowledging) = &live.acknowledging else {
            return Err(Refusal::from(StoreError::Unreachable));
        };
        match acknowledging.ask(run, replicas, asking, deadline).await {
            Ok(answer) => Ok(answer),
            Err(Unconfirmed::Late) => Err(Refusal::from(StoreError::TimedOut)),
            Err(Unconfirmed::TooFew) => Err(Refusal::from(StoreError::Unacknowledged)),
            Err(Unconfirmed::Failed(error)) => {
                let (told, verdict) = judge(&error);
                match verdict {
                    Verdict::Keep => {}
                    Verdict::Replace | Verdict::Drop => self.replace(live, told),
                }
                Err(Refusal { told, elsewhere: redirect(&error) })
            }
        }
    }

    /// What an outcome says about the connection it came over.
    fn settle<T>(
        &self,
        state: &Arc<State>,
        live: &Live,
        outcome: Result<RedisResult<T>, Elapsed>,
    ) -> Result<T, Refusal> {
        match outcome {
            Ok(Ok(answer)) => {
                live.silent.store(0, Ordering::Relaxed);
                Ok(answer)
            }
            Ok(Err(error)) => Err(self.fault(state, live, &error)),
            Err(_elapsed) => {
                if live.silent.fetch_add(1, Ordering::Relaxed) + 1 >= SILENT_LIMIT {
                    self.lose(state, StoreError::TimedOut);
                }
                Err(Refusal::from(StoreError::TimedOut))
            }
        }
    }

    /// Whether a session that this server does not know is gone. A server at a fixed address is taken at its word.
    pub(super) async fn confirm(&self, absence: Absence, deadline: Instant) -> Result<(), StoreError> {
        match &self.target {
            Target::Fixed { .. } => Ok(()),
            Target::Sentinels(_) => self.primacy.confirm(absence, || self.wake.notify_one(), deadline).await,
        }
    }

    fn fault(&self, state: &Arc<State>, live: &Live, error: &RedisError) -> Refusal {
        let (told, verdict) = judge(error);
        match verdict {
            Verdict::Keep => live.silent.store(0, Ordering::Relaxed),
            Verdict::Replace => self.replace(live, told),
            Verdict::Drop => self.lose(state, told),
        }
        Refusal { told, elsewhere: redirect(error) }
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
    pub(super) fn gain(&self, live: Live) {
        self.reached.store(true, Ordering::Relaxed);
        self.announced.store(true, Ordering::Relaxed);
        let address = live.address.clone();
        self.primacy.forget();
        let before = self.state.swap(Arc::new(State::Up(Box::new(live))));
        if matches!(*before, State::Down(_)) {
            info!(store = address, "the store is reached");
            self.settings.changed.notify_one();
        }
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner).replace(address.clone());
        if self.demoted.swap(false, Ordering::Relaxed) || latest.is_some_and(|latest| latest != address) {
            self.end_tenure();
        }
    }

    /// Takes the connection of `seen` away, unless another has taken its place since, and wakes the keeper.
    pub(super) fn lose(&self, seen: &Arc<State>, why: StoreError) {
        // Without a connection there is nothing left to time out: the next call is refused or cannot reach anybody.
        let told = match why {
            StoreError::Refused(_) => why,
            StoreError::Unreachable | StoreError::TimedOut | StoreError::Unreadable | StoreError::Unacknowledged => {
                StoreError::Unreachable
            }
        };
        let before = self.state.compare_and_swap(seen, Arc::new(State::Down(told)));
        if !Arc::ptr_eq(&before, seen) {
            return;
        }
        let news = match &**before {
            State::Up(_) => {
                self.wake.notify_one();
                self.settings.changed.notify_one();
                true
            }
            State::Down(known) => *known != told || !self.announced.load(Ordering::Relaxed),
        };
        if news {
            self.announced.store(true, Ordering::Relaxed);
            let store = self.target.name();
            warn!(store, error = why.kind(), detail = %why, "the store does not serve us");
        }
    }

    /// The server is not, or may not be, the one that changes are told to any more.
    pub(super) fn end_tenure(&self) {
        self.tenure.send_modify(|count| *count += 1);
    }

    fn replace(&self, live: &Live, why: StoreError) {
        live.silent.store(0, Ordering::Relaxed);
        if why == StoreError::Refused("READONLY") {
            self.demoted.store(true, Ordering::Relaxed);
        }
        if !live.replace.swap(true, Ordering::Relaxed) {
            self.wake.notify_one();
        }
    }
}

impl Target {
    /// For logs.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Fixed { address, .. } => address,
            Self::Sentinels(sentinels) => &sentinels.name,
        }
    }
}

impl Live {
    /// `acknowledging` is wanted, but could not be had, where it is an error: the keeper goes on trying.
    pub(super) fn new(
        connection: MultiplexedConnection,
        acknowledging: Option<Result<Acknowledging, StoreError>>,
        client: Client,
        address: String,
    ) -> Self {
        Self {
            connection,
            replace: AtomicBool::new(matches!(acknowledging, Some(Err(_)))),
            acknowledging: acknowledging.and_then(Result::ok),
            client,
            address,
            silent: AtomicU32::new(0),
        }
    }

    /// Whether the keeper should put another connection in this one's place.
    pub(super) fn wants_replacement(&self) -> bool {
        self.replace.load(Ordering::Relaxed)
    }
}

/// The answers to a whole pipeline, or the first error among them.
async fn send_together(connection: &mut MultiplexedConnection, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
    let answers = connection.send_packed_commands(pipeline, 0, pipeline.len()).await?;
    answers.into_iter().map(Value::extract_error).collect()
}

/// So many time-outs without an answer between them take the connection away. One may be a slow command or a lost
/// packet; after three, every further call would wait its whole budget for nothing. Without a connection calls fail at
/// once, until the keeper has seen a new one answer: this is the breaker in front of the store.
const SILENT_LIMIT: u32 = 3;
