//! Everything the store's verbs ask of Redis, over whichever kind of server the URL names: one server, a primary that
//! sentinels watch, or a cluster. The Redis backend is its only caller. It knows no key and no record; it connects to
//! nobody while a call waits.

use std::sync::Arc;

use futures_util::future::{join_all, try_join_all};
use redis::{Cmd, FromRedisValue, Pipeline, Script, Value, cmd, from_redis_value};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::address::Place;
use super::clock::RemoteClock;
use super::cluster::Cluster;
use super::error::{Refusal, StoreError, StoreUrlError};
use super::primacy::Absence;
use super::redis::RedisSettings;
use super::sentinel::Sentinels;
use super::slots::{key_of, slot_of};
use super::subscription::Subscription;
use super::tls::Certificates;
use super::wire::{Order, Target, Wire, WireSettings};
use super::{keeper, topology};

/// The way to the store.
pub(super) struct Link {
    pub(super) clock: Arc<RemoteClock>,
    way: Way,
}

enum Way {
    /// To one server at a time.
    One(Box<Wire>),
    Cluster(Box<Cluster>),
}

impl Link {
    /// Makes no connection: that is [`Link::keep`]'s part.
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, StoreUrlError> {
        let RedisSettings { url, prefix, budget, replicas, tls } = settings;
        let place = Place::parse(url)?;
        let example = place.example().ok_or(StoreUrlError::Host)?;
        let certificates = Certificates::parse(tls.clone(), example)?;
        let clock = Arc::new(RemoteClock::new());
        let settings = WireSettings {
            budget: *budget,
            acknowledging: *replicas > 0,
            clock: Arc::clone(&clock),
            changed: Arc::new(Notify::new()),
        };
        let way = match place {
            Place::Server(server) => {
                let address = server.addr().to_string();
                let target = Target::Fixed { client: certificates.client(server)?, address };
                Way::One(Box::new(Wire::new(target, settings)))
            }
            Place::Sentinels { sentinels, name, login } => {
                let sentinels = Sentinels::new(sentinels, name, *login, certificates)?;
                Way::One(Box::new(Wire::new(Target::Sentinels(sentinels), settings)))
            }
            Place::Cluster(seeds) => {
                let time_key = format!("{prefix}clock");
                Way::Cluster(Box::new(Cluster::new(seeds, certificates, settings, &time_key)?))
            }
        };
        Ok(Self { clock, way })
    }

    /// The background work: connects, and keeps connected. Never returns; may be dropped at any point.
    pub(super) async fn keep(&self) {
        match &self.way {
            Way::One(wire) => keeper::keep(wire).await,
            Way::Cluster(cluster) => topology::keep(cluster).await,
        }
    }

    /// Sends one command and waits for its answer until `deadline`. In a cluster it goes to the server that keeps its
    /// key.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd, deadline: Instant) -> Result<T, StoreError> {
        read(self.pass(key_of(command), &Order::Command(command), deadline).await?)
    }

    /// Sends commands that do not depend on each other, and waits for all answers: in one piece to one server, side by
    /// side to the servers of a cluster. One that fails fails the whole; the others may have been run.
    pub(super) async fn ask_each(&self, commands: &[Cmd], deadline: Instant) -> Result<Vec<Value>, StoreError> {
        match &self.way {
            Way::One(_) if commands.is_empty() => Ok(Vec::new()),
            Way::One(wire) => {
                let mut pipeline = Pipeline::with_capacity(commands.len());
                for command in commands {
                    pipeline.add_command(command.clone());
                }
                match wire.ask(&Order::Together(&pipeline), false, deadline).await {
                    Ok(Value::Array(answers)) => Ok(answers),
                    Ok(_) => Err(StoreError::Unreadable),
                    Err(Refusal { told, .. }) => Err(told),
                }
            }
            Way::Cluster(_) => try_join_all(commands.iter().map(|command| self.ask(command, deadline))).await,
        }
    }

    /// Runs a script; `keys` have to be of one slot, and be all keys that it touches.
    pub(super) async fn run_script<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        args: &[&[u8]],
        deadline: Instant,
    ) -> Result<T, StoreError> {
        self.order_script(script, keys, args, None, deadline).await
    }

    /// Runs a script that undoes what another, which was to be acknowledged, has done or may still do: after that one,
    /// however long the replicas hold it up.
    pub(super) async fn run_script_behind<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        args: &[&[u8]],
        deadline: Instant,
    ) -> Result<T, StoreError> {
        self.order_script(script, keys, args, Some(0), deadline).await
    }

    /// Runs a script, and counts its answer only when `replicas` replicas have confirmed, before `deadline`, that they
    /// have what it wrote; 0 asks none of them. More than 0 takes a link whose settings asked for replicas.
    ///
    /// # Errors
    /// [`StoreError::Unacknowledged`]: it was run, but too few confirmed.
    pub(super) async fn run_script_acknowledged<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        args: &[&[u8]],
        replicas: u8,
        deadline: Instant,
    ) -> Result<T, StoreError> {
        self.order_script(script, keys, args, (replicas > 0).then_some(replicas), deadline).await
    }

    async fn order_script<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        args: &[&[u8]],
        replicas: Option<u8>,
        deadline: Instant,
    ) -> Result<T, StoreError> {
        let mut run = cmd("EVALSHA");
        run.arg(script.get_hash()).arg(keys.len()).arg(keys).arg(args);
        let order = Order::Script { script, run: &run, replicas };
        read(self.pass(keys.first().map(|key| key.as_bytes()), &order, deadline).await?)
    }

    /// The store's clock, asked just now: milliseconds since the epoch. The same server's for all gateways.
    pub(super) async fn time(&self, deadline: Instant) -> Result<u64, StoreError> {
        let (seconds, micros): (u64, u64) = self.ask(&cmd("TIME"), deadline).await?;
        Ok(seconds.saturating_mul(1000).saturating_add(micros / 1000))
    }

    /// Whether a session that was not there, by an answer of [`Link::ask_each`], is gone: of servers that sentinels watch,
    /// only a proven primary is believed. A server of a cluster that was left behind refuses reads by itself.
    ///
    /// # Errors
    /// It cannot be told before `deadline`.
    pub(super) async fn confirm(&self, absence: Absence, deadline: Instant) -> Result<(), StoreError> {
        match &self.way {
            Way::One(wire) => wire.confirm(absence, deadline).await,
            Way::Cluster(_) => Ok(()),
        }
    }

    /// Publishes a message, at any server of a cluster: the others pass it on.
    pub(super) async fn publish(&self, channel: &str, message: &[u8], deadline: Instant) -> Result<(), StoreError> {
        let mut publish = cmd("PUBLISH");
        publish.arg(channel).arg(message);
        let order = Order::Command(&publish);
        let answer = match &self.way {
            Way::One(wire) => wire.ask(&order, false, deadline).await,
            Way::Cluster(cluster) => {
                cluster.table().anyone(slot_of(channel.as_bytes()))?.ask(&order, false, deadline).await
            }
        };
        answer.map(|_| ()).map_err(|refusal| refusal.told)
    }

    /// Subscribes to channels, over a connection of its own.
    ///
    /// # Errors
    /// See [`Subscription::open`].
    pub(super) async fn subscribe(&self, channels: &[&str]) -> Result<Subscription, StoreError> {
        match &self.way {
            Way::One(wire) => Subscription::open(wire, channels).await,
            Way::Cluster(cluster) => {
                let slot = channels.first().map_or(0, |channel| slot_of(channel.as_bytes()));
                let table = cluster.table();
                Subscription::open(table.anyone(slot)?, channels).await
            }
        }
    }

    /// What the server does when its memory is full (`maxmemory_policy`); `None` when it answers and does not tell. Of
    /// a cluster, the policy of a primary that evicts, if one does, and otherwise of one that does not tell.
    ///
    /// # Errors
    /// Why it could not be asked; [`StoreError::Refused`] where our user has not the right.
    pub(super) async fn eviction_policy(&self, deadline: Instant) -> Result<Option<String>, StoreError> {
        let mut info = cmd("INFO");
        info.arg("memory");
        let order = Order::Command(&info);
        let policy = |answer: Result<Value, Refusal>| {
            let text: String = read(answer.map_err(|refusal| refusal.told)?)?;
            let policy = text.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"));
            Ok(policy.map(|policy| policy.trim().to_owned()))
        };
        match &self.way {
            Way::One(wire) => policy(wire.ask(&order, false, deadline).await),
            Way::Cluster(cluster) => {
                let table = cluster.table();
                let answers = join_all(table.primaries().map(|wire| wire.ask(&order, false, deadline))).await;
                let policies: Vec<_> = answers.into_iter().map(policy).collect();
                let evicts =
                    |told: &&Result<Option<String>, _>| matches!(told, Ok(Some(policy)) if policy != NO_EVICTION);
                let silent = |told: &&Result<Option<String>, _>| !matches!(told, Ok(Some(_)));
                let telling = policies.iter().find(evicts).or_else(|| policies.iter().find(silent));
                telling.or(policies.first()).cloned().unwrap_or(Err(StoreError::Unreachable))
            }
        }
    }

    /// Whether a script may touch keys of one slot only.
    pub(super) fn keeps_slots_apart(&self) -> bool {
        matches!(self.way, Way::Cluster(_))
    }

    /// Whether what is published at one server is heard at others, which pass it on to each other unconfirmed.
    pub(super) fn spreads_messages(&self) -> bool {
        matches!(self.way, Way::Cluster(_))
    }

    /// Whether the store serves all keys.
    pub(super) fn is_up(&self) -> bool {
        match &self.way {
            Way::One(wire) => wire.is_up(),
            Way::Cluster(cluster) => cluster.is_up(),
        }
    }

    /// Whether it has answered at least once.
    pub(super) fn was_reached(&self) -> bool {
        match &self.way {
            Way::One(wire) => wire.was_reached(),
            Way::Cluster(cluster) => cluster.was_reached(),
        }
    }

    async fn pass(&self, key: Option<&[u8]>, order: &Order<'_>, deadline: Instant) -> Result<Value, StoreError> {
        match &self.way {
            Way::One(wire) => wire.ask(order, false, deadline).await.map_err(|refusal| refusal.told),
            Way::Cluster(cluster) => cluster.ask(key, order, deadline).await,
        }
    }
}

/// The one policy that loses nothing.
const NO_EVICTION: &str = "noeviction";

/// An answer of another shape than the command's is a record that is not what it should be.
fn read<T: FromRedisValue>(answer: Value) -> Result<T, StoreError> {
    from_redis_value(answer).map_err(|_| StoreError::Unreadable)
}
