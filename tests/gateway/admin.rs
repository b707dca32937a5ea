//! The admin listener and the verbs that ask it: sessions, revocations, credentials, lock-outs, and who may ask
//! (contract section 10).

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::accounts::key_of;
use crate::harness::client::Client;
use crate::harness::gateway::Gateway;
use crate::harness::jwt::Forgery;
use crate::harness::lab::{Held, Lab, Shared, builder, login};
use crate::harness::ports;
use crate::harness::redis::RedisServer;
use crate::harness::request::{get, post, request};
use crate::harness::response::Response;
use crate::harness::wait::{PATIENCE, eventually, now_ms};

static LAB: Shared = Shared::new();

/// These tests are not about the time that the store may take, and share their machine.
const PATIENT: &str = "budget = \"2s\"";

/// For tests that change nothing.
fn lab() -> Held {
    LAB.hold(Lab::start)
}

fn jti(token: &str) -> String {
    Forgery::of(token).jti()
}

fn call(gateway: &Gateway, token: &str) -> Response {
    gateway.call(&get("/orders/1").token(token))
}

#[track_caller]
fn revoke(gateway: &Gateway, body: &Value) -> bool {
    let answer = gateway.admin_json("POST", "/revocations", body).assert_ok().json();
    answer["revoked"].as_bool().unwrap_or_else(|| panic!("no answer: {answer}"))
}

#[test]
fn sessions_of_an_account_are_listed_and_end_one_by_one() {
    let lab = Lab::start();
    let before = now_ms();
    let (first, second, other) = (lab.login("alice"), lab.login("alice"), lab.login("bob"));
    let rows = lab.gateway.admin_get("/sessions?account=alice").assert_ok().json();
    let listed: Vec<&str> = rows.as_array().unwrap().iter().map(|row| row["jti"].as_str().unwrap()).collect();
    assert_eq!(listed, [jti(&first), jti(&second)], "oldest first, and nobody else's");
    assert_eq!(rows[0]["account"], "alice");
    let started = rows[0]["started"].as_u64().unwrap();
    assert!((before - 1000..=now_ms() + 1000).contains(&started), "milliseconds: {rows}");
    assert_eq!(rows[0]["expires"].as_u64(), Some(Forgery::of(&first).number("exp")), "seconds, as in the token");
    for token in [&first, &second, &other] {
        call(&lab.gateway, token).assert_ok();
    }
    assert!(revoke(&lab.gateway, &json!({ "jti": jti(&first) })));
    call(&lab.gateway, &first).assert_denied(401, "1001", "token_revoked");
    call(&lab.gateway, &second).assert_ok();
    assert!(!revoke(&lab.gateway, &json!({ "jti": jti(&first) })), "it was over already");
    let rows = lab.gateway.admin_get("/sessions?account=alice").assert_ok().json();
    assert_eq!(rows.as_array().map(Vec::len), Some(1), "{rows}");
}

#[test]
fn account_and_subtree_are_revoked_for_those_whom_they_name() {
    let lab = Lab::start();
    let token = |account: &str| login(&lab.gateway, "/t", account);
    let call = |token: &str| lab.call(&get("/t/subtree/usr-1").token(token)).status;
    let tokens = ["root", "res-7", "cus-42", "usr-1"].map(token);
    assert_eq!(tokens.each_ref().map(|token| call(token)), [200; 4]);
    assert!(revoke(&lab.gateway, &json!({ "account": "res-7" })));
    assert_eq!(tokens.each_ref().map(|token| call(token)), [200, 401, 200, 200], "none below");
    assert!(revoke(&lab.gateway, &json!({ "subtree": "cus-42" })));
    assert_eq!(tokens.each_ref().map(|token| call(token)), [200, 401, 401, 401]);
    assert_eq!(call(&token("usr-1")), 200, "a new login is a new session");
    let metrics = lab.gateway.metrics();
    for by in ["account", "subtree"] {
        assert!(metrics.sum("portcullis_tokens_revoked_total", &[("by", by)]) >= 1.0, "{by}");
    }
}

#[test]
fn account_that_nobody_knows_is_404_and_bad_questions_are_400() {
    let lab = lab();
    lab.gateway.admin_get("/sessions?account=nobody").assert_status(404);
    for path in ["/sessions", "/sessions?account=", "/sessions?account=a&account=b", "/sessions?account=a%20b"] {
        let response = lab.gateway.admin_get(path);
        assert_eq!(response.status, 400, "{path}: {response}");
        assert!(response.json()["error"].is_string());
    }
    for (body, status) in [
        (json!({ "account": "nobody" }), 404),
        (json!({ "subtree": "nobody" }), 404),
        (json!({}), 400),
        (json!({ "account": "alice", "jti": "x" }), 400),
        (json!({ "jti": "a b" }), 400),
        (json!({ "everybody": "alice" }), 400),
        (json!([]), 400),
    ] {
        let response = lab.gateway.admin_json("POST", "/revocations", &body);
        assert_eq!(response.status, status, "{body}: {response}");
    }
    let keys = json!({ "keys": ["account:cus-42", "portcullis:email:a@b.c"] });
    lab.gateway.admin_json("POST", "/directory/changes", &keys).assert_ok();
    lab.gateway.admin_json("POST", "/directory/changes", &json!({ "keys": [5] })).assert_status(400);
}

#[test]
fn revocation_reaches_three_gateways_on_one_redis_within_a_second() {
    let redis = RedisServer::start();
    let lab = Lab::with(|builder| builder.store_with(&redis.url(), PATIENT));
    let more = || builder().store_with(&redis.url(), PATIENT).upstream("lab", lab.upstream.address()).start();
    let others = [more(), more()];
    for what in ["jti", "account", "subtree"] {
        let token = lab.login("alice");
        for gateway in [&lab.gateway, &others[0], &others[1]] {
            call(gateway, &token).assert_ok();
        }
        let body = if what == "jti" { json!({ "jti": jti(&token) }) } else { json!({ what: "alice" }) };
        assert!(revoke(&lab.gateway, &body));
        let revoked = now_ms();
        for gateway in [&lab.gateway, &others[0], &others[1]] {
            eventually("the token is refused", Duration::from_secs(5), || {
                let asked = now_ms();
                let response = call(gateway, &token);
                if response.status == 200 {
                    assert!(asked - revoked < 1000, "{what}: permitted {} ms after the revocation", asked - revoked);
                    return None;
                }
                response.assert_denied(401, "1001", "token_revoked");
                Some(())
            });
        }
    }
    // A store with room to lose nothing says so; one that may evict is warned of.
    for (policy, warned) in [("allkeys-lru", true), ("noeviction", false)] {
        redis.command(&["CONFIG", "SET", "maxmemory-policy", policy]);
        let gateway = more();
        eventually(&format!("the warning of {policy}"), PATIENCE, || {
            let ready = gateway.admin_get("/readyz").assert_ok().json();
            let warnings = ready["warnings"].as_array().cloned().unwrap_or_default();
            assert!(warnings.is_empty() || warnings[0].as_str().unwrap().contains("noeviction"), "{ready}");
            (warnings.is_empty() != warned && ready["degraded"] == json!([])).then_some(())
        });
    }
}

#[test]
fn store_that_is_away_is_503_with_retry_after_and_heard_no_more() {
    let mut redis = RedisServer::start();
    let lab = Lab::with(|builder| builder.store_with(&redis.url(), PATIENT));
    eventually("the feed is heard", PATIENCE, || {
        (lab.gateway.metrics().sum("portcullis_feed_up", &[]) > 0.0).then_some(())
    });
    assert_eq!(lab.gateway.admin_get("/readyz").assert_ok().json()["degraded"], json!([]));
    redis.kill();
    let body = json!({ "account": "alice" });
    for response in
        [lab.gateway.admin_get("/sessions?account=alice"), lab.gateway.admin_json("POST", "/revocations", &body)]
    {
        assert_eq!(response.status, 503, "{response}");
        assert_eq!(response.header("retry-after"), Some("1"));
    }
    eventually("the feed is not heard", PATIENCE, || {
        (lab.gateway.metrics().sum("portcullis_feed_up", &[]) == 0.0).then_some(())
    });
    let exit = lab.gateway.verb(&["token", "revoke", "--account", "alice"]);
    assert_eq!((exit.code, exit.stderr.lines().count()), (69, 1), "{exit:?}");
}

#[test]
fn strange_pages_and_wrong_requests_change_nothing() {
    let lab = lab();
    let admin = lab.gateway.admin().to_string();
    let send = |request| Client::connect(lab.gateway.admin()).send(&request);
    let body = json!({ "account": "alice" });
    let token = lab.login("alice");
    send(post("/revocations").host("evil.example").json(&body)).assert_status(421);
    send(post("/revocations").host(&format!("evil.example:{}", lab.gateway.admin().port())).json(&body))
        .assert_status(421);
    let form = post("/revocations").host(&admin).header("Content-Type", "text/plain");
    send(form.body(body.to_string().as_bytes())).assert_status(415);
    send(request("DELETE", "/lockouts").host(&admin)).assert_status(415);
    send(post("/reload").host("evil.example").json(&json!({}))).assert_status(421);
    let long = json!({ "keys": ["x".repeat(70_000)] });
    send(post("/directory/changes").host(&admin).json(&long)).assert_status(413);
    let response = send(get("/reload").host(&admin)).assert_status(405);
    assert_eq!(response.header("allow"), Some("POST"));
    let response = send(post("/sessions").host(&admin).json(&body)).assert_status(405);
    assert_eq!(response.header("allow"), Some("GET, HEAD"));
    let response = send(get("/nowhere")).assert_status(404).json();
    assert!(response["paths"].to_string().contains("POST /revocations"), "{response}");
    call(&lab.gateway, &token).assert_ok();
}

#[test]
fn admin_token_is_asked_for_everything_but_health() {
    const TOKEN: &str = "0123456789abcdef-admin";
    let lab =
        Lab::with(|builder| builder.file("admin-token", TOKEN).server("admin_token = { file = \"admin-token\" }"));
    for path in ["/livez", "/readyz"] {
        lab.gateway.admin_get(path).assert_ok();
    }
    for path in ["/metrics", "/policy", "/sessions?account=alice", "/credentials", "/lockouts"] {
        lab.gateway.admin_get(path).assert_status(401);
        let own = lab.gateway.admin().to_string();
        let with_token = get(path).host(&own).header("Authorization", &format!("Bearer {TOKEN}"));
        Client::connect(lab.gateway.admin()).send(&with_token).assert_ok();
    }
    lab.gateway.admin_get("/nowhere").assert_status(401);
    for path in ["/revocations", "/reload", "/directory/changes"] {
        lab.gateway.admin_json("POST", path, &json!({ "account": "alice" })).assert_status(401);
    }
    lab.gateway.admin_json("DELETE", "/lockouts", &json!({})).assert_status(401);
    // The verbs find it where the settings name it, and say how to give another.
    let exit = lab.gateway.verb(&["token", "list", "--account", "alice"]);
    assert_eq!(exit.code, 0, "{exit:?}");
    std::fs::write(lab.gateway.folder().join("other"), "another-token-of-some-length\n").unwrap();
    let exit = lab.gateway.verb(&["reload", "--wait", "--admin-token-file", "other"]);
    assert_eq!(exit.code, 1, "{exit:?}");
    assert!(exit.stderr.contains("PORTCULLIS_ADMIN_TOKEN") && !exit.stderr.contains("another-token"), "{exit:?}");
}

#[test]
fn token_verbs_list_and_end_sessions() {
    let lab = Lab::start();
    let exit = lab.gateway.verb(&["token", "list", "--account", "alice"]);
    assert_eq!((exit.code, exit.stdout.trim()), (0, "alice has no session"));
    let (first, second) = (lab.login("alice"), lab.login("alice"));
    let exit = lab.gateway.verb(&["token", "list", "--account", "alice"]);
    assert!(exit.stdout.contains(&jti(&first)) && exit.stdout.contains(&jti(&second)), "{exit:?}");
    assert!(exit.stdout.lines().nth(1).is_some_and(|line| line.ends_with('Z')), "times for people: {exit:?}");
    let exit = lab.gateway.verb(&["token", "list", "--account", "alice", "--format", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&exit.stdout).unwrap().as_array().map(Vec::len), Some(2), "{exit:?}");
    let exit = lab.gateway.verb(&["token", "revoke", "--jti", &jti(&first)]);
    assert_eq!(exit.code, 0, "{exit:?}");
    call(&lab.gateway, &first).assert_denied(401, "1001", "token_revoked");
    let exit = lab.gateway.verb(&["token", "revoke", "--jti", &jti(&first)]);
    assert!(exit.code == 0 && exit.stdout.starts_with("nothing to end"), "{exit:?}");
    let exit = lab.gateway.verb(&["token", "revoke", "--subtree", "root", "--format", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&exit.stdout).unwrap(), json!({ "revoked": true }));
    call(&lab.gateway, &second).assert_denied(401, "1001", "token_revoked");
    let exit = lab.gateway.verb(&["token", "revoke", "--account", "nobody"]);
    assert!(exit.code == 1 && exit.stderr.contains("no account `nobody`"), "{exit:?}");
    for words in [&["token", "revoke"][..], &["token", "revoke", "--jti", "a", "--account", "b"]] {
        assert_eq!(lab.gateway.verb(words).code, 64, "{words:?}");
    }
}

#[test]
fn gateway_that_is_not_there_is_exit_69_and_one_line() {
    let nowhere = format!("http://{}", ports::refusing());
    for verb in [
        &["token", "list", "--account", "a"][..],
        &["token", "revoke", "--jti", "a"],
        &["lockout", "list"],
        &["lockout", "clear", "--all"],
        &["reload", "--wait"],
    ] {
        let exit = builder().upstream("lab", ports::refusing()).verb(&[verb, &["--admin", &nowhere]].concat());
        assert_eq!((exit.code, exit.stderr.lines().count()), (69, 1), "{exit:?}");
        assert!(exit.stderr.contains(&nowhere), "{exit:?}");
    }
    // Nobody waits for the last use of a key.
    let exit = builder().upstream("lab", ports::refusing()).verb(&["credential", "list"]);
    assert_eq!(exit.code, 0, "{exit:?}");
}

#[test]
fn last_use_of_a_credential_is_told() {
    let lab = Lab::start();
    assert_eq!(lab.gateway.admin_get("/credentials").assert_ok().json(), json!([]));
    let now = now_ms() / 1000;
    lab.call(&get("/orders/1").basic("ak_alice", &key_of("ak_alice"))).assert_ok();
    let rows = lab.gateway.admin_get("/credentials").assert_ok().json();
    assert_eq!((rows.as_array().map(Vec::len), &rows[0]["id"]), (Some(1), &json!("ak_alice")));
    assert!(rows[0]["last_used"].as_u64().is_some_and(|used| used.abs_diff(now) <= 60), "{rows}");
    let exit = lab.gateway.verb(&["credential", "list", "--format", "json"]);
    let listed: Value = serde_json::from_str(&exit.stdout).unwrap();
    let used: Vec<&Value> = listed.as_array().unwrap().iter().filter(|row| !row["last_used"].is_null()).collect();
    assert_eq!((used.len(), &used[0]["id"]), (1, &json!("ak_alice")), "{exit:?}");
}

#[test]
fn lock_outs_are_listed_and_forgotten() {
    let lab = Lab::start();
    // Attempts of a lab are without number until its settings say otherwise.
    let few = lab.gateway.read_file("gateway.toml").replacen("attempts = 100000", "attempts = 2", 1);
    lab.gateway.replace_file("gateway.toml", &few);
    lab.gateway.admin_json("POST", "/reload", &json!({})).assert_ok();
    for _ in 0..2 {
        lab.call(&get("/orders/1").basic("ak_alice", "wrong")).assert_denied(401, "401", "credential_invalid");
    }
    let right = get("/orders/1").basic("ak_alice", &key_of("ak_alice"));
    lab.call(&right).assert_denied(429, "429", "locked_out");
    let rows = lab.gateway.admin_get("/lockouts").assert_ok().json();
    let pair = rows.as_array().unwrap().iter().find(|row| row["kind"] == "pair").unwrap_or_else(|| panic!("{rows}"));
    assert_eq!(pair["failures"], 2, "{rows}");
    let key = pair["key"].as_str().unwrap();
    assert!(key.contains("ak_alice") && pair["until"].as_u64().unwrap() > 0, "{rows}");
    let exit = lab.gateway.verb(&["lockout", "list"]);
    assert!(exit.code == 0 && exit.stdout.contains(key), "{exit:?}");
    let exit = lab.gateway.verb(&["lockout", "clear", key]);
    assert_eq!(exit.code, 0, "{exit:?}");
    lab.call(&right).assert_ok();
    let exit = lab.gateway.verb(&["lockout", "clear", "--all", "--format", "json"]);
    assert_eq!(exit.code, 0, "{exit:?}");
    assert_eq!(lab.gateway.admin_get("/lockouts").assert_ok().json(), json!([]));
    let response = lab.gateway.admin_json("DELETE", "/lockouts?kye=x", &json!({}));
    assert_eq!(response.status, 400, "a misspelt name must not mean everything: {response}");
}
