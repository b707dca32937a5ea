//! What comes back from the upstream: status and body byte for byte, headers minus the hop's and ours (contract
//! section 7).

use crate::harness::lab::Lab;
use crate::harness::request::{chunked, get, request};
use crate::harness::upstream::{Step, Upstream, answer, head, json, raw};

const BODY: &str = r#"{"upstream":"says hello"}"#;

/// All byte values, many times.
fn every_byte() -> Vec<u8> {
    (0..=255).cycle().take(70_000).collect()
}

#[test]
fn status_and_body_pass_byte_for_byte() {
    let upstream = Upstream::scripted(|seen| {
        let status = seen.target.rsplit('/').next().and_then(|text| text.parse().ok()).unwrap_or(200);
        answer(status, &[("Content-Type", "application/octet-stream")], &every_byte())
    });
    let lab = Lab::before(upstream, |builder| builder);
    let mut client = lab.gateway.client();
    // Mixed, so that a row of 5xx does not look like a broken server.
    for status in [500, 200, 502, 201, 503, 202, 504, 299, 599, 301, 400, 401, 403, 404, 405, 409, 418, 422, 429] {
        let response = client.send(&get(&format!("/public/{status}")));
        assert_eq!(response.status, status);
        assert!(response.body == every_byte(), "{status}: {} bytes came back", response.body.len());
        assert_eq!(response.header("content-type"), Some("application/octet-stream"), "{status}");
        assert!(!response.request_id().is_empty());
        assert!(response.all("www-authenticate").is_empty(), "an upstream's refusal is not ours: {response}");
    }
}

#[test]
fn chunked_answer_passes_byte_for_byte() {
    let upstream = Upstream::scripted(|_| {
        let mut wire = head(200, &[("Transfer-Encoding", "chunked")]);
        wire.extend_from_slice(b"\r\n");
        wire.extend_from_slice(&chunked(&[&every_byte()[..], b"x", &every_byte()[..30_001]]));
        vec![Step::Send(wire)]
    });
    let lab = Lab::before(upstream, |builder| builder);
    let mut client = lab.gateway.client();
    let expected = [every_byte(), b"x".to_vec(), every_byte()[..30_001].to_vec()].concat();
    for _ in 0..3 {
        let response = client.send(&get("/public/a")).assert_ok();
        assert!(response.body == expected, "{} bytes came back", response.body.len());
    }
}

#[test]
fn answer_that_ends_with_the_connection_passes_whole() {
    let upstream = Upstream::scripted(|_| {
        let mut wire = head(200, &[]);
        wire.extend_from_slice(b"\r\n");
        wire.extend_from_slice(&every_byte());
        vec![Step::Send(wire), Step::Close]
    });
    let lab = Lab::before(upstream, |builder| builder);
    let response = lab.call(&get("/public/a")).assert_ok();
    assert!(response.body == every_byte(), "{} bytes came back", response.body.len());
}

#[test]
fn head_204_and_304_have_no_body_and_keep_the_connection() {
    let upstream = Upstream::scripted(|seen| match seen.target.as_str() {
        "/public/204" => vec![Step::Send([head(204, &[]), b"\r\n".to_vec()].concat())],
        "/public/304" => vec![Step::Send([head(304, &[("ETag", "\"v1\"")]), b"\r\n".to_vec()].concat())],
        _ => json(200, BODY),
    });
    let lab = Lab::before(upstream, |builder| builder);
    let mut client = lab.gateway.client();
    for _ in 0..2 {
        let response = client.send(&request("HEAD", "/public/a")).assert_ok();
        assert!(response.body.is_empty());
        assert_eq!(response.header("content-length"), Some(BODY.len().to_string().as_str()));
        let response = client.send(&get("/public/204"));
        assert_eq!((response.status, response.body.len()), (204, 0));
        let response = client.send(&get("/public/304").header("If-None-Match", "\"v1\""));
        assert_eq!((response.status, response.header("etag")), (304, Some("\"v1\"")));
        client.send(&get("/public/a")).assert_ok();
    }
}

#[test]
fn identity_and_hop_by_hop_headers_are_dropped_and_cookies_pass() {
    let upstream = Upstream::scripted(|_| {
        let headers = [
            ("X-Auth-User", "root"),
            ("x-auth-account", "root"),
            ("X-Auth-Scope", "any"),
            ("Connection", "X-Hop"),
            ("X-Hop", "1"),
            ("Keep-Alive", "timeout=77"),
            ("Proxy-Connection", "keep-alive"),
            ("X-Request-Id", "of-the-upstream"),
            ("Set-Cookie", "sid=1; Path=/"),
            ("Set-Cookie", "theme=dark"),
            ("X-Custom", "a, b"),
            ("ETag", "\"v1\""),
        ];
        answer(200, &headers, b"{}")
    });
    let lab = Lab::before(upstream, |builder| builder);
    let response = lab.call(&get("/public/a")).assert_ok();
    let dropped = |name: &str| name.starts_with("x-auth-") || ["x-hop", "proxy-connection"].contains(&name);
    let left: Vec<_> = response.headers.iter().filter(|(name, _)| dropped(&name.to_ascii_lowercase())).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!response.all("keep-alive").contains(&"timeout=77"), "{response}");
    assert!(response.all("connection").iter().all(|value| !value.contains("X-Hop")), "{response}");
    assert_eq!(response.all("set-cookie"), ["sid=1; Path=/", "theme=dark"]);
    assert_eq!(response.header("x-custom"), Some("a, b"));
    assert_eq!(response.header("etag"), Some("\"v1\""));
    assert_ne!(response.request_id(), "of-the-upstream");
}

#[test]
fn interim_answers_do_not_disturb_the_final_one() {
    let upstream = Upstream::scripted(|_| {
        let early = Step::Send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n".to_vec());
        [vec![early], json(200, r#"{"final":true}"#)].concat()
    });
    let lab = Lab::before(upstream, |builder| builder);
    let mut client = lab.gateway.client();
    for _ in 0..3 {
        assert_eq!(client.send(&get("/public/a")).assert_ok().text(), r#"{"final":true}"#);
    }
}

#[test]
fn an_upstream_that_ends_behind_an_interim_answer_leaves_nobody_without_a_final_one() {
    let upstream = Upstream::scripted(|seen| match &*seen.target {
        "/public/hints" => raw(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        _ => raw(b"HTTP/1.1 100 Continue\r\n\r\n"),
    });
    let lab = Lab::before(upstream, |builder| builder);
    for (number, path) in ["/public/hints", "/public/goes-on"].into_iter().enumerate() {
        lab.call(&get(path)).assert_denied(502, "502", "upstream_invalid");
        lab.gateway.access_lines(number + 1).pop().expect("its line").assert(&[("status", "502")]);
    }
}

#[test]
fn bytes_after_an_answer_never_reach_the_next_client() {
    let upstream = Upstream::scripted(|seen| {
        let mut wire = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec();
        if seen.target == "/public/poison" {
            wire.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned");
        }
        vec![Step::Send(wire)]
    });
    let lab = Lab::before(upstream, |builder| builder);
    for _ in 0..20 {
        assert_eq!(lab.call(&get("/public/poison")).text(), "ok");
        assert_eq!(lab.call(&get("/public/next")).text(), "ok");
    }
}
