//! Writes that go on while servers are taken away, and which of them were acknowledged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redis::cmd;
use tokio::task::JoinHandle;

use super::CALM;
use super::link::{in_, swap};
use crate::store::link::Link;

/// The longest any call took past its budget is kept, and every acknowledged key.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<String>>>,
    worker: JoinHandle<Duration>,
}

impl Load {
    /// Starts to write keys of all slots one after another, each confirmed by so many replicas.
    pub(super) fn start(link: &Arc<Link>, replicas: u8, budget: Duration) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let worker = {
            let (link, stop, acknowledged) = (Arc::clone(link), Arc::clone(&stop), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                let (script, mut slowest, mut number) = (swap(), Duration::ZERO, 0_u64);
                while !stop.load(Ordering::Relaxed) {
                    let key = format!("load:{{{number}}}");
                    number += 1;
                    let begun = Instant::now();
                    let run =
                        link.run_script_acknowledged::<()>(&script, &[&key], &[b"1"], replicas, in_(budget)).await;
                    slowest = slowest.max(begun.elapsed());
                    match run {
                        Ok(()) => acknowledged.lock().unwrap().push(key),
                        Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
                    }
                }
                slowest
            })
        };
        Self { stop, acknowledged, worker }
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Waits for so many more acknowledged writes.
    pub(super) async fn go_on(&self, more: usize, within: Duration) {
        let (before, give_up) = (self.acknowledged(), Instant::now() + within);
        while self.acknowledged() < before + more {
            assert!(Instant::now() < give_up, "only {} of {more} writes in {within:?}", self.acknowledged() - before);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops. Each acknowledged key has to be there; the longest call is returned.
    pub(super) async fn end(self, link: &Link) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        let slowest = self.worker.await.unwrap();
        let keys = std::mem::take(&mut *self.acknowledged.lock().unwrap());
        assert!(!keys.is_empty());
        for key in keys {
            let there: u64 = link.ask(cmd("EXISTS").arg(&key), in_(CALM)).await.unwrap();
            assert_eq!(there, 1, "{key} was acknowledged and is lost");
        }
        slowest
    }
}
