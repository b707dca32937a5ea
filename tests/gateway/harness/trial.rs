//! A lab whose store is about to fail: a token that the gateway knows, many that it has never seen, load that goes on
//! meanwhile, and what has to hold during every outage and after it (contract section 9).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::accounts::{Accounts, key_of};
use crate::harness::builder::Builder;
use crate::harness::client::Client;
use crate::harness::fleet::{wait_until_heard, wait_until_known};
use crate::harness::lab::{Lab, login_at_last, login_request};
use crate::harness::metrics::Metrics;
use crate::harness::mint::Mint;
use crate::harness::redis::RedisServer;
use crate::harness::request::{Request, get};
use crate::harness::response::Response;
use crate::harness::wait::{PATIENCE, eventually};

/// How soon after the repair everything has to be as before.
pub(crate) const RECOVERY: Duration = Duration::from_secs(2);

/// So many tokens with a session that the gateway has never seen.
const STRANGERS: usize = 4000;

/// The lab with its tokens.
pub(crate) struct Trial {
    pub(crate) lab: Lab,
    /// A token that the gateway has verified.
    pub(crate) known: String,
    strangers: Arc<Strangers>,
}

/// Tokens that nobody has used yet, each given out once.
struct Strangers {
    tokens: Vec<String>,
    next: AtomicUsize,
}

/// Requests that go on until it is stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Tally>>,
}

/// How often each status was the answer.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// To the token that the gateway knows.
    pub(crate) known: BTreeMap<u16, usize>,
    /// To tokens that it has not seen.
    pub(crate) unknown: BTreeMap<u16, usize>,
    /// To a public route.
    pub(crate) public: BTreeMap<u16, usize>,
    /// The longest wait for any of them.
    pub(crate) slowest: Duration,
}

impl Trial {
    /// A gateway on the store at `url`, whose records are written to `redis` itself. What a login takes is the store's
    /// doing alone.
    pub(crate) fn start(redis: &RedisServer, url: &str, change: impl FnOnce(Builder) -> Builder) -> Self {
        let accounts = Accounts::lab().quick_to_check();
        let lab = Lab::with(|builder| change(builder.accounts(&accounts).store(url)));
        wait_until_heard(&lab.gateway);
        let mint = Mint::of(&lab.gateway, redis);
        let minted: Vec<_> = (0..STRANGERS).map(|number| mint.session("bob", number)).collect();
        let commands: Vec<_> = minted.iter().map(|session| session.command.clone()).collect();
        redis.connect().pipeline(&commands);
        let tokens = minted.into_iter().map(|session| session.token).collect();
        // So many records at once may keep a busy machine's store from answering within its budget.
        let known = login_at_last(&lab.gateway, "", "alice");
        wait_until_known(&lab.gateway, &get("/orders/1").token(&known));
        Self { lab, known, strangers: Arc::new(Strangers { tokens, next: AtomicUsize::new(0) }) }
    }

    /// A token with a session that the gateway has not seen.
    pub(crate) fn stranger(&self) -> String {
        self.strangers.take()
    }

    /// A request with the known token.
    pub(crate) fn call_known(&self) -> Response {
        self.lab.call(&get("/orders/1").token(&self.known))
    }

    /// A request with a token that has not been seen.
    pub(crate) fn call_stranger(&self) -> Response {
        self.lab.call(&get("/orders/1").token(&self.stranger()))
    }

    /// Starts four connections that ask all the time.
    pub(crate) fn load(&self) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..4).map(|_| {
            let (stop, strangers, known) = (Arc::clone(&stop), Arc::clone(&self.strangers), self.known.clone());
            let client = self.lab.gateway.client();
            thread::spawn(move || ask_until(&stop, client, &known, &strangers))
        });
        Load { threads: threads.collect(), stop }
    }

    /// Asserts what holds in every outage, once it was noticed: what the node knows goes on, what it does not know is
    /// 503, and it says so.
    #[track_caller]
    pub(crate) fn assert_down(&self) {
        let gateway = &self.lab.gateway;
        eventually("readiness names the store", PATIENCE, || {
            let ready = gateway.admin_get("/readyz");
            assert_eq!(ready.status, 200, "an outage after the first contact is no reason to leave the pool: {ready}");
            gateway.degraded().contains(&"store".to_owned()).then_some(())
        });
        assert!(gateway.metrics().sum("portcullis_store_up", &[]) < 0.5, "store_up while readiness says it is down");
        self.call_known().assert_ok();
        self.call_stranger().assert_denied(503, "503", "store_unavailable");
        self.assert_login_refused();
        self.lab.call(&get("/orders/1").basic("ak_alice", &key_of("ak_alice"))).assert_ok();
        self.lab.call(&get("/public/ping")).assert_ok();
        self.lab.call(&get("/orders/1").token("no.to.ken")).assert_denied(401, "1001", "token_invalid");
    }

    /// Asserts that a login with the right password is 503 and gives no token.
    #[track_caller]
    pub(crate) fn assert_login_refused(&self) {
        let refused = self.lab.call(&login_request("", "alice"));
        refused.assert_denied(503, "503", "store_unavailable");
        assert_eq!(refused.json()["token"], Value::Null);
        assert!(!refused.text().contains("eyJ"), "a token in {refused}");
    }

    /// Asserts that all is as before within [`RECOVERY`] after `repaired`, and prints how long it took.
    #[track_caller]
    pub(crate) fn assert_back(&self, what: &str, repaired: Instant) {
        let late =
            |missing: &str| assert!(repaired.elapsed() < RECOVERY, "{what}: {missing} {RECOVERY:?} after repair");
        let served = |request: &Request| self.lab.call(request).status == 200;
        while !served(&get("/orders/1").token(&self.stranger())) {
            late("an unknown token is still refused");
        }
        let tokens = repaired.elapsed();
        while !served(&login_request("", "alice")) {
            late("a login still fails");
        }
        let logins = repaired.elapsed();
        while !self.lab.gateway.degraded().is_empty() {
            late("readiness is still degraded");
        }
        let ready = repaired.elapsed();
        // On a machine that is busy all over, what was whole when it was asked for may be late once more.
        for gauge in ["portcullis_store_up", "portcullis_feed_up"] {
            while self.lab.gateway.metrics().sum(gauge, &[]) < 0.5 {
                late(gauge);
            }
        }
        eprintln!("{what}: back for tokens after {tokens:?}, logins {logins:?}, readiness {ready:?}");
        self.call_known().assert_ok();
    }
}

/// All waits for the store that a gateway has measured, and those above a bound of its buckets, in seconds.
pub(crate) fn waits_of(metrics: &Metrics, bound: &str) -> (f64, f64) {
    let all = metrics.sum("portcullis_store_duration_seconds_count", &[]);
    let within = metrics.sum("portcullis_store_duration_seconds_bucket", &[("le", bound)]);
    assert!(within > 0.0, "no bucket ends at {bound}");
    (all, all - within)
}

impl Strangers {
    fn take(&self) -> String {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        self.tokens[next % self.tokens.len()].clone()
    }
}

impl Load {
    /// Ends it.
    #[track_caller]
    pub(crate) fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut whole = Tally::default();
        for thread in self.threads {
            let Ok(tally) = thread.join() else { panic!("a connection of the load broke") };
            whole.add(&tally);
        }
        whole
    }
}

impl Tally {
    /// Asserts that the outage was never told as anything else.
    #[track_caller]
    pub(crate) fn assert_truthful(&self) {
        assert!(self.known.values().sum::<usize>() > 20 && self.unknown.len() == 2, "too little was asked: {self:?}");
        assert_eq!(self.known.keys().copied().collect::<Vec<_>>(), [200], "known tokens: {self:?}");
        assert_eq!(self.unknown.keys().copied().collect::<Vec<_>>(), [200, 503], "unknown tokens: {self:?}");
        assert_eq!(self.public.keys().copied().collect::<Vec<_>>(), [200], "public routes: {self:?}");
    }

    fn add(&mut self, other: &Self) {
        for (own, theirs) in
            [(&mut self.known, &other.known), (&mut self.unknown, &other.unknown), (&mut self.public, &other.public)]
        {
            for (status, count) in theirs {
                *own.entry(*status).or_default() += count;
            }
        }
        self.slowest = self.slowest.max(other.slowest);
    }
}

fn ask_until(stop: &AtomicBool, mut client: Client, known: &str, strangers: &Strangers) -> Tally {
    let mut tally = Tally::default();
    while !stop.load(Ordering::Relaxed) {
        let (known, unknown) = (get("/orders/1").token(known), get("/orders/1").token(&strangers.take()));
        let kinds =
            [(&mut tally.known, known), (&mut tally.unknown, unknown), (&mut tally.public, get("/public/ping"))];
        for (answers, request) in kinds {
            let asked = Instant::now();
            let response = client.send(&request);
            tally.slowest = tally.slowest.max(asked.elapsed());
            *answers.entry(response.status).or_default() += 1;
            if response.status == 503 {
                response.assert_denied(503, "503", "store_unavailable");
            }
        }
        // The load is there to be hit by the outage, not to be one.
        thread::sleep(Duration::from_millis(2));
    }
    tally
}
