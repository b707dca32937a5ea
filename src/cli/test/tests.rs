//! What the verb writes: as text, as JSON, as JUnit; and what the keys of a test mean.

use std::path::Path;

use serde_json::Value;

use super::survivors::{InMemory, args, config};
use super::{find, junit, words};
use crate::cli::args::TestArgs;
use crate::config::load::load;

const PERMIT: &str = "\n[[test]]\nas = \"low:lo-1\"\ncall = \"GET /list\"\nexpect = \"permit\"\n";

fn text(args: &TestArgs, tests: &str) -> String {
    let config = config(tests);
    let mut out = Vec::new();
    words::text(&find(&config, args), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn plain() -> TestArgs {
    TestArgs { mutate: false, ..args() }
}

/// The difference that a test of `GET /list` by `low:lo-1` has with these lines more.
fn difference(lines: &str) -> Option<String> {
    let out = text(&plain(), &format!("{PERMIT}{lines}"));
    out.lines().find_map(|line| line.strip_prefix("FAIL p.toml:39: as low:lo-1, GET /r/list: ").map(str::to_owned))
}

#[test]
fn a_failure_tells_place_caller_call_and_cause() {
    let test = "\n[[test]]\nas = [\"low:lo-1\", \"anonymous\"]\ncall = \"GET /items/lo-1?a=1&b=2\"\n\
                headers = { X-Api-Id = \"x\" }\napp_type = \"vc\"\nexpect = \"scope_forbidden\"\n";
    let out = text(&plain(), test);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines[..2],
        [
            "FAIL p.toml:39: as low:lo-1, GET /r/items/lo-1?a=1&b=2: expected scope_forbidden, got role_forbidden \
             (the route does not allow the role)",
            "FAIL p.toml:39: as anonymous, GET /r/items/lo-1?a=1&b=2: expected scope_forbidden, got header_missing \
             (no Authorization)",
        ]
    );
    assert_eq!(lines.last(), Some(&"0 passed, 2 failed"));
}

#[test]
fn a_permit_is_held_against_scope_upstream_and_headers() {
    for good in [
        "scope = \"own\"\nupstream = \"a\"",
        "forwarded = { X-Auth-Scope = \"own\", X-Auth-Account = \"lo-1\", X-Auth-Lineage = \"root/lo-1\" }",
        "forwarded = { X-Auth-Realm = \"r\", X-Auth-Role = \"low\", X-Auth-Scheme = \"token\" }",
        "forwarded = { x-auth-target = \"\", X-Auth-Credential = \"*\", Authorization = \"\" }",
    ] {
        assert_eq!(difference(good), None, "{good}");
    }
    for (lines, expected) in [
        ("scope = \"below\"", "expected a permit with scope below, got one with own"),
        ("upstream = \"b\"", "expected a permit that goes to b, got one that goes to a"),
        (
            "forwarded = { X-Auth-Scope = \"below\" }",
            "expected a permit with X-Auth-Scope: below, got one with X-Auth-Scope: own",
        ),
        (
            "forwarded = { X-Auth-Account = \"\" }",
            "expected a permit without X-Auth-Account, got one with X-Auth-Account: lo-1",
        ),
        (
            "forwarded = { X-Auth-Target = \"*\" }",
            "expected a permit with X-Auth-Target, got one without X-Auth-Target",
        ),
        (
            "forwarded = { Authorization = \"*\" }",
            "expected a permit with Authorization, got one without Authorization",
        ),
    ] {
        assert_eq!(difference(lines).as_deref(), Some(expected), "{lines}");
    }
}

#[test]
fn authorization_that_goes_on_has_to_be_expected() {
    let test = |who: &str| format!("\n[[test]]\nas = \"{who}\"\ncall = \"GET /open\"\nexpect = \"permit\"\n");
    assert!(text(&plain(), &test("anonymous")).ends_with("1 passed, 0 failed\n"));
    let out = text(&plain(), &test("low:lo-1"));
    assert!(out.contains("expected a permit without Authorization, got one with Authorization"), "{out}");
}

#[test]
fn a_test_calls_from_where_it_says() {
    let test = |client: &str, expect: &str| {
        format!("\n[[test]]\nas = \"high:root\"\ncall = \"GET /list\"\n{client}\nexpect = \"{expect}\"\n")
    };
    for (client, expect) in
        [("", "role_forbidden"), ("client = \"10.9.9.9\"", "permit"), ("client = \"::1\"", "role_forbidden")]
    {
        assert!(text(&plain(), &test(client, expect)).ends_with("1 passed, 0 failed\n"), "{client}");
    }
}

#[test]
fn slips_in_a_test_are_faults_with_their_places() {
    let gateway = "[upstreams.a]\nservers = [\"127.0.0.1:1\"]\n[policies]\ninclude = [\"p.toml\"]\n";
    let policy = "[realm]\nname = \"r\"\nbase = \"/r\"\nroles = [\"high\"]\nschemes = [\"token\", \"basic\"]\nupstream = \"a\"\n\
                  [[route]]\nname = \"one\"\nmatch = \"GET /one\"\nallow = [\"high\"]\n\
                  [fixture]\naccounts = [\"root\"]\n[[test]]\nas = \"high:root\"\ncall = \"GET /one\"\n";
    for (lines, expected) in [
        (
            "expect = \"permit\"\nforwarded = { \"X-Auth-Scop\" = \"own\" }",
            "p.toml:17:15: fault: `X-Auth-Scop` is no header that a policy decides about (did you mean `X-Auth-Scope`?)",
        ),
        (
            "expect = \"permit\"\nforwarded = { X-Auth-Scope = \"owm\" }",
            "p.toml:17:30: fault: no scope `owm` (did you mean `own`?)",
        ),
        (
            "expect = \"permit\"\nforwarded = { X-Auth-Role = \"hihg\" }",
            "p.toml:17:29: fault: the realm has no role `hihg` (did you mean `high`?)",
        ),
        (
            "expect = \"permit\"\nforwarded = { Authorization = \"Token x\" }",
            "p.toml:17:31: fault: a call of a test has no credential that `Authorization` could be (write \"*\" for",
        ),
        (
            "expect = \"permit\"\nforwarded = [\"X-Auth-Scope\"]",
            "p.toml:17:14: fault: forwarded headers of a test are a table",
        ),
        (
            "expect = \"permit\"\nforwarded = { X-Auth-Scope = \"own\", x-auth-scope = \"own\" }",
            "p.toml:17:37: fault: `X-Auth-Scope` stands twice",
        ),
        (
            "expect = \"role_forbidden\"\nforwarded = { X-Auth-Scope = \"own\" }",
            "p.toml:17:15: fault: only a permit has a scope, an upstream and forwarded headers",
        ),
        (
            "expect = \"permit\"\nclient = \"10.0.0.0/8\"",
            "p.toml:17:10: fault: `10.0.0.0/8` is no address (client = \"10.1.2.3\")",
        ),
    ] {
        let files = [("gateway.toml", gateway.to_owned()), ("p.toml", format!("{policy}{lines}\n"))];
        let loading = load(Path::new("gateway.toml"), &InMemory(files.into()));
        let found: Vec<String> = loading.faults.iter().map(ToString::to_string).collect();
        assert!(loading.config.is_none(), "{lines}");
        assert!(found.iter().any(|fault| fault.starts_with(expected)), "{lines}\nwants {expected}\n{found:#?}");
    }
}

#[test]
fn too_little_coverage_names_what_is_missing() {
    let args = TestArgs { min_coverage: Some(100), ..plain() };
    let out = text(&args, PERMIT);
    assert!(
        out.contains("no test judges high on r list\n") && out.contains("no test expects a refusal on r list\n"),
        "{out}"
    );
    assert!(!out.contains("no test judges low on r list\n"), "{out}");
    let config = config(PERMIT);
    assert!(!find(&config, &args).good());
    assert!(find(&config, &TestArgs { min_coverage: Some(10), ..plain() }).good());
}

#[test]
fn json_tells_the_same() {
    let config = config(&format!("{PERMIT}scope = \"below\"\n"));
    let mut out = Vec::new();
    words::json(&find(&config, &plain()), &mut out).unwrap();
    let report: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!((&report["good"], &report["passed"], &report["mutants"]), (&false.into(), &0.into(), &Value::Null));
    let failed = &report["failed"][0];
    assert_eq!((&failed["file"], &failed["line"], &failed["as"]), (&"p.toml".into(), &39.into(), &"low:lo-1".into()));
    assert_eq!(failed["target"], "/r/list");
    assert_eq!((&failed["expected"], &failed["got"]), (&"a permit with scope below".into(), &"one with own".into()));

    let config = self::config(PERMIT);
    let mut out = Vec::new();
    words::json(&find(&config, &args()), &mut out).unwrap();
    let report: Value = serde_json::from_slice(&out).unwrap();
    let survived = report["mutants"]["survived"].as_array().unwrap();
    let public = survived.iter().find(|row| row["mutant"] == "list: public").unwrap();
    assert_eq!((&public["file"], &public["line"]), (&"p.toml".into(), &19.into()));
    assert_eq!(public["add"], "as = \"anonymous\", call = \"GET /list\", expect = \"header_missing\"");
    assert!(report["mutants"]["noticed"].as_u64().unwrap() > 0);
}

/// The start tags of an XML document, with their attributes; panics where it is not well-formed.
fn elements(xml: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut rest = xml.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>").unwrap();
    let (mut open, mut found): (Vec<String>, Vec<_>) = (Vec::new(), Vec::new());
    while let Some((before, tag)) = rest.split_once('<') {
        assert!(!before.contains('>') && plain_text(before).is_some(), "{before}");
        assert!(before.trim().is_empty() || !open.is_empty(), "{before}");
        let (tag, behind) = tag.split_once('>').unwrap();
        rest = behind;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
            continue;
        }
        let alone = tag.ends_with('/');
        let mut tag = tag.trim_end_matches('/').trim();
        let name: String = tag.chars().take_while(|letter| !letter.is_whitespace()).collect();
        tag = tag[name.len()..].trim_start();
        let mut attributes = Vec::new();
        while let Some((key, value)) = tag.split_once("=\"") {
            let (value, behind) = value.split_once('"').unwrap();
            attributes.push((key.to_owned(), plain_text(value).unwrap()));
            tag = behind.trim_start();
        }
        assert_eq!(tag, "", "{name}");
        if !alone {
            open.push(name.clone());
        }
        found.push((name, attributes));
    }
    assert_eq!((open.len(), rest.trim()), (0, ""));
    found
}

/// The text without its escapes; `None` for an unknown one.
fn plain_text(text: &str) -> Option<String> {
    let mut pieces = text.split('&');
    let mut plain = pieces.next()?.to_owned();
    for piece in pieces {
        let (name, behind) = piece.split_once(';')?;
        plain.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => return None,
        });
        plain.push_str(behind);
    }
    Some(plain)
}

#[test]
fn junit_has_a_suite_per_file_and_one_for_the_mutants() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("report.xml");
    let attribute = |attributes: &[(String, String)], key: &str| {
        attributes.iter().find(|(known, _)| known == key).map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let report = |args: &TestArgs, tests: &str| {
        let config = config(tests);
        junit::write(&find(&config, args), &path).unwrap();
        elements(&std::fs::read_to_string(&path).unwrap())
    };
    let good = report(&args(), PERMIT);
    let suites: Vec<String> = good
        .iter()
        .filter(|(name, _)| name == "testsuite")
        .map(|(_, attributes)| attribute(attributes, "name"))
        .collect();
    assert_eq!(suites, ["p.toml", "mutants"]);
    let survived = good.iter().position(|(_, attributes)| attribute(attributes, "name") == "list: public").unwrap();
    assert_eq!(attribute(&good[survived].1, "classname"), "p.toml:19");
    assert_eq!(good[survived + 1].0, "failure");

    let tests = "\n[[test]]\nas = [\"low:lo-1\", \"high:root\"]\ncall = \"GET /list?a='1'&b=2\"\nexpect = \"permit\"\n";
    let bad = report(&args(), tests);
    let cases: Vec<_> = bad.iter().filter(|(name, _)| name == "testcase").collect();
    assert_eq!(cases.len(), 2, "no mutants where a test fails");
    assert_eq!(attribute(&cases[1].1, "name"), "high:root, GET /r/list?a='1'&b=2");
    assert_eq!(attribute(&cases[1].1, "classname"), "p.toml:39");
    let failures: Vec<_> = bad.iter().filter(|(name, _)| name == "failure").collect();
    assert_eq!(failures.len(), 1);
    let message = "expected a permit, got role_forbidden (the role may not call from this network)";
    assert_eq!(attribute(&failures[0].1, "message"), message);
    let total = bad.iter().find(|(name, _)| name == "testsuites").unwrap();
    assert_eq!((attribute(&total.1, "tests"), attribute(&total.1, "failures")), ("2".into(), "1".into()));

    let hostile = "\n[[test]]\nas = \"low:lo-1\"\ncall = \"GET /\\u0001\\u001b[2J\\uffff\"\nexpect = \"permit\"\n";
    let bad = report(&args(), hostile);
    let case = bad.iter().find(|(name, _)| name == "testcase").unwrap();
    assert_eq!(attribute(&case.1, "name"), "low:lo-1, GET /r/\\u{1}\\u{1b}[2J\\u{ffff}");
    let out = text(&plain(), hostile);
    assert!(out.starts_with("FAIL") && out.contains("\\u{1b}[2J") && !out.contains('\u{1b}'), "{out}");

    let nowhere = junit::write(&find(&config(PERMIT), &args()), Path::new("/nowhere/report.xml"));
    assert!(nowhere.unwrap_err().message.starts_with("cannot write `/nowhere/report.xml`"));
}
