//! Stand-ins for calls of [`Link`] that its own branch brings, for one server behind one address. To be dropped.

use futures_util::StreamExt;
use redis::aio::PubSub;
use redis::{Cmd, FromRedisValue, Script, Value, cmd};
use tokio::time::{Duration, Instant, timeout, timeout_at};

use super::error::{StoreError, judge};
use super::link::{Link, State};

/// Confirmed.
pub(super) struct Subscription(PubSub);

impl Subscription {
    pub(super) async fn next(&mut self) -> Option<(String, Vec<u8>)> {
        let message = self.0.on_message().next().await?;
        Some((message.get_channel_name().to_owned(), message.get_payload_bytes().to_vec()))
    }
}

impl Link {
    pub(super) async fn ask_each(&self, commands: &[Cmd], deadline: Instant) -> Result<Vec<Value>, StoreError> {
        let asks = commands.iter().map(|command| self.ask(command, deadline));
        futures_util::future::try_join_all(asks).await
    }

    pub(super) async fn run_script<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        args: &[&[u8]],
        deadline: Instant,
    ) -> Result<T, StoreError> {
        let mut command = cmd("EVALSHA");
        command.arg(script.get_hash()).arg(keys.len()).arg(keys).arg(args);
        match self.ask(&command, deadline).await {
            Err(StoreError::Refused("NOSCRIPT")) => {
                if let State::Up(live) = &*self.state() {
                    let mut connection = live.connection.clone();
                    let loading = timeout_at(deadline, script.load_async(&mut connection)).await;
                    loading.map_err(|_| StoreError::TimedOut)?.map_err(|error| judge(&error).0)?;
                }
                self.ask(&command, deadline).await
            }
            answer => answer,
        }
    }

    pub(super) async fn run_script_acknowledged<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        args: &[&[u8]],
        _replicas: u8,
        deadline: Instant,
    ) -> Result<T, StoreError> {
        self.run_script(script, keys, args, deadline).await
    }

    pub(super) async fn time(&self, deadline: Instant) -> Result<u64, StoreError> {
        let (seconds, micros): (u64, u64) = self.ask(&cmd("TIME"), deadline).await?;
        Ok(seconds.saturating_mul(1000) + micros / 1000)
    }

    pub(super) async fn publish(&self, channel: &str, message: &[u8], deadline: Instant) -> Result<(), StoreError> {
        self.ask(cmd("PUBLISH").arg(channel).arg(message), deadline).await
    }

    pub(super) async fn subscribe(&self, channels: &[&str]) -> Result<Subscription, StoreError> {
        let subscribing = async {
            let mut pubsub = self.client.get_async_pubsub().await?;
            pubsub.subscribe(channels).await?;
            Ok(Subscription(pubsub))
        };
        let subscribed = timeout(Duration::from_secs(1), subscribing).await;
        subscribed.map_err(|_| StoreError::TimedOut)?.map_err(|error| judge(&error).0)
    }

    pub(super) async fn eviction_policy(&self, deadline: Instant) -> Option<String> {
        let memory: String = self.ask(cmd("INFO").arg("memory"), deadline).await.ok()?;
        let line = memory.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"))?;
        Some(line.trim().to_owned())
    }
}
