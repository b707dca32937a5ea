//! No secret, token, key or password in any log, at any level (contract section 11).

use serde_json::json;

use crate::harness::accounts::{PASSWORD, email, key_of};
use crate::harness::builder::SECRET;
use crate::harness::lab::{Lab, builder, login_request};
use crate::harness::ports;
use crate::harness::redis::RedisServer;
use crate::harness::request::{Request, basic_value, get, post};

/// Room for a busy machine: none of these tests is about how long the store may take.
const BUDGET: &str = "budget = \"1s\"";

const WRONG_KEY: &str = "a-wrong-key-that-is-still-a-secret";
const WRONG_PASSWORD: &str = "a wrong password that is still a secret";

/// Requests that carry secrets wherever a client may put them, right and wrong ones.
fn telling(token: &str) -> Vec<Request> {
    let key = key_of("ak_alice");
    let login = |body: &str| {
        post("/login").header("X-Api-Id", "ak_alice").header("Content-Type", "application/json").body(body.as_bytes())
    };
    vec![
        get("/orders/1").token(token),
        get("/verbatim/1").token(token),
        get("/admin/users").token(token),
        get("/orders/1").token(&format!("{token}.{token}")),
        get("/orders/1").header("Authorization", &format!("Bearer {token}")),
        get("/orders/1").header("Authorization", token),
        get(&format!("/orders/1?token={token}&key={WRONG_KEY}")).token(token),
        get(&format!("/orders/1?token={token}")),
        get("/orders/1").basic("ak_alice", &key),
        get("/orders/1").basic("ak_alice", WRONG_KEY),
        get("/orders/1").basic("ak_nobody", WRONG_KEY),
        get("/orders/1").header("Authorization", &format!("Basic {}!", basic_value("ak_alice", WRONG_KEY))),
        get("/orders/1").header("Cookie", &format!("token={token}")).token(token).token(token),
        login(&json!({ "email": email("alice"), "password": WRONG_PASSWORD }).to_string()),
        login(&format!(r#"{{"email":"{}","password":"{WRONG_PASSWORD}""#, email("alice"))),
        login(&format!(r#"{{"email":7,"password":"{WRONG_PASSWORD}"}}"#)),
        login(&format!(r#"{{"email":"a@b.example","password":["{WRONG_PASSWORD}"]}}"#)),
        post("/logout").token(token),
        get("/orders/1").token(token),
    ]
}

#[track_caller]
fn assert_free_of_secrets(what: &str, text: &str, token: &str) {
    let signature = token.rsplit('.').next().expect("three parts");
    let secrets = [
        ("the token", token.to_owned()),
        ("the token's signature", signature.to_owned()),
        ("the API key", key_of("ak_alice")),
        ("the Basic value", basic_value("ak_alice", &key_of("ak_alice"))),
        ("a wrong key", WRONG_KEY.to_owned()),
        ("a wrong Basic value", basic_value("ak_alice", WRONG_KEY)),
        ("the password", PASSWORD.to_owned()),
        ("a wrong password", WRONG_PASSWORD.to_owned()),
        ("the token key", SECRET.to_owned()),
        ("a password record", "$argon2id$".to_owned()),
    ];
    for (name, secret) in secrets {
        let found = text.lines().find(|line| line.contains(&secret));
        assert!(found.is_none(), "{name} stands in {what}: {found:?}");
    }
}

#[test]
fn no_secret_reaches_a_log_even_at_trace() {
    let redis = RedisServer::start();
    let lab = Lab::with(|builder| builder.server("log = \"trace\"").store_with(&redis.url(), BUDGET));
    let token = lab.login("alice");
    let requests = telling(&token);
    for request in &requests {
        lab.call(request);
    }
    lab.gateway.access_lines(requests.len() + 1);
    assert!(!lab.gateway.stderr().is_empty());
    assert_free_of_secrets("the access log", &lab.gateway.stdout(), &token);
    assert_free_of_secrets("the operational log", &lab.gateway.stderr(), &token);
    for path in ["/metrics", "/policy", "/readyz"] {
        assert_free_of_secrets(path, &lab.gateway.admin_get(path).text(), &token);
    }
}

#[test]
fn no_secret_reaches_a_log_when_store_and_upstream_fail() {
    let mut redis = RedisServer::start();
    let refusing = ports::refusing();
    let gateway =
        builder().server("log = \"trace\"").store_with(&redis.url(), BUDGET).upstream("lab", refusing).start();
    let login = gateway.call(&login_request("", "alice")).assert_ok().json();
    let token = login["token"].as_str().expect("a token");
    for request in [get("/verbatim/1").token(token), get("/orders/1").basic("ak_alice", &key_of("ak_alice"))] {
        assert_eq!(gateway.call(&request).status, 502);
    }
    redis.kill();
    let requests = telling(token);
    for request in &requests {
        gateway.call(request);
    }
    gateway.call(&login_request("", "alice"));
    gateway.access_lines(requests.len() + 4);
    assert_free_of_secrets("the access log", &gateway.stdout(), token);
    assert_free_of_secrets("the operational log", &gateway.stderr(), token);
}

#[test]
fn printed_configuration_is_redacted() {
    let refusing = ports::refusing();
    let exit = builder().upstream("lab", refusing).verb(&["check", "-c", "gateway.toml", "--print"]);
    assert_eq!(exit.code, 0, "{exit:?}");
    assert!(exit.stdout.contains("portcullis"), "{exit:?}");
    for text in [&exit.stdout, &exit.stderr] {
        assert!(!text.contains(SECRET) && !text.contains("$argon2id$"), "{text}");
    }
}
