//! Messages that are published on channels, over a connection of its own. Made by `link`. It does not come back by
//! itself: whoever listens has to know that messages may have been missed.

use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::PubSub;
use tokio::sync::watch;
use tokio::time::timeout;

use super::error::{StoreError, judge};
use super::keeper::CONNECT_WITHIN;
use super::wire::{State, Wire};

/// A confirmed subscription.
pub(super) struct Subscription {
    /// Kept whole: of a stream alone, redis-rs's driver stops reading after some messages.
    messages: PubSub,
    tenure: watch::Receiver<u64>,
    lost: bool,
}

impl Subscription {
    /// Subscribes at the server that `wire` leads to now; the server has confirmed each channel when it returns.
    ///
    /// # Errors
    /// The server is not reached, refuses, or does not confirm within a second.
    pub(super) async fn open(wire: &Wire, channels: &[&str]) -> Result<Self, StoreError> {
        // Before the connection is looked at: one that is replaced from here on is noticed.
        let tenure = wire.tenure.subscribe();
        let client = match &*wire.state() {
            State::Up(live) => live.client.clone(),
            State::Down(why) => return Err(*why),
        };
        let subscribed = async {
            let mut messages = client.get_async_pubsub().await?;
            messages.subscribe(channels).await?;
            Ok(messages)
        };
        let within: Duration = CONNECT_WITHIN.max(wire.settings.budget);
        match timeout(within, subscribed).await {
            Ok(Ok(messages)) => Ok(Self { messages, tenure, lost: false }),
            Ok(Err(error)) => Err(judge(&error).0),
            Err(_elapsed) => Err(StoreError::TimedOut),
        }
    }

    /// The next message: its channel and its payload. `None` from when the connection is lost, or the store is another
    /// server than it was. May be dropped at any point: no message is lost by that.
    pub(super) async fn next(&mut self) -> Option<(String, Vec<u8>)> {
        if self.lost {
            return None;
        }
        let mut messages = self.messages.on_message();
        let message = tokio::select! {
            biased;
            _ = self.tenure.changed() => None,
            message = messages.next() => message,
        };
        drop(messages);
        self.lost = message.is_none();
        message.map(|message| (message.get_channel_name().to_owned(), message.get_payload_bytes().to_vec()))
    }
}
