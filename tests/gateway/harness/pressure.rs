//! Steady pressure on several gateways with one shared quota, and what each of them let through when. Used by the tests of
//! shared quotas; the quota is one of the whole realm, so that a request costs nothing else.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::builder::Builder;
use crate::harness::gateway::Gateway;
use crate::harness::redis::RedisServer;
use crate::harness::request::get;
use crate::harness::upstream::Upstream;
use crate::harness::wait::{PATIENCE, eventually};

/// Gateways that share one quota; declared first, so that they end before their upstream does.
pub(crate) struct Sharers {
    pub(crate) gateways: Vec<Gateway>,
    _upstream: Upstream,
}

/// One answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) gateway: usize,
    /// When it was there.
    pub(crate) at: Instant,
    pub(crate) admitted: bool,
}

/// What was answered, in no order.
pub(crate) struct Answers(pub(crate) Vec<Answer>);

impl Sharers {
    /// So many, with this quota for all of the realm together.
    pub(crate) fn start(count: usize, quota: &str, change: impl Fn(Builder) -> Builder) -> Self {
        let upstream = Upstream::start();
        let policy = format!(
            r#"
[realm]
name = "shop"
base = "/"
roles = ["user"]
schemes = ["basic"]
upstream = "lab"
quotas = ["all"]

[quota.all]
per = "realm"
{quota}
shared = true

[[route]]
name = "public"
match = "GET /public/{{*rest}}"
public = true
"#
        );
        let start = || {
            let builder = Gateway::builder().policy("shop", &policy).upstream("lab", upstream.address());
            change(builder).start()
        };
        Self { gateways: (0..count).map(|_| start()).collect(), _upstream: upstream }
    }

    /// Waits until every gateway knows how many they are: each asks once a second.
    pub(crate) fn wait_until_counted(&self, server: &RedisServer) {
        let beats = || server.calls().get("zcard").copied().unwrap_or(0);
        let all = i64::try_from(self.gateways.len()).expect("few");
        eventually("all gateways are in the set", PATIENCE, || {
            (server.command(&["ZCARD", "portcullis:gateways"]).number() == all).then_some(())
        });
        let begun = beats();
        eventually("every gateway has asked since", PATIENCE, || {
            (beats() >= begun + 3 * u64::try_from(all).expect("few")).then_some(())
        });
    }

    /// Whether one request is let through.
    #[track_caller]
    pub(crate) fn is_admitted(&self, at: usize) -> bool {
        judge(self.gateways[at].call(&get("/public/x")).status)
    }

    /// Calls every gateway all the time, on a connection each, while the work is done.
    pub(crate) fn press<T>(&self, work: impl FnOnce() -> T) -> (Answers, T) {
        let (over, answers) = (AtomicBool::new(false), Mutex::new(Vec::new()));
        let press = |gateway: usize| {
            let (mut client, request) = (self.gateways[gateway].client(), get("/public/x"));
            let mut own = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let admitted = judge(client.send(&request).status);
                own.push(Answer { gateway, at: Instant::now(), admitted });
                thread::sleep(BETWEEN);
            }
            answers.lock().expect("no panic").append(&mut own);
        };
        let worked = thread::scope(|scope| {
            for gateway in 0..self.gateways.len() {
                scope.spawn(move || press(gateway));
            }
            // Dropped when the work panics, too.
            let _over = Over(&over);
            work()
        });
        (Answers(answers.into_inner().expect("no panic")), worked)
    }

    /// How often gateways answered so.
    pub(crate) fn decided(&self, decision: &str) -> f64 {
        let labels = [("quota", "shop/all"), ("decision", decision)];
        let count = |gateway: &Gateway| gateway.metrics().sum("portcullis_quota_decisions_total", &labels);
        self.gateways.iter().map(count).sum()
    }

    /// Asserts that the store answered all the time.
    #[track_caller]
    pub(crate) fn assert_exact(&self) {
        let on_share = self.decided("admitted_on_share") + self.decided("refused_on_share");
        assert!(on_share < 0.5, "{on_share} decisions without the store");
    }
}

impl Answers {
    /// Of one gateway, or of all, between two moments.
    pub(crate) fn admitted(&self, gateway: Option<usize>, from: Instant, until: Instant) -> u32 {
        let counts = |answer: &&Answer| {
            answer.admitted && gateway.is_none_or(|own| own == answer.gateway) && (from..until).contains(&answer.at)
        };
        u32::try_from(self.0.iter().filter(counts).count()).expect("few")
    }

    /// When somebody was refused last.
    #[track_caller]
    pub(crate) fn last_refusal(&self) -> Instant {
        self.0.iter().filter(|answer| !answer.admitted).map(|answer| answer.at).max().expect("somebody was refused")
    }

    /// When somebody was answered first.
    #[track_caller]
    pub(crate) fn first(&self) -> Instant {
        self.0.iter().map(|answer| answer.at).min().expect("somebody was answered")
    }
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[track_caller]
fn judge(status: u16) -> bool {
    assert!(status == 200 || status == 429, "{status}");
    status == 200
}

/// Several hundred requests a second, and time for others on a small machine.
const BETWEEN: Duration = Duration::from_millis(2);
