//! The only one that connects to the Redis server: makes the connection, probes it, replaces it when it is lost, and
//! measures the server's clock while it is at it. Run once in the background by `Store::run`; answers no calls.
//!
//! The client's own `ConnectionManager` is not used: with it, calls wait on a shared reconnect instead of failing at
//! once, and the task that drives a new connection starts on the runtime of whichever call met the error.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError, cmd};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::error::{StoreError, judge};
use super::link::{Link, State};

/// Never returns. May be dropped at any point: what is half done is thrown away.
pub(super) async fn keep(link: &Link) {
    let mut pace = Pace::new();
    loop {
        let state = link.state();
        let healthy = match &*state {
            State::Up(live) if !live.wants_replacement() => probe(link, live.connection.clone()).await,
            // A connection that is to be replaced stays in use meanwhile: it still answers what it can.
            State::Up(_) | State::Down(_) => {
                pace.turn().await;
                establish(link, &mut pace).await
            }
        };
        match healthy {
            Ok(()) => tokio::select! {
                () = sleep(PROBE_EVERY) => {}
                () = link.wake.notified() => {}
            },
            Err(why) => link.lose(&state, why),
        }
    }
}

/// Connects, and puts the connection into use once it has passed its first probe.
async fn establish(link: &Link, pace: &mut Pace) -> Result<(), StoreError> {
    let deadline = CONNECT_WITHIN.max(link.budget);
    // Both limits are a second line: calls have their budget, and the attempt as a whole, which includes the first
    // probe, has its deadline below.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(deadline))
        .set_response_timeout(Some(deadline))
        .set_pipeline_buffer_size(QUEUE);
    let attempt = async {
        let connecting = link.client.get_multiplexed_async_connection_with_config(&config);
        let connection = connecting.await.map_err(|error| judge(&error).0)?;
        probe(link, connection.clone()).await?;
        Ok(connection)
    };
    let outcome = timeout(deadline, attempt).await.unwrap_or(Err(StoreError::TimedOut));
    match outcome {
        Ok(connection) => {
            pace.held();
            link.gain(connection);
            Ok(())
        }
        Err(why) => {
            pace.failed();
            Err(why)
        }
    }
}

/// Whether the server answers and is fit to serve. The clock is measured last: that of a server which does not serve
/// us is none of ours.
async fn probe(link: &Link, mut connection: MultiplexedConnection) -> Result<(), StoreError> {
    let questions = async {
        // Unlike TIME, PING is refused by a server that is still loading or has lost its primary.
        match cmd("PING").query_async::<()>(&mut connection).await {
            Ok(()) => {}
            Err(error) if cannot_save(&error) => {}
            Err(error) => return Err(error),
        }
        let sent = std::time::Instant::now();
        let (seconds, micros): (i64, i64) = cmd("TIME").query_async(&mut connection).await?;
        let received = std::time::Instant::now();
        link.clock.measured(seconds.saturating_mul(1_000_000).saturating_add(micros), sent, received);
        Ok(())
    };
    match timeout(PROBE_WITHIN.max(link.budget), questions).await {
        Ok(answered) => answered.map_err(|error| judge(&error).0),
        Err(_elapsed) => Err(StoreError::TimedOut),
    }
}

/// A server whose snapshots fail refuses PING like every write, but still answers reads: known sessions stay known.
fn cannot_save(error: &RedisError) -> bool {
    error.code() == Some("MISCONF")
}

/// When the next attempt to connect may begin. Attempts begin at least 100 ms apart, which makes at most ten a second.
struct Pace {
    /// How long the next failure postpones: doubles, up to [`SLOWEST`].
    step: Duration,
    next: Instant,
    /// Since when there is a connection.
    held: Option<Instant>,
}

impl Pace {
    fn new() -> Self {
        Self { step: QUICKEST, next: Instant::now(), held: None }
    }

    /// Waits until an attempt may begin. A connection that had held for a while is replaced at once; one that was lost
    /// right after it was made counts as a failed attempt, or a server that accepts and fails would be hammered.
    async fn turn(&mut self) {
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

    fn held(&mut self) {
        self.held = Some(Instant::now());
    }

    fn failed(&mut self) {
        self.next = Instant::now() + self.step;
        self.step = (self.step * 2).min(SLOWEST);
    }
}

const QUICKEST: Duration = Duration::from_millis(100);
const SLOWEST: Duration = Duration::from_secs(1);

const PROBE_EVERY: Duration = Duration::from_millis(250);

/// Longer than a call's budget usually is: a server that is merely slow is not given up for it.
const PROBE_WITHIN: Duration = Duration::from_millis(500);

/// For name look-up, connecting, login and the first probe together.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// Commands that may wait for the driver before a caller has to wait to hand its own over.
const QUEUE: usize = 1024;
