//! What the process does when it is sent a signal, and how it ends.
//!
//! Given to the carrier by `app`. It closes no listener and drains no request itself; the carrier does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{SignalKind, signal};

use crate::admin::Stage;
use crate::admin::reload::{Asked, Reloader};
use crate::limits::Limits;
use crate::proxy::Gateway;
use crate::telemetry::access_log::AccessLogGuard;

/// SIGTERM drains, SIGINT stops, SIGHUP reloads; what is not built yet is said and survived.
pub(super) struct Signals {
    pub stage: Arc<Stage>,
    pub pre_drain: Duration,
    pub drain: Duration,
    pub gateway: Arc<Gateway>,
    pub reloader: Arc<Reloader>,
    pub guard: Arc<Mutex<Option<AccessLogGuard>>>,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let streams = (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
            signal(SignalKind::hangup()),
            signal(SignalKind::quit()),
        );
        let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup), Ok(mut quit)) = streams else {
            tracing::error!("signals cannot be caught; stop the process by force");
            return std::future::pending().await;
        };
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => return ShutdownSignal::FastShutdown,
                _ = hangup.recv() => {
                    let reloader = Arc::clone(&self.reloader);
                    // Not awaited, so that the other signals are heard meanwhile; it logs its outcome itself.
                    tokio::spawn(async move { reloader.reload(Asked::ByOperator).await });
                }
                _ = quit.recv() => tracing::warn!("SIGQUIT: upgrade has no effect yet"),
            }
        }
        tracing::info!("SIGTERM: draining");
        self.stage.begin_draining();
        tokio::select! {
            () = tokio::time::sleep(self.pre_drain) => {}
            _ = interrupt.recv() => return ShutdownSignal::FastShutdown,
        }
        self.exit_when_idle();
        ShutdownSignal::GracefulTerminate
    }
}

impl Signals {
    /// The carrier waits out its whole grace period; nobody is served by that once no request is left.
    fn exit_when_idle(&self) {
        let (gateway, guard) = (Arc::clone(&self.gateway), Arc::clone(&self.guard));
        let last_calls = Instant::now() + self.drain.saturating_sub(LAST_CALLS);
        std::thread::spawn(move || {
            // The listeners close right after the signal was taken.
            std::thread::sleep(Duration::from_millis(200));
            let runs = || gateway.metrics.in_flight.get() > 0;
            // What runs until the carrier ends it goes without leases at the very end.
            while runs() && Instant::now() < last_calls {
                std::thread::sleep(TICK);
            }
            give_back(&gateway.limits);
            while runs() {
                std::thread::sleep(TICK);
            }
            close_log(&guard);
            std::process::exit(0);
        });
    }
}

/// Gives back what was leased of shared quotas: no request is left to use it. The store's connection still stands.
fn give_back(limits: &Limits) {
    // A runtime of its own, since this thread belongs to none.
    if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
        // Without an answer the cells are back when their time has passed.
        let _ = runtime.block_on(async { tokio::time::timeout(LAST_CALLS, limits.close()).await });
    }
}

/// How often to look whether a request still runs.
const TICK: Duration = Duration::from_millis(20);

/// How long the store is waited for at the very end.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// Writes what is left of the access log.
pub(super) fn close_log(guard: &Mutex<Option<AccessLogGuard>>) {
    drop(guard.lock().unwrap_or_else(PoisonError::into_inner).take());
}
