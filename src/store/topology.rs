//! Keeps the table of a cluster true: asks its servers who keeps which slot, and has each of their wires kept. Run in
//! the background by `link`; answers no calls.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::{AsyncConnectionConfig, Client, Pipeline, Value};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::address::host_and_port;
use super::cluster::Cluster;
use super::error::{StoreError, judge};
use super::keeper::{PROBE_WITHIN, Pace, keep as keep_wire};
use super::slots::View;
use super::wire::{Order, Wire};

/// Never returns. May be dropped at any point: what is half done is thrown away.
pub(super) async fn keep(cluster: &Cluster) {
    let mut keepers = Keepers { tasks: JoinSet::new(), kept: HashMap::new() };
    let mut pace = Pace::new();
    loop {
        let begun = Instant::now();
        match look(cluster, &mut pace).await {
            Ok(view) => {
                cluster.adopt(view);
                keepers.follow(cluster);
            }
            Err(why) => cluster.refused(why),
        }
        cluster.announce();
        let next = if cluster.is_up() { LOOK_EVERY } else { LOOK_SOON };
        tokio::select! {
            () = sleep_until(begun + next) => {}
            () = cluster.wake.notified() => {
                cluster.announce();
                sleep_until(begun + LOOK_APART).await;
            }
        }
    }
}

/// How the cluster sees itself, by the newest of the views that its servers have.
async fn look(cluster: &Cluster, pace: &mut Pace) -> Result<View, StoreError> {
    let table = cluster.table();
    let up: Vec<&Arc<Wire>> = table.wires.values().filter(|wire| wire.is_up()).collect();
    let deadline = Instant::now() + PROBE_WITHIN;
    let views = join_all(up.iter().map(|wire| ask(wire, deadline))).await;
    let serves = views.iter().flatten().any(|view| view.serves);
    for (wire, view) in up.iter().zip(&views) {
        // Cut off from the others, it would keep what is published there from us, and not know.
        if serves && view.as_ref().is_some_and(|view| !view.serves) {
            wire.end_tenure();
        }
    }
    if let Some(view) = newest(views.into_iter().flatten()) {
        return Ok(view);
    }
    pace.turn().await;
    let answers = join_all(cluster.seeds.iter().map(ask_seed)).await;
    let refusal = answers.iter().find_map(|answer| answer.as_ref().err()).copied();
    match newest(answers.into_iter().flatten()) {
        Some(view) => {
            pace.held();
            Ok(view)
        }
        None => {
            pace.failed();
            Err(refusal.unwrap_or(StoreError::Unreachable))
        }
    }
}

/// A view without a slot is that of a server which has joined no cluster.
fn newest(views: impl Iterator<Item = View>) -> Option<View> {
    views.filter(|view| !view.ranges.is_empty()).max_by_key(|view| (view.serves, view.epoch))
}

async fn ask(wire: &Wire, deadline: Instant) -> Option<View> {
    let answers = wire.ask(&Order::Together(&questions()), false, deadline).await;
    let (host, _) = host_and_port(wire.target.name())?;
    match answers {
        Ok(Value::Array(answers)) => view(answers, host).ok(),
        Ok(_) | Err(_) => None,
    }
}

/// Over a connection that lasts no longer: a seed may be known to the others by another name.
async fn ask_seed(seed: &Client) -> Result<View, StoreError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PROBE_WITHIN))
        .set_response_timeout(Some(PROBE_WITHIN));
    let question = async {
        let mut connection = seed.get_multiplexed_async_connection_with_config(&config).await?;
        let answers = connection.send_packed_commands(&questions(), 0, 2).await?;
        answers.into_iter().map(Value::extract_error).collect::<Result<Vec<_>, _>>()
    };
    let answers = match timeout(PROBE_WITHIN, question).await {
        Ok(answers) => answers.map_err(|error| judge(&error).0)?,
        Err(_elapsed) => return Err(StoreError::TimedOut),
    };
    let address = seed.get_connection_info().addr().to_string();
    let host = host_and_port(&address).map_or("", |(host, _)| host);
    view(answers, host)
}

fn questions() -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(2);
    pipeline.cmd("CLUSTER").arg("INFO").cmd("CLUSTER").arg("SLOTS");
    pipeline
}

fn view(answers: Vec<Value>, answerer: &str) -> Result<View, StoreError> {
    let mut answers = answers.into_iter();
    let (Some(info), Some(slots)) = (answers.next(), answers.next()) else {
        return Err(StoreError::Unreadable);
    };
    View::parse(info, slots, answerer).ok_or(StoreError::Unreadable)
}

/// One task for each wire of the table. Dropped, it ends them all.
struct Keepers {
    tasks: JoinSet<()>,
    kept: HashMap<String, (Arc<Wire>, AbortHandle)>,
}

impl Keepers {
    fn follow(&mut self, cluster: &Cluster) {
        let table = cluster.table();
        self.kept.retain(|address, (wire, task)| {
            let stays = table.wires.get(address).is_some_and(|kept| Arc::ptr_eq(kept, wire));
            if !stays {
                task.abort();
                wire.end_tenure();
            }
            stays
        });
        for (address, wire) in &table.wires {
            self.kept.entry(address.clone()).or_insert_with(|| {
                let kept = Arc::clone(wire);
                let task = self.tasks.spawn(async move { keep_wire(&kept).await });
                (Arc::clone(wire), task)
            });
        }
        while self.tasks.try_join_next().is_some() {}
    }
}

/// How often the table is compared while all is well.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// And while it is not.
const LOOK_SOON: Duration = Duration::from_millis(200);

/// However often a call finds the table wrong.
const LOOK_APART: Duration = Duration::from_millis(100);
