//! What an upstream's fault looks like to the client: one envelope each, and never half an answer taken for a whole
//! one (contract sections 6 and 9).

use std::time::{Duration, Instant};

use crate::harness::accounts::key_of;
use crate::harness::client::Broken;
use crate::harness::gateway::Gateway;
use crate::harness::lab::{Lab, builder};
use crate::harness::ports;
use crate::harness::request::{get, post};
use crate::harness::upstream::{Step, Upstream, answer, head, json, raw};
use crate::harness::wait::{PATIENCE, eventually};

/// A lab whose upstream does this to every request for `/public/fault…` and answers all others.
fn faulty(fault: impl Fn(&str) -> Vec<Step> + Send + Sync + 'static) -> Lab {
    let upstream = Upstream::scripted(move |seen| match seen.target.strip_prefix("/public/fault") {
        Some(rest) => fault(rest.trim_start_matches('/')),
        None => json(200, "{}"),
    });
    Lab::before(upstream, |builder| builder)
}

#[test]
fn refused_connection_is_upstream_unreachable_at_once() {
    let refusing = ports::refusing();
    let gateway = builder().upstream("lab", refusing).start();
    let started = Instant::now();
    let mut client = gateway.client();
    let response = client.send(&get("/public/a"));
    response.assert_denied(502, "502", "upstream_unreachable");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    client.assert_closes();
    assert!(!response.text().contains(&refusing.port().to_string()), "{response}");
    // The gateway's own answers do not need the upstream.
    gateway.call(&get("/orders/1")).assert_denied(400, "400", "header_missing");
    let line = gateway.line_of(&response.request_id());
    line.assert(&[("status", "502"), ("outcome", "failed"), ("reason", "upstream_unreachable"), ("route", "public")]);
}

#[test]
fn one_refusing_upstream_does_not_touch_another() {
    let refusing = ports::refusing();
    let upstream = Upstream::start();
    let routes = r#"
[realm]
name = "two"
base = "/"
roles = ["administrator"]
schemes = ["basic"]
upstream = "lab"
[[route]]
name = "well"
match = "GET /well"
public = true
[[route]]
name = "ill"
match = "GET /ill"
public = true
upstream = "away"
"#;
    let gateway =
        Gateway::builder().policy("two", routes).upstream("lab", upstream.address()).upstream("away", refusing).start();
    for _ in 0..3 {
        gateway.call(&get("/ill")).assert_denied(502, "502", "upstream_unreachable");
        gateway.call(&get("/well")).assert_ok();
    }
}

#[test]
fn silence_is_upstream_timeout_after_the_read_timeout() {
    let upstream = Upstream::scripted(|_| vec![Step::Silence]);
    let address = upstream.address();
    let gateway = builder().upstream_with("lab", address, "timeouts = { read = \"300ms\" }").start();
    let lab = Lab::of(gateway, upstream);
    for request in [get("/public/a"), post("/public/echo").body(b"{}")] {
        let started = Instant::now();
        let mut client = lab.gateway.client();
        client.send(&request).assert_denied(504, "504", "upstream_timeout");
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(290), "{took:?}");
        assert!(took < Duration::from_secs(3), "{took:?}");
        client.assert_closes();
    }
}

#[test]
fn answer_that_is_not_http_is_upstream_invalid() {
    let lab = faulty(|rest| match rest {
        "noise" => raw(b"\x00\x01\x02 this is no HTTP at all\r\n\r\n"),
        "status" => raw(b"HTTP/1.1 20x OK\r\nContent-Length: 2\r\n\r\nok"),
        "length" => raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok"),
        _ => raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!"),
    });
    for kind in ["noise", "status", "length", "lengths"] {
        let mut client = lab.gateway.client();
        let response = client.send(&get(&format!("/public/fault/{kind}")));
        assert_eq!(response.status, 502, "{kind}: {response}");
        response.assert_denied(502, "502", "upstream_invalid");
        client.assert_closes();
        lab.call(&get("/public/well")).assert_ok();
    }
}

#[test]
fn connection_that_ends_before_an_answer_is_502_and_is_not_tried_for_ever() {
    let lab = faulty(|_| vec![Step::Close]);
    let response = lab.call(&get("/public/fault"));
    response.assert_denied_one_of(502, "502", &["upstream_invalid", "upstream_unreachable"]);
    let tries = lab.upstream.seen().iter().filter(|seen| seen.target == "/public/fault").count();
    assert!((1..=2).contains(&tries), "{tries} tries");
}

#[test]
fn body_cut_by_the_upstream_never_ends_cleanly() {
    let lab = faulty(|rest| {
        let mut wire = head(200, &[("Content-Type", "text/plain")]);
        wire.extend_from_slice(if rest == "sized" {
            b"Content-Length: 100\r\n\r\nten bytes."
        } else {
            b"Transfer-Encoding: chunked\r\n\r\na\r\nten bytes.\r\n"
        });
        raw(&wire)
    });
    for kind in ["sized", "chunked"] {
        let answer = lab.gateway.client().try_send(&get(&format!("/public/fault/{kind}")));
        let id = match &answer {
            Err(Broken::Cut(response)) => {
                assert!(b"ten bytes.".starts_with(&response.body), "{response}");
                response.request_id()
            }
            // The cut was noticed before a byte had left.
            Ok(response) if response.status == 502 => {
                response.assert_denied(502, "502", "upstream_invalid");
                response.request_id()
            }
            _ => panic!("{kind}: a cut body must not look whole: {answer:?}"),
        };
        lab.gateway.line_of(&id).assert(&[("outcome", "failed")]);
        lab.call(&get("/public/well")).assert_ok();
    }
}

#[test]
fn stall_inside_a_body_is_a_cut_too() {
    let upstream = Upstream::scripted(|_| {
        let mut wire = head(200, &[("Content-Length", "100")]);
        wire.extend_from_slice(b"\r\nten bytes.");
        vec![Step::Send(wire), Step::Silence]
    });
    let address = upstream.address();
    let gateway = builder().upstream_with("lab", address, "timeouts = { read = \"300ms\" }").start();
    let lab = Lab::of(gateway, upstream);
    let broken = lab.gateway.client().try_send(&get("/public/a"));
    assert!(
        matches!(&broken, Err(Broken::Cut(_))) || matches!(&broken, Ok(response) if response.status == 504),
        "a stalled body must not look whole: {broken:?}"
    );
}

#[test]
fn slow_answer_within_the_timeout_passes() {
    let lab = faulty(|_| [vec![Step::Wait(Duration::from_millis(300))], json(200, r#"{"slow":true}"#)].concat());
    assert_eq!(lab.call(&get("/public/fault")).assert_ok().text(), r#"{"slow":true}"#);
}

#[test]
fn final_answer_before_the_body_was_read_reaches_the_client() {
    let upstream = Upstream::early(|_| {
        let early = answer(413, &[("Content-Type", "text/plain"), ("Connection", "close")], b"too much for me");
        [early, vec![Step::Silence]].concat()
    });
    let lab = Lab::before(upstream, |builder| builder);
    let request = post("/write/1").basic("ak_alice", &key_of("ak_alice"));
    let mut client = lab.gateway.client();
    let response = client.send(&request.owing(4 * 1024 * 1024, &vec![b'x'; 100_000]));
    assert_eq!((response.status, response.text().as_str()), (413, "too much for me"));
}

#[test]
fn client_that_leaves_is_logged_as_gone_and_harms_nobody() {
    let lab = faulty(|_| [vec![Step::Wait(Duration::from_millis(500))], json(200, "{}")].concat());
    let mut client = lab.gateway.client();
    client.write(&get("/public/fault/gone").bytes());
    // The upstream records a request before it plays its answer, which comes half a second later.
    eventually("the request arrives", PATIENCE, || lab.upstream.saw_target("/public/fault/gone").then_some(()));
    client.leave();
    let line = lab.gateway.access_lines(1).remove(0);
    line.assert(&[("path", "/public/fault/gone"), ("status", "499"), ("outcome", "client_gone")]);
    lab.call(&get("/public/well")).assert_ok();
}
