//! The breaker in front of an upstream (contract sections 3, 6 and 9): when it opens, what clients see meanwhile, who may
//! try, and what never counts.

mod trials;

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::builder::Builder;
use crate::harness::client::Broken;
use crate::harness::gateway::Gateway;
use crate::harness::ports;
use crate::harness::request::{get, post, request};
use crate::harness::response::Response;
use crate::harness::toxic::{Mood, Toxic};
use crate::harness::upstream::{Seen, Step, Upstream, head, json as answer, raw};
use crate::harness::wait::{PATIENCE, eventually};

const POLICY: &str = r#"
[realm]
name = "shop"
base = "/"
roles = ["user"]
schemes = ["basic"]
upstream = "frail"

[[route]]
name = "frail"
match = ["GET /frail/{*rest}", "POST /frail/{*rest}"]
public = true
body_size = "1KiB"

[[route]]
name = "impatient"
match = "POST /impatient"
public = true
timeouts = { read = "300ms" }

[[route]]
name = "well"
match = "GET /well"
public = true
upstream = "well"
"#;

/// A gateway before an upstream with a breaker, which a proxy makes fail, and another one.
struct Shop {
    gateway: Gateway,
    toxic: Toxic,
    frail: Upstream,
    _well: Upstream,
}

impl Shop {
    fn with(breaker: &str) -> Self {
        Self::before(breaker, |_| answer(200, "{}"), |builder| builder)
    }

    fn before(
        breaker: &str,
        script: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static,
        change: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let (frail, well) = (Upstream::scripted(script), Upstream::start());
        let toxic = Toxic::before(frail.address());
        let builder = Gateway::builder()
            .policy("shop", POLICY)
            .upstream_with("frail", toxic.address(), &format!("breaker = {breaker}"))
            .upstream("well", well.address());
        Self { gateway: change(builder).start(), toxic, frail, _well: well }
    }

    /// So many requests that get no reply; gives when the last was answered.
    fn fail(&self, times: usize) -> Instant {
        self.toxic.set(Mood::Slam);
        for _ in 0..times {
            // A reset may come before the connection is known to stand, and behind it.
            let reasons = ["upstream_invalid", "upstream_unreachable"];
            self.call("/frail/a").assert_denied_one_of(502, "502", &reasons);
        }
        Instant::now()
    }

    fn call(&self, path: &str) -> Response {
        self.gateway.call(&get(path))
    }

    fn logged(&self, words: &str) -> usize {
        self.gateway.stderr().matches(words).count()
    }
}

const OPEN: &str = "the breaker is open";
const CLOSED: &str = "the breaker is closed";

/// Asserts a refusal by the breaker, and gives how long it says to wait.
#[track_caller]
fn wait_of(response: &Response) -> u64 {
    response.assert_denied(503, "503", "upstream_unavailable");
    response.header("retry-after").expect("Retry-After").parse().expect("whole seconds")
}

fn until(since: Instant, period: Duration) {
    thread::sleep((since + period).saturating_duration_since(Instant::now()));
}

#[test]
fn it_opens_with_the_last_of_too_many_failures_and_refuses_without_a_connection() {
    let shop = Shop::with(r#"{ failures = 3, within = "60s", open_for = "60s" }"#);
    shop.fail(2);
    shop.toxic.heal();
    shop.call("/frail/a").assert_ok();
    assert_eq!(shop.logged(OPEN), 0);
    shop.fail(1);
    shop.toxic.heal();
    shop.toxic.forget_taken();
    let seen = shop.frail.seen().len();
    let mut client = shop.gateway.client();
    for asked in [get("/frail/a"), post("/frail/a").body(b"a body that nobody reads"), get("/frail/b")] {
        let wait = wait_of(&client.send(&asked));
        assert!((1..=60).contains(&wait), "{wait}");
        // The connection goes on, for other upstreams too.
        client.send(&get("/well")).assert_ok();
    }
    client.send(&request("HEAD", "/frail/a")).assert_denial_headers();
    assert_eq!((shop.toxic.taken().len(), shop.frail.seen().len()), (0, seen));
    // A request is counted when its answer has left.
    let denied = [("realm", "shop"), ("reason", "upstream_unavailable")];
    let failed = [("route", "frail"), ("outcome", "failed")];
    eventually("all are counted", PATIENCE, || {
        let metrics = shop.gateway.metrics();
        let counted = [("portcullis_denials_total", denied), ("portcullis_requests_total", failed)];
        (counted.map(|(name, labels)| metrics.sum(name, &labels)) == [4.0, 7.0]).then_some(())
    });
    let sent = shop.gateway.metrics().sum("portcullis_upstream_requests_total", &[("upstream", "frail")]);
    assert!((sent - 4.0).abs() < 0.5, "what is not sent is no request to the upstream: {sent}");
    let log = shop.gateway.stderr();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(OPEN)).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("WARN") && lines[0].contains("frail") && lines[0].contains("failures=3"), "{lines:?}");
}

#[test]
fn a_refusal_of_the_breaker_is_read_in_the_log_as_a_request_that_was_permitted() {
    let shop = Shop::with(r#"{ failures = 1, within = "60s", open_for = "60s" }"#);
    shop.fail(1);
    let response = shop.call("/frail/a");
    wait_of(&response);
    let id = response.request_id();
    let line = shop.gateway.line_of(&id);
    line.assert(&[
        ("status", "503"),
        ("outcome", "failed"),
        ("reason", "upstream_unavailable"),
        ("cause", "the breaker of the upstream is open"),
        ("route", "frail"),
        ("upstream", "frail"),
        ("upstream_status", ""),
    ]);
    let why = shop.gateway.verb(&["why", &id, "--log", "access.log"]);
    assert!(why.code == 0 && !why.stdout.contains("NOT WHAT THE LINE SAYS"), "{why:?}");
    let replay = |settings: &str| shop.gateway.verb(&["replay", "--log", "access.log", "-c", settings]).stdout;
    let same = replay("gateway.toml");
    assert!(same.contains("0 widened, 0 narrowed, 0 rerouted, 0 refused otherwise; 2 as they were"), "{same}");
    shop.gateway
        .replace_file("next.toml", &POLICY.replacen("name = \"frail\"", "name = \"frail\"\nenabled = false", 1));
    let settings = shop.gateway.read_file("gateway.toml").replace("\"shop.toml\"", "\"next.toml\"");
    shop.gateway.replace_file("candidate.toml", &settings);
    let narrowed = replay("candidate.toml");
    assert!(narrowed.contains("0 widened, 2 narrowed") && narrowed.contains("permit (frail)"), "{narrowed}");
}

#[test]
fn failures_over_a_longer_time_never_open_it() {
    let shop = Shop::with(r#"{ failures = 2, within = "300ms", open_for = "60s" }"#);
    for _ in 0..4 {
        let failed = shop.fail(1);
        until(failed, Duration::from_millis(350));
    }
    assert_eq!(shop.logged(OPEN), 0);
}

#[test]
fn a_request_counts_once_however_often_it_is_tried() {
    let breaker = "retries = 2\nbreaker = { failures = 2, within = \"60s\", open_for = \"60s\" }";
    let gateway = Gateway::builder()
        .policy("shop", POLICY)
        .upstream_with("frail", ports::refusing(), breaker)
        .upstream("well", ports::refusing())
        .start();
    for _ in 0..2 {
        gateway.call(&get("/frail/a")).assert_denied(502, "502", "upstream_unreachable");
    }
    wait_of(&gateway.call(&get("/frail/a")));
    let retries = gateway.metrics().sum("portcullis_upstream_retries_total", &[("upstream", "frail")]);
    assert!((retries - 4.0).abs() < 0.5, "{retries}");
}

#[test]
fn every_way_to_get_no_reply_head_counts() {
    const BREAKER: &str =
        "timeouts = { read = \"200ms\" }\nbreaker = { failures = 1, within = \"60s\", open_for = \"60s\" }";
    const KINDS: [(&str, u16, &str); 5] = [
        ("refused", 502, "upstream_unreachable"),
        ("nameless", 502, "upstream_unreachable"),
        ("silent", 504, "upstream_timeout"),
        ("noise", 502, "upstream_invalid"),
        ("closed", 502, "upstream_invalid"),
    ];
    let upstream = Upstream::scripted(|seen| match &*seen.target {
        "/silent" => vec![Step::Silence],
        "/noise" => raw(b"\x00\x01 this is no HTTP\r\n\r\n"),
        _ => vec![Step::Close],
    });
    let route = |(name, ..): &(&str, u16, &str)| {
        format!("\n[[route]]\nname = \"{name}\"\nmatch = \"GET /{name}\"\npublic = true\nupstream = \"{name}\"\n")
    };
    let policy = POLICY.replacen("upstream = \"frail\"", "", 1);
    let realm = policy.split("[[route]]").next().unwrap().to_owned();
    let mut builder = Gateway::builder().policy("shop", &(realm + &KINDS.iter().map(route).collect::<String>()));
    for (name, ..) in KINDS.iter().filter(|(name, ..)| *name != "nameless") {
        let address = if *name == "refused" { ports::refusing() } else { upstream.address() };
        builder = builder.upstream_with(name, address, BREAKER);
    }
    let nameless = format!("[upstreams.nameless]\nservers = [\"nowhere.invalid:1\"]\n{BREAKER}\n");
    let gateway = builder.toml_extra(&nameless).start();
    for (name, status, reason) in KINDS {
        let path = format!("/{name}");
        gateway.call(&get(&path)).assert_denied(status, &status.to_string(), reason);
        wait_of(&gateway.call(&get(&path)));
    }
}

#[test]
fn an_answer_of_whatever_status_is_no_failure() {
    let breaker = r#"{ failures = 1, within = "60s", open_for = "60s" }"#;
    let script = |seen: &Seen| match &*seen.target {
        "/frail/hints" => raw(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        "/frail/cut" => raw(&[head(200, &[("Content-Length", "100")]), b"\r\nten bytes.".to_vec()].concat()),
        _ => answer(500, "{}"),
    };
    let shop = Shop::before(breaker, script, |builder| builder);
    for _ in 0..5 {
        assert_eq!(shop.call("/frail/a").status, 500);
        // What breaks off behind its head is an answer of this one route as well.
        match shop.gateway.client().try_send(&get("/frail/cut")) {
            Err(Broken::Cut(_)) => {}
            // The cut was noticed before a byte had left.
            Ok(response) => assert_eq!(response.status, 502, "{response}"),
            other => panic!("a cut body must not look whole: {other:?}"),
        }
    }
    assert_eq!((shop.call("/frail/a").status, shop.logged(OPEN)), (500, 0));
    // An interim reply is no answer.
    shop.call("/frail/hints").assert_denied(502, "502", "upstream_invalid");
    eventually("it counts", PATIENCE, || (shop.logged(OPEN) == 1).then_some(()));
}

#[test]
fn what_the_client_did_never_counts() {
    let breaker = r#"{ failures = 1, within = "60s", open_for = "60s" }"#;
    let script = |seen: &Seen| match &*seen.target {
        "/frail/silent" => vec![Step::Silence],
        _ => answer(200, "{}"),
    };
    let shop = Shop::before(breaker, script, |builder| builder.limits("body_timeout = \"700ms\"\n"));
    let mut leaving = shop.gateway.client();
    leaving.write(&get("/frail/silent").bytes());
    eventually("the request arrives", PATIENCE, || shop.frail.saw_target("/frail/silent").then_some(()));
    leaving.leave();
    shop.gateway.access_lines(1).remove(0).assert(&[("status", "499")]);
    shop.call("/frail/a").assert_ok();
    let owing = |path: &str| shop.gateway.client().send(&post(path).owing(100, b"half of it"));
    owing("/frail/slow").assert_denied(408, "408", "request_timeout");
    shop.call("/frail/a").assert_ok();
    let long = shop.gateway.client().send(&post("/frail/long").chunked(&[&[b'x'; 1000], &[b'x'; 1000]]));
    long.assert_denied(413, "413", "body_too_large");
    shop.call("/frail/a").assert_ok();
    // The upstream gave no reply in time, but it had not got the whole request.
    owing("/impatient").assert_denied(504, "504", "upstream_timeout");
    shop.call("/frail/a").assert_ok();
    assert_eq!(shop.logged(OPEN), 0);
}

#[test]
fn a_reload_keeps_an_open_breaker_unless_it_is_changed() {
    let reload = |shop: &Shop| shop.gateway.admin_json("POST", "/reload", &json!({})).assert_ok();
    let shop = Shop::with(r#"{ failures = 1, within = "60s", open_for = "60s" }"#);
    shop.fail(1);
    shop.toxic.heal();
    shop.gateway.replace_file("shop.toml", &POLICY.replacen("\"GET /well\"", "\"GET /well/{id}\"", 1));
    reload(&shop);
    shop.call("/well/1").assert_ok();
    wait_of(&shop.call("/frail/a"));
    let settings = shop.gateway.read_file("gateway.toml");
    assert!(settings.contains("failures = 1"));
    shop.gateway.replace_file("gateway.toml", &settings.replace("failures = 1", "failures = 2"));
    reload(&shop);
    shop.call("/frail/a").assert_ok();
    let print = shop.gateway.verb(&["check", "--print"]);
    let shown = r#"breaker = { failures = 2, within = "1m", open_for = "1m" }"#;
    assert!(print.stdout.contains(shown) && !print.stderr.contains("breaker"), "{print:?}");
}
