//! What an attack on the running gateway once found; each stays found out.

use std::thread::sleep;
use std::time::Duration;

use crate::harness::client::latin1;
use crate::harness::lab::{Held, Lab, Shared};
use crate::harness::request::get;

static LAB: Shared = Shared::new();

fn lab() -> Held {
    LAB.hold(Lab::start)
}

/// Long enough for the pieces to arrive in packets of their own; the outcome does not depend on it.
const BETWEEN_PACKETS: Duration = Duration::from_millis(15);

#[test]
fn chunked_body_arrives_whole_wherever_the_network_cuts_it() {
    let lab = lab();
    let head = b"POST /public/echo HTTP/1.1\r\nHost: gateway.local\r\nTransfer-Encoding: chunked\r\n\r\n";
    let wire = [&head[..], b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"].concat();
    let cuts: Vec<usize> = (head.len()..wire.len()).collect();
    assert!(cuts.len() > 20);
    for cut in cuts {
        let mut client = lab.gateway.client();
        client.write(&wire[..cut]);
        sleep(BETWEEN_PACKETS);
        client.write(&wire[cut..]);
        let response = client.read();
        assert_eq!(response.status, 200, "cut at {cut}: {response}");
        let seen = lab.upstream.seen_with_id(&response.request_id());
        assert_eq!(latin1(&seen.body), "hello world", "cut at {cut}");
    }
}

#[test]
fn requests_that_the_carrier_cannot_read_get_the_envelope_and_a_line() {
    let lab = lab();
    for target in [
        "CONNECT /public/a",
        "CONNECT gateway.local:80",
        "GET /public/a?q=<b>",
        "GET /public/a?q=\"b\"",
        "GET /public/a<b",
        "GET /public/a`b",
        "GET /public/a>b",
    ] {
        let mut client = lab.gateway.client();
        client.write(format!("{target} HTTP/1.1\r\nHost: gateway.local\r\n\r\n").as_bytes());
        let response = client.read();
        response.assert_denied(400, "1002", "request_malformed");
        let line = lab.gateway.line_of(&response.request_id());
        line.assert(&[("status", "400"), ("outcome", "denied"), ("reason", "request_malformed")]);
    }
}

#[test]
fn absolute_form_is_the_same_host_in_any_letter_case_and_leaves_in_origin_form() {
    let lab = lab();
    for (target, host) in
        [("http://GATEWAY.local/public/a?b", "gateway.local"), ("HTTP://gateway.local/public/a?b", "Gateway.Local")]
    {
        let mut client = lab.gateway.client();
        client.write(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        let response = client.read();
        assert_eq!(response.status, 200, "{target}: {response}");
        assert_eq!(lab.upstream.seen_with_id(&response.request_id()).target, "/public/a?b");
    }
}

#[test]
fn connection_cannot_take_away_what_was_judged() {
    let lab = lab();
    let token = lab.login("alice");
    for names in ["X-Auth-Account, X-Auth-Role", "close, Authorization", "Accept"] {
        let request = get("/orders/1").token(&token).header("Connection", names);
        let response = lab.call(&request);
        assert_eq!(response.status, 200, "{names}: {response}");
        lab.upstream.seen_with_id(&response.request_id()).assert_header("x-auth-account", "alice");
    }
}

#[test]
fn malformed_requests_keep_the_connection_when_the_next_one_starts_beyond_doubt() {
    let lab = lab();
    let mut client = lab.gateway.client();
    for head in [
        "GET /public/../x HTTP/1.1\r\nHost: gateway.local\r\n\r\n",
        "GET /public/../x HTTP/1.1\r\nHost: gateway.local\r\nConnection: keep-alive\r\n\r\n",
        "POST /public/..;/x HTTP/1.1\r\nHost: gateway.local\r\nContent-Length: 5\r\n\r\nhello",
        "HEAD /public//x HTTP/1.1\r\nHost: gateway.local\r\n\r\n",
    ] {
        client.write(head.as_bytes());
        let response = client.try_read(head.starts_with("HEAD")).expect(head);
        assert_eq!(response.status, 400, "{head}");
    }
    let response = client.send(&get("/public/after"));
    assert_eq!(response.status, 200, "{response}");
}

#[test]
fn line_of_a_refused_request_shows_nothing_of_the_one_before() {
    let lab = lab();
    let mut client = lab.gateway.client();
    client.write(b"GET /one/../x HTTP/1.1\r\nHost: gateway.local\r\nUser-Agent: first\r\n\r\n");
    assert_eq!(client.read().status, 400);
    client.write(b"PASSWORD=hunter2-hunter2\r\n\r\n");
    let response = client.read();
    assert_eq!(response.status, 400);
    let line = lab.gateway.line_of(&response.request_id());
    line.assert(&[("method", ""), ("path", "")]);
    assert!(!lab.gateway.stdout().contains("hunter2"), "a line that is no request line was logged");
}

#[test]
fn bytes_behind_a_request_are_not_the_upstreams_fault() {
    let lab = Lab::before(
        crate::harness::upstream::Upstream::scripted(|_| {
            sleep(Duration::from_millis(400));
            crate::harness::upstream::json(200, "{}")
        }),
        |builder| builder,
    );
    let mut client = lab.gateway.client();
    client.write(b"GET /public/slow HTTP/1.1\r\nHost: gateway.local\r\n\r\n");
    sleep(Duration::from_millis(100));
    client.write(b"GET /public/next HTTP/1.1\r\nHost: gateway.local\r\n\r\n");
    if let Ok(response) = client.try_read(false) {
        assert!(response.status < 500, "{response}");
    }
    let lines = lab.gateway.access_lines(1);
    assert!(!format!("{lines:?}").contains("upstream_unreachable"), "{lines:?}");
}

#[test]
fn http_1_0_clients_get_no_codings() {
    let upstream = crate::harness::upstream::Upstream::scripted(|_| {
        crate::harness::upstream::raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    });
    let lab = Lab::before(upstream, |builder| builder);
    let mut client = lab.gateway.client();
    client.write(b"GET /public/a HTTP/1.0\r\nHost: gateway.local\r\nConnection: keep-alive\r\n\r\n");
    let response = client.read();
    assert_eq!(response.status, 200);
    assert_eq!(response.text(), "hello");
    assert!(response.all("transfer-encoding").is_empty(), "{response}");
    client.assert_closes();
}

#[test]
fn upstream_that_switches_protocols_unasked_is_invalid() {
    let upstream = crate::harness::upstream::Upstream::scripted(|_| {
        crate::harness::upstream::raw(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nraw",
        )
    });
    let lab = Lab::before(upstream, |builder| builder);
    let mut client = lab.gateway.client();
    client.write(
        b"GET /public/a HTTP/1.1\r\nHost: gateway.local\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    client.read().assert_denied(502, "502", "upstream_invalid");
}

#[test]
fn client_that_leaves_in_its_login_body_is_499() {
    let lab = Lab::start();
    let mut client = lab.gateway.client();
    client.write(
        b"POST /login HTTP/1.1\r\nHost: gateway.local\r\nX-Api-Id: ak_tenant\r\nContent-Type: application/json\r\n\
          Content-Length: 100\r\n\r\n{\"email\":",
    );
    sleep(Duration::from_millis(100));
    client.leave();
    let lines = lab.gateway.access_lines(1);
    lines[0].assert(&[("status", "499"), ("outcome", "client_gone")]);
}

#[test]
fn login_body_with_unreadable_framing_ends_the_connection() {
    let lab = lab();
    let head = "POST /login HTTP/1.1\r\nHost: gateway.local\r\nX-Api-Id: ak_tenant\r\nContent-Type: application/json\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    let next = "GET /public/smuggled HTTP/1.1\r\nHost: gateway.local\r\n\r\n";
    for (first, second) in [(format!("{head}zz\r\n"), next.to_owned()), (format!("{head}zz\r\n{next}"), String::new())]
    {
        let mut client = lab.gateway.client();
        client.write(first.as_bytes());
        assert_eq!(client.read().status, 400);
        sleep(BETWEEN_PACKETS);
        client.write(second.as_bytes());
        client.assert_closes();
    }
    assert!(!lab.upstream.saw_target("/public/smuggled"));
}

#[test]
fn refusal_of_an_expected_body_closes() {
    let lab = lab();
    let mut client = lab.gateway.client();
    client.write(
        b"POST /nowhere/a HTTP/1.1\r\nHost: gateway.local\r\nExpect: 100-continue\r\nContent-Length: 38\r\n\r\n",
    );
    let response = client.read();
    assert_eq!(response.status, 404);
    assert_eq!(response.header("connection"), Some("close"));
    client.assert_closes();
}
