//! The end of an account's oldest sessions, which a login that was one too many began. Returned by
//! [`super::Store::start_session`]; whoever logs in may wait for it, and nothing depends on whether it does.
//!
//! It ends nothing itself: the backend does, on a task of its own, and goes on when this is dropped.

use tokio::task::JoinHandle;

/// Sessions that are being ended, or have been.
#[derive(Debug)]
pub struct Ending {
    too_many: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    Over(Vec<Box<str>>),
    UnderWay(JoinHandle<Vec<Box<str>>>),
}

impl Ending {
    pub(super) const fn over(ended: Vec<Box<str>>) -> Self {
        Self { too_many: ended.len(), state: State::Over(ended) }
    }

    pub(super) const fn under_way(too_many: usize, task: JoinHandle<Vec<Box<str>>>) -> Self {
        Self { too_many, state: State::UnderWay(task) }
    }

    /// How many sessions were found to be too many, some of them perhaps gone already.
    #[must_use]
    pub const fn too_many(&self) -> usize {
        self.too_many
    }

    /// Waits until it is over, at most the store's budget. The ids of those that were there and have ended; the store
    /// may have failed half-way, and the next login of the account then ends the others.
    pub async fn ended(self) -> Vec<Box<str>> {
        match self.state {
            State::Over(ended) => ended,
            State::UnderWay(task) => task.await.unwrap_or_default(),
        }
    }
}
