//! Writes that count only when replicas have them: a second connection to a server, on which `WAIT` follows the write.
//! `wire` asks over it. It is a connection of its own because `WAIT` holds up whatever comes after it; it is one and not
//! many because `WAIT` speaks of the writes of its own connection only.
//!
//! It judges no errors and replaces no connection: that is `wire`'s part.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, RedisResult, Value, cmd, from_redis_value};
use tokio::join;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

/// The second connection.
pub(super) struct Acknowledging {
    connection: MultiplexedConnection,
    /// Taken for as long as the server is at work on a call, whether or not anybody still waits for its answer.
    places: Arc<Semaphore>,
}

/// Why a call did not end well.
pub(super) enum Unconfirmed {
    /// Not answered by its deadline.
    Late,
    /// Done, but too few replicas said so in time.
    TooFew,
    /// The server, or the connection to it.
    Failed(RedisError),
}

impl Acknowledging {
    pub(super) fn new(connection: MultiplexedConnection) -> Self {
        Self { connection, places: Arc::new(Semaphore::new(PLACES)) }
    }

    /// Runs `run`; its answer counts when `replicas` replicas have what it wrote, before `deadline`.
    pub(super) async fn ask(
        &self,
        run: &Cmd,
        replicas: u8,
        asking: bool,
        deadline: Instant,
    ) -> Result<Value, Unconfirmed> {
        let places = Arc::clone(&self.places);
        let Ok(Ok(place)) = timeout_at(deadline, places.acquire_owned()).await else {
            return Err(Unconfirmed::Late);
        };
        let write = announced(run, asking);
        let wait = confirmation(replicas, deadline);
        let (mut first, mut second) = (self.connection.clone(), self.connection.clone());
        let (written, was_written) = oneshot::channel();
        let (confirmed, was_confirmed) = oneshot::channel();
        // A caller that goes away leaves its WAIT at the server. Without the place that it keeps until then, a stalled
        // replica and impatient callers would pile up writes there that take effect long after.
        tokio::spawn(async move {
            // Two messages to the driver, in this order: the write is answered while the replicas are waited for.
            let write = async {
                let answers = first.send_packed_commands(&write, 0, write.len()).await;
                let _ = written.send(answers.and_then(last_of));
            };
            let wait = async {
                let count = second.send_packed_command(&wait).await;
                let _ = confirmed.send(count.and_then(|count| Ok(from_redis_value(count.extract_error()?)?)));
            };
            join!(write, wait);
            drop(place);
        });
        let answer = match timeout_at(deadline, was_written).await {
            Ok(Ok(answer)) => answer.map_err(Unconfirmed::Failed)?,
            Ok(Err(_)) | Err(_) => return Err(Unconfirmed::Late),
        };
        let count: u64 = match timeout_at(deadline, was_confirmed).await {
            Ok(Ok(count)) => count.map_err(Unconfirmed::Failed)?,
            Ok(Err(_)) | Err(_) => 0,
        };
        if count < u64::from(replicas) { Err(Unconfirmed::TooFew) } else { Ok(answer) }
    }
}

fn announced(run: &Cmd, asking: bool) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(2);
    if asking {
        pipeline.cmd("ASKING");
    }
    pipeline.add_command(run.clone());
    pipeline
}

/// `WAIT` for a little less than what is left; never for 0, which is forever. The server looks at its clock ten times
/// a second, so it may well answer after `deadline`, when nobody listens any more.
fn confirmation(replicas: u8, deadline: Instant) -> Cmd {
    let left = deadline.saturating_duration_since(Instant::now()) * 4 / 5;
    let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
    cmd("WAIT").arg(replicas).arg(left_ms).to_owned()
}

/// The last answer, or the first error among them.
fn last_of(answers: Vec<Value>) -> RedisResult<Value> {
    answers.into_iter().map(Value::extract_error).try_fold(Value::Nil, |_, answer| answer)
}

/// How long the driver waits for an answer: longer than all places together hold up the connection.
pub(super) fn longest_wait(budget: Duration) -> Duration {
    (budget + LATE_BY) * PLACES_COUNT + Duration::from_secs(1)
}

/// By how much the server's answer to `WAIT` may come too late.
const LATE_BY: Duration = Duration::from_millis(100);

/// Calls that may be under way. The server takes them one after another.
const PLACES_COUNT: u32 = 16;
const PLACES: usize = PLACES_COUNT as usize;
