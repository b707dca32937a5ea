//! What an operator sees: one access line a request, metrics from closed sets, the admin listener (contract sections
//! 10 and 11).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::harness::accounts::key_of;
use crate::harness::client::{Broken, Client};
use crate::harness::jwt::Forgery;
use crate::harness::lab::{Held, Lab, Shared, login_request};
use crate::harness::lines::{FIELDS, Line};
use crate::harness::request::{Request, get, post, request};
use crate::harness::response::Response;
use crate::harness::seed::Random;
use crate::harness::wait::{PATIENCE, eventually};

static LAB: Shared = Shared::new();

fn lab() -> Held {
    LAB.hold(Lab::start)
}

fn as_account(account: &str, path: &str) -> Request {
    let id = format!("ak_{account}");
    get(path).basic(&id, &key_of(&id))
}

fn line_of(lab: &Lab, request: &Request) -> Line {
    lab.gateway.line_of(&lab.call(request).request_id())
}

#[test]
fn permitted_call_is_one_line_with_every_answer() {
    let lab = lab();
    let token = lab.tree_token("res-7");
    let request = get("/t/query?account=cus-42&secret=of-the-query").token(&token).header("User-Agent", "a client/1.0");
    let line = line_of(&lab, &request);
    line.assert(&[
        ("realm", "tree"),
        ("route", "query"),
        ("method", "GET"),
        ("path", "/t/query"),
        ("status", "200"),
        ("outcome", "permitted"),
        ("reason", ""),
        ("role", "reseller"),
        ("account", "res-7"),
        ("credential", &Forgery::of(&token).jti()),
        ("scheme", "token"),
        ("lineage", "root/res-7"),
        ("target", "cus-42"),
        ("relation", "below"),
        ("upstream", "lab"),
        ("upstream_status", "200"),
        ("user_agent", "a client/1.0"),
    ]);
    for field in ["time", "request_id", "http_version", "duration", "gateway_time", "bytes_in", "bytes_out"] {
        assert!(!line.text(field).is_empty(), "{field} of {line:?}");
    }
    assert!(line.text("client").starts_with("127.0.0.1"), "{line:?}");
    assert!(line.text("http_version").contains("1.1"), "{line:?}");
    let unknown: Vec<_> = line.fields().into_iter().filter(|field| !FIELDS.contains(field)).collect();
    assert!(unknown.is_empty(), "not in the contract: {unknown:?}");
    let policy = lab.gateway.admin_get("/policy").assert_ok().json();
    assert_eq!(policy["revision"].as_str(), Some(line.text("revision").as_str()));
}

#[test]
fn denied_call_says_why_in_its_line() {
    let lab = lab();
    let key = key_of("ak_alice");
    let line = line_of(&lab, &get("/nope"));
    line.assert(&[
        ("realm", "lab"),
        ("route", ""),
        ("status", "404"),
        ("outcome", "denied"),
        ("reason", "route_not_found"),
    ]);
    line.assert(&[("role", ""), ("account", ""), ("upstream", "")]);
    let line = line_of(&lab, &get("/admin/users").basic("ak_alice", &key));
    line.assert(&[
        ("route", "admin"),
        ("reason", "role_forbidden"),
        ("role", "user"),
        ("account", "alice"),
        ("status", "403"),
    ]);
    line.assert(&[("scheme", "basic"), ("credential", "ak_alice"), ("lineage", "root/alice"), ("outcome", "denied")]);
    let line = line_of(&lab, &get("/orders/1").basic("ak_alice", "wrong"));
    line.assert(&[
        ("route", "orders"),
        ("reason", "credential_invalid"),
        ("role", ""),
        ("account", ""),
        ("status", "401"),
    ]);
    let line = line_of(&lab, &get("/orders/1"));
    line.assert(&[("route", "orders"), ("reason", "header_missing"), ("status", "400"), ("account", "")]);
}

#[test]
fn relation_of_the_target_stands_in_the_line() {
    let lab = lab();
    let cases = [
        ("/t/subtree/res-7", "res-7", "self", "permitted"),
        ("/t/subtree/usr-1", "usr-1", "below", "permitted"),
        ("/t/subtree/cus-9", "cus-9", "outside", "denied"),
        ("/t/subtree/nobody", "nobody", "unknown", "denied"),
        ("/t/list", "", "none", "permitted"),
    ];
    for (path, target, relation, outcome) in cases {
        let line = line_of(&lab, &as_account("res-7", path));
        line.assert(&[("target", target), ("relation", relation), ("outcome", outcome), ("account", "res-7")]);
    }
}

#[test]
fn app_type_stands_in_the_line() {
    let line = line_of(&lab(), &as_account("usr-1", "/t/apps").header("X-App-Type", "vc"));
    line.assert(&[("route", "apps"), ("app_type", "vc"), ("outcome", "permitted")]);
}

/// A bit of everything that a client may send, well-framed.
fn mixed(lab: &Lab) -> Vec<Request> {
    let token = lab.token("alice");
    vec![
        get("/public/ping"),
        get("/public/a?b=c"),
        request("HEAD", "/public/ping"),
        get("/orders/1").token(&token),
        as_account("alice", "/orders/2"),
        as_account("res-7", "/t/below/usr-1"),
        get("/orders/1").token("wrong"),
        get("/orders/1"),
        get("/admin/users").token(&token),
        get("/public/../admin"),
        get("/nope"),
        request("DELETE", "/orders/1"),
        post("/write/1").token(&token).body(b"{}"),
        post("/login").header("X-Api-Id", "ak_alice"),
        as_account("res-7", "/t/below/usr-9"),
        as_account("usr-1", "/t/apps"),
    ]
}

#[test]
fn one_line_a_request_and_each_upstream_request_has_exactly_one_permitted_line() {
    let lab = Lab::start();
    let mut sent = 0;
    let mut client = lab.gateway.client();
    let requests = mixed(&lab);
    sent += 1; // the login that made the token
    for _ in 0..4 {
        for request in &requests {
            client.send(request);
            sent += 1;
        }
        let mut broken = lab.gateway.client();
        broken.write(b"GET / HTTP/1.1\r\nHost: gateway.local\r\nbad line\r\n\r\n");
        broken.read();
        sent += 1;
    }
    let lines = lab.gateway.access_lines(sent);
    assert_eq!(lines.len(), sent);
    let by_id: BTreeMap<String, &Line> = lines.iter().map(|line| (line.text("request_id"), line)).collect();
    assert_eq!(by_id.len(), sent, "a request id stands twice");
    let seen = lab.upstream.seen();
    assert_eq!(seen.len(), 4 * 7, "the requests of the mix that are permitted");
    for request in &seen {
        let line = by_id.get(&request.request_id()).unwrap_or_else(|| panic!("an orphan: {request:?}"));
        let path = request.target.split('?').next().expect("a path");
        line.assert(&[("outcome", "permitted"), ("method", &request.method), ("path", path), ("upstream", "lab")]);
        line.assert(&[
            ("account", &request.all("x-auth-account").concat()),
            ("role", &request.all("x-auth-role").concat()),
        ]);
    }
    let forwarded = lines.iter().filter(|line| !line.text("upstream_status").is_empty()).count();
    assert_eq!(forwarded, seen.len());
}

#[test]
fn counters_name_realm_route_role_outcome_and_reason() {
    let lab = Lab::start();
    for _ in 0..3 {
        lab.call(&as_account("alice", "/orders/1")).assert_ok();
        lab.call(&as_account("alice", "/admin/users")).assert_denied(403, "1002", "role_forbidden");
    }
    lab.call(&as_account("res-7", "/t/below/nobody")).assert_denied(403, "1002", "scope_forbidden");
    lab.call(&get("/nope")).assert_denied(404, "404", "route_not_found");
    let expected = [
        (
            "portcullis_requests_total",
            vec![("realm", "lab"), ("route", "orders"), ("role", "user"), ("outcome", "permitted")],
            3.0,
        ),
        (
            "portcullis_requests_total",
            vec![("realm", "lab"), ("route", "admin"), ("role", "user"), ("outcome", "denied")],
            3.0,
        ),
        (
            "portcullis_requests_total",
            vec![("realm", "lab"), ("route", "-"), ("role", "-"), ("outcome", "denied")],
            1.0,
        ),
        (
            "portcullis_requests_total",
            vec![("realm", "tree"), ("route", "below"), ("role", "reseller"), ("outcome", "denied")],
            1.0,
        ),
        ("portcullis_requests_total", vec![], 8.0),
        ("portcullis_denials_total", vec![("realm", "lab"), ("reason", "role_forbidden")], 3.0),
        ("portcullis_denials_total", vec![("realm", "tree"), ("reason", "scope_forbidden")], 1.0),
        ("portcullis_denials_total", vec![("realm", "lab"), ("reason", "route_not_found")], 1.0),
        ("portcullis_upstream_requests_total", vec![("upstream", "lab")], 3.0),
        ("portcullis_request_duration_seconds_count", vec![("realm", "lab"), ("route", "orders")], 3.0),
    ];
    // A request is counted after its answer has left.
    for (name, labels, value) in expected {
        let mut last = f64::NAN;
        let reached = |last: &mut f64| {
            *last = lab.gateway.metrics().sum(name, &labels);
            (*last >= value).then_some(())
        };
        eventually(&format!("{name} {labels:?} reaches {value}"), PATIENCE, || reached(&mut last));
        assert!((last - value).abs() < f64::EPSILON, "{name} {labels:?} is {last}");
    }
    let revision = lab.gateway.admin_get("/policy").json()["revision"].as_str().expect("a revision").to_owned();
    let metrics = lab.gateway.metrics();
    assert!((metrics.sum("portcullis_policy_info", &[("revision", &revision)]) - 1.0).abs() < f64::EPSILON);
    assert!(metrics.sum("portcullis_build_info", &[]) > 0.0);
}

/// Traffic whose paths, methods, names and headers are random, in a fixed row of kinds so that every label value
/// that can come up has come up after one round.
fn random_request(kind: usize, random: &mut Random, token: &str) -> Request {
    let word = random.word(24);
    match kind % 14 {
        0 => get(&format!("/{word}/{word}?{word}={word}")),
        1 => request(&word.to_ascii_uppercase(), &format!("/{word}")),
        2 => get("/public/ping").header(&format!("X-{word}"), &word).header("User-Agent", &word),
        3 => get("/orders/1").basic(&word, &word),
        4 => get("/orders/1").token(&word),
        5 => get(&format!("/orders?customer_id={word}")).token(token),
        6 => get(&format!("/public/{word}/{word}")),
        7 => as_account("usr-1", "/t/apps").header("X-App-Type", &word),
        8 => request(random.pick(&["DELETE", "PUT", "PATCH"]), &format!("/orders/{word}")),
        9 => get(&format!("/t/{word}")),
        10 => get(&format!("/public/%zz{word}")),
        11 => post("/login")
            .header("X-Api-Id", &format!("{word} {word}"))
            .json(&json!({ "email": word, "password": word })),
        12 => get(&format!("/orders/{word}")).header("Authorization", &format!("{word} {word}")),
        _ => get(&format!("/orders/{word}")).token(token),
    }
}

fn send_random(lab: &Lab, client: &mut Client, request: &Request) -> Response {
    match client.try_send(request) {
        Ok(response) => response,
        Err(Broken::Closed) => {
            *client = lab.gateway.client();
            client.send(request)
        }
        Err(broken) => panic!("{}: {broken:?}", request.line()),
    }
}

#[test]
fn two_thousand_random_requests_add_no_series() {
    let lab = Lab::start();
    let token = lab.token("alice");
    let mut random = Random::announced("two_thousand_random_requests_add_no_series");
    let mut client = lab.gateway.client();
    let unknown = |random: &mut Random| {
        let name = random.word(12);
        post("/login")
            .header("X-Api-Id", "ak_root")
            .json(&json!({ "email": format!("{name}@{name}.example"), "password": name }))
    };
    let series = |lab: &Lab| lab.gateway.metrics().series().into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    for kind in 0..28 {
        send_random(&lab, &mut client, &random_request(kind, &mut random, &token));
    }
    send_random(&lab, &mut client, &unknown(&mut random)).assert_denied(401, "1002", "login_failed");
    lab.gateway.access_lines(30);
    let before = eventually("the counters have settled", PATIENCE, || {
        Some(series(&lab)).filter(|_| lab.gateway.metrics().sum("portcullis_requests_total", &[]) >= 30.0)
    });
    let mut statuses = BTreeSet::new();
    for kind in 0..2000 {
        statuses.insert(send_random(&lab, &mut client, &random_request(kind, &mut random, &token)).status);
    }
    for _ in 0..5 {
        send_random(&lab, &mut client, &unknown(&mut random));
    }
    assert!(statuses.len() >= 6, "{statuses:?}");
    eventually("all are counted", PATIENCE, || {
        (lab.gateway.metrics().sum("portcullis_requests_total", &[]) >= 2035.0).then_some(())
    });
    let after = series(&lab);
    let added: Vec<_> = after.difference(&before).collect();
    assert!(added.is_empty(), "{} new series: {added:?}", added.len());
}

#[test]
fn admin_listener_tells_life_readiness_and_policy() {
    let lab = lab();
    assert_eq!(lab.gateway.admin_get("/livez").status, 200);
    let ready = lab.gateway.admin_get("/readyz").assert_ok().json();
    assert!(ready.is_object(), "{ready}");
    let degraded = ready["degraded"].as_array().map_or(0, Vec::len);
    assert_eq!(degraded, 0, "{ready}");
    let policy = lab.gateway.admin_get("/policy").assert_ok().json();
    assert!(policy["revision"].as_str().is_some_and(|revision| !revision.is_empty()), "{policy}");
    let files = policy["files"].to_string();
    assert!(files.contains("lab.toml") && files.contains("tree.toml"), "{policy}");
}

#[test]
fn proxy_listener_serves_none_of_the_admin_paths() {
    let lab = lab();
    for path in ["/metrics", "/readyz", "/livez", "/policy"] {
        lab.call(&get(path)).assert_denied(404, "404", "route_not_found");
    }
    lab.call(&login_request("", "alice")).assert_ok();
}
