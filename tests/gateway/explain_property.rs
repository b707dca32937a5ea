//! What is explained is what happens, for 10 000 random requests of every kind: the answer of a running gateway, its
//! `POST /explain`, and the same files judged without a gateway come to the same status, reason, headers and body, and to the
//! same identity headers at the same upstream.

mod dice;
mod policies;

use std::collections::BTreeMap;
use std::thread;
use std::time::Instant;

use portcullis::cli::explain::Files;
use portcullis::cli::verdict::{Fields, Wanted};
use serde_json::{Map, Value, json};

use self::dice::{Question, Tokens, accounts, ask};
use self::policies::POLICIES;
use crate::harness::client::{Broken, Client};
use crate::harness::gateway::Gateway;
use crate::harness::lab::{Lab, login};
use crate::harness::request::{Request, post};
use crate::harness::response::Response;
use crate::harness::seed::Random;
use crate::harness::upstream::{Seen, Step, Upstream, answer};

const REQUESTS: usize = 10_000;
const THREADS: usize = 3;

/// Each of these has to occur at least so often, or the property says little.
const KINDS: [(&str, usize); 20] = [
    ("permitted, public", 100),
    ("permitted, basic", 300),
    ("permitted, token", 300),
    ("answered by the gateway", 20),
    ("request_malformed", 300),
    ("header_missing", 200),
    ("header_invalid", 200),
    ("credential_invalid", 100),
    ("credential_expired", 50),
    ("token_invalid", 50),
    ("account_suspended", 50),
    ("role_forbidden", 200),
    ("scope_forbidden", 500),
    ("route_not_found", 100),
    ("method_not_allowed", 100),
    ("app_type_missing", 20),
    ("app_type_not_string", 20),
    ("app_type_unknown", 20),
    ("body_too_large", 20),
    ("route_disabled", 50),
];

/// Answers with its name and the identity that it was told, in headers, which an answer to HEAD has as well.
fn telling(name: &'static str) -> impl Fn(&Seen) -> Vec<Step> + Send + Sync {
    move |seen| {
        let told = seen.headers.iter().filter(|(name, _)| is_told(name));
        let told: Map<String, Value> = told.map(|(name, value)| (name.to_lowercase(), json!(value))).collect();
        answer(200, &[("Served-By", name), ("Told", &Value::Object(told).to_string())], b"{}")
    }
}

/// What explain says of an upstream's request to the letter: the id is a new one, and who came before the client is not said.
fn is_told(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("x-auth-") || name == "x-forwarded-host" || name == "x-forwarded-proto"
}

#[test]
fn what_is_explained_is_what_happens_to_ten_thousand_random_requests() {
    let (first, second) = (Upstream::forgetful(telling("lab")), Upstream::forgetful(telling("other")));
    let lab = Lab::before(first, |builder| {
        let builder = POLICIES.iter().fold(builder, |builder, (name, text)| builder.policy(name, text));
        let builder = builder.upstream("other", second.address()).accounts(&accounts());
        builder.server("trusted_proxies = [\"127.0.0.0/8\"]\n")
    });
    let tokens = Tokens::of(|base, account| login(&lab.gateway, base, account));
    let files = Files::read(&lab.gateway.folder().join("gateway.toml")).expect("the files of a running gateway");
    let mut random = Random::announced("explain_property");
    let began = Instant::now();
    let counts = thread::scope(|scope| {
        let seeds: Vec<u64> = (0..THREADS).map(|_| random.next()).collect();
        let (gateway, tokens, files) = (&lab.gateway, &tokens, &files);
        let threads: Vec<_> = seeds
            .into_iter()
            .map(|seed| scope.spawn(move || compare(gateway, files, tokens, Random::seeded(seed))))
            .collect();
        let mut all: BTreeMap<String, usize> = BTreeMap::new();
        for thread in threads {
            let counts = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            counts.into_iter().for_each(|(kind, count)| *all.entry(kind).or_default() += count);
        }
        all
    });
    eprintln!("{REQUESTS} requests in {:?}: {counts:?}", began.elapsed());
    for (kind, least) in KINDS {
        let count = counts.get(kind).copied().unwrap_or_default();
        assert!(count >= least, "{kind}: only {count}, of {counts:?}");
    }
    assert_eq!(counts.len(), KINDS.len(), "a kind that nobody expected: {counts:?}");
    replay_changes_nothing(&lab.gateway);
}

/// The log of all these requests, judged by the policies that it was written under.
#[track_caller]
fn replay_changes_nothing(gateway: &Gateway) {
    gateway.access_lines(REQUESTS);
    for words in [&[][..], &["--was", "gateway.toml"]] {
        let words = [&["replay", "--log", "access.log", "-c", "gateway.toml", "--format", "json"], words].concat();
        let exit = gateway.verb(&words);
        assert_eq!(exit.code, 0, "{}", exit.stderr);
        let report: Value = serde_json::from_str(&exit.stdout).expect("JSON");
        assert_eq!((&report["changed"], &report["no_access_lines"]), (&json!(0), &json!(0)), "{report:#}");
        assert!(report["same"].as_u64().is_some_and(|same| same > 4000), "{report:#}");
    }
}

/// One thread's share.
fn compare(gateway: &Gateway, files: &Files, tokens: &Tokens, mut random: Random) -> BTreeMap<String, usize> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut traffic = Line::to(gateway.address());
    let mut admin = Line::to(gateway.admin());
    let host = gateway.admin().to_string();
    for _ in 0..REQUESTS.div_ceil(THREADS) {
        let question = ask(&mut random, tokens);
        let wanted = wanted(&question);
        let body = serde_json::to_value(&wanted).expect("it serialises");
        let told = admin.send(&post("/explain").host(&host).json(&body));
        assert_eq!(told.status, 200, "{question:?}: {told}");
        let live = told.json();
        let verdict = files.explain(&wanted, None).unwrap_or_else(|stop| panic!("{question:?}: {}", stop.message));
        assert_eq!(live["outcome"], verdict.report["outcome"], "{question:?}");
        assert_eq!(decisive(&live), decisive(&verdict.report), "{question:?}");
        assert_eq!(live["revision"], verdict.report["revision"]);
        let response = traffic.send(&question.request());
        let kind = settle(&question, &live["outcome"], &response);
        *counts.entry(kind).or_default() += 1;
    }
    counts
}

/// What each rung said, without the words, which tell how far each of the two can know it.
fn decisive(report: &Value) -> Vec<(String, String)> {
    let rungs = report["rungs"].as_array().expect("a list of rungs");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all: Vec<_> = rungs.iter().map(|rung| (text(&rung["rung"]), text(&rung["result"]))).collect();
    assert!(all.len() > 10, "{report}");
    for rung in rungs.iter().filter(|rung| rung["result"] != "not reached") {
        assert!(rung["why"].as_str().is_some_and(|why| !why.is_empty()), "no words: {rung} of {report:#}");
    }
    all
}

fn wanted(question: &Question) -> Wanted {
    let mut headers = Fields::default();
    question.explained().iter().for_each(|(name, value)| headers.add(name, value));
    Wanted {
        caller: question.caller.clone(),
        method: question.method.clone(),
        path: question.target.clone(),
        headers,
        client: Some(question.client.parse().expect("an address")),
        scheme: question.scheme.map(str::to_owned),
    }
}

/// Compares an answer with its explanation; gives the kind of both.
#[track_caller]
fn settle(question: &Question, outcome: &Value, response: &Response) -> String {
    let say = || format!("{question:?}\nexplained: {outcome:#}\nhappened: {response}");
    if outcome["decision"] == "permit" {
        if outcome["upstream"] == "answered by the gateway" {
            assert!(["validation_failed", "header_invalid"].contains(&response.reason().as_str()), "{}", say());
            return "answered by the gateway".to_owned();
        }
        assert_eq!(response.status, 200, "{}", say());
        assert_eq!(response.header("served-by"), outcome["upstream"].as_str(), "{}", say());
        let seen: Value = serde_json::from_str(response.header("told").expect("told")).expect("JSON of our upstream");
        let mut expected = Map::new();
        for (name, value) in outcome["headers"].as_object().expect("headers") {
            if is_told(name) {
                let name = name.to_lowercase();
                // Of a token only its session is told, which nobody can say before.
                let value =
                    if name == "x-auth-credential" && value == "(session or API id)" { &seen[&name] } else { value };
                expected.insert(name, value.clone());
            }
        }
        assert_eq!(seen, Value::Object(expected), "{}", say());
        let scheme = seen["x-auth-scheme"].as_str().unwrap_or("public");
        return format!("permitted, {scheme}");
    }
    let reply = &outcome["reply"];
    assert_eq!(json!(response.status), reply["status"], "{}", say());
    let id = response.request_id();
    for line in reply["headers"].as_array().expect("headers") {
        let (name, value) = line.as_str().and_then(|line| line.split_once(": ")).expect("name and value");
        let value = value.replace("(request id)", &id);
        assert!(response.all(name).contains(&value.as_str()), "{line} is not there: {}", say());
    }
    for name in ["www-authenticate", "allow", "retry-after"] {
        let told = reply["headers"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let told = told.filter(|line| line.to_lowercase().starts_with(&format!("{name}: "))).count();
        assert_eq!(response.all(name).len(), told, "{name}: {}", say());
    }
    if question.method != "HEAD" {
        assert_eq!(response.text(), reply["text"].as_str().expect("a text").replace("(request id)", &id), "{}", say());
    }
    outcome["reason"].as_str().expect("a reason").to_owned()
}

/// A connection that is made again when it ended: some refusals close it.
struct Line {
    address: std::net::SocketAddr,
    client: Option<Client>,
}

impl Line {
    const fn to(address: std::net::SocketAddr) -> Self {
        Self { address, client: None }
    }

    #[track_caller]
    fn send(&mut self, request: &Request) -> Response {
        for _ in 0..3 {
            let mut client = self.client.take().unwrap_or_else(|| Client::connect(self.address));
            match client.try_send(request) {
                Ok(response) => {
                    let closes = response.all("connection").iter().any(|value| value.eq_ignore_ascii_case("close"));
                    self.client = (!closes).then_some(client);
                    return response;
                }
                Err(Broken::Closed) => {}
                Err(broken) => panic!("no answer to {}: {broken:?}", request.line()),
            }
        }
        panic!("no answer to {} on three connections", request.line())
    }
}
