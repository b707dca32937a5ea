//! API credentials under the Basic scheme (contract section 4, RFC 7617).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::harness::accounts::{Accounts, key_of};
use crate::harness::lab::{Held, Lab, Shared};
use crate::harness::request::{Request, basic_value, get};

static LAB: Shared = Shared::new();

/// The tree and credentials with limits.
fn lab() -> Held {
    LAB.hold(|| {
        let accounts = Accounts::lab()
            .with("gone", "user", Some("root"))
            .suspend("gone")
            .credential("tree-only", "root", r#"realms = ["tree"]"#)
            .credential("lab-only", "root", r#"realms = ["lab"]"#)
            .credential("over", "alice", "not_after = 2020-01-01T00:00:00Z")
            .credential("early", "alice", "not_before = 2999-01-01T00:00:00Z")
            .credential("current", "alice", "not_before = 2020-01-01T00:00:00Z\nnot_after = 2999-01-01T00:00:00Z");
        Lab::with(|builder| builder.accounts(&accounts))
    })
}

fn as_credential(path: &str, id: &str) -> Request {
    get(path).basic(id, &key_of(id))
}

fn authorization(value: &str) -> Request {
    get("/orders/1").header("Authorization", value)
}

#[test]
fn right_id_and_key_pass_and_say_who_calls() {
    let seen = lab().forwarded(&as_credential("/orders/1", "ak_alice"));
    seen.assert_header("x-auth-account", "alice");
    seen.assert_header("x-auth-scheme", "basic");
    seen.assert_header("x-auth-credential", "ak_alice");
}

#[test]
fn scheme_is_read_without_case() {
    let lab = lab();
    let value = basic_value("ak_alice", &key_of("ak_alice"));
    for scheme in ["basic", "BASIC", "bAsIc"] {
        lab.call(&authorization(&format!("{scheme} {value}"))).assert_ok();
    }
}

#[test]
fn no_authorization_is_header_missing() {
    let response = lab().call(&get("/orders/1"));
    response.assert_denied(400, "400", "header_missing");
}

#[test]
fn repeated_authorization_is_request_malformed() {
    let lab = lab();
    let (alice, root) = (lab.token("alice"), lab.token("root"));
    let twice = as_credential("/orders/1", "ak_alice").token(&root);
    lab.call(&twice).assert_denied(400, "1002", "request_malformed");
    let same = get("/orders/1").token(&alice).token(&alice);
    lab.call(&same).assert_denied(400, "1002", "request_malformed");
}

/// Values under the Basic scheme that RFC 7617 does not allow.
fn unreadable() -> Vec<String> {
    let key = key_of("ak_alice");
    let right = basic_value("ak_alice", &key);
    vec![
        "!!!!".to_owned(),
        STANDARD.encode(format!("ak_alice{}", key.replace(':', ""))),
        basic_value("", &key),
        basic_value("ak_alice", ""),
        STANDARD.encode("ak_alice:key+").trim_end_matches('=').to_owned(),
        format!("{right}AAAA=A"),
        STANDARD.encode(b"ak_alice:\xff\xfe\xfb\xff").replace('/', "_").replace('+', "-"),
    ]
}

#[test]
fn unreadable_basic_is_header_invalid() {
    let lab = lab();
    for value in unreadable() {
        let response = lab.call(&authorization(&format!("Basic {value}")));
        response.assert_denied(401, "401", "header_invalid");
    }
}

#[test]
fn unreadable_basic_was_presented_and_is_challenged_as_basic() {
    let lab = lab();
    for value in unreadable() {
        lab.call(&authorization(&format!("Basic {value}"))).assert_challenges("lab", true);
    }
}

#[test]
fn scheme_that_the_realm_does_not_take_is_header_invalid_without_a_basic_challenge() {
    let lab = lab();
    let token = lab.token("alice");
    for value in [format!("Bearer {token}"), "Digest username=\"alice\"".to_owned(), token] {
        let response = lab.call(&authorization(&value));
        response.assert_denied(401, "401", "header_invalid");
        response.assert_challenges("lab", false);
    }
}

#[test]
fn wrong_key_is_refused_each_time_after_the_right_one() {
    let lab = lab();
    let mut client = lab.gateway.client();
    let right = as_credential("/orders/1", "ak_alice");
    for _ in 0..5 {
        client.send(&right).assert_ok();
        for wrong in [format!("{}x", key_of("ak_alice")), key_of("ak_alice")[1..].to_owned(), key_of("ak_bob")] {
            let response = client.send(&get("/orders/1").basic("ak_alice", &wrong));
            response.assert_denied(401, "401", "credential_invalid");
            response.assert_challenges("lab", true);
        }
    }
    client.send(&right).assert_ok();
}

#[test]
fn unknown_id_and_wrong_key_are_the_same_bytes() {
    let lab = lab();
    let unknown = lab.call(&get("/orders/1").basic("ak_nobody", &key_of("ak_alice")));
    let wrong = lab.call(&get("/orders/1").basic("ak_alice", "wrong"));
    let other_case = lab.call(&get("/orders/1").basic("AK_ALICE", &key_of("ak_alice")));
    unknown.assert_denied(401, "401", "credential_invalid");
    assert_eq!(unknown.fingerprint(), wrong.fingerprint());
    assert_eq!(unknown.fingerprint(), other_case.fingerprint());
}

#[test]
fn what_is_remembered_is_the_identity_and_never_the_decision() {
    let lab = lab();
    let mut client = lab.gateway.client();
    for _ in 0..3 {
        client.send(&as_credential("/orders/1", "ak_alice")).assert_ok();
        client.send(&as_credential("/admin/users", "ak_alice")).assert_denied(403, "1002", "role_forbidden");
        client.send(&as_credential("/admin/users", "ak_root")).assert_ok();
    }
}

#[test]
fn credential_of_other_realms_is_credential_invalid() {
    let lab = lab();
    lab.call(&as_credential("/orders/1", "lab-only")).assert_ok();
    lab.call(&as_credential("/t/list", "tree-only")).assert_ok();
    lab.call(&as_credential("/t/list", "ak_root")).assert_ok();
    lab.call(&as_credential("/orders/1", "tree-only")).assert_denied(401, "401", "credential_invalid");
    let response = lab.call(&as_credential("/t/list", "lab-only"));
    response.assert_denied(401, "401", "credential_invalid");
    response.assert_challenges("tree", true);
}

#[test]
fn expiry_is_told_only_to_the_right_key() {
    let lab = lab();
    lab.call(&as_credential("/orders/1", "current")).assert_ok();
    lab.call(&as_credential("/orders/1", "over")).assert_denied(401, "401", "credential_expired");
    lab.call(&get("/orders/1").basic("over", "wrong")).assert_denied(401, "401", "credential_invalid");
}

#[test]
fn credential_whose_time_has_not_come_is_refused() {
    let lab = lab();
    let response = lab.call(&as_credential("/orders/1", "early"));
    response.assert_denied_one_of(401, "401", &["credential_expired", "credential_invalid"]);
    lab.call(&get("/orders/1").basic("early", "wrong")).assert_denied(401, "401", "credential_invalid");
}

#[test]
fn suspension_is_told_only_to_the_right_key() {
    let lab = lab();
    lab.call(&as_credential("/orders/1", "ak_gone")).assert_denied(403, "1002", "account_suspended");
    lab.call(&get("/orders/1").basic("ak_gone", "wrong")).assert_denied(401, "401", "credential_invalid");
}
