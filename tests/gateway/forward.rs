//! What leaves for the upstream: the identity headers and nothing that looks like them, the target and the body byte
//! for byte (contract section 7).

use crate::harness::accounts::key_of;
use crate::harness::jwt::Forgery;
use crate::harness::lab::{Held, Lab, Shared};
use crate::harness::request::{HOST, Request, basic_value, get, post};
use crate::harness::upstream::Seen;

static LAB: Shared = Shared::new();

fn lab() -> Held {
    LAB.hold(Lab::start)
}

/// The headers that every forwarded request carries, with what they say of a test's client.
fn assert_transport_headers(seen: &Seen) {
    seen.assert_header("x-forwarded-for", "127.0.0.1");
    seen.assert_header("x-forwarded-proto", "http");
    seen.assert_header("x-forwarded-host", HOST);
    assert!(!seen.request_id().is_empty());
}

/// The identity headers, which a public route must not get.
const IDENTITY: [&str; 8] = [
    "x-auth-realm",
    "x-auth-account",
    "x-auth-role",
    "x-auth-lineage",
    "x-auth-scope",
    "x-auth-target",
    "x-auth-scheme",
    "x-auth-credential",
];

#[test]
fn token_call_carries_who_calls_exactly_once() {
    let lab = lab();
    let token = lab.token("alice");
    let seen = lab.forwarded(&get("/orders/1").token(&token));
    seen.assert_header("x-auth-realm", "lab");
    seen.assert_header("x-auth-account", "alice");
    seen.assert_header("x-auth-role", "user");
    seen.assert_header("x-auth-lineage", "root/alice");
    seen.assert_header("x-auth-scope", "subtree");
    seen.assert_header("x-auth-scheme", "token");
    seen.assert_header("x-auth-credential", &Forgery::of(&token).jti());
    seen.assert_lacks("x-auth-target");
    assert_transport_headers(&seen);
}

#[test]
fn basic_call_carries_the_api_id_and_the_whole_lineage() {
    let lab = lab();
    let seen = lab.forwarded(&get("/t/subtree/usr-1").basic("ak_cus-42", &key_of("ak_cus-42")));
    seen.assert_header("x-auth-realm", "tree");
    seen.assert_header("x-auth-account", "cus-42");
    seen.assert_header("x-auth-role", "customer");
    seen.assert_header("x-auth-lineage", "root/res-7/cus-42");
    seen.assert_header("x-auth-target", "usr-1");
    seen.assert_header("x-auth-scheme", "basic");
    seen.assert_header("x-auth-credential", "ak_cus-42");
    assert_transport_headers(&seen);
}

#[test]
fn public_call_carries_no_identity_even_with_a_credential() {
    let lab = lab();
    for request in
        [get("/public/ping"), get("/public/ping").token(&lab.token("alice")), get("/public/ping").token("nonsense")]
    {
        let seen = lab.forwarded(&request);
        for name in IDENTITY {
            seen.assert_lacks(name);
        }
        seen.assert_lacks("authorization");
        assert_transport_headers(&seen);
    }
}

#[test]
fn lookalikes_in_odd_spellings_are_removed() {
    let forged = [
        "x-auth-ACCOUNT",
        "X-AUTH-account",
        "X_Auth_Account",
        "X-Auth_Account",
        "x_auth_role",
        "X-Auth-Role",
        "X-Auth-Lineage",
        "X-Auth-Realm",
        "X-Auth-Scope",
        "X-Auth-Scope-Region",
        "X-Auth-Target",
        "X-Auth-Checked",
        "X-Auth-",
        "X_AUTH_CREDENTIAL",
        "X-Auth-Scheme",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X_Forwarded_For",
        "X-Forwarded-Prefix",
        "X-Forwarded-Uri",
        "X-Forwarded-Port",
        "X-Forwarded-Server",
        "Forwarded",
        "X-Real-IP",
        "x_real_ip",
        "True-Client-IP",
        "CF-Connecting-IP",
        "X-Envoy-Internal",
        "X-Envoy-Original-Path",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-HTTP-Method-Override",
        "X-Method-Override",
        "X_HTTP_Method",
        "X-HTTP-Method",
        "Proxy",
        "X-Request-Id",
        "X_Request_Id",
        "Some_Other_Name",
        "_",
    ];
    let lab = lab();
    let with_all = |request: Request| forged.iter().fold(request, |request, name| request.header(name, "forged-value"));
    for request in [get("/public/ping"), get("/orders/1").token(&lab.token("alice"))] {
        let seen = lab.forwarded(&with_all(request));
        let left: Vec<_> = seen.headers.iter().filter(|(_, value)| value.contains("forged")).collect();
        assert!(left.is_empty(), "{left:?}");
        assert!(seen.headers.iter().all(|(name, _)| !name.contains('_')), "{seen:?}");
        assert_transport_headers(&seen);
    }
}

#[test]
fn spoofed_identity_does_not_replace_the_real_one() {
    let lab = lab();
    let request = get("/orders/1")
        .header("X-Auth-Account", "root")
        .token(&lab.token("alice"))
        .header("X-Auth-Role", "administrator");
    let seen = lab.forwarded(&request);
    seen.assert_header("x-auth-account", "alice");
    seen.assert_header("x-auth-role", "user");
}

#[test]
fn other_headers_pass_as_they_are() {
    let lab = lab();
    let request = get("/public/ping")
        .header("X-Custom", "a, b;c=\"d\"")
        .header("X-Twice", "first")
        .header("X-Twice", "second")
        .header("Cookie", "sid=1; theme=dark")
        .header("Accept", "application/json")
        .header("User-Agent", "a client/1.0")
        .header("X-App-Type", "vc")
        .header("X-Api-Id", "ak_alice");
    let seen = lab.forwarded(&request);
    seen.assert_header("x-custom", "a, b;c=\"d\"");
    assert_eq!(seen.all("x-twice"), ["first", "second"]);
    seen.assert_header("cookie", "sid=1; theme=dark");
    seen.assert_header("accept", "application/json");
    seen.assert_header("user-agent", "a client/1.0");
    seen.assert_header("x-app-type", "vc");
    seen.assert_header("x-api-id", "ak_alice");
}

#[test]
fn hop_by_hop_fields_stay_behind() {
    let lab = lab();
    let request = get("/public/ping")
        .header("Connection", "keep-alive, X-Drop-Me")
        .header("X-Drop-Me", "1")
        .header("Keep-Alive", "timeout=5")
        .header("TE", "trailers")
        .header("Proxy-Authorization", "Basic eDp5")
        .header("Proxy-Connection", "keep-alive");
    let seen = lab.forwarded(&request);
    for name in ["x-drop-me", "keep-alive", "te", "proxy-authorization", "proxy-connection"] {
        seen.assert_lacks(name);
    }
}

#[test]
fn connection_cannot_take_our_own_headers_away() {
    let lab = lab();
    let token = lab.token("alice");
    for names in ["close, X-Auth-Account, X-Auth-Role", "X-Auth-Lineage", "Authorization", "X-Request-Id"] {
        let response = lab.call(&get("/orders/1").token(&token).header("Connection", names));
        if response.status == 200 {
            let seen = lab.upstream.seen_with_id(&response.request_id());
            seen.assert_header("x-auth-account", "alice");
            seen.assert_header("x-auth-role", "user");
            seen.assert_header("x-auth-lineage", "root/alice");
        } else {
            assert!([400, 401].contains(&response.status), "{names}: {response}");
        }
    }
    for name in ["Host", "X-Forwarded-For", "close, x-forwarded-proto"] {
        let response = lab.call(&get("/orders/1").token(&token).header("Connection", name));
        response.assert_denied(400, "1002", "request_malformed");
    }
}

#[test]
fn authorization_is_forwarded_only_where_the_route_says_so() {
    let lab = lab();
    let token = lab.token("alice");
    lab.forwarded(&get("/orders/1").token(&token)).assert_lacks("authorization");
    lab.forwarded(&get("/verbatim/1").token(&token)).assert_header("authorization", &format!("Token {token}"));
    let basic = basic_value("ak_alice", &key_of("ak_alice"));
    let seen = lab.forwarded(&get("/verbatim/1").basic("ak_alice", &key_of("ak_alice")));
    seen.assert_header("authorization", &format!("Basic {basic}"));
    seen.assert_header("x-auth-account", "alice");
}

#[test]
fn path_and_query_pass_byte_for_byte() {
    let lab = lab();
    let targets = [
        "/public/a?",
        "/public/a?b=c&b=d&&=",
        "/public/a?x=%2F..%2F&y=../..//;&z=%c3%a9%C3%A9+%20",
        "/public/a?/public/../admin",
        "/public/caf%C3%A9/%e2%82%ac",
        "/public/a%20b%3Fc%3Dd%26e",
        "/public/a.b-c_d~e!$&'()*+,=:@",
        "/public/...",
        "/public/.well-known",
    ];
    for target in targets {
        assert_eq!(lab.forwarded(&get(target)).target, target);
    }
}

#[test]
fn absolute_form_of_the_same_host_leaves_in_origin_form() {
    let lab = lab();
    let seen = lab.forwarded(&get(&format!("http://{HOST}/public/ping?a=b")));
    assert_eq!(seen.target, "/public/ping?a=b");
    let other = lab.call(&get("http://evil.local/public/ping"));
    other.assert_denied(400, "1002", "request_malformed");
}

#[test]
fn request_body_passes_byte_for_byte() {
    let lab = lab();
    let every_byte: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let token = lab.token("alice");
    for body in [&b""[..], b"{}", b"0\r\n\r\n", &every_byte] {
        let seen = lab
            .forwarded(&post("/write/1").token(&token).header("Content-Type", "application/octet-stream").body(body));
        assert!(seen.body == body, "{} bytes sent, {} arrived", body.len(), seen.body.len());
    }
    let chunks = [&every_byte[..7], b"x", &every_byte[..30_000]];
    let seen = lab.forwarded(&post("/write/1").token(&token).chunked(&chunks));
    assert!(seen.body == chunks.concat(), "{} bytes arrived", seen.body.len());
}

#[test]
fn request_id_is_the_same_for_client_upstream_and_log_and_never_the_clients() {
    let lab = lab();
    let mut client = lab.gateway.client();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let response = client.send(&get("/public/ping").header("X-Request-Id", "chosen-by-the-client"));
        let id = response.assert_ok().request_id();
        assert_eq!(lab.upstream.seen_with_id(&id).request_id(), id);
        assert_eq!(lab.gateway.line_of(&id).text("outcome"), "permitted");
        assert_ne!(id, "chosen-by-the-client");
        ids.push(id);
    }
    ids.dedup();
    assert_eq!(ids.len(), 3, "an id is used once");
}

#[test]
fn trusted_proxy_may_name_the_client_and_the_request() {
    let lab = Lab::with(|builder| builder.server("trusted_proxies = [\"127.0.0.0/8\"]"));
    let request =
        get("/public/ping").header("X-Forwarded-For", "203.0.113.7").header("X-Request-Id", "id-of.the-proxy_1");
    let seen = lab.forwarded(&request);
    assert_eq!(seen.request_id(), "id-of.the-proxy_1");
    seen.assert_header("x-forwarded-for", "203.0.113.7, 127.0.0.1");
    let odd = get("/public/ping").header("X-Request-Id", "a\" level=error user=root");
    assert_ne!(lab.forwarded(&odd).request_id(), "a\" level=error user=root");
}

#[test]
fn upgrade_on_a_route_that_does_not_allow_it_is_dropped_and_served() {
    let lab = lab();
    let request = get("/orders/1")
        .token(&lab.token("alice"))
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    let seen = lab.forwarded(&request);
    seen.assert_lacks("upgrade");
    assert!(seen.all("connection").iter().all(|value| !value.to_ascii_lowercase().contains("upgrade")), "{seen:?}");
}
