//! Logins, logouts and revocations while a primary dies, over a real Sentinel set and a real cluster: nothing that was
//! acknowledged is lost, and nobody is told that a session has ended which has not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::cluster::Cluster;
use super::sentinel::Set;
use super::server::Server;
use super::{CALM, Ear, KEEP, eventually, session};
use crate::store::{Found, RedisSettings, Revocation, Session, Store};

/// How long a set or a cluster may take to have another primary, and we to find it.
const FAILOVER: Duration = Duration::from_secs(30);

const WORKERS: u64 = 4;

/// A session of an account of its own, and what was acknowledged of it.
struct Known {
    session: Session,
    lineage: String,
    ended: bool,
    revoked: bool,
}

impl Known {
    /// Whether the store's answer is the truth, or none.
    fn allows(&self, answer: &Result<Found, crate::store::StoreError>) -> bool {
        match answer {
            Err(_) => true,
            Ok(Found::Live(session)) => !self.ended && !self.revoked && *session == self.session,
            Ok(Found::Missing) => self.ended,
            Ok(Found::Revoked) => self.revoked,
        }
    }
}

/// What goes on while the server fails.
struct Work {
    store: Arc<Store>,
    /// Calls that were acknowledged.
    done: AtomicU64,
    stop: AtomicBool,
}

impl Work {
    /// Starts sessions, ends some, revokes some, and looks at what was acknowledged all the time. A call that failed
    /// may have taken effect or not: its session is looked at no more.
    async fn go_on(self: Arc<Self>, worker: u64) -> Vec<Known> {
        let mut known: Vec<Known> = Vec::new();
        for number in 0_usize.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            if let Some(mut next) = self.begin(&format!("w{worker}-{number}")).await {
                let jti = &next.session.jti;
                let outcome = match number % 3 {
                    0 => Ok(()),
                    1 => self.store.end_session(jti, &next.session.sub).await.map(|_| next.ended = true),
                    _ => {
                        let revocation = Revocation::Account(&next.session.sub);
                        self.store.revoke(revocation).await.map(|_| next.revoked = true)
                    }
                };
                if outcome.is_ok() {
                    self.done.fetch_add(1, Ordering::Relaxed);
                    known.push(next);
                }
            }
            for known in [number / 2, number / 3].into_iter().filter_map(|place| known.get(place)) {
                let answer = self.store.session_begun(&known.session.jti, &known.lineage, known.session.started).await;
                assert!(known.allows(&answer), "{} is {answer:?}", known.session.jti);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        known
    }

    async fn begin(&self, jti: &str) -> Option<Known> {
        let started = self.store.time().await.ok()?;
        let session = Session { sub: format!("a-{jti}").into(), started, ..session(jti) };
        self.store.start_session(&session, KEEP).await.ok()?;
        let lineage = format!("root/{}", session.sub);
        Some(Known { session, lineage, ended: false, revoked: false })
    }

    async fn further(&self, fact: &str, within: Duration) {
        let goal = self.done.load(Ordering::Relaxed) + 100;
        eventually(fact, within, || self.done.load(Ordering::Relaxed) >= goal).await;
    }
}

async fn heard_store(url: &str) -> Arc<Store> {
    let budget = Duration::from_millis(100);
    let settings =
        RedisSettings { url: url.to_owned(), prefix: "portcullis:".to_owned(), budget, replicas: 1, tls: None };
    let store = Arc::new(Store::redis(settings).unwrap());
    let keeper = Arc::clone(&store);
    tokio::spawn(async move { keeper.run(std::future::pending()).await });
    eventually("the store is up", CALM, || store.is_up()).await;
    eventually("the feed is heard", CALM, || store.feed().is_alive()).await;
    store
}

/// `primary` dies, and is back when another has taken its place: one of a cluster has no other replica to confirm writes.
async fn nothing_acknowledged_is_lost(url: String, primary: &mut Server) {
    let (store, other) = (heard_store(&url).await, heard_store(&url).await);
    let ear = Ear::at(&other);
    let work = Arc::new(Work { store: Arc::clone(&store), done: AtomicU64::new(0), stop: AtomicBool::new(false) });
    let workers: Vec<JoinHandle<Vec<Known>>> =
        (0..WORKERS).map(|worker| tokio::spawn(Arc::clone(&work).go_on(worker))).collect();
    work.further("work is acknowledged", CALM).await;
    let before = store.feed().epoch();
    primary.kill();
    eventually("the store is down", CALM, || !store.is_up()).await;
    eventually("the store is up again", FAILOVER, || store.is_up()).await;
    primary.launch();
    work.further("work is acknowledged again", FAILOVER).await;
    eventually("the feed is heard again", CALM, || store.feed().is_alive() && other.feed().is_alive()).await;
    eprintln!("epoch {before} before, {} after", store.feed().epoch());
    for number in 0..20 {
        // Of slots of all servers.
        let account = format!("told-{number}");
        // The first run of a script at a new primary may take longer than a call is given, and so may a new replica.
        let give_up = Instant::now() + FAILOVER;
        while store.revoke(Revocation::Account(&account)).await.is_err() {
            assert!(Instant::now() < give_up, "{account} is not revoked");
        }
        let told = format!("Account({account:?}, ");
        let heard = || ear.heard().iter().any(|news| news.starts_with(&told));
        eventually("another gateway hears it", Duration::from_secs(1), heard).await;
    }
    work.stop.store(true, Ordering::Relaxed);
    let mut looked_at = 0;
    for worker in workers {
        for known in worker.await.unwrap() {
            let answer = store.session(&known.session.jti, &known.lineage).await;
            assert!(answer.is_ok() && known.allows(&answer), "{} is {answer:?}", known.session.jti);
            looked_at += 1;
        }
    }
    assert!(looked_at >= 200, "{looked_at}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak: make soak"]
async fn a_sentinel_set_that_fails_over_loses_nothing_acknowledged() {
    let mut set = Set::start().await;
    let url = set.url();
    nothing_acknowledged_is_lost(url, &mut set.servers[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak: make soak"]
async fn a_cluster_that_fails_over_loses_nothing_acknowledged() {
    let mut cluster = Cluster::start().await;
    let url = cluster.url();
    nothing_acknowledged_is_lost(url, &mut cluster.servers[0]).await;
}
