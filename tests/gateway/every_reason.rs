//! Every reason of the registry, provoked from outside: what the client is told, what the metric counts and what the access
//! line says are one thing. A reason that nobody provokes fails the test.

mod book;

use std::thread;
use std::time::Duration;

use serde_json::json;

use self::book::Book;
use crate::harness::accounts::{Accounts, PASSWORD, key_of};
use crate::harness::client::Client;
use crate::harness::gateway::Gateway;
use crate::harness::jwt::Forgery;
use crate::harness::lab::{Lab, builder, login_request, login_with};
use crate::harness::ports;
use crate::harness::redis::RedisServer;
use crate::harness::request::{Request, get, post, request};
use crate::harness::response::Response;
use crate::harness::upstream::{Step, Upstream, json as answers, raw};
use crate::harness::wait::{PATIENCE, eventually, now_ms};

/// What the laboratory has no route for.
const MORE: &str = r#"
[realm]
name = "more"
base = "/more"
roles = ["administrator", "user"]
schemes = ["basic"]
upstream = "lab"

[quota.hourly]
per = "route"
rate = "1/h"

[[route]]
name = "off"
match = "GET /off"
public = true
enabled = false

[[route]]
name = "away"
match = "GET /away"
public = true
upstream = "away"

[[route]]
name = "broken"
match = "GET /broken"
public = true
upstream = "broken"

[[route]]
name = "well"
match = "GET /well"
public = true
upstream = "well"

[[route]]
name = "silent"
match = "GET /silent"
public = true
timeouts = { read = "200ms" }

[[route]]
name = "once"
match = "GET /once"
public = true
quotas = ["hourly"]

[[route]]
name = "small"
match = "POST /small"
public = true
body_size = "1KiB"
"#;

#[test]
fn every_reason_is_provoked_and_says_the_same_to_client_metric_and_log() {
    let mut book = Book::of_the_binary();
    let lab = whole_lab();
    credentials(&mut book, &lab);
    rules(&mut book, &lab);
    forms(&mut book, &lab);
    upstreams(&mut book, &lab);
    own_faults(&mut book, &lab);
    outages(&mut book, &lab.token("alice"));
    crowd(&mut book);
    assert_eq!(book.missing(), [""; 0], "reasons that were not provoked");
}

/// A gateway before an upstream that answers as its path says.
fn whole_lab() -> Lab {
    let upstream = Upstream::scripted(|seen| match seen.target.as_str() {
        "/more/silent" => vec![Step::Silence],
        "/public/noise" => raw(b"\x00\x01 this is no HTTP\r\n\r\n"),
        _ => answers(200, "{}"),
    });
    // A second name for it, so that no connection of the first is taken.
    let address = upstream.address();
    let accounts = Accounts::lab().suspend("res-8").credential("ak_over", "alice", "not_after = 2020-01-01T00:00:00Z");
    Lab::before(upstream, |builder| {
        builder
            .accounts(&accounts)
            .policy("more", MORE)
            .upstream("away", ports::refusing())
            .upstream_with(
                "broken",
                ports::refusing(),
                "breaker = { failures = 1, within = \"1m\", open_for = \"1h\" }",
            )
            .upstream("well", address)
            .lockout("attempts = 3\nnetwork_attempts = 100000\nwithin = \"15m\"")
            .limits("header_timeout = \"500ms\"\n")
    })
}

fn by(account: &str, request: Request) -> Request {
    let id = format!("ak_{account}");
    let key = key_of(&id);
    request.basic(&id, &key)
}

/// Who calls.
fn credentials(book: &mut Book, lab: &Lab) {
    let token = lab.token("alice");
    let order = || get("/orders/1");
    book.provoke(lab, "header_missing", &order());
    book.provoke(lab, "header_invalid", &order().header("Authorization", "Bearer x"));
    book.provoke(lab, "credential_invalid", &order().basic("ak_alice", "wrong"));
    book.provoke(lab, "credential_expired", &by("over", order()));
    let past = now_ms() / 1000 - 10;
    let over = Forgery::of(&token).with_claim("iat", json!(past - 1200)).with_claim("exp", json!(past)).sign();
    book.provoke(lab, "token_expired", &order().token(&over));
    book.provoke(lab, "token_invalid", &order().token("no.to.ken"));
    let ended = lab.login("alice");
    lab.call(&post("/logout").token(&ended)).assert_ok();
    book.provoke(lab, "token_revoked", &order().token(&ended));
    book.provoke(lab, "login_failed", &login_with("", "alice", "wrong"));
    book.provoke(lab, "validation_failed", &post("/login").header("X-Api-Id", "ak_alice").json(&json!({ "email": 1 })));
    book.provoke(lab, "account_suspended", &by("usr-9", get("/t/list")));
    for _ in 0..3 {
        lab.call(&order().basic("ak_bob", "wrong")).assert_denied(401, "401", "credential_invalid");
    }
    book.provoke(lab, "locked_out", &by("bob", order()));
}

/// What the policy says.
fn rules(book: &mut Book, lab: &Lab) {
    book.provoke(lab, "role_forbidden", &by("alice", get("/admin/users")));
    book.provoke(lab, "scope_forbidden", &by("alice", get("/orders?customer_id=bob")));
    book.provoke(lab, "route_not_found", &get("/nope"));
    book.provoke(lab, "method_not_allowed", &request("DELETE", "/orders/1"));
    book.provoke(lab, "route_disabled", &get("/more/off"));
    lab.call(&get("/more/once")).assert_ok();
    book.provoke(lab, "quota_exceeded", &get("/more/once"));
    let apps = || by("usr-1", get("/t/apps"));
    book.provoke(lab, "app_type_missing", &apps());
    book.provoke(lab, "app_type_not_string", &apps().header("X-App-Type", "vc").header("X-App-Type", "wb"));
    book.provoke(lab, "app_type_unknown", &apps().header("X-App-Type", "chess"));
}

/// What a request looks like.
fn forms(book: &mut Book, lab: &Lab) {
    book.provoke(lab, "request_malformed", &get("/public/../admin"));
    book.provoke(lab, "uri_too_long", &get(&format!("/public/{}", "a".repeat(9 * 1024))));
    book.provoke(lab, "headers_too_large", &get("/public/a").header("X-A", &"a".repeat(40 * 1024)));
    book.provoke(lab, "body_too_large", &post("/more/small").body(&[b'x'; 1025]));
    book.provoke_by(&lab.gateway, "request_timeout", || {
        let mut client = lab.gateway.client();
        client.write(b"GET /public/a HTTP/1.1\r\nHost: gate");
        client.read()
    });
}

/// What lies behind.
fn upstreams(book: &mut Book, lab: &Lab) {
    book.provoke(lab, "upstream_unreachable", &get("/more/away"));
    book.provoke(lab, "upstream_invalid", &get("/public/noise"));
    book.provoke(lab, "upstream_timeout", &get("/more/silent"));
    lab.call(&get("/more/broken")).assert_denied(502, "502", "upstream_unreachable");
    book.provoke(lab, "upstream_unavailable", &get("/more/broken"));
}

/// A gateway that may open no file and no socket more cannot reach an upstream, and no upstream is to blame.
fn own_faults(book: &mut Book, lab: &Lab) {
    book.provoke_by(&lab.gateway, "internal", || {
        // Its connection is accepted before the descriptors run out.
        let mut client = lab.gateway.client();
        client.send(&get("/nope")).assert_denied(404, "404", "route_not_found");
        let before = lab.gateway.limit_files(Some(1));
        let response = client.send(&get("/more/well"));
        lab.gateway.limit_files(before);
        response
    });
    lab.call(&get("/more/well")).assert_ok();
}

/// Store and directory are one Redis that dies: what the gateway has not seen before can be told by nobody.
fn outages(book: &mut Book, foreign: &str) {
    let mut redis = RedisServer::start();
    let gateway = builder()
        .accounts(&Accounts::none())
        .store(&redis.url())
        .directory("url = \"redis:\"")
        .upstream("lab", ports::refusing())
        .start();
    redis.kill();
    book.provoke_by(&gateway, "store_unavailable", || gateway.call(&get("/orders/1").token(foreign)));
    book.provoke_by(&gateway, "directory_unavailable", || gateway.call(&by("alice", get("/orders/1"))));
}

/// More logins than the queue before the password checks holds. Each takes long, so that the queue stays full.
fn crowd(book: &mut Book) {
    let mut accounts = Accounts::lab();
    accounts = accounts.change("alice", |alice| alice.password = slow_record());
    let lab = Lab::with(|builder| builder.accounts(&accounts).server("threads = 2\n"));
    book.provoke_some(&lab.gateway, "overloaded", || {
        let mut waiting: Vec<Client> = Vec::new();
        let refused = eventually("the queue is full", PATIENCE * 2, || {
            for _ in 0..8 {
                let mut client = lab.gateway.client().patience(Duration::from_millis(1));
                client.write(&login_request("", "alice").bytes());
                waiting.push(client);
            }
            thread::sleep(Duration::from_millis(20));
            waiting.iter_mut().find_map(|client| client.try_read(false).ok().filter(|response| response.status == 503))
        });
        waiting.into_iter().for_each(Client::leave);
        refused
    });
}

/// A record of the password that takes some tenths of a second to check.
fn slow_record() -> String {
    use argon2::{Algorithm, Argon2, CustomizedPasswordHasher as _, Params, Version};
    let params = Params::new(65_536, 4, 1, None).expect("costs that argon2 takes");
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    argon2.hash_password_with_params(PASSWORD.as_bytes(), b"a salt for tests", params).expect("a hash").to_string()
}

impl Book {
    /// A plain request on a connection of its own.
    #[track_caller]
    fn provoke(&mut self, lab: &Lab, reason: &str, request: &Request) {
        self.provoke_by(&lab.gateway, reason, || lab.call(request));
    }

    /// Exactly one refusal.
    #[track_caller]
    fn provoke_by(&mut self, gateway: &Gateway, reason: &str, provoke: impl FnOnce() -> Response) {
        assert_eq!(self.provoke_some(gateway, reason, provoke), 1, "{reason} was counted otherwise");
    }
}
