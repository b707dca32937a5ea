//! The harness against itself, without a gateway: a test that leans on a broken harness shows nothing.

use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::harness::client::{Broken, Client};
use crate::harness::jwt::Forgery;
use crate::harness::lines::Line;
use crate::harness::metrics::Metrics;
use crate::harness::ports;
use crate::harness::redis::{RedisServer, Reply};
use crate::harness::request::{get, post, request};
use crate::harness::upstream::{Step, Upstream, answer, head, json as json_answer, raw};

#[test]
fn client_and_upstream_keep_a_connection_over_all_framings() {
    let upstream = Upstream::scripted(|seen| {
        if seen.target != "/chunked" {
            return json_answer(200, r#"{"ok":true}"#);
        }
        let mut wire = head(200, &[("Transfer-Encoding", "chunked")]);
        wire.extend_from_slice(b"\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
        vec![Step::Send(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()), Step::Send(wire)]
    });
    let mut client = Client::connect(upstream.address());
    assert_eq!(client.send(&get("/a?b=c").header("X-Twice", "1").header("x-twice", "2")).json(), json!({ "ok": true }));
    assert_eq!(client.send(&get("/chunked")).text(), "abcde");
    assert_eq!(client.send(&request("HEAD", "/a")).body, b"");
    client.send(&post("/sized").body(b"hello"));
    client.send(&post("/chunks").chunked(&[b"he", b"llo"])).assert_ok();
    let seen = upstream.seen();
    let targets: Vec<&str> = seen.iter().map(|seen| seen.target.as_str()).collect();
    assert_eq!(targets, ["/a?b=c", "/chunked", "/a", "/sized", "/chunks"]);
    assert_eq!(seen[0].all("x-twice"), ["1", "2"]);
    assert_eq!((seen[3].body.as_slice(), seen[4].body.as_slice()), (&b"hello"[..], &b"hello"[..]));
}

#[test]
fn client_tells_cut_close_and_silence_apart() {
    let upstream = Upstream::scripted(|seen| match seen.target.as_str() {
        "/sized" => raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
        "/chunked" => raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
        "/end" => raw(b"HTTP/1.1 200 OK\r\n\r\nwhole"),
        "/close" => vec![Step::Close],
        "/slow" => [vec![Step::Wait(Duration::from_millis(50))], answer(200, &[], b"late")].concat(),
        _ => vec![Step::Silence],
    });
    let ask =
        |target: &str| Client::connect(upstream.address()).patience(Duration::from_millis(600)).try_send(&get(target));
    for target in ["/sized", "/chunked"] {
        assert!(matches!(ask(target), Err(Broken::Cut(response)) if response.body == b"half"), "{target}");
    }
    assert_eq!(ask("/end").expect("whole").text(), "whole");
    assert_eq!(ask("/slow").expect("whole").text(), "late");
    assert!(matches!(ask("/close"), Err(Broken::Closed)));
    assert!(matches!(ask("/silence"), Err(Broken::Late)));
}

#[test]
fn early_upstream_answers_before_the_body() {
    let upstream = Upstream::early(|_| [answer(413, &[], b"no"), vec![Step::Silence]].concat());
    let mut client = Client::connect(upstream.address());
    assert_eq!(client.send(&post("/a").owing(1000, b"x")).status, 413);
}

#[test]
fn denial_assertion_takes_the_contracts_envelope_and_no_other() {
    let body = r#"{"result":"401","msg":"Invalid header used.","desc":"Check it.","data":{"reason":"header_invalid","request_id":"id-1"}}"#;
    let headers = [
        ("Content-Type", "application/json"),
        ("Cache-Control", "no-store"),
        ("X-Request-Id", "id-1"),
        ("WWW-Authenticate", "Token realm=\"lab\""),
        ("WWW-Authenticate", "Basic realm=\"lab\", charset=\"UTF-8\""),
    ];
    let upstream = Upstream::scripted(move |seen| match seen.target.as_str() {
        "/number" => answer(401, &headers, body.replace("\"401\"", "401").as_bytes()),
        "/message" => answer(401, &headers, body.replace("Invalid", "Wrong").as_bytes()),
        "/id" => answer(401, &headers, body.replace("id-1", "id-2").as_bytes()),
        "/cached" => answer(401, &[&headers[..1], &headers[2..]].concat(), body.as_bytes()),
        "/unchallenged" => answer(401, &headers[..3], body.as_bytes()),
        _ => answer(401, &headers, body.as_bytes()),
    });
    let mut client = Client::connect(upstream.address());
    let right = client.send(&get("/right"));
    right.assert_denied(401, "401", "header_invalid");
    right.assert_challenges("lab", true);
    for wrong in ["/number", "/message", "/id", "/cached", "/unchallenged"] {
        let response = client.send(&get(wrong));
        let judged = std::panic::catch_unwind(|| response.assert_denied(401, "401", "header_invalid"));
        assert!(judged.is_err(), "{wrong} passed");
    }
}

#[test]
fn redis_is_killed_frozen_and_brought_back_on_its_port() {
    let mut redis = RedisServer::start();
    let url = redis.url();
    assert_eq!(redis.command(&["SET", "session:a-b", "two words\r\n"]), Reply::Text("OK".into()));
    assert_eq!(redis.command(&["GET", "session:a-b"]), Reply::Text("two words\r\n".into()));
    assert_eq!(redis.command(&["GET", "none"]), Reply::Nil);
    assert_eq!(redis.session_key("a-b"), "session:a-b");
    redis.command(&["PEXPIRE", "session:a-b", "60000"]);
    assert!(redis.lifetime("session:a-b") > Duration::from_secs(50));
    assert!(
        matches!(redis.command(&["LPUSH", "session:a-b", "x"]), Reply::Error(text) if text.starts_with("WRONGTYPE"))
    );
    redis.command(&["RPUSH", "a-list", "x"]);
    redis.copy("a-list", "session:a-b");
    assert_eq!(redis.command(&["LLEN", "session:a-b"]).number(), 1);
    redis.pause();
    redis.resume();
    assert_eq!(redis.command(&["DBSIZE"]).number(), 2);
    redis.kill();
    let address = url.trim_start_matches("redis://").to_owned();
    assert!(TcpStream::connect(&address).is_err());
    redis.restart();
    assert_eq!((redis.url(), redis.command(&["DBSIZE"]).number()), (url, 0));
}

#[test]
fn ports_are_free_once_and_refusing_ones_refuse() {
    let ports: Vec<_> = (0..50).map(|_| ports::free()).collect();
    let distinct: std::collections::BTreeSet<_> = ports.iter().collect();
    assert_eq!(distinct.len(), ports.len());
    let refusing = ports::refusing();
    for _ in 0..3 {
        let error = TcpStream::connect(refusing).expect_err("refused");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    }
}

#[test]
fn forged_token_keeps_what_is_not_changed() {
    let header = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
    // The example of RFC 7519's neighbourhood: {"sub":"1234567890","name":"John Doe","iat":1516239022}, key of jwt.io.
    let token = format!(
        "{header}.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"
    );
    let forgery = Forgery::of(&token);
    assert_eq!((forgery.head("alg"), forgery.number("iat")), (&json!("HS256"), 1_516_239_022));
    let signed = forgery.sign_with(b"your-256-bit-secret");
    let again = Forgery::of(&signed).with_claim("iat", json!(null)).with_head("kid", json!("k"));
    assert_eq!(
        (again.claim("iat"), again.claim("name"), again.head("kid")),
        (&json!(null), &json!("John Doe"), &json!("k"))
    );
    assert_ne!(signed, forgery.sign());
}

#[test]
fn metrics_and_lines_are_read_as_tables() {
    let text = "# HELP a b\n# TYPE a counter\na{x=\"1\",y=\"2\"} 3\na{x=\"1\",y=\"3\"} 4\na_count 7\n";
    let metrics = Metrics::parse(text);
    let close = |left: f64, right: f64| (left - right).abs() < f64::EPSILON;
    assert!(close(metrics.sum("a", &[("x", "1")]), 7.0));
    assert!(close(metrics.sum("a", &[("y", "3"), ("x", "1")]), 4.0));
    assert!(close(metrics.sum("a", &[("x", "2")]), 0.0));
    assert_eq!(metrics.series().len(), 3);
    let line = Line::parse(r#"{"status":200,"role":null,"route":"-","lineage":["a","b"],"path":"/x"}"#);
    line.assert(&[("status", "200"), ("role", ""), ("route", ""), ("lineage", "a/b"), ("path", "/x"), ("account", "")]);
}
