//! Login and logout, which the gateway answers itself (contract section 4).

use serde_json::{Value, json};

use crate::harness::accounts::{Accounts, PASSWORD, api_id, email, key_of};
use crate::harness::jwt::Forgery;
use crate::harness::lab::{Held, Lab, Shared, login_request};
use crate::harness::request::{Request, get, post};
use crate::harness::wait::{PATIENCE, eventually};

static LAB: Shared = Shared::new();

/// The tree, a suspended account and an API id whose time is over.
fn lab() -> Held {
    LAB.hold(|| {
        let accounts = Accounts::lab().with("gone", "user", Some("root")).suspend("gone");
        let accounts = accounts.credential("ak_past", "root", "not_after = 2020-01-01T00:00:00Z");
        Lab::with(|builder| builder.accounts(&accounts))
    })
}

fn attempt(base: &str, tenant: &str, email: &str, password: &str) -> Request {
    post(&format!("{base}/login")).header("X-Api-Id", tenant).json(&json!({ "email": email, "password": password }))
}

/// A login of alice with this body under this content type.
fn body(content_type: &str, text: &str) -> Request {
    post("/login").header("X-Api-Id", "ak_alice").header("Content-Type", content_type).body(text.as_bytes())
}

fn credentials_and(more: &str) -> String {
    format!(r#"{{"email":"{}","password":"{PASSWORD}"{more}}}"#, email("alice"))
}

#[test]
fn login_answers_with_a_token_that_opens_a_route_and_names_the_user() {
    let lab = lab();
    let response = lab.call(&login_request("", "alice")).assert_ok();
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert!(response.header("content-type").is_some_and(|value| value.starts_with("application/json")), "{response}");
    let body = response.json();
    assert_eq!(body["result"], "1");
    assert_eq!(body["expires_in"], 1200);
    assert_eq!(
        body["user"],
        json!({ "user_id": "alice", "role": "user", "customer_id": null, "email": email("alice") })
    );
    let token = body["token"].as_str().expect("a token");
    lab.call(&get("/orders/1").token(token)).assert_ok();
}

#[test]
fn login_names_the_customer_that_a_user_belongs_to() {
    let user = lab().call(&login_request("/t", "usr-1")).assert_ok().json()["user"].clone();
    assert_eq!(user, json!({ "user_id": "usr-1", "role": "user", "customer_id": "cus-42", "email": email("usr-1") }));
}

#[test]
fn token_carries_the_claims_of_the_contract_and_a_fresh_id() {
    let lab = lab();
    let token = Forgery::of(&lab.login("alice"));
    assert_eq!(
        (token.head("alg"), token.head("typ"), token.head("kid")),
        (&json!("HS256"), &json!("JWT"), &json!("lab"))
    );
    assert_eq!(token.claim("iss"), "portcullis");
    assert_eq!(token.claim("aud"), "lab");
    assert_eq!(token.claim("sub"), "alice");
    assert_eq!(token.claim("role"), "user");
    assert!(!token.claim("lineage").is_null());
    assert_eq!(token.number("exp") - token.number("iat"), 1200);
    let again = Forgery::of(&lab.login("alice"));
    assert_ne!(token.jti(), again.jti());
    assert!(token.jti().len() >= 16, "128 random bits do not fit into {}", token.jti());
}

#[test]
fn email_is_compared_without_case_and_never_trimmed() {
    let lab = lab();
    lab.call(&attempt("", "ak_alice", "ALICE@Lab.Example", PASSWORD)).assert_ok();
    for spelling in [
        " alice@lab.example",
        "alice@lab.example ",
        "al\u{131}ce@lab.example",
        "alice@lab.example.",
        "alice@lab.example\0",
    ] {
        let response = lab.call(&attempt("", "ak_alice", spelling, PASSWORD));
        assert!([401, 406].contains(&response.status), "{spelling:?}: {response}");
    }
}

#[test]
fn unknown_email_and_wrong_password_are_the_same_bytes() {
    let lab = lab();
    let unknown = lab.call(&attempt("", "ak_root", "nobody@lab.example", PASSWORD));
    let wrong = lab.call(&attempt("", "ak_root", &email("alice"), "not the password"));
    unknown.assert_denied(401, "1002", "login_failed");
    wrong.assert_challenges("lab", false);
    assert_eq!(unknown.fingerprint(), wrong.fingerprint());
}

#[test]
fn tenant_that_is_unknown_expired_suspended_or_elsewhere_is_login_failed_with_the_same_bytes() {
    let lab = lab();
    let expected = lab.call(&attempt("/t", "ak_root", "nobody@lab.example", PASSWORD));
    expected.assert_denied(401, "1002", "login_failed");
    let cases = [
        ("ak_nobody", "usr-1"),
        ("ak_past", "usr-1"),
        ("ak_res-8", "usr-1"),
        ("ak_usr-2", "usr-1"),
        ("ak_gone", "gone"),
    ];
    for (tenant, account) in cases {
        let response = lab.call(&attempt("/t", tenant, &email(account), PASSWORD));
        assert_eq!(response.fingerprint(), expected.fingerprint(), "{tenant} for {account}");
    }
    lab.call(&attempt("/t", "ak_res-7", &email("usr-1"), PASSWORD)).assert_ok();
}

#[test]
fn suspended_user_gets_no_token() {
    let response = lab().call(&attempt("", "ak_root", &email("gone"), PASSWORD));
    assert!([401, 403].contains(&response.status), "{response}");
    assert_eq!(response.json()["token"], Value::Null);
    assert_eq!(response.json()["result"], "1002");
}

#[test]
fn missing_x_api_id_is_header_missing() {
    let request = post("/login").json(&json!({ "email": email("alice"), "password": PASSWORD }));
    lab().call(&request).assert_denied(400, "400", "header_missing");
}

#[test]
fn x_api_id_of_bad_grammar_is_header_invalid() {
    let lab = lab();
    for id in ["ak alice", "ak/alice", "ak_al\"ice", "*", &"a".repeat(65)] {
        let response = lab.call(&attempt("", id, &email("alice"), PASSWORD));
        response.assert_denied(401, "401", "header_invalid");
        response.assert_challenges("lab", false);
    }
}

#[test]
fn login_body_that_is_not_the_one_object_is_validation_failed() {
    let lab = lab();
    let bodies = [
        "",
        "{}",
        "[]",
        "null",
        "\"alice\"",
        r#"{"email":"alice@lab.example"}"#,
        r#"{"password":"x"}"#,
        r#"{"email":"alice@lab.example","password":null}"#,
        r#"{"email":"alice@lab.example","password":{"$ne":null}}"#,
        r#"{"email":["alice@lab.example"],"password":"x"}"#,
        r#"{"email":1,"password":"x"}"#,
        r#"{"email":"alice@lab.example","password":"x""#,
        r#"{"email":"alice@lab.example","password":"x"} {}"#,
        r#"{"email":"alice@lab.example","email":"root@lab.example","password":"x"}"#,
        r#"{"email":"alice@lab.example","password":"y","password":"x"}"#,
    ];
    for text in bodies {
        let response = lab.call(&body("application/json", text));
        assert_eq!(response.status, 406, "{text}: {response}");
        response.assert_denied(406, "406", "validation_failed");
    }
}

#[test]
fn login_under_another_content_type_is_validation_failed() {
    let lab = lab();
    let right = credentials_and("");
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "text/json"] {
        lab.call(&body(content_type, &right)).assert_denied(406, "406", "validation_failed");
    }
    let none = post("/login").header("X-Api-Id", "ak_alice").body(right.as_bytes());
    lab.call(&none).assert_denied(406, "406", "validation_failed");
    lab.call(&body("application/json", &right)).assert_ok();
}

#[test]
fn login_body_over_8_kib_is_refused() {
    let lab = lab();
    let padding = |length: usize| credentials_and(&format!(r#","padding":"{}""#, "x".repeat(length)));
    lab.call(&body("application/json", &padding(7 * 1024))).assert_ok();
    let response = lab.call(&body("application/json", &padding(9 * 1024)));
    match response.status {
        413 => response.assert_denied(413, "413", "body_too_large"),
        _ => response.assert_denied(406, "406", "validation_failed"),
    }
}

#[test]
fn unknown_members_choose_nothing() {
    let text = credentials_and(r#","jti":"x","sid":"x","role":"administrator","sub":"root","expires_in":999999"#);
    let response = lab().call(&body("application/json", &text)).assert_ok();
    let token = Forgery::of(response.json()["token"].as_str().expect("a token"));
    assert_eq!((token.claim("role"), token.claim("sub")), (&json!("user"), &json!("alice")));
    assert_ne!(token.jti(), "x");
    assert_eq!(token.number("exp") - token.number("iat"), 1200);
}

#[test]
fn logged_out_token_is_revoked_at_once_on_old_and_new_connections() {
    let lab = lab();
    let (token, other) = (lab.login("alice"), lab.login("alice"));
    let mut old = lab.gateway.client();
    old.send(&get("/orders/1").token(&token)).assert_ok();
    let logout = post("/logout").token(&token);
    let response = lab.call(&logout).assert_ok();
    assert_eq!(response.json(), json!({ "result": "1" }));
    for _ in 0..5 {
        old.send(&get("/orders/1").token(&token)).assert_denied(401, "1001", "token_revoked");
        lab.call(&get("/orders/1").token(&token)).assert_denied(401, "1001", "token_revoked");
    }
    lab.call(&logout).assert_denied(401, "1001", "token_revoked");
    lab.call(&get("/orders/1").token(&other)).assert_ok();
}

#[test]
fn logout_takes_a_token_only() {
    let lab = lab();
    lab.call(&post("/logout")).assert_denied(400, "400", "header_missing");
    let id = api_id("alice");
    let response = lab.call(&post("/logout").basic(&id, &key_of(&id)));
    response.assert_denied(401, "401", "header_invalid");
}

#[test]
fn login_reaches_no_upstream() {
    let lab = lab();
    lab.login("alice");
    assert!(!lab.upstream.saw_target("/login"));
    assert!(!lab.upstream.saw_target("/t/login"));
}

#[test]
fn password_checks_run_behind_requests_and_their_relief_at_a_low_priority() {
    const SCHED_OTHER: u32 = 0;
    const SCHED_IDLE: u32 = 5;
    let lab = Lab::with(|builder| builder);
    let of = |name: &str| {
        eventually("its thread has its place", PATIENCE, || {
            let threads = lab.gateway.threads();
            let (_, nice, policy) = threads.into_iter().find(|(known, ..)| known == name)?;
            (nice, policy).ne(&(0, SCHED_OTHER)).then_some((nice, policy))
        })
    };
    assert_eq!(of("password").1, SCHED_IDLE);
    assert_eq!(of("password-relief"), (10, SCHED_OTHER));
    let requests = lab.gateway.threads().into_iter().find(|(name, ..)| name == "gateway");
    assert_eq!(requests.map(|(_, nice, policy)| (nice, policy)), Some((0, SCHED_OTHER)));
}
