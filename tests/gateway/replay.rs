//! `portcullis replay`: what an edit of the policies would have changed of a log is what it really changes, when the same
//! requests are sent to a gateway that has it.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::harness::accounts::key_of;
use crate::harness::gateway::Exit;
use crate::harness::lab::{Lab, TREE_POLICY, login_request, login_with};
use crate::harness::request::{Request, get, post};
use crate::harness::response::Response;
use crate::harness::upstream::{Seen, Step, Upstream, answer};

/// Routes that the lab's tree does not have.
const MORE: &str = r#"
[[route]]
name = "write"
match = "POST /write"
allow = ["administrator", "customer", "user"]

[[route]]
name = "gone"
match = "GET /gone"
allow = ["customer"]

[[route]]
name = "closed"
match = "GET /closed"
allow = ["administrator", "customer"]
"#;

/// What is edited: a text of the policy, and what stands there then.
const EDITS: [(&str, &str); 9] = [
    // One role less.
    (
        "name = \"below\"\nmatch = \"GET /below/{id}\"\nallow = { administrator = \"below\", reseller = \"below\", customer = \"below\" }",
        "name = \"below\"\nmatch = \"GET /below/{id}\"\nallow = { administrator = \"below\", reseller = \"below\" }",
    ),
    // One role more, and a wider scope.
    (
        "allow = { reseller = \"own\", customer = \"own\", user = \"own\" }",
        "allow = { administrator = \"subtree\", reseller = \"subtree\", customer = \"own\", user = \"own\" }",
    ),
    // Without a target the scope is the upstream's to heed.
    (
        "allow = { administrator = \"subtree\", reseller = \"below\", user = \"own\" }",
        "allow = { administrator = \"below\", reseller = \"subtree\", user = \"own\" }",
    ),
    ("app_types = [\"vc\", \"wb\"]", "app_types = [\"vc\", \"xx\"]"),
    ("name = \"subtree\"", "name = \"subtree\"\nupstream = \"other\""),
    ("name = \"write\"", "name = \"write\"\nbody_size = \"16B\""),
    ("name = \"gone\"\nmatch = \"GET /gone\"", "name = \"fresh\"\nmatch = \"GET /fresh\""),
    ("name = \"closed\"", "name = \"closed\"\nenabled = false"),
    (
        "allow = { administrator = \"subtree\", reseller = \"subtree\", customer = \"subtree\", user = \"own\" }\ntarget = \"query.account\"",
        "allow = { administrator = \"subtree\", customer = \"own\", user = \"own\" }\ntarget = \"query.account\"",
    ),
];

fn edited(policy: &str) -> String {
    EDITS.iter().fold(policy.to_owned(), |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        text.replace(from, to)
    })
}

fn telling(name: &'static str) -> impl Fn(&Seen) -> Vec<Step> + Send + Sync {
    move |seen| {
        let [scope, target] = ["x-auth-scope", "x-auth-target"].map(|header| seen.all(header).concat());
        answer(200, &[("Served-By", name), ("Scope", &scope), ("Target", &target)], b"{}")
    }
}

/// A gateway before two upstreams.
fn start(policy: &str) -> (Lab, Upstream) {
    let other = Upstream::scripted(telling("other"));
    let lab = Lab::before(Upstream::scripted(telling("lab")), |builder| {
        let accounts = crate::harness::accounts::Accounts::lab();
        builder.file("tree.toml", policy).upstream("other", other.address()).accounts(&accounts)
    });
    (lab, other)
}

/// Every caller on every route and target, and some who are nobody.
fn requests() -> Vec<(&'static str, Request)> {
    let mut all = Vec::new();
    for (role, account) in
        [("administrator", "root"), ("reseller", "res-7"), ("customer", "cus-42"), ("user", "usr-1"), ("user", "usr-9")]
    {
        let id = format!("ak_{account}");
        let mut add = |request: Request| all.push((role, request.basic(&id, &key_of(&id))));
        for target in ["root", "res-7", "cus-42", "cus-9", "usr-1", "usr-9", "nobody"] {
            for route in ["own", "below", "subtree"] {
                add(get(&format!("/t/{route}/{target}")));
            }
            add(get(&format!("/t/query?account={target}")));
            add(get(&format!("/t/optional?account={target}")));
        }
        for path in ["/t/list", "/t/optional", "/t/gone", "/t/closed", "/t/apps", "/t/nowhere", "/t/query"] {
            add(get(path));
        }
        for app_type in ["vc", "wb", "xx"] {
            add(get("/t/apps").header("X-App-Type", app_type));
        }
        add(get("/t/needs").header("X-Tenant", "t"));
        add(post("/t/write").body(b"0123456789"));
        add(post("/t/write").body(b"0123456789 0123456789"));
        add(post("/t/write").chunked(&[b"0123456789 ", b"0123456789"]));
    }
    for path in ["/t/open", "/t/own/usr-1", "/t/closed", "/t//x"] {
        all.push(("anonymous", get(path).header("X-Api-Id", "a")));
    }
    all.push(("anonymous", get("/t/own/usr-1").basic("ak_usr-1", "wrong")));
    // Its line names who logged in, who is not the caller.
    all.push(("user", login_request("/t", "usr-1")));
    all
}

/// What differs between two answers, in the words of replay.
fn differences(before: &Response, after: &Response) -> Vec<(String, String)> {
    let told = |response: &Response, name: &str| response.header(name).unwrap_or_default().to_owned();
    let permit = |response: &Response| {
        let [upstream, scope, target] = ["served-by", "scope", "target"].map(|name| told(response, name));
        let scope = if target.is_empty() && !scope.is_empty() { format!(", scope {scope}") } else { String::new() };
        format!("permit ({upstream}{scope})")
    };
    let words = |response: &Response| if response.status == 200 { permit(response) } else { response.reason() };
    let pairs = if before.status == 200 && after.status == 200 {
        let both = |what: &str, name: &str| [before, after].map(|response| format!("{what} {}", told(response, name)));
        vec![both("to", "served-by"), both("scope", "scope")]
    } else {
        vec![[words(before), words(after)]]
    };
    pairs.into_iter().filter(|[was, is]| was != is).map(|[was, is]| (was, is)).collect()
}

fn replay(lab: &Lab, words: &[&str]) -> Exit {
    let exit = lab.gateway.verb(&[&["replay", "--log", "access.log", "-c", "candidate.toml"], words].concat());
    assert_eq!(exit.code, 0, "{exit:?}");
    exit
}

/// Files of a candidate beside the running ones.
fn place_candidate(lab: &Lab, policy: &str) {
    fs::write(lab.gateway.folder().join("next.toml"), policy).unwrap();
    let settings = lab.gateway.read_file("gateway.toml");
    let settings = settings.replace("\"tree.toml\"", "\"next.toml\"");
    assert!(settings.contains("next.toml"), "{settings}");
    fs::write(lab.gateway.folder().join("candidate.toml"), settings).unwrap();
}

#[test]
#[allow(clippy::too_many_lines, reason = "one story: a log, an edit, the same requests again")]
fn replay_says_exactly_what_an_edit_really_changes() {
    let policy = format!("{TREE_POLICY}{MORE}");
    let (old, _old_other) = start(&policy);
    let (new, _new_other) = start(&edited(&policy));
    place_candidate(&old, &edited(&policy));
    let mut expected: BTreeMap<(String, String, String), u64> = BTreeMap::new();
    let mut differing = BTreeMap::new();
    let requests = requests();
    for (role, request) in &requests {
        let (before, after) = (old.call(request), new.call(request));
        for (live, candidate) in differences(&before, &after) {
            *expected.entry(((*role).to_owned(), live, candidate)).or_default() += 1;
            differing.insert(before.request_id(), request.line());
        }
    }
    old.gateway.access_lines(requests.len());
    let report: Value =
        serde_json::from_str(&replay(&old, &["--was", "gateway.toml", "--format", "json"]).stdout).unwrap();
    assert_eq!(report["lines"], requests.len(), "{report:#}");
    assert_eq!(report["no_access_lines"], 0);
    let mut said: BTreeMap<(String, String, String), u64> = BTreeMap::new();
    let mut kinds = BTreeMap::new();
    for change in report["changes"].as_array().unwrap() {
        let text = |key: &str| change[key].as_str().unwrap_or_else(|| panic!("{key} of {change}")).to_owned();
        let count = change["count"].as_u64().unwrap();
        *said.entry((text("role"), text("live"), text("candidate"))).or_default() += count;
        *kinds.entry(text("kind")).or_insert(0) += count;
        let line = differing.get(&text("request_id"));
        assert!(line.is_some(), "{change} is of a request that is answered as before");
        // The candidate refuses for where the account lies, so it knows, even where the live policies did not ask.
        assert!(text("candidate") != "scope_forbidden" || text("relation") != "none", "{change}");
    }
    assert_eq!(said, expected, "{report:#}");
    for kind in ["widened", "narrowed", "rerouted", "refused_otherwise"] {
        assert!(kinds.get(kind).copied().unwrap_or_default() >= 2, "{kind}: {kinds:?}");
    }
    // Malformed ones, a wrong key; and a query without the account that the route is about.
    let apart = report["apart"].as_array().unwrap();
    let why: Vec<&str> = apart.iter().map(|row| row["why"].as_str().unwrap()).collect();
    assert!(why.iter().any(|why| why.starts_with("credential_invalid")), "{why:?}");
    assert!(why.iter().any(|why| why.starts_with("request_malformed")), "{why:?}");
    assert_eq!(
        report["not_judged"].as_u64().unwrap() + report["changed"].as_u64().unwrap() + report["same"].as_u64().unwrap(),
        report["lines"].as_u64().unwrap()
    );
    assert!(report["same"].as_u64().unwrap() > 100, "{report:#}");
    let shown = replay(&old, &["--was", "gateway.toml"]).stdout;
    assert!(shown.contains("NARROWED  tree below  (next.toml:"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "no terminal is there");
}

#[test]
fn the_same_policies_change_nothing_and_what_a_line_cannot_tell_is_counted_apart() {
    let policy = format!("{TREE_POLICY}{MORE}");
    let (lab, _other) = start(&policy);
    place_candidate(&lab, &policy);
    let requests = requests();
    for (_, request) in &requests {
        lab.call(request);
    }
    lab.gateway.access_lines(requests.len());
    for words in [&[][..], &["--was", "gateway.toml"]] {
        let report: Value =
            serde_json::from_str(&replay(&lab, &[words, &["--format", "json"]].concat()).stdout).unwrap();
        assert_eq!(
            (&report["changes"], &report["changed"]),
            (&Value::Array(Vec::new()), &Value::from(0)),
            "{report:#}"
        );
        let apart = report["apart"].to_string();
        // Whether X-Tenant was sent is known once it is known that it was asked for.
        assert_eq!(apart.contains("whether the header x-tenant was sent"), words.is_empty(), "{apart}");
    }
    let shown = replay(&lab, &[]).stdout;
    assert!(shown.contains("0 widened, 0 narrowed, 0 rerouted, 0 refused otherwise"), "{shown}");
}

#[test]
fn a_candidate_that_asks_for_what_no_line_holds_is_not_guessed_at() {
    let policy = format!("{TREE_POLICY}{MORE}");
    let (lab, _other) = start(&policy);
    let candidate = policy.replace("name = \"closed\"", "name = \"closed\"\nheaders = [\"X-Reason\"]");
    let candidate = candidate.replace(
        "name = \"open\"\nmatch = \"GET /open\"\npublic = true",
        "name = \"open\"\nmatch = \"GET /open\"\nallow = [\"user\"]",
    );
    assert!(candidate.contains("X-Reason") && !candidate.contains("public = true"), "{candidate}");
    place_candidate(&lab, &candidate);
    lab.call(&get("/t/closed").basic("ak_cus-42", &key_of("ak_cus-42"))).assert_ok();
    lab.call(&get("/t/open").header("X-Api-Id", "a")).assert_ok();
    lab.gateway.access_lines(2);
    let report: Value =
        serde_json::from_str(&replay(&lab, &["--was", "gateway.toml", "--format", "json"]).stdout).unwrap();
    assert_eq!((&report["changed"], &report["not_judged"]), (&Value::from(0), &Value::from(2)), "{report:#}");
    let apart = report["apart"].to_string();
    assert!(apart.contains("whether the header x-reason was sent") && apart.contains("who called"), "{apart}");
}

#[test]
fn replay_and_diff_have_one_name_for_what_the_gateway_answers() {
    let (lab, _other) = start(TREE_POLICY);
    let elsewhere =
        TREE_POLICY.replace("\"POST /login\"", "\"POST /enter\"").replace("\"POST /logout\"", "\"POST /leave\"");
    assert!(elsewhere.contains("/enter") && elsewhere.contains("/leave"), "{elsewhere}");
    place_candidate(&lab, &elsewhere);
    let token = lab.tree_token("usr-1");
    lab.call(&post("/t/logout").token(&token)).assert_ok();
    lab.call(&login_with("/t", "usr-1", "nobody's")).assert_denied(401, "1002", "login_failed");
    lab.gateway.access_lines(3);
    let said = |report: &Value| -> Vec<(String, String)> {
        let changes = report["changes"].as_array().unwrap_or_else(|| panic!("{report:#}")).iter();
        let word = |change: &Value, key: &str| change[key].as_str().unwrap_or_default().to_owned();
        changes.map(|change| (word(change, "route"), word(change, "live"))).collect()
    };
    let replayed: Value = serde_json::from_str(&replay(&lab, &["--format", "json"]).stdout).unwrap();
    let login = ("login", "permit (the gateway's login)");
    // One that failed, and one that did not.
    let own = [login, login, ("logout", "permit (the gateway's logout, scope own)")];
    let own = own.map(|(route, words)| (route.to_owned(), words.to_owned()));
    assert_eq!(said(&replayed), own, "{replayed:#}");
    let differing = lab.gateway.verb(&["diff", "gateway.toml", "candidate.toml"]).stdout;
    for (_, words) in &own {
        assert!(differing.contains(words), "no {words} in {differing}");
    }
}
