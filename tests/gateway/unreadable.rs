//! Requests that cannot be read safely: a JSON 400 (or the fitting 4xx), the end of the connection, one access line,
//! and nothing at the upstream (contract sections 6 and 7).

use std::time::Duration;

use crate::harness::client::{Broken, latin1};
use crate::harness::lab::{Held, Lab, Shared};
use crate::harness::request::get;
use crate::harness::response::Response;

static LAB: Shared = Shared::new();

fn lab() -> Held {
    LAB.hold(Lab::start)
}

/// Sends raw bytes on a connection of their own and reads one answer, after which the connection must end.
#[track_caller]
fn refused_and_closed(lab: &Lab, wire: &[u8]) -> Response {
    let mut client = lab.gateway.client();
    client.write(wire);
    let response = match client.try_read(false) {
        Ok(response) => response,
        Err(Broken::Closed) => panic!("closed without an answer: {:?}", latin1(wire)),
        Err(broken) => panic!("{broken:?}: {:?}", latin1(wire)),
    };
    assert!((400..500).contains(&response.status), "{:?}: {response}", latin1(wire));
    client.assert_closes();
    response
}

#[track_caller]
fn assert_malformed(wires: &[&[u8]]) {
    let lab = lab();
    assert!(!wires.is_empty());
    for wire in wires {
        let response = refused_and_closed(&lab, wire);
        assert_eq!(response.status, 400, "{:?}: {response}", latin1(wire));
        response.assert_denied(400, "1002", "request_malformed");
        let line = lab.gateway.line_of(&response.request_id());
        line.assert(&[("status", "400"), ("outcome", "denied"), ("reason", "request_malformed")]);
    }
    assert!(!lab.upstream.saw_target("/public/unreadable"));
}

#[test]
fn bad_header_lines_are_malformed() {
    assert_malformed(&[
        b"GET /public/unreadable HTTP/1.1\r\nHost: gateway.local\r\nbad line\r\n\r\n",
        b"GET /public/unreadable HTTP/1.1\r\nHost: gateway.local\r\nX-A : 1\r\n\r\n",
        b"GET /public/unreadable HTTP/1.1\r\nHost: gateway.local\r\nX(A): 1\r\n\r\n",
        b"GET /public/unreadable HTTP/1.1\r\nHost: gateway.local\r\nX-A: 1\r\n Authorization: Token x\r\n\r\n",
        b"GET /public/unreadable HTTP/1.1\r\nHost: gateway.local\r\n: 1\r\n\r\n",
        b"GET /public/unreadable HTTP/1.1\r\nHost: gateway.local\r\nX-A\x85: 1\r\n\r\n",
    ]);
}

#[test]
fn control_bytes_and_bare_line_ends_are_malformed() {
    assert_malformed(&[
        b"GET /public/unreadable HTTP/1.1\r\nHost: gateway.local\r\nX-A: a\0b\r\n\r\n",
        b"GET /public/unreadable HTTP/1.1\r\nHost: gateway.local\r\nX-A: a\rX-Auth-Account: root\r\n\r\n",
        b"GET /public/unreadable HTTP/1.1\nHost: gateway.local\n\n",
        b"GET /public/unreadable HTTP/1.1\r\nHost: gateway.local\nX-A: 1\r\n\r\n",
    ]);
}

#[test]
fn missing_repeated_or_odd_host_is_malformed() {
    assert_malformed(&[
        b"GET /public/unreadable HTTP/1.1\r\n\r\n",
        b"GET /public/unreadable HTTP/1.1\r\nHost: gateway.local\r\nHost: gateway.local\r\n\r\n",
        b"GET /public/unreadable HTTP/1.1\r\nHost: gateway.local\r\nHost: evil.local\r\n\r\n",
        b"GET /public/unreadable HTTP/1.1\r\nHost: gateway.local@evil.local\r\n\r\n",
    ]);
}

#[test]
fn ambiguous_framing_is_malformed() {
    assert_malformed(&[
        b"POST /public/echo HTTP/1.1\r\nHost: gateway.local\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /public/echo HTTP/1.1\r\nHost: gateway.local\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /public/echo HTTP/1.1\r\nHost: gateway.local\r\nContent-Length: +5\r\n\r\nhello",
        b"POST /public/echo HTTP/1.1\r\nHost: gateway.local\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST /public/echo HTTP/1.1\r\nHost: gateway.local\r\nTransfer-Encoding: identity\r\n\r\n",
    ]);
    assert!(!lab().upstream.saw_target("/public/echo"));
}

#[test]
fn odd_request_lines_are_malformed() {
    let lab = lab();
    for line in [
        "GET admin",
        "GET *",
        "OPTIONS *",
        "GET gateway.local:80",
        "GET ftp://gateway.local/public/unreadable",
        "get /public/unreadable",
        "BREW /public/unreadable",
    ] {
        let mut client = lab.gateway.client();
        client.write(format!("{line} HTTP/1.1\r\nHost: gateway.local\r\n\r\n").as_bytes());
        let response = client.read();
        assert_eq!(response.status, 400, "{line}: {response}");
        response.assert_denied(400, "1002", "request_malformed");
    }
}

#[test]
fn too_much_head_is_refused_by_its_own_reason() {
    let lab = lab();
    let response = lab.call(&get(&format!("/public/{}", "a".repeat(9 * 1024))));
    response.assert_denied(414, "414", "uri_too_long");
    let wide = get("/public/a").header("X-A", &"a".repeat(40 * 1024));
    refused_and_closed(&lab, &wide.bytes()).assert_denied(431, "431", "headers_too_large");
    let many = (0..150).fold(get("/public/a"), |request, number| request.header(&format!("X-{number}"), "1"));
    refused_and_closed(&lab, &many.bytes()).assert_denied(431, "431", "headers_too_large");
    let fits = (0..90).fold(get("/public/a"), |request, number| request.header(&format!("X-{number}"), "1"));
    lab.call(&fits).assert_ok();
}

#[test]
fn noise_is_answered_or_closed_and_the_gateway_lives() {
    let mut lab = Lab::start();
    let noise: [&[u8]; 6] = [
        b"\r\n\r\n\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00\x00\x00\x00\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /public/unreadable HTTP/9.9\r\nHost: gateway.local\r\n\r\n",
    ];
    for wire in noise {
        let mut client = lab.gateway.client().patience(Duration::from_millis(500));
        client.write(wire);
        if let Ok(response) = client.try_read(false) {
            assert!((400..600).contains(&response.status), "{:?}: {response}", latin1(wire));
        }
        client.leave();
        lab.call(&get("/public/ping")).assert_ok();
    }
    assert!(lab.gateway.is_running());
    assert!(!lab.gateway.stderr().contains("panicked"), "a panic on bytes from the network");
    assert_eq!(lab.upstream.seen().len(), noise.len());
}
