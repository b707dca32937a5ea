//! What a token must be: the JWT's form and claims, its times, and its agreement with the session (contract section 4).

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::accounts::Accounts;
use crate::harness::client::Client;
use crate::harness::jwt::Forgery;
use crate::harness::lab::{Held, Lab, Shared};
use crate::harness::request::get;
use crate::harness::wait::{eventually, now_ms};

static LAB: Shared = Shared::new();

fn lab() -> Held {
    LAB.hold(Lab::start)
}

/// Now in whole seconds.
fn now() -> u64 {
    now_ms() / 1000
}

#[test]
fn token_signed_again_without_a_change_passes() {
    let lab = lab();
    let forged = Forgery::of(&lab.token("alice")).sign();
    lab.call(&get("/orders/1").token(&forged)).assert_ok();
}

#[test]
fn scheme_is_read_without_case() {
    let lab = lab();
    let token = lab.token("alice");
    for scheme in ["token", "TOKEN", "tOkEn"] {
        lab.call(&get("/orders/1").header("Authorization", &format!("{scheme} {token}"))).assert_ok();
    }
}

#[test]
fn foreign_header_fields_are_token_invalid() {
    let lab = lab();
    let real = Forgery::of(&lab.token("alice"));
    let changes = [
        ("alg", json!("none")),
        ("alg", json!("HS512")),
        ("alg", json!("RS256")),
        ("alg", json!(["HS256"])),
        ("alg", Value::Null),
        ("typ", json!("reset+jwt")),
        ("typ", json!(7)),
        ("kid", json!("another")),
        ("kid", json!("../../../../dev/null")),
        ("kid", json!("a\r\nFLUSHALL\r\n")),
        ("kid", json!(1)),
        ("kid", Value::Null),
        ("crit", json!(["x-unknown"])),
        ("zip", json!("DEF")),
    ];
    for (field, value) in changes {
        let forged = real.clone().with_head(field, value.clone()).sign();
        let response = lab.call(&get("/orders/1").token(&forged));
        assert_eq!(response.status, 401, "{field} = {value}: {response}");
        response.assert_denied(401, "1001", "token_invalid");
    }
}

#[test]
fn foreign_or_wrongly_typed_claims_are_token_invalid() {
    let lab = lab();
    let real = Forgery::of(&lab.token("alice"));
    let changes = [
        ("iss", json!("other")),
        ("iss", Value::Null),
        ("aud", json!("tree")),
        ("aud", Value::Null),
        ("nbf", json!(now() + 3600)),
        ("nbf", json!((now() + 3600).to_string())),
        ("exp", json!("9999999999")),
        ("exp", json!({})),
        ("exp", Value::Null),
        ("iat", json!("yesterday")),
        ("sub", json!(7)),
        ("sub", Value::Null),
        ("jti", json!(7)),
        ("jti", Value::Null),
        ("role", json!(["user"])),
        ("lineage", json!(7)),
    ];
    for (claim, value) in changes {
        let forged = real.clone().with_claim(claim, value.clone()).sign();
        let response = lab.call(&get("/orders/1").token(&forged));
        assert_eq!(response.status, 401, "{claim} = {value}: {response}");
        response.assert_denied(401, "1001", "token_invalid");
    }
}

#[test]
fn broken_signatures_and_shapes_are_token_invalid() {
    let lab = lab();
    let token = lab.token("alice");
    let (signed, signature) = token.rsplit_once('.').expect("three parts");
    let shapes = [
        signed.to_owned(),
        format!("{signed}."),
        format!("{token}.a.b"),
        format!("{token}="),
        format!("{signed}.{}", signature.chars().rev().collect::<String>()),
        format!("{signed}.{}", spare_bits(signature)),
        Forgery::of(&token).sign_with(b"another-environment-secret-32-bytes!"),
        "not-a-token".to_owned(),
    ];
    for shape in shapes {
        let response = lab.call(&get("/orders/1").token(&shape));
        response.assert_denied(401, "1001", "token_invalid");
        response.assert_challenges("lab", false);
    }
}

/// The signature with its last character's unused bits set: the same bytes for a lenient decoder.
fn spare_bits(signature: &str) -> String {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (rest, last) = signature.split_at(signature.len() - 1);
    let index = alphabet.find(last).expect("a base64url character");
    assert_eq!(index % 4, 0, "32 bytes leave two bits unused");
    format!("{rest}{}", &alphabet[index + 1..index + 2])
}

#[test]
fn token_of_one_realm_is_invalid_in_another() {
    let lab = lab();
    lab.call(&get("/t/list").token(&lab.tree_token("root"))).assert_ok();
    let response = lab.call(&get("/t/list").token(&lab.token("root")));
    response.assert_denied(401, "1001", "token_invalid");
    response.assert_challenges("tree", false);
}

#[test]
fn session_of_another_account_is_token_invalid() {
    let lab = lab();
    let bob = Forgery::of(&lab.token("bob"));
    let stolen = Forgery::of(&lab.token("alice")).with_claim("jti", bob.claim("jti").clone()).sign();
    lab.call(&get("/orders/1").token(&stolen)).assert_denied(401, "1001", "token_invalid");
}

#[test]
fn claims_that_raise_the_caller_are_never_believed() {
    let lab = lab();
    let alice = Forgery::of(&lab.token("alice"));
    for role in ["administrator", "Administrator", "administrator ", "user,administrator", ""] {
        let forged = alice.clone().with_claim("role", json!(role)).sign();
        for path in ["/admin/users", "/orders/1"] {
            let response = lab.call(&get(path).token(&forged));
            response.assert_denied_one_of(401, "1001", &["token_revoked", "token_invalid"]);
        }
    }
    let root = Forgery::of(&lab.token("root"));
    let lineage = alice.with_claim("lineage", root.claim("lineage").clone()).sign();
    let response = lab.call(&get("/orders/1").token(&lineage));
    response.assert_denied_one_of(401, "1001", &["token_revoked", "token_invalid"]);
}

#[test]
fn session_that_never_was_is_token_revoked() {
    let lab = lab();
    let real = Forgery::of(&lab.token("alice"));
    // One other digit: the same form, so that only the session is missing.
    let first = if real.jti().starts_with('a') { "b" } else { "a" };
    let turned = format!("{first}{}", &real.jti()[1..]);
    let forged = real.with_claim("jti", json!(turned)).sign();
    lab.call(&get("/orders/1").token(&forged)).assert_denied(401, "1001", "token_revoked");
}

#[test]
fn good_signature_past_its_time_is_token_expired() {
    let lab = lab();
    let past = now() - 3600;
    let forged =
        Forgery::of(&lab.token("alice")).with_claim("iat", json!(past - 1200)).with_claim("exp", json!(past)).sign();
    lab.call(&get("/orders/1").token(&forged)).assert_denied(403, "403", "token_expired");
    let other_key = Forgery::of(&forged).sign_with(b"another-environment-secret-32-bytes!");
    lab.call(&get("/orders/1").token(&other_key)).assert_denied(401, "1001", "token_invalid");
}

#[test]
fn token_lives_exactly_until_exp_and_calls_do_not_renew_it() {
    // Its time begins before the password is checked, which on a busy machine might take all of it.
    let lab = Lab::with(|builder| builder.accounts(&Accounts::lab().quick_to_check()).ttl("3s"));
    let token = lab.login("alice");
    let end_ms = Forgery::of(&token).number("exp") * 1000;
    assert_eq!(Forgery::of(&token).number("exp") - Forgery::of(&token).number("iat"), 3);
    let mut client: Client = lab.gateway.client();
    let mut passed = 0;
    let refused_at = eventually("the token expires", Duration::from_secs(8), || {
        let before = now_ms();
        let response = client.send(&get("/orders/1").token(&token));
        if response.status == 200 {
            assert!(before <= end_ms, "still permitted {} ms after exp", before - end_ms);
            passed += 1;
            return None;
        }
        response.assert_denied(403, "403", "token_expired");
        Some(now_ms())
    });
    assert!(refused_at >= end_ms, "refused {} ms before exp", end_ms - refused_at);
    assert!(passed >= 2, "only {passed} calls passed");
    client.send(&get("/orders/1").token(&token)).assert_denied(403, "403", "token_expired");
}
