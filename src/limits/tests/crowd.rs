//! Requests that come together, on a real Redis: no more of a shared quota is taken for them than own quotas let pass.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use super::{SECOND, charges, quota, rate};
use crate::limits::{Limits, Taken};
use crate::policy::quota::{Limit, Rate, Subject};
use crate::store::tests::server::Server;
use crate::store::{Bucket, Draw};

const HOUR: u64 = 3600 * SECOND;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_takes_no_more_of_a_shared_quota_than_its_own_quota_lets_pass() {
    let server = Server::start();
    let store = server.reached_store(Duration::from_secs(5)).await;
    let limits = Arc::new(Limits::new(Arc::clone(&store)));
    let own = Arc::new(quota(1, Limit::Rate(rate(HOUR, 5))));
    let shared = Arc::new(quota(2, Limit::Rate(Rate { shared: true, ..rate(HOUR, 100) })));
    let ask = |_| {
        let (limits, store, own, shared) = (limits.clone(), store.clone(), own.clone(), shared.clone());
        tokio::spawn(async move {
            let wanted = [(&*shared, Subject::Realm), (&*own, Subject::Account("usr-1"))];
            let taken = limits.take(&charges(&wanted), Instant::now(), &store.patience(), |_, _| {}).await;
            u64::from(matches!(taken, Taken::All { .. }))
        })
    };
    let mut admitted = 0;
    for asked in (0..200).map(ask).collect::<Vec<_>>() {
        admitted += asked.await.unwrap();
    }
    assert_eq!(admitted, 5);
    let key = format!("quota-2:{:016x}:*", shared.mark);
    let bucket = Bucket { realm: "ucaas", key: &key, interval: HOUR, burst: 100 };
    let drawn = store.draw(&[Draw { bucket, lease: 1, owed: 0 }]).await.unwrap();
    // The last is this look's own; next to nothing has come back in the meantime.
    assert_eq!(drawn[0].debt.div_ceil(HOUR), admitted + 1, "{drawn:?}");
}
