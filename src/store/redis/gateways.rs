//! The set of gateways that live, in Redis: each notes every second that it does, by the server's clock, and who is silent
//! for five is gone. `store` calls these verbs of [`Redis`]; `redis` runs the heartbeat. What the number is good for is not
//! known here.

use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::cmd;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::super::error::StoreError;
use super::Redis;
use super::scripts::LIVE;

impl Redis {
    /// As last heard, for as long as nothing else is.
    pub(in super::super) fn gateways(&self) -> u32 {
        self.gateways.load(Ordering::Relaxed).max(1)
    }

    /// Leaves the set for good: this gateway ends.
    pub(in super::super) async fn leave_gateways(&self) -> Result<(), StoreError> {
        // A heartbeat that is under way is waited for, so that it does not come after this.
        *self.lives.lock().await = false;
        let leave = cmd("ZREM").arg(self.gateways_key()).arg(&*self.gateway).take();
        self.link.ask::<u64>(&leave, self.deadline()).await.map(drop)
    }

    /// Until this gateway leaves the set; then it waits for ever. May be dropped at any point.
    pub(super) async fn live(&self) {
        let mut ticks = interval(LIVE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // So that the first contact is no tick away.
            while !self.link.is_up() {
                sleep(UP_EVERY).await;
            }
            let lives = self.lives.lock().await;
            if !*lives {
                break;
            }
            let (key, silent) = (self.gateways_key(), GONE_AFTER.as_millis().to_string());
            let args = [self.gateway.as_bytes(), silent.as_bytes()];
            let counted = self.link.run_script::<u32>(&LIVE, &[&key], &args, self.deadline()).await;
            // One that does not get through is no matter: the next one does, or the number stays what it was.
            if let Ok(count) = counted {
                self.gateways.store(count, Ordering::Relaxed);
            }
        }
        std::future::pending().await
    }

    fn gateways_key(&self) -> String {
        format!("{}gateways", self.prefix)
    }
}

const LIVE_EVERY: Duration = Duration::from_secs(1);
const GONE_AFTER: Duration = Duration::from_secs(5);

/// How often to look whether there is a connection.
const UP_EVERY: Duration = Duration::from_millis(50);
