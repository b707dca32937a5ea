//! Reload beside what runs: connections that stay open, answers on their way, upstreams that come and go, and several who
//! ask at once (contract sections 2 and 3).

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::accounts::key_of;
use crate::harness::gateway::{Exit, Gateway};
use crate::harness::lab::{LAB_POLICY, Lab, builder};
use crate::harness::ports;
use crate::harness::request::{Request, get};
use crate::harness::shop::{Shop, hold, holding};
use crate::harness::upstream::{Step, Upstream, head, json as answer};
use crate::harness::wait::{PATIENCE, eventually};

fn order() -> Request {
    get("/orders/1").basic("ak_alice", &key_of("ak_alice"))
}

#[track_caller]
fn reload(gateway: &Gateway) -> Value {
    gateway.admin_json("POST", "/reload", &json!({})).assert_ok().json()
}

/// The lab's policy without the role of users on orders.
fn narrowed() -> String {
    let both = "match = \"GET /orders/{id}\"\nallow = [\"administrator\", \"user\"]";
    assert!(LAB_POLICY.contains(both));
    LAB_POLICY.replacen(both, "match = \"GET /orders/{id}\"\nallow = [\"administrator\"]", 1)
}

#[test]
fn an_open_connection_gets_the_new_rule_on_its_next_request() {
    let lab = Lab::start();
    let mut client = lab.gateway.client();
    client.send(&order()).assert_ok();
    lab.gateway.replace_file("lab.toml", &narrowed());
    let revision = reload(&lab.gateway)["revision"].clone();
    let refused = client.send(&order());
    refused.assert_denied(403, "1002", "role_forbidden");
    assert_eq!(lab.gateway.line_of(&refused.request_id()).text("revision"), revision.as_str().unwrap());
    lab.gateway.replace_file("lab.toml", LAB_POLICY);
    reload(&lab.gateway);
    client.send(&order()).assert_ok();
}

#[test]
fn an_answer_on_its_way_completes_after_its_route_is_gone() {
    const WHOLE: &str = "the beginning and the end";
    let slow = Upstream::scripted(|seen| match &*seen.target {
        "/orders/slow" => {
            let mut first = head(200, &[("Content-Length", &WHOLE.len().to_string())]);
            first.extend_from_slice(b"\r\nthe beginning");
            vec![Step::Send(first), Step::Wait(Duration::from_secs(2)), Step::Send(b" and the end".to_vec())]
        }
        _ => answer(200, "{}"),
    });
    let lab = Lab::before(slow, |builder| builder);
    let before = lab.gateway.revision();
    let running = thread::scope(|scope| {
        let running = scope.spawn(|| {
            let request = get("/orders/slow").basic("ak_alice", &key_of("ak_alice"));
            lab.gateway.client().send(&request)
        });
        eventually("the upstream has it", PATIENCE, || lab.upstream.saw_target("/orders/slow").then_some(()));
        let start = LAB_POLICY.find("[[route]]\nname = \"orders\"").unwrap();
        let end = start + LAB_POLICY[start..].find("\n\n").unwrap();
        lab.gateway.replace_file("lab.toml", &[&LAB_POLICY[..start], &LAB_POLICY[end..]].concat());
        reload(&lab.gateway);
        lab.call(&order()).assert_denied(404, "404", "route_not_found");
        assert!(!running.is_finished(), "the answer took its time");
        running.join().expect("the answer is whole")
    });
    assert_eq!(running.clone().assert_ok().text(), WHOLE);
    let line = lab.gateway.line_of(&running.request_id());
    line.assert(&[("route", "orders"), ("upstream", "lab"), ("revision", &before)]);
}

#[test]
fn upstreams_come_go_and_move_without_a_restart() {
    let second = Upstream::scripted(|_| answer(200, "\"second\""));
    let lab = Lab::before(Upstream::scripted(|_| answer(200, "\"first\"")), |builder| builder);
    let said = || lab.call(&order()).assert_ok().text();
    assert_eq!(said(), "\"first\"");
    let (first, moved) = (lab.upstream.address().to_string(), second.address().to_string());
    let settings = lab.gateway.read_file("gateway.toml");
    // By name, and behind another one, whose place was the lab's until now.
    let port = second.address().port();
    let next = settings.replacen(&first, &format!("localhost:{port}"), 1).replacen(
        "[upstreams.lab]",
        &format!("[upstreams.aside]\nservers = [\"{first}\"]\n[upstreams.lab]"),
        1,
    );
    lab.gateway.replace_file("gateway.toml", &next);
    assert_eq!(reload(&lab.gateway)["changed"], true);
    assert_eq!(said(), "\"second\"", "the name was looked up before the first request");
    lab.gateway.replace_file("lab.toml", &LAB_POLICY.replacen("upstream = \"lab\"", "upstream = \"aside\"", 1));
    reload(&lab.gateway);
    let response = lab.call(&order()).assert_ok();
    assert_eq!(response.text(), "\"first\"");
    lab.gateway.line_of(&response.request_id()).assert(&[("upstream", "aside"), ("outcome", "permitted")]);
    let metrics = lab.gateway.metrics();
    for name in ["lab", "aside"] {
        assert!(metrics.sum("portcullis_upstream_requests_total", &[("upstream", name)]) >= 1.0, "{name}");
    }
    // One that is still named cannot go, and one that nobody names can.
    lab.gateway.replace_file("gateway.toml", &settings.replacen(&first, &moved, 1));
    lab.gateway.admin_json("POST", "/reload", &json!({})).assert_status(422);
    assert_eq!(lab.call(&order()).assert_ok().text(), "\"first\"");
    lab.gateway.replace_file("lab.toml", LAB_POLICY);
    reload(&lab.gateway);
    assert_eq!(said(), "\"second\"");
}

#[test]
fn requests_that_run_count_for_their_upstream_wherever_it_moves() {
    let quota = "per = \"upstream\"\nin_flight = 2";
    let lab = Shop::default().quota("room", quota, &["items", "away"]).lab_before(holding(), |builder| builder);
    let own = |path: &str| get(path).basic("ak_usr-1", &key_of("ak_usr-1"));
    let held = [hold(&lab, &own("/s/items/hold")), hold(&lab, &own("/s/items/hold"))];
    lab.call(&own("/s/items/1")).assert_over_quota();
    let settings = lab.gateway.read_file("gateway.toml");
    let next = settings.replacen("[upstreams.lab]", "[upstreams.aaa]\nservers = [\"127.0.0.1:1\"]\n[upstreams.lab]", 1);
    lab.gateway.replace_file("gateway.toml", &next);
    assert_eq!(reload(&lab.gateway)["quotas_started_anew"], json!([]));
    lab.call(&own("/s/items/1")).assert_over_quota();
    assert_eq!(lab.call(&get("/s/away")).status, 502, "the other's room is free");
    held.into_iter().for_each(crate::harness::client::Client::leave);
    eventually("there is room again", PATIENCE, || (lab.call(&own("/s/items/1")).status == 200).then_some(()));
}

#[test]
fn an_upstream_that_is_away_keeps_no_gateway_from_starting() {
    let (upstream, started) = (Upstream::start(), Instant::now());
    let public = |realm: &str| {
        format!(
            "[realm]\nname = \"{realm}\"\nbase = \"/{realm}\"\nroles = [\"user\"]\nschemes = [\"basic\"]\n\
             upstream = \"{realm}\"\n[[route]]\nname = \"now\"\nmatch = \"GET /now\"\npublic = true\n"
        )
    };
    let gateway = builder()
        .policy("closed", &public("closed"))
        .policy("unknown", &public("unknown"))
        .upstream("lab", upstream.address())
        .upstream("closed", ports::refusing())
        .toml_extra("[upstreams.unknown]\nservers = [\"nowhere.invalid:1\"]\n")
        .start();
    // Slack for a busy machine in it, and no wait for a name or a connection.
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let lab = Lab::of(gateway, upstream);
    lab.call(&order()).assert_ok();
    lab.call(&get("/closed/now")).assert_denied(502, "502", "upstream_unreachable");
    lab.call(&get("/unknown/now")).assert_denied(502, "502", "upstream_unreachable");
    eventually("the name is warned of", PATIENCE, || {
        let log = lab.gateway.stderr();
        log.lines().any(|line| line.contains("WARN") && line.contains("nowhere.invalid:1")).then_some(())
    });
    assert_eq!(lab.gateway.degraded(), [""; 0], "an upstream's health is no readiness of ours");
}

/// The revision that a verb says is in effect.
#[track_caller]
fn told(exit: &Exit) -> &str {
    assert_eq!(exit.code, 0, "{exit:?}");
    exit.stdout.lines().next().and_then(|line| line.rsplit(' ').next()).expect("a revision")
}

#[test]
fn whoever_asks_is_told_what_is_in_effect_then() {
    let lab = Lab::start();
    let first = lab.gateway.revision();
    let exit = lab.gateway.verb(&["reload", "--wait"]);
    assert_eq!(exit.stdout.trim(), format!("nothing changed: revision {first}"), "{exit:?}");
    assert_eq!((lab.gateway.reloads("unchanged"), lab.gateway.reloads("applied")), (1.0, 0.0));
    for round in 0..5 {
        // The watch may be at it already, or not have seen it yet; both are waited for.
        let pause = Duration::from_millis(250 * round);
        lab.gateway.replace_file("lab.toml", &format!("{}\n# {round}\n", narrowed()));
        thread::sleep(pause);
        let exits: Vec<Exit> = thread::scope(|scope| {
            let asking: Vec<_> = (0..3).map(|_| scope.spawn(|| lab.gateway.verb(&["reload", "--wait"]))).collect();
            asking.into_iter().map(|thread| thread.join().expect("an answer")).collect()
        });
        let now = lab.gateway.revision();
        for exit in &exits {
            assert_eq!(told(exit), now, "{exits:?}");
        }
        let changing = exits.iter().filter(|exit| exit.stdout.starts_with("in effect")).count();
        assert!(changing <= 1, "one of them took it over, or the watch: {exits:?}");
        lab.gateway.replace_file("lab.toml", "nonsense");
        let refused = lab.gateway.verb(&["reload", "--wait"]);
        assert!(refused.code == 65 && refused.stderr.contains("lab.toml:1:"), "{refused:?}");
        assert_eq!(lab.gateway.revision(), now);
    }
    assert_eq!(lab.gateway.reloads("applied"), 5.0, "each state was taken over once");
    let nobody = format!("http://{}", ports::refusing());
    assert_eq!(lab.gateway.verb(&["reload", "--wait", "--admin", &nobody]).code, 69);
}
