//! Keeps one wire: makes its connections, probes them, replaces them when they are lost, and measures the server's clock
//! while it is at it. Run in the background by `link`, and by `cluster` for each of its servers; answers no calls.
//!
//! The client's own `ConnectionManager` is not used: with it, calls wait on a shared reconnect instead of failing at
//! once, and the task that drives a new connection starts on the runtime of whichever call met the error.

use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Value, cmd};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::acknowledge::{Acknowledging, longest_wait};
use super::error::{StoreError, judge};
use super::primacy::Proof;
use super::sentinel::Sentinels;
use super::wire::{Live, State, Target, Wire};

/// Never returns. May be dropped at any point: what is half done is thrown away.
pub(super) async fn keep(wire: &Wire) {
    let mut pace = Pace::new();
    let mut asked = Asked::now();
    loop {
        let state = wire.state();
        let healthy = match &*state {
            State::Up(live) if !live.wants_replacement() => check(wire, live, &mut asked).await,
            // A connection that is to be replaced stays in use meanwhile: it still answers what it can.
            State::Up(_) | State::Down(_) => {
                pace.turn().await;
                asked = Asked::now();
                establish(wire, &mut pace).await
            }
        };
        match healthy {
            Ok(()) => tokio::select! {
                () = sleep(PROBE_EVERY) => {}
                () = wire.wake.notified() => {}
            },
            Err(why) => wire.lose(&state, why),
        }
    }
}

/// When the sentinels were asked last.
struct Asked {
    /// In their turn.
    regularly: Instant,
    /// At all.
    last: Instant,
}

impl Asked {
    fn now() -> Self {
        let now = Instant::now();
        Self { regularly: now, last: now }
    }
}

/// Whether the connection is still good, and still to the server that the sentinels name.
async fn check(wire: &Wire, live: &Live, asked: &mut Asked) -> Result<(), StoreError> {
    let Target::Sentinels(sentinels) = &wire.target else {
        return probe(wire, live.connection.clone()).await;
    };
    if wire.primacy.is_wanted() {
        sleep_until(asked.last + ASK_APART).await;
    }
    let proof = Proof { asked: Instant::now(), clock_ms: wire.settings.clock.now_ms() };
    probe(wire, live.connection.clone()).await?;
    let regular = asked.regularly.elapsed() >= ASK_EVERY;
    if !regular && !wire.primacy.is_wanted() {
        return Ok(());
    }
    asked.last = Instant::now();
    if regular {
        asked.regularly = asked.last;
    }
    wire.primacy.begin();
    // An old primary that was cut off from the others, but not from us, does not know that it is one no more. Sentinels
    // that are away or disagree, however, are no reason to leave a primary that works; nor is what they say right after
    // a failover, when not all of them have heard of it, and to which only their next turn counts.
    match sentinels.elected().await {
        Some((host, port)) if format!("{host}:{port}") == live.address => {
            wire.primacy.prove(proof);
            Ok(())
        }
        Some(_) if regular => Err(StoreError::Unreachable),
        Some(_) | None => Ok(()),
    }
}

/// Connects, and puts the connection into use once it has passed its first probe.
async fn establish(wire: &Wire, pace: &mut Pace) -> Result<(), StoreError> {
    let attempt = async {
        match &wire.target {
            Target::Fixed { client, address } => open(wire, client.clone(), address.clone()).await,
            Target::Sentinels(sentinels) => open_primary(wire, sentinels).await,
        }
    };
    let outcome = timeout(attempt_within(wire), attempt).await.unwrap_or(Err(StoreError::TimedOut));
    match outcome {
        Ok(live) => {
            pace.held();
            wire.gain(live);
            Ok(())
        }
        Err(why) => {
            pace.failed();
            Err(why)
        }
    }
}

/// The first of the servers named that says itself that it is a primary.
async fn open_primary(wire: &Wire, sentinels: &Sentinels) -> Result<Live, StoreError> {
    let mut told = StoreError::Unreachable;
    for (host, port) in sentinels.named().await? {
        match open(wire, sentinels.client(&host, port)?, format!("{host}:{port}")).await {
            Ok(live) => return Ok(live),
            Err(why) => told = why,
        }
    }
    Err(told)
}

async fn open(wire: &Wire, client: Client, address: String) -> Result<Live, StoreError> {
    // Calls have their budget, and the attempt as a whole, which includes the first probe, has a deadline: the limits
    // set here are a second line.
    let config = |longest| {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(attempt_within(wire)))
            .set_response_timeout(Some(longest))
            .set_pipeline_buffer_size(QUEUE)
    };
    let connection = connect(&client, &config(attempt_within(wire))).await?;
    probe(wire, connection.clone()).await?;
    let acknowledging = if wire.settings.acknowledging {
        let second = connect(&client, &config(longest_wait(wire.settings.budget))).await;
        Some(second.map(Acknowledging::new))
    } else {
        None
    };
    Ok(Live::new(connection, acknowledging, client, address))
}

async fn connect(client: &Client, config: &AsyncConnectionConfig) -> Result<MultiplexedConnection, StoreError> {
    client.get_multiplexed_async_connection_with_config(config).await.map_err(|error| judge(&error).0)
}

/// Whether the server answers and is fit to serve. The clock is measured last: that of a server which does not serve
/// us is none of ours.
async fn probe(wire: &Wire, mut connection: MultiplexedConnection) -> Result<(), StoreError> {
    let questions = async {
        // Unlike TIME, PING is refused by a server that is still loading or has lost its primary.
        match cmd("PING").query_async::<()>(&mut connection).await {
            Ok(()) => {}
            Err(error) if cannot_save(&error) => {}
            Err(error) => return Err(judge(&error).0),
        }
        if matches!(wire.target, Target::Sentinels(_)) {
            is_primary(&mut connection).await?;
        }
        if !wire.keeps_time.load(Ordering::Relaxed) {
            return Ok(());
        }
        let sent = std::time::Instant::now();
        let time = cmd("TIME").query_async(&mut connection).await;
        let (seconds, micros): (i64, i64) = time.map_err(|error| judge(&error).0)?;
        let received = std::time::Instant::now();
        wire.settings.clock.measured(seconds.saturating_mul(1_000_000).saturating_add(micros), sent, received);
        Ok(())
    };
    timeout(PROBE_WITHIN.max(wire.settings.budget), questions).await.unwrap_or(Err(StoreError::TimedOut))
}

async fn is_primary(connection: &mut MultiplexedConnection) -> Result<(), StoreError> {
    let role: Vec<Value> = cmd("ROLE").query_async(connection).await.map_err(|error| judge(&error).0)?;
    match role.first() {
        Some(Value::BulkString(role)) if role == b"master" => Ok(()),
        _ => Err(StoreError::Refused("READONLY")),
    }
}

fn attempt_within(wire: &Wire) -> Duration {
    CONNECT_WITHIN.max(wire.settings.budget)
}

/// A server whose snapshots fail refuses PING like every write, but still answers reads: known sessions stay known.
fn cannot_save(error: &RedisError) -> bool {
    error.code() == Some("MISCONF")
}

/// When the next attempt to connect may begin. Attempts begin at least 100 ms apart, which makes at most ten a second.
pub(super) struct Pace {
    /// How long the next failure postpones: doubles, up to [`SLOWEST`].
    step: Duration,
    next: Instant,
    /// Since when there is a connection.
    held: Option<Instant>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { step: QUICKEST, next: Instant::now(), held: None }
    }

    /// Waits until an attempt may begin. A connection that had held for a while is replaced at once; one that was lost
    /// right after it was made counts as a failed attempt, or a server that accepts and fails would be hammered.
    pub(super) async fn turn(&mut self) {
        match self.held.take() {
            Some(since) if since.elapsed() >= SLOWEST => {
                self.step = QUICKEST;
                self.next = Instant::now();
            }
            Some(_) => self.failed(),
            None => {}
        }
        sleep_until(self.next).await;
    }

    /// There is a connection that passed its probe. What failed before it counts no longer: were it lost to a moment's
    /// hurry, the pause grown in the outage before would make an outage of that moment.
    pub(super) fn held(&mut self) {
        self.held = Some(Instant::now());
        self.step = QUICKEST * 2;
    }

    pub(super) fn failed(&mut self) {
        self.next = Instant::now() + self.step;
        self.step = (self.step * 2).min(SLOWEST);
    }
}

const QUICKEST: Duration = Duration::from_millis(100);
const SLOWEST: Duration = Duration::from_secs(1);

pub(super) const PROBE_EVERY: Duration = Duration::from_millis(250);

/// How often the sentinels are asked who the primary is, while it works.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// And how soon again when somebody waits for their word: within the budget of a call.
const ASK_APART: Duration = Duration::from_millis(20);

/// Longer than a call's budget usually is: a server that is merely slow is not given up for it.
pub(super) const PROBE_WITHIN: Duration = Duration::from_millis(500);

/// For name look-up, connecting, login and the first probe together.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// Commands that may wait for the driver before a caller has to wait to hand its own over.
const QUEUE: usize = 1024;
