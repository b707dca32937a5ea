//! `portcullis explain` as operators type it: by files and by a running gateway, for people and programs.

use serde_json::{Value, json};

use crate::harness::accounts::Accounts;
use crate::harness::gateway::Exit;
use crate::harness::lab::{Lab, TREE_POLICY, builder};
use crate::harness::ports;

const EXIT_DENIED: i32 = 3;
const EXIT_USAGE: i32 = 64;
const EXIT_UNAVAILABLE: i32 = 69;
const TOKEN: &str = "an-admin-token-0123456789abcdef-0123456789abcdef";

fn explain(lab: &Lab, words: &[&str]) -> Exit {
    lab.gateway.verb(&[&["explain", "-c", "gateway.toml"], words].concat())
}

#[track_caller]
fn report(exit: &Exit) -> Value {
    serde_json::from_str(&exit.stdout).unwrap_or_else(|error| panic!("{error}: {exit:?}"))
}

fn offline(words: &[&str]) -> Exit {
    builder().upstream("lab", ports::refusing()).verb(&[&["explain", "-c", "gateway.toml"], words].concat())
}

#[test]
fn a_running_gateway_and_its_files_give_the_same_account_of_a_request() {
    let lab =
        Lab::with(|builder| builder.file("admin-token", TOKEN).server("admin_token = { file = \"admin-token\" }"));
    let admin = format!("http://{}/", lab.gateway.admin());
    for (words, code) in [
        (&["--as", "customer:cus-42", "GET", "/t/below/usr-1"][..], 0),
        (&["--as", "credential:ak_usr-1", "GET", "/t/own/usr-1"], 0),
        (&["--as", "customer:cus-42", "--scheme", "basic", "GET", "/t/below/usr-9"], EXIT_DENIED),
        (&["-H", "X-Api-Id: x", "GET", "/t/open"], 0),
        (&["GET", "/t/own/usr-1"], EXIT_DENIED),
        (&["-H", "X-App-Type: vc", "-H", "X-App-Type: wb", "--as", "user:usr-1", "GET", "/t/apps"], EXIT_DENIED),
    ] {
        let here = explain(&lab, &[&["--format", "json"], words].concat());
        let there = explain(
            &lab,
            &[&["--format", "json", "--live", &admin, "--admin-token-file", "admin-token"], words].concat(),
        );
        assert_eq!((here.code, there.code), (code, code), "{words:?}: {here:?} {there:?}");
        let (here, there) = (report(&here), report(&there));
        assert_eq!(here["outcome"], there["outcome"], "{words:?}");
        for key in ["revision", "realm", "route"] {
            assert!(!here[key].is_null() && here[key] == there[key], "{key} of {words:?}: {here} {there}");
        }
    }
    let shown = explain(&lab, &["--live", &admin, "--as", "customer:cus-42", "GET", "/t/below/usr-1"]);
    assert!(shown.stdout.contains("target usr-1 lies below cus-42; scope below holds it"), "{shown:?}");
}

#[test]
fn what_a_running_gateway_cannot_be_asked_is_said() {
    let lab = Lab::start();
    let admin = format!("http://{}", lab.gateway.admin());
    let nobody = format!("http://{}", ports::refusing());
    for (words, code, said) in [
        (&["--live", &nobody, "GET", "/t/list"][..], EXIT_UNAVAILABLE, "cannot reach the admin listener"),
        (&["--live", "127.0.0.1", "GET", "/t/list"], EXIT_USAGE, "a URL like"),
        (
            &["--live", &admin, "--as", "user:x", "--lineage", "root/x", "GET", "/t/list"],
            EXIT_USAGE,
            "--lineage is for files",
        ),
        (&["--live", &admin, "--as", "user:ghost", "GET", "/t/list"], EXIT_USAGE, "no account `ghost`"),
        (&["--live", &admin, "--as", "credential:ghost", "GET", "/t/list"], EXIT_USAGE, "no credential `ghost`"),
        (&["--live", &admin, "--as", "customer:usr-1", "GET", "/t/list"], EXIT_USAGE, "is a user, not a customer"),
        (
            &["--live", &admin, "--as", "nobody", "GET", "/t/list"],
            EXIT_USAGE,
            "`nobody` is nobody; write --as ROLE:ACCOUNT",
        ),
        (&["--live", &admin, "--scheme", "bearer", "GET", "/t/list"], EXIT_USAGE, "`bearer` is no scheme"),
        (&["--scheme", "bearer", "GET", "/t/list"], EXIT_USAGE, "`bearer` is no scheme"),
        (&["--admin-token-file", "x", "GET", "/t/list"], EXIT_USAGE, "--live"),
        (&["--as", "user:ghost", "GET", "/t/list"], EXIT_USAGE, "no file knows account `ghost`"),
        (&["-H", "no colon", "GET", "/t/list"], EXIT_USAGE, "is no header"),
    ] {
        let exit = explain(&lab, words);
        assert!(exit.code == code && exit.stderr.contains(said), "{words:?}: {exit:?}");
        assert!(exit.stdout.is_empty(), "{words:?}: {exit:?}");
    }
}

#[test]
fn every_check_that_was_reached_says_what_it_looked_at_and_by_which_rule() {
    let exit = offline(&["--format", "json", "--as", "customer:cus-42", "GET", "/t/below/usr-1"]);
    let permitted = report(&exit);
    let line = |name: &str| {
        let before = TREE_POLICY.split(&format!("name = \"{name}\"")).next().expect("the text before it");
        format!("tree.toml:{}", before.lines().count())
    };
    let rung = |report: &Value, name: &str| {
        let found = report["rungs"].as_array().unwrap().iter().find(|rung| rung["rung"] == name).cloned();
        found.unwrap_or_else(|| panic!("no rung {name} in {report}"))
    };
    for (name, result, why, ruled) in [
        ("route", "pass", "below: GET /below/{id}", true),
        ("headers", "pass", "the route requires none", false),
        ("lock-out", "does not apply", "a token is no guess", false),
        ("identity", "pass", "customer cus-42 by token, at root/res-7/cus-42; taken as genuine", false),
        ("role", "pass", "the route allows customer: below", true),
        ("scope", "pass", "target usr-1 lies below cus-42; scope below holds it", true),
        ("admit", "permit", "every check holds", false),
    ] {
        let rung = rung(&permitted, name);
        assert_eq!((&rung["result"], &rung["why"]), (&json!(result), &json!(why)), "{name}");
        assert_eq!(rung["rule"].as_str(), ruled.then(|| line("below")).as_deref(), "{name}: {rung}");
    }
    let exit = offline(&["--format", "json", "--as", "user:usr-1", "GET", "/t/below/usr-1"]);
    let refused = rung(&report(&exit), "role");
    let why = "the route does not allow the role: user; it allows administrator, reseller, customer";
    assert_eq!((&refused["why"], &refused["rule"]), (&json!(why), &json!(line("below"))), "{refused}");
    assert_eq!(report(&exit)["outcome"]["reply"]["status_line"], "HTTP/1.1 403 Forbidden");
    for (path, name, why) in [
        ("/t/below/usr-1", "credential", "no Authorization"),
        ("/t/open", "headers", "a header that the route requires is missing: x-api-id"),
    ] {
        let refused = rung(&report(&offline(&["--format", "json", "GET", path])), name);
        assert!(refused["why"].as_str().unwrap().ends_with(why), "{refused}");
    }
}

#[test]
fn a_permit_shows_all_that_the_upstream_is_told_and_the_gateways_own_calls_tell_none() {
    let words = ["--format", "json", "--client", "192.0.2.7", "-H", "Host: api.example", "--as", "credential:ak_usr-1"];
    let exit = offline(&[&words[..], &["GET", "/t/own/usr-1"]].concat());
    assert_eq!(
        report(&exit)["outcome"]["headers"],
        json!({
            "X-Auth-Realm": "tree", "X-Auth-Account": "usr-1", "X-Auth-Role": "user",
            "X-Auth-Lineage": "root/res-7/cus-42/usr-1", "X-Auth-Scheme": "basic", "X-Auth-Credential": "ak_usr-1",
            "X-Auth-Scope": "own", "X-Auth-Target": "usr-1", "X-Request-Id": "(request id)",
            "X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "api.example",
        })
    );
    let open = report(&offline(&["--format", "json", "-H", "X-Api-Id: x", "GET", "/t/open"]));
    let names: Vec<&String> = open["outcome"]["headers"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Request-Id"]);
    let login = report(&offline(&["--format", "json", "-H", "X-Api-Id: x", "POST", "/t/login"]));
    assert_eq!(
        (&login["outcome"]["upstream"], &login["outcome"]["headers"]),
        (&json!("answered by the gateway"), &json!({}))
    );
}

#[test]
fn accounts_of_the_fixture_count_only_for_callers_of_the_fixture() {
    let policy =
        format!("{TREE_POLICY}\n[fixture]\naccounts = [\"root/res-7/cus-42/usr-1\", \"root/res-7/cus-42/usr-77\"]\n");
    let explain = |who: &str, target: &str| {
        let builder = builder().file("tree.toml", &policy).upstream("lab", ports::refusing());
        builder.verb(&["explain", "-c", "gateway.toml", "--as", who, "GET", &format!("/t/subtree/{target}")])
    };
    let real = explain("customer:cus-42", "usr-77");
    assert!(real.code == EXIT_DENIED && real.stdout.contains("no account usr-77 is known"), "{real:?}");
    let made_up = explain("user:usr-77", "usr-77");
    assert!(made_up.code == 0 && made_up.stderr.contains("`usr-77` stands in [fixture] only"), "{made_up:?}");
}

#[test]
fn a_verdict_is_read_in_100_columns_without_colours_where_no_terminal_is() {
    let accounts = Accounts::lab();
    for words in [
        &["--as", "customer:cus-42", "GET", "/t/below/usr-1"][..],
        &["--as", "user:usr-9", "GET", "/t/own/usr-1"],
        &["GET", "/t/open"],
    ] {
        let builder = builder().accounts(&accounts).upstream("lab", ports::refusing());
        let exit = builder.verb(&[&["explain", "-c", "gateway.toml"], words].concat());
        assert!(exit.stdout.lines().count() > 10, "{exit:?}");
        assert!(exit.stdout.lines().all(|line| line.chars().count() <= 100), "{}", exit.stdout);
        assert!(!exit.stdout.contains('\u{1b}'), "{}", exit.stdout);
    }
}
