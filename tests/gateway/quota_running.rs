//! `in_flight`: how many requests run at once, per principal, ancestor of a role, upstream and address; and that a place is
//! free again on every way a request can end (contract section 8).

use std::thread;
use std::time::Duration;

use crate::harness::accounts::key_of;
use crate::harness::client::Client;
use crate::harness::lab::{Lab, login_request, login_with};
use crate::harness::request::{Request, get, post, request};
use crate::harness::shop::{Shop, hold, holding};
use crate::harness::upstream::{Step, Upstream, answer, chunked_answer, head, json, raw};
use crate::harness::wait::{PATIENCE, eventually};

/// How many may run.
const ROOM: usize = 3;

fn per(kind: &str) -> String {
    format!("per = \"{kind}\"\nin_flight = {ROOM}")
}

fn by(account: &str, request: Request) -> Request {
    let id = format!("ak_{account}");
    request.basic(&id, &key_of(&id))
}

fn own(request: Request) -> Request {
    by("usr-1", request)
}

/// All four kinds on the same requests: where one keeps a place, the next request is refused.
fn all_kinds() -> Shop {
    let everywhere = ["items", "open", "brief", "away"];
    Shop::default()
        .quota("of-own", &per("principal"), &["items", "other"])
        .quota("of-customer", &per("customer"), &["items"])
        .quota("of-upstream", &per("upstream"), &everywhere)
        .quota("of-address", &per("address"), &["arrival"])
}

/// Holds as many as there is room for.
fn fill(lab: &Lab, request: &Request) -> Vec<Client> {
    (0..ROOM).map(|_| hold(lab, request)).collect()
}

/// Asserts that one request more is refused by this quota, at once, and that the client may come back in a second.
#[track_caller]
fn assert_full(lab: &Lab, request: &Request, quota: &str) {
    let refused = lab.call(request);
    assert_eq!(refused.assert_over_quota(), 1, "{refused}");
    lab.gateway.line_of(&refused.request_id()).assert(&[
        ("quota", quota),
        ("reason", "quota_exceeded"),
        ("outcome", "denied"),
        ("upstream", ""),
    ]);
    refused.assert_told_nothing();
}

/// Waits until nothing runs any more: what a client that is gone left behind ends when the gateway notices.
fn idle(lab: &Lab) {
    eventually("no request runs", PATIENCE, || {
        (lab.gateway.metrics().sum("portcullis_requests_in_flight", &[]) < 0.5).then_some(())
    });
}

/// Asserts that every place is free: so many run at once, and one more does not.
#[track_caller]
fn assert_all_free(lab: &Lab) {
    let held = fill(lab, &own(get("/s/items/hold")));
    assert_full(lab, &own(get("/s/items/1")), "of-address");
    held.into_iter().for_each(Client::leave);
    idle(lab);
}

#[test]
fn a_slow_upstream_holds_as_many_requests_as_there_is_room_for_and_the_next_is_429() {
    for (kind, quota) in [("principal", "own"), ("customer", "own"), ("upstream", "own"), ("address", "own")] {
        let places: &[&str] = if kind == "address" { &["arrival"] } else { &["items"] };
        let lab = Shop::default().quota(quota, &per(kind), places).lab_before(holding(), |builder| builder);
        let held = fill(&lab, &own(get("/s/items/hold")));
        for _ in 0..3 {
            assert_full(&lab, &own(get("/s/items/1")), quota);
        }
        // Who shares the place, and who does not.
        let (sibling, stranger) = (by("usr-2", get("/s/items/1")), by("usr-9", get("/s/items/1")));
        let status = |request: &Request| lab.call(request).status;
        let expected = match kind {
            "principal" => (200, 200),
            "customer" => (429, 200),
            _ => (429, 429),
        };
        assert_eq!((status(&sibling), status(&stranger)), expected, "{kind}");
        held.into_iter().for_each(Client::leave);
        idle(&lab);
        let held = fill(&lab, &own(get("/s/items/hold")));
        assert_full(&lab, &own(get("/s/items/1")), quota);
        drop(held);
    }
}

/// Ways to end, by the last segment of the path.
fn endings() -> Upstream {
    Upstream::scripted(|seen| match seen.target.rsplit('/').next().unwrap_or_default() {
        "hold" | "brief" => vec![Step::Silence],
        "noise" => raw(b"this is no HTTP at all\r\n\r\n"),
        "shut" => vec![Step::Close],
        "cut" => {
            vec![Step::Send([head(200, &[("Content-Length", "100")]), b"\r\nhalf".to_vec()].concat()), Step::Close]
        }
        "chunks" => chunked_answer(&["some", "more"]),
        "none" => vec![Step::Send([head(204, &[]), b"\r\n".to_vec()].concat())],
        "empty" => answer(200, &[], b""),
        "big" => answer(200, &[], &vec![b'x'; 4 << 20]),
        "drip" => {
            vec![Step::Send([head(200, &[("Content-Length", "9")]), b"\r\nhalf".to_vec()].concat()), Step::Silence]
        }
        _ => json(200, "{}"),
    })
}

fn lab_of_endings() -> Lab {
    all_kinds().lab_before(endings(), |builder| builder.limits("body_timeout = \"1s\"\n"))
}

/// The answer's last byte is the sign: no waiting, no second connection that is quicker than the first one's end.
#[test]
fn a_place_is_free_when_the_client_has_its_answer_whatever_the_answer_is() {
    let lab = lab_of_endings();
    let answered = [
        (200, own(get("/s/items/1"))),
        (200, own(request("HEAD", "/s/items/1"))),
        (200, own(get("/s/items/chunks"))),
        (204, own(get("/s/items/none"))),
        (200, own(get("/s/items/empty"))),
        (200, own(get("/s/items/big"))),
        (200, own(post("/s/items/1").body(b"{}"))),
        (200, own(post("/s/items/1").chunked(&[b"one", b"two"]))),
        (502, own(get("/s/items/noise"))),
        (502, own(get("/s/items/shut"))),
        (502, get("/s/away")),
        (504, get("/s/brief")),
        (413, own(post("/s/items/1")).owing(1 << 20, b"")),
        (413, own(post("/s/items/1")).chunked(&[&[b'x'; 40_000], &[b'x'; 40_000]])),
        (404, get("/s/nowhere")),
        (405, request("PUT", "/s/other")),
        (403, own(get("/s/narrow"))),
        (401, get("/s/items/1").basic("ak_usr-1", "wrong")),
        (200, login_request("/s", "usr-1")),
        (401, login_with("/s", "usr-1", "wrong")),
        (406, post("/s/login").header("X-Api-Id", "ak_usr-1").body(b"{}")),
    ];
    for (status, request) in &answered {
        for _ in 0..=ROOM {
            lab.call(request).assert_status(*status);
        }
    }
    let token =
        lab.call(&login_request("/s", "usr-1")).assert_ok().json()["token"].as_str().expect("a token").to_owned();
    let logout = post("/s/logout").token(&token);
    for status in [200, 401, 401, 401] {
        lab.call(&logout).assert_status(status);
    }
    assert_all_free(&lab);
}

#[test]
fn the_next_request_of_a_connection_has_the_place_of_the_one_before() {
    let lab = lab_of_endings();
    let mut client = lab.gateway.client();
    for number in 0..4 * ROOM {
        let path = ["/s/items/1", "/s/items/chunks", "/s/items/none", "/s/items/empty"][number % 4];
        client.send(&own(get(path)));
        client.send(&own(post("/s/items/1").body(b"{}"))).assert_ok();
        client.send(&own(get("/s/narrow"))).assert_status(403);
    }
    assert_all_free(&lab);
}

#[test]
fn http_1_0_frees_its_place_too() {
    let lab = lab_of_endings();
    for path in ["/s/items/1", "/s/items/chunks", "/s/items/shut"] {
        for _ in 0..=ROOM {
            let wire = String::from_utf8(own(get(path)).bytes()).expect("text").replace("HTTP/1.1", "HTTP/1.0");
            let mut client = lab.gateway.client();
            client.write(wire.as_bytes());
            assert_ne!(client.read().status, 429);
            client.assert_closes();
        }
    }
    assert_all_free(&lab);
}

#[test]
fn clients_that_leave_free_their_places() {
    let lab = lab_of_endings();
    type Leaving = fn(&Lab) -> Client;
    let leaving: [(&str, Leaving); 5] = [
        ("while the upstream is silent", |lab| hold(lab, &own(get("/s/items/hold")))),
        ("in the middle of a sized body", |lab| sent(lab, &own(post("/s/items/1")).owing(1000, b"ten bytes."))),
        ("in the middle of a login's body", |lab| {
            sent(lab, &post("/s/login").header("X-Api-Id", "ak_usr-1").owing(1000, b"{"))
        }),
        ("while it reads a long answer", |lab| {
            let client = sent(lab, &own(get("/s/items/big")));
            eventually("the upstream has it", PATIENCE, || lab.upstream.saw_target("/s/items/big").then_some(()));
            client
        }),
        ("in an answer that goes on", |lab| sent(lab, &own(get("/s/items/drip")))),
    ];
    for (when, leave) in leaving {
        for _ in 0..ROOM {
            leave(&lab).leave();
        }
        idle(&lab);
        eprintln!("left {when}");
        assert_all_free(&lab);
    }
}

fn sent(lab: &Lab, request: &Request) -> Client {
    let mut client = lab.gateway.client();
    client.write(&request.bytes());
    // Some leave before the gateway has read anything, some after.
    thread::sleep(Duration::from_millis(5));
    client
}

#[test]
fn bodies_and_answers_that_stop_in_their_middle_free_their_places() {
    let lab = lab_of_endings();
    for _ in 0..ROOM {
        let stalled = lab.gateway.client().try_send(&own(post("/s/items/1")).owing(1000, b"ten bytes."));
        assert!(stalled.is_ok_and(|response| response.status == 408));
        let cut = lab.gateway.client().try_send(&own(get("/s/items/cut")));
        assert!(matches!(cut, Err(crate::harness::client::Broken::Cut(_))));
    }
    idle(&lab);
    assert_all_free(&lab);
}

#[test]
fn requests_that_another_quota_refuses_take_no_place() {
    let shop = all_kinds().quota("rate", "per = \"principal\"\nrate = \"1/h\"", &["items"]);
    let lab = shop.lab_before(holding(), |builder| builder);
    lab.call(&own(get("/s/items/1"))).assert_ok();
    for _ in 0..2 * ROOM {
        let refused = lab.call(&own(get("/s/items/1")));
        assert!(refused.assert_over_quota() > 3000, "{refused}");
    }
    // The others of the customer find every place free.
    lab.call(&by("usr-2", get("/s/items/1"))).assert_ok();
    let held: Vec<Client> = (0..ROOM).map(|_| hold(&lab, &get("/s/open/hold"))).collect();
    assert_full(&lab, &get("/s/open/1"), "of-address");
    drop(held);
}
