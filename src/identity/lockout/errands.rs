//! What the store is told in the background, so that no Basic request waits for it.
//!
//! The lock-out leaves errands and carries each out; `run` drives them. Errands of one key stay in order; those that
//! find no room are dropped, and the node then counts alone.

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use futures_util::future::join_all;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Keys spread over so many lanes, each with one call to the store at a time.
const LANES: usize = 8;

/// Errands that may wait in a lane.
const WAITING: usize = 4096;

/// One thing to tell.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// A failure of the key with this name.
    Failed(Box<str>),
    /// The failures of the key with this name are forgotten.
    Cleared(Box<str>),
    /// The pair with this name was seen.
    Seen(Box<str>),
}

/// The lanes.
pub(super) struct Errands {
    lanes: Vec<Sender<Errand>>,
    waiting: Mutex<Vec<Receiver<Errand>>>,
}

impl Errands {
    pub(super) fn new() -> Self {
        let (lanes, waiting) = (0..LANES).map(|_| channel(WAITING)).unzip();
        Self { lanes, waiting: Mutex::new(waiting) }
    }

    /// Leaves an errand of a key; false when there was no room.
    pub(super) fn leave(&self, key: u64, errand: Errand) -> bool {
        self.lanes[(key >> 16) as usize % LANES].try_send(errand).is_ok()
    }

    /// Carries errands out, for ever. A second call has nothing to do.
    pub(super) async fn run<F: Future<Output = ()>>(&self, carry_out: impl Fn(Errand) -> F) {
        let lanes = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let carry_out = &carry_out;
        join_all(lanes.into_iter().map(|mut lane| async move {
            while let Some(errand) = lane.recv().await {
                carry_out(errand).await;
            }
        }))
        .await;
    }
}
