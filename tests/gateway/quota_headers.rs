//! What clients are told of quotas: `RateLimit-Policy` and `RateLimit` on every answer to a request that was charged, of
//! whatever kind the answer is, and on no other (contract section 8).

use crate::harness::accounts::key_of;
use crate::harness::client::Broken;
use crate::harness::lab::{Lab, login_request, login_with};
use crate::harness::request::{Request, get, post, request};
use crate::harness::response::Response;
use crate::harness::shop::{Shop, Told, hold, holding};
use crate::harness::upstream::{Step, Upstream, answer, head, json, raw};

/// Refills one an hour: nothing comes back while a test runs.
const SLOW: &str = "rate = \"1/h\"\nburst = ";

fn per(kind: &str, burst: u32) -> String {
    format!("per = \"{kind}\"\n{SLOW}{burst}")
}

/// Faults by the last segment of the path.
fn faulty() -> Upstream {
    Upstream::scripted(|seen| match seen.target.rsplit('/').next().unwrap_or_default() {
        "noise" => raw(b"this is no HTTP at all\r\n\r\n"),
        "cut" => {
            vec![Step::Send([head(200, &[("Content-Length", "100")]), b"\r\nhalf".to_vec()].concat()), Step::Close]
        }
        "brief" => vec![Step::Silence],
        "limited" => {
            answer(200, &[("RateLimit-Policy", "\"theirs\";q=1;w=1"), ("RateLimit", "\"theirs\";r=0;t=1")], b"{}")
        }
        "teapot" => json(418, "{}"),
        "nothing" => vec![Step::Send([head(204, &[]), b"\r\n".to_vec()].concat())],
        _ => json(200, "{}"),
    })
}

fn as_user(request: Request) -> Request {
    request.basic("ak_usr-1", &key_of("ak_usr-1"))
}

/// Every kind of answer that a charged request may get, with its status. The client's side, so that it can be cut.
fn answers(lab: &Lab) -> Vec<(u16, Request)> {
    let token = login_with_token(lab);
    vec![
        (200, as_user(get("/s/items/1"))),
        (200, as_user(request("HEAD", "/s/items/1"))),
        (418, as_user(get("/s/items/teapot"))),
        (204, as_user(get("/s/items/nothing"))),
        (200, get("/s/open/1")),
        (404, get("/s/nowhere")),
        (405, request("PUT", "/s/other")),
        (400, get("/s/other")),
        (401, get("/s/other").header("Authorization", "Nonsense")),
        (401, get("/s/other").basic("ak_usr-1", "wrong")),
        (401, get("/s/other").token("no.to.ken")),
        (403, as_user(get("/s/narrow"))),
        (413, as_user(post("/s/items/1")).owing(1 << 20, b"")),
        (413, as_user(post("/s/items/1")).chunked(&[&[b'x'; 40_000], &[b'x'; 40_000]])),
        (502, get("/s/away")),
        (502, get("/s/open/noise")),
        (504, get("/s/brief")),
        (200, login_request("/s", "usr-1")),
        (401, login_with("/s", "usr-1", "wrong")),
        (406, post("/s/login").header("X-Api-Id", "ak_usr-1").body(b"{}")),
        (200, post("/s/logout").token(&token)),
        (401, post("/s/logout").token(&token)),
    ]
}

fn login_with_token(lab: &Lab) -> String {
    let response = lab.call(&login_request("/s", "usr-1")).assert_ok();
    response.json()["token"].as_str().expect("a token").to_owned()
}

#[test]
fn every_kind_of_answer_to_a_charged_request_tells_what_is_left() {
    let shop = Shop::default().quota("door", &per("address", 500), &["arrival"]);
    let lab = shop.lab_before(faulty(), |builder| builder);
    let answers = answers(&lab);
    assert!(answers.len() > 20);
    let mut left = 499;
    for (status, request) in answers {
        left -= 1;
        let response = lab.call(&request).assert_status(status);
        let told = response.told().unwrap_or_else(|| panic!("{}: {response}", request.line()));
        let want = Told { name: "door".into(), burst: 500, window: 500 * 3600, remaining: left, more_in: 3600 };
        assert_eq!(Told { more_in: 3600, ..told.clone() }, want, "{}", request.line());
        assert!((3500..=3600).contains(&told.more_in), "{told:?}");
    }
    // An answer that breaks off has told it with its head.
    match lab.gateway.client().try_send(&get("/s/open/cut")) {
        Err(Broken::Cut(response)) => drop(response.assert_told("door", left - 1)),
        other => panic!("not cut: {other:?}"),
    }
}

#[test]
fn uncharged_answers_tell_nothing_and_keep_what_the_upstream_tells() {
    let shop = Shop::default().quota("own", &per("principal", 5), &["items"]);
    let lab = shop.lab_before(faulty(), |builder| builder);
    let theirs = lab.call(&get("/s/open/limited")).assert_ok().assert_told("theirs", 0);
    assert_eq!(theirs.header("ratelimit"), Some("\"theirs\";r=0;t=1"));
    let ours = lab.call(&as_user(get("/s/items/limited"))).assert_ok().assert_told("own", 4);
    assert_eq!(ours.header("ratelimit-policy"), Some("\"own\";q=5;w=18000"));
    for (status, request) in [
        (200, as_user(get("/s/other"))),
        (404, get("/s/nowhere")),
        (403, as_user(get("/s/narrow"))),
        (502, get("/s/away")),
        (200, login_request("/s", "usr-1")),
        // Refused before it is charged, though its route would charge it.
        (400, get("/s/items/1")),
        (401, get("/s/items/1").basic("ak_usr-1", "wrong")),
        (413, as_user(post("/s/items/1")).owing(1 << 20, b"")),
    ] {
        lab.call(&request).assert_status(status).assert_told_nothing();
    }
    lab.call(&as_user(get("/s/items/1"))).assert_ok().assert_told("own", 3);
}

#[test]
fn malformed_requests_are_not_charged() {
    let lab = Shop::default().quota("door", &per("address", 9), &["arrival"]).lab();
    for target in ["/s//items", "/s/%2e%2e/x", "/s/items/1#x"] {
        lab.call(&get(target)).assert_status(400).assert_told_nothing();
    }
    lab.call(&get("/s/open/1")).assert_ok().assert_told("door", 8);
}

#[test]
fn the_tightest_of_all_quotas_is_told_and_the_refusing_one_on_a_429() {
    let shop = Shop::default()
        .quota("door", &per("address", 4), &["arrival"])
        .quota("own", &per("principal", 3), &["items", "other"])
        .quota("tenant", &per("customer", 50), &["items"]);
    let lab = shop.lab();
    let own = |target: &str| lab.call(&as_user(get(target)));
    own("/s/items/1").assert_ok().assert_told("own", 2);
    lab.call(&get("/s/open/1")).assert_ok().assert_told("door", 2);
    own("/s/other").assert_ok().assert_told("door", 1);
    lab.call(&get("/s/nowhere")).assert_status(404).assert_told("door", 0);
    let refused = own("/s/items/1");
    let wait = refused.assert_over_quota();
    assert!((3500..=3600).contains(&wait), "{refused}");
    let told = refused.assert_told("door", 0).told().expect("just asserted");
    assert_eq!(u64::try_from(told.more_in).expect("no sign"), wait);
}

#[test]
fn a_request_refused_by_its_own_quota_is_told_of_that_one() {
    let shop =
        Shop::default().quota("door", &per("address", 4), &["arrival"]).quota("own", &per("principal", 1), &["items"]);
    let lab = shop.lab();
    lab.call(&as_user(get("/s/items/1"))).assert_ok().assert_told("own", 0);
    let refused = lab.call(&as_user(request("HEAD", "/s/items/1")));
    assert_eq!((refused.status, refused.body.len()), (429, 0), "{refused}");
    refused.assert_denial_headers();
    refused.assert_told("own", 0);
}

#[test]
fn quotas_of_running_requests_are_told_of_nowhere() {
    let alone = Shop::default().quota("running", "per = \"address\"\nin_flight = 1", &["arrival"]);
    let beside = Shop::default().quota("running", "per = \"principal\"\nin_flight = 1", &["items"]).quota(
        "door",
        &per("address", 9),
        &["arrival"],
    );
    for (shop, told_name) in [(alone, None), (beside, Some("door"))] {
        let lab = shop.lab_before(holding(), |builder| builder);
        let name_told = |response: &Response| response.told().map(|told| told.name);
        let passed = lab.call(&as_user(get("/s/items/1"))).assert_ok();
        assert_eq!(name_told(&passed).as_deref(), told_name);
        let held = hold(&lab, &as_user(get("/s/items/hold")));
        let refused = lab.call(&as_user(get("/s/items/1")));
        assert_eq!(refused.assert_over_quota(), 1, "{refused}");
        lab.gateway.line_of(&refused.request_id()).assert(&[("quota", "running"), ("reason", "quota_exceeded")]);
        assert_eq!(name_told(&refused).as_deref(), told_name);
        held.leave();
    }
}
