//! Whose data a caller may name: scopes and targets over the account tree (contract section 3).

use crate::harness::accounts::key_of;
use crate::harness::lab::{Held, Lab, Shared};
use crate::harness::request::{Request, get};
use crate::harness::response::Response;

static LAB: Shared = Shared::new();

fn lab() -> Held {
    LAB.hold(Lab::start)
}

fn as_account(account: &str, path: &str) -> Request {
    let id = format!("ak_{account}");
    get(path).basic(&id, &key_of(&id))
}

/// Asserts for each target whether `account` may name it on `route`.
#[track_caller]
fn assert_scope(route: &str, account: &str, permitted: &[&str], refused: &[&str]) {
    let lab = lab();
    for target in permitted {
        let response = lab.call(&as_account(account, &format!("/t/{route}/{target}")));
        assert_eq!(response.status, 200, "{account} on {route}/{target}: {response}");
    }
    for target in refused {
        let response = lab.call(&as_account(account, &format!("/t/{route}/{target}")));
        assert_eq!(response.status, 403, "{account} on {route}/{target}: {response}");
        response.assert_denied(403, "1002", "scope_forbidden");
    }
}

#[test]
fn own_is_the_caller_alone() {
    assert_scope("own", "usr-1", &["usr-1"], &["usr-2", "cus-42", "res-7", "root", "usr-9", "nobody"]);
    assert_scope("own", "cus-42", &["cus-42"], &["usr-1", "res-7", "cus-9", "nobody"]);
}

#[test]
fn below_is_strictly_below() {
    assert_scope(
        "below",
        "res-7",
        &["cus-42", "usr-1", "usr-2"],
        &["res-7", "root", "res-8", "cus-9", "usr-9", "nobody"],
    );
    assert_scope("below", "cus-42", &["usr-1", "usr-2"], &["cus-42", "res-7", "usr-9", "nobody"]);
    assert_scope("below", "root", &["res-7", "usr-9", "alice"], &["root", "lone", "nobody"]);
}

#[test]
fn subtree_is_the_caller_and_below() {
    assert_scope("subtree", "res-7", &["res-7", "cus-42", "usr-1"], &["root", "res-8", "cus-9", "usr-9", "nobody"]);
    assert_scope("subtree", "cus-42", &["cus-42", "usr-2"], &["res-7", "cus-9", "nobody"]);
    assert_scope("subtree", "usr-1", &["usr-1"], &["usr-2", "cus-42", "nobody"]);
    assert_scope("subtree", "root", &["root", "res-8", "usr-9"], &["lone", "nobody"]);
}

#[test]
fn ids_compare_whole_and_with_case() {
    assert_scope("subtree", "res-7", &[], &["RES-7", "cus-4", "cus-422", "Cus-42", "cus-42%20", "*"]);
}

#[test]
fn token_and_credential_are_judged_alike() {
    let lab = lab();
    let token = lab.tree_token("res-7");
    lab.call(&get("/t/below/usr-1").token(&token)).assert_ok();
    lab.call(&get("/t/below/usr-9").token(&token)).assert_denied(403, "1002", "scope_forbidden");
}

#[test]
fn unknown_target_is_refused_with_the_bytes_of_one_outside() {
    let lab = lab();
    for (outside, unknown) in
        [("/t/below/cus-9", "/t/below/nobody"), ("/t/query?account=cus-9", "/t/query?account=nobody")]
    {
        let outside = lab.call(&as_account("res-7", outside));
        let unknown = lab.call(&as_account("res-7", unknown));
        outside.assert_denied(403, "1002", "scope_forbidden");
        assert_eq!(outside.fingerprint(), unknown.fingerprint());
        assert!(!unknown.text().contains("nobody"), "the input stands in {unknown}");
    }
}

#[test]
fn query_target_is_decoded_once_and_judged() {
    let lab = lab();
    for query in [
        "account=cus-42",
        "account=cus%2D42",
        "a=1&account=cus-42&b=2",
        "%61ccount=cus-42",
        "other=cus-9&account=cus-42",
    ] {
        let request = as_account("res-7", &format!("/t/query?{query}"));
        lab.forwarded(&request).assert_header("x-auth-target", "cus-42");
    }
    for query in ["account=cus-9", "account=cus-42+", "account=+cus-42", "account=cus-42;account=cus-9", "account=*"] {
        let response = lab.call(&as_account("res-7", &format!("/t/query?{query}")));
        response.assert_denied(403, "1002", "scope_forbidden");
    }
}

#[test]
fn query_target_that_two_readers_could_read_differently_is_request_malformed() {
    let lab = lab();
    let odd = [
        "account=cus-42&account=cus-42",
        "account=cus-42&account=cus-9",
        "account=cus-42&%61ccount=cus-9",
        "account=",
        "account",
        "account[]=cus-42",
        "account%5B%5D=cus-42",
        "account=cus-42&account[]=cus-9",
        "Account=cus-42",
        "account=cus-42&ACCOUNT=cus-9",
    ];
    for query in odd {
        for route in ["query", "optional"] {
            let response = lab.call(&as_account("res-7", &format!("/t/{route}?{query}")));
            assert_eq!(response.status, 400, "{route}?{query}: {response}");
            response.assert_denied(400, "1002", "request_malformed");
        }
    }
}

#[test]
fn missing_query_target_is_request_malformed_unless_it_is_optional() {
    let lab = lab();
    for path in ["/t/query", "/t/query?", "/t/query?other=cus-42"] {
        lab.call(&as_account("res-7", path)).assert_denied(400, "1002", "request_malformed");
    }
    let seen = lab.forwarded(&as_account("res-7", "/t/optional?other=1"));
    seen.assert_header("x-auth-scope", "below");
    seen.assert_lacks("x-auth-target");
    lab.forwarded(&as_account("res-7", "/t/optional?account=cus-42")).assert_header("x-auth-target", "cus-42");
    lab.call(&as_account("res-7", "/t/optional?account=cus-9")).assert_denied(403, "1002", "scope_forbidden");
}

#[test]
fn header_target_is_judged_and_missing_is_header_missing() {
    let lab = lab();
    let with = |value: &str| -> Response { lab.call(&as_account("res-7", "/t/header").header("X-Account", value)) };
    with("cus-42").assert_ok();
    with("cus-9").assert_denied(403, "1002", "scope_forbidden");
    lab.call(&as_account("res-7", "/t/header")).assert_denied(400, "400", "header_missing");
}

#[test]
fn header_target_twice_never_passes() {
    let lab = lab();
    let twice = as_account("res-7", "/t/header").header("X-Account", "cus-42").header("x-account", "cus-9");
    let response = lab.call(&twice);
    assert!([400, 403].contains(&response.status), "{response}");
    let listed = lab.call(&as_account("res-7", "/t/header").header("X-Account", "cus-42, cus-9"));
    assert!([400, 403].contains(&listed.status), "{listed}");
}

#[test]
fn scope_of_a_route_without_a_target_is_sent_to_the_upstream() {
    let lab = lab();
    for (account, scope) in [("root", "subtree"), ("res-7", "below"), ("usr-1", "own")] {
        let seen = lab.forwarded(&as_account(account, "/t/list"));
        seen.assert_header("x-auth-scope", scope);
        seen.assert_lacks("x-auth-target");
    }
}

#[test]
fn role_that_the_route_does_not_name_is_role_forbidden_before_any_scope() {
    let lab = lab();
    lab.call(&as_account("usr-1", "/t/below/usr-1")).assert_denied(403, "1002", "role_forbidden");
    lab.call(&as_account("root", "/t/own/root")).assert_denied(403, "1002", "role_forbidden");
    lab.call(&as_account("cus-42", "/t/list")).assert_denied(403, "1002", "role_forbidden");
    lab.call(&as_account("res-7", "/orders/1")).assert_denied(403, "1002", "role_forbidden");
}

#[test]
fn user_without_a_parent_is_never_forwarded_unscoped() {
    let lab = lab();
    let seen = lab.forwarded(&as_account("lone", "/t/list"));
    seen.assert_header("x-auth-scope", "own");
    seen.assert_header("x-auth-lineage", "lone");
    lab.call(&as_account("lone", "/t/own/lone")).assert_ok();
    for path in ["/t/own/usr-1", "/t/subtree/root", "/t/query?account=cus-42", "/t/optional?account=root"] {
        lab.call(&as_account("lone", path)).assert_denied(403, "1002", "scope_forbidden");
    }
    lab.call(&as_account("lone", "/t/query")).assert_denied(400, "1002", "request_malformed");
}
