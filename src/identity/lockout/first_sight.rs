//! Where a pair stands that this node has not heard of: locked by another gateway, before this one listened.
//!
//! Called by the lock-out for Basic, before a key is compared. News of locks come over the feed, but what was said before
//! the node subscribed, or while its subscription was away, nobody repeats. So the store is asked once for each pair
//! and subscription, and at each request while nothing can be heard; else the feed tells, and a request makes no call.
//! It decides nothing.

use super::Lockout;
use super::subject::Subject;
use crate::store::Patience;

impl Lockout {
    /// Whether another gateway may have locked the pair without this one having heard of it. Not, while the
    /// subscription that was there when the store was asked is heard still.
    pub(super) fn may_have_missed(&self, subject: Subject<'_>) -> bool {
        let feed = self.store.feed();
        !(feed.is_alive() && self.ledger.stood(subject) == Some(feed.epoch()))
    }

    /// Asks the store, in one call, where the pair and its network stand. A store that is away is no reason to refuse:
    /// the node goes on by what it knows, and asks again next time.
    pub(super) async fn catch_up(&self, subject: Subject<'_>, patience: &Patience) {
        // Before the question: what is said while it is under way is heard.
        let epoch = self.store.feed().epoch();
        let keys = [subject.pair(), subject.whole_network()];
        let names = keys.map(|key| key.to_string());
        let names = [&*names[0], &*names[1]];
        let asking = patience.wait(self.store.locks(&names));
        let Ok(locks) = self.measured("locks", asking).await else { return };
        // That the store has nothing is no news: what was counted here it may not have been told yet.
        for (key, lock) in keys.into_iter().zip(locks).filter(|(_, lock)| lock.failures > 0) {
            self.ledger.follow(key, lock, self.now());
        }
        self.ledger.note_stood(subject, epoch);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::{Identity, LockAnswer};
    use super::*;
    use crate::config::settings;
    use crate::policy::credential::ApiKey;
    use crate::store::Store;
    use crate::telemetry::metrics::Metrics;

    const PAIR: &str = "pair:ak_1@192.0.2.1";
    const NETWORK: &str = "network:192.0.2.1";
    const WITHIN: Duration = Duration::from_secs(900);

    /// Over a store whose news it never hears.
    fn deaf() -> Lockout {
        let rules = settings::Lockout { attempts: 5, network_attempts: 100, within: WITHIN };
        Lockout::new(Arc::new(Store::memory()), rules, Arc::new(Metrics::new().unwrap()))
    }

    fn home() -> IpAddr {
        "192.0.2.1".parse().unwrap()
    }

    async fn judge(lockout: &Lockout, id: &str) -> LockAnswer {
        lockout.judge(&ApiKey::new(id, b"k"), home(), &lockout.store.patience()).await
    }

    /// What another gateway counts; two beyond the limit lock for four seconds.
    async fn count(lockout: &Lockout, key: &str, limit: u32) {
        for _ in 0..limit + 2 {
            lockout.store.count_failure(key, limit, WITHIN).await.unwrap();
        }
    }

    fn asked(lockout: &Lockout) -> u64 {
        lockout.metrics.store_duration.with_label_values(&["locks"]).get_sample_count()
    }

    #[tokio::test]
    async fn a_pair_that_was_locked_elsewhere_is_locked_at_first_sight() {
        let lockout = deaf();
        count(&lockout, PAIR, 5).await;
        assert_eq!(judge(&lockout, "ak_1").await, LockAnswer::Locked(4));
        assert_eq!(lockout.settle(&ApiKey::new("ak_1", b"k"), home(), Identity::Invalid("-")), Identity::Locked(4));
        assert_eq!(judge(&lockout, "ak_2").await, LockAnswer::Open);
    }

    #[tokio::test]
    async fn a_pair_of_a_network_that_was_locked_elsewhere_is_locked_unless_it_was_seen() {
        let lockout = deaf();
        count(&lockout, NETWORK, 100).await;
        lockout.store.note_seen("honest", "192.0.2.1", WITHIN).await.unwrap();
        assert_eq!(judge(&lockout, "ak_1").await, LockAnswer::Locked(4));
        assert_eq!(judge(&lockout, "honest").await, LockAnswer::Open);
        let calls = asked(&lockout);
        for made_up in 0..100 {
            assert_eq!(judge(&lockout, &format!("made-up-{made_up}")).await, LockAnswer::Locked(4));
        }
        assert_eq!(asked(&lockout), calls, "a locked network is refused before it is asked for a pair of it");
    }

    #[tokio::test]
    async fn a_pair_that_was_seen_in_a_locked_network_is_refused_when_it_is_locked_itself() {
        let lockout = deaf();
        count(&lockout, NETWORK, 100).await;
        assert_eq!(judge(&lockout, "ak_2").await, LockAnswer::Locked(4), "the network is known to be locked");
        lockout.store.note_seen("ak_1", "192.0.2.1", WITHIN).await.unwrap();
        count(&lockout, PAIR, 5).await;
        assert_eq!(judge(&lockout, "ak_1").await, LockAnswer::Locked(4));
    }

    #[tokio::test]
    async fn a_pair_is_asked_for_once_whatever_comes_of_it() {
        let lockout = deaf();
        for id in ["right", "wrong", "no id"] {
            let (key, calls) = (ApiKey::new(id, b"k"), asked(&lockout));
            for _ in 0..4 {
                assert_eq!(lockout.judge(&key, home(), &lockout.store.patience()).await, LockAnswer::Open);
                let found = if id == "right" { Identity::Expired("-") } else { Identity::Invalid("-") };
                assert_eq!(lockout.settle(&key, home(), found.clone()), found);
            }
            assert_eq!(asked(&lockout), calls + 1, "{id}");
        }
        // The feed would have told of this.
        count(&lockout, "pair:right@192.0.2.1", 5).await;
        assert_eq!(judge(&lockout, "right").await, LockAnswer::Open);
    }
}
