//! Whether a server that sentinels watch can be believed when it says that a session is not there. Until a gateway has
//! noticed a failover it reads from the old primary, which knows nothing of sessions that began at the new one; and to
//! such a session, "missing" would be a logout that never was.
//!
//! Held by each `wire`: calls ask through it, `keeper` brings the proofs. It asks nobody itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::error::StoreError;

/// That our server was the primary at some moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proof {
    /// When the question was put: it holds for this moment at least.
    pub(super) asked: Instant,
    /// The same by the store's clock, in milliseconds since the epoch.
    pub(super) clock_ms: u64,
}

/// A session that was not there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Absence {
    /// When it had begun at the latest, by the clock of the store that it began at: milliseconds since the epoch.
    pub(super) began_ms: u64,
    /// When its record was asked for.
    pub(super) asked: Instant,
}

/// The latest proof, and whether a newer one is wanted.
#[derive(Debug, Default)]
pub(super) struct Primacy {
    proof: watch::Sender<Option<Proof>>,
    wanted: AtomicBool,
}

impl Primacy {
    /// Waits until `deadline` for a proof that makes an absence believable; `wake` is who brings one. One from before
    /// the session began says nothing; one from after it does, however old: what began before had begun here, or had
    /// been handed on to here. For all sessions but those of the last seconds there is such a proof already.
    ///
    /// # Errors
    /// [`StoreError::TimedOut`]: there was none. The session may go on elsewhere.
    pub(super) async fn confirm(
        &self,
        absence: Absence,
        wake: impl FnOnce(),
        deadline: Instant,
    ) -> Result<(), StoreError> {
        let suffices = |proof: &Option<Proof>| {
            proof.is_some_and(|proof| {
                proof.asked >= absence.asked || proof.clock_ms >= absence.began_ms.saturating_add(CLOCKS_APART_MS)
            })
        };
        let mut proofs = self.proof.subscribe();
        if suffices(&proofs.borrow()) {
            return Ok(());
        }
        self.wanted.store(true, Ordering::Release);
        wake();
        match timeout_at(deadline, proofs.wait_for(suffices)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(StoreError::TimedOut),
        }
    }

    /// Whether somebody waits for a proof.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    /// The question is about to be put, for all who wait until now.
    pub(super) fn begin(&self) {
        self.wanted.store(false, Ordering::Release);
    }

    /// Our server is the primary.
    pub(super) fn prove(&self, proof: Proof) {
        self.proof.send_replace(Some(proof));
    }

    /// There is a new connection, perhaps to another server: what was proven was proven of the old one.
    pub(super) fn forget(&self) {
        self.proof.send_replace(None);
    }
}

/// How far the clocks of two servers may be apart: when a session began was read from the one, when the proof was
/// asked for from the other.
const CLOCKS_APART_MS: u64 = Duration::from_secs(1).as_millis() as u64;
