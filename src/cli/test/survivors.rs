//! A suite that notices every mutant, and what survives when a part of it is left out: each kind of mutant is made, noticed by
//! the right test, and survives without it.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::mutation::Mutation;
use super::{Findings, find};
use crate::cli::args::{ConfigArgs, Format, TestArgs};
use crate::config::load::{Config, Files, Unread, load};

pub(super) struct InMemory(pub(super) HashMap<&'static str, String>);

impl Files for InMemory {
    fn read(&self, path: &Path) -> Result<String, Unread> {
        self.0.get(path.to_str().unwrap()).cloned().ok_or_else(|| "no such file".to_owned().into())
    }
}

const POLICY: &str = r#"
[realm]
name = "r"
base = "/r"
roles = ["high", "low"]
schemes = ["basic", "token"]
upstream = "a"
networks = { high = ["10.0.0.0/8"] }

[[route]]
name = "item"
match = "GET /items/{id}"
allow = { high = "subtree" }
target = "path.id"
target_role = "low"
headers = ["X-Api-Id"]
app_types = ["vc"]

[[route]]
name = "list"
match = "GET /list"
allow = { high = "below", low = "own" }

[[route]]
name = "off"
match = "GET /off"
allow = ["high"]
enabled = false

[[route]]
name = "open"
match = "GET /open"
public = true
forward_authorization = true

[fixture]
accounts = ["root/lo-1", "root-2/lo-2"]
"#;

const ITEM: &str = "client = \"10.1.1.1\"\nheaders = { X-Api-Id = \"x\" }\napp_type = \"vc\"\nas = \"high:root\"\n";

/// Each test with the name it is left out by.
fn suite() -> Vec<(&'static str, String)> {
    let item = |rest: &str| format!("{ITEM}{rest}");
    vec![
        ("item", item("call = \"GET /items/lo-1\"\nexpect = \"permit\"")),
        ("item to a", item("call = \"GET /items/lo-1\"\nexpect = \"permit\"\nupstream = \"a\"")),
        ("item outside", item("call = \"GET /items/lo-2\"\nexpect = \"scope_forbidden\"")),
        ("item of high", item("call = \"GET /items/root\"\nexpect = \"scope_forbidden\"")),
        (
            "item by low",
            "as = \"low:lo-1\"\ncall = \"GET /items/lo-1\"\nheaders = { X-Api-Id = \"x\" }\napp_type = \"vc\"\n\
             expect = \"role_forbidden\""
                .into(),
        ),
        (
            "item without header",
            "as = \"low:lo-1\"\ncall = \"GET /items/lo-1\"\napp_type = \"vc\"\nexpect = \"header_missing\"".into(),
        ),
        (
            "item without app type",
            "as = \"low:lo-1\"\ncall = \"GET /items/lo-1\"\nheaders = { X-Api-Id = \"x\" }\n\
             expect = \"app_type_missing\""
                .into(),
        ),
        ("list by nobody", "as = \"anonymous\"\ncall = \"GET /list\"\nexpect = \"header_missing\"".into()),
        (
            "list by high",
            "as = \"high:root\"\ncall = \"GET /list\"\nclient = \"10.1.1.1\"\nexpect = \"permit\"\nupstream = \"a\"\n\
             scope = \"below\""
                .into(),
        ),
        (
            "list by low",
            "as = \"low:lo-1\"\ncall = \"GET /list\"\nexpect = \"permit\"\n\
             forwarded = { X-Auth-Scope = \"own\", X-Auth-Target = \"\", X-Auth-Credential = \"*\" }"
                .into(),
        ),
        ("from far", "as = \"high:root\"\ncall = \"GET /list\"\nexpect = \"role_forbidden\"".into()),
        ("off", "as = \"high:root\"\ncall = \"GET /off\"\nexpect = \"route_disabled\"".into()),
        ("open", "as = \"anonymous\"\ncall = \"GET /open\"\nexpect = \"permit\"".into()),
        (
            "open by low",
            "as = \"low:lo-1\"\ncall = \"GET /open\"\nexpect = \"permit\"\nupstream = \"a\"\n\
             forwarded = { authorization = \"*\" }"
                .into(),
        ),
    ]
}

/// What survives when these tests are left out.
const LEFT_OUT: &[(&[&str], &[&str])] = &[
    (&[], &[]),
    (&["item"], &[]),
    (&["item to a"], &["item: to upstream b instead of a"]),
    (&["item", "item to a"], &["item: to upstream b instead of a", "item: forward_authorization on"]),
    (&["item outside"], &[]),
    (&["item of high"], &["item: drop target_role"]),
    (
        &["item outside", "item of high"],
        &["item: scope of high subtree → any", "item: drop target", "item: drop target_role"],
    ),
    (&["item by low"], &["item: let role low in"]),
    (&["item without header"], &["item: drop header X-Api-Id"]),
    (&["item without app type"], &["item: drop app_types"]),
    (&["list by nobody"], &[]),
    (
        &["list by nobody", "list by high", "from far", "list by low"],
        &[
            "list: drop role high",
            "list: scope of high below → subtree",
            "list: scope of high below → any",
            "list: drop role low",
            "list: scope of low own → subtree",
            "list: scope of low own → any",
            "list: public",
            "list: to upstream b instead of a",
            "list: forward_authorization on",
            "r: role high from any network",
        ],
    ),
    (&["list by low"], &["list: drop role low", "list: scope of low own → subtree", "list: scope of low own → any"]),
    (&["from far"], &["r: role high from any network"]),
    (&["off"], &["off: switch it on"]),
    (&["open"], &["open: not public"]),
    (&["open by low"], &["open: to upstream b instead of a", "open: forward_authorization off"]),
];

pub(super) fn config(tests: &str) -> Config {
    let gateway = "[upstreams.a]\nservers = [\"127.0.0.1:1\"]\n[upstreams.b]\nservers = [\"127.0.0.1:2\"]\n\
                   [policies]\ninclude = [\"p.toml\"]\n";
    let files = [("gateway.toml", gateway.to_owned()), ("p.toml", format!("{POLICY}{tests}"))];
    let loading = load(Path::new("gateway.toml"), &InMemory(files.into()));
    let faults: Vec<String> = loading.faults.iter().map(ToString::to_string).collect();
    loading.config.unwrap_or_else(|| panic!("{faults:#?}"))
}

pub(super) fn args() -> TestArgs {
    let config = ConfigArgs { config: "gateway.toml".into() };
    TestArgs { config, min_coverage: None, mutate: true, junit: None, format: Format::Text }
}

fn blocks<'t>(tests: impl IntoIterator<Item = &'t str>) -> String {
    tests.into_iter().map(|test| format!("\n[[test]]\n{test}\n")).collect()
}

fn mutation<'f>(findings: &'f Findings<'_>) -> &'f Mutation {
    if let Some(call) = findings.failed().next() {
        let difference = call.verdict.difference.as_ref().unwrap();
        panic!("{}: {}, got {}", call.test.location, difference.expected, difference.got);
    }
    findings.mutation.as_ref().unwrap()
}

#[test]
fn each_kind_of_mutant_survives_exactly_where_its_test_is_left_out() {
    let suite = suite();
    let mut kinds: BTreeSet<String> = BTreeSet::new();
    for (left_out, expected) in LEFT_OUT {
        assert!(left_out.iter().all(|name| suite.iter().any(|(known, _)| known == name)), "{left_out:?}");
        let kept = suite.iter().filter(|(name, _)| !left_out.contains(name)).map(|(_, test)| test.as_str());
        let config = config(&blocks(kept));
        let findings = find(&config, &args());
        let survivors: Vec<&str> = mutation(&findings).survivors().map(|(trial, _)| trial.name.as_str()).collect();
        let as_expected =
            BTreeSet::from_iter(survivors.iter().copied()) == BTreeSet::from_iter(expected.iter().copied());
        assert!(as_expected, "without {left_out:?}: {survivors:#?}");
        assert_eq!(findings.good(), expected.is_empty());
        kinds.extend(
            survivors
                .iter()
                .filter_map(|name| name.split(": ").nth(1))
                .map(|words| words.split(' ').take(2).collect::<Vec<_>>().join(" ")),
        );
    }
    for kind in [
        "drop role",
        "let role",
        "scope of",
        "public",
        "not public",
        "drop header",
        "drop app_types",
        "drop target",
        "drop target_role",
        "to upstream",
        "switch it",
        "forward_authorization on",
        "forward_authorization off",
        "role high",
    ] {
        assert!(kinds.contains(kind), "no mutant `{kind}` ever survived: {kinds:?}");
    }
}

#[test]
fn the_test_that_is_proposed_notices_the_mutant() {
    // One call that notices nothing lets a mutant of every kind live.
    let nothing = "as = \"low:lo-1\"\ncall = \"GET /nowhere\"\nexpect = \"route_not_found\"";
    let bare = config(&blocks([nothing]));
    let findings = find(&bare, &args());
    let survivors: Vec<(String, String)> =
        mutation(&findings).survivors().map(|(trial, test)| (trial.name.clone(), test.to_owned())).collect();
    assert!(survivors.len() > 20, "{survivors:#?}");
    let mut proposed = Vec::new();
    for (name, test) in &survivors {
        assert!(!test.contains("[fixture]"), "the fixture has all that is needed: {name}: {test}");
        let test = lines(test);
        let config = config(&blocks([nothing, &test]));
        let findings = find(&config, &args());
        let still = mutation(&findings).survivors().any(|(trial, _)| trial.name == *name);
        assert!(!still, "{name}\n{test}");
        proposed.push(test);
    }
    let all = config(&blocks(proposed.iter().map(String::as_str)));
    let findings = find(&all, &args());
    assert_eq!(mutation(&findings).survivors().count(), 0, "together they notice everything");
}

/// `key = value, key = value` as TOML has it, one to a line.
fn lines(test: &str) -> String {
    let mut text = test.to_owned();
    for key in ["call", "headers", "app_type", "client", "expect", "scope", "upstream", "forwarded"] {
        text = text.replace(&format!(", {key} = "), &format!("\n{key} = "));
    }
    text
}

#[test]
fn what_makes_no_difference_to_any_call_is_not_counted() {
    let config = config(&blocks(suite().iter().map(|(_, test)| test.as_str())));
    let findings = find(&config, &args());
    let mutation = mutation(&findings);
    let indistinct: Vec<&str> = mutation
        .trials
        .iter()
        .filter(|trial| matches!(trial.fate, super::mutation::Fate::Indistinct))
        .map(|trial| trial.name.as_str())
        .collect();
    assert_eq!(
        indistinct,
        [
            "off: drop role high",
            "off: scope of high subtree → any",
            "off: let role low in",
            "off: public",
            "off: to upstream b instead of a",
            "off: forward_authorization on",
            "open: let role high in",
            "open: let role low in",
        ]
    );
    assert_eq!(mutation.noticed() + indistinct.len(), mutation.trials.len());
    let rules: BTreeSet<String> = mutation.trials.iter().map(|trial| trial.rule.to_string()).collect();
    assert_eq!(Vec::from_iter(rules), ["p.toml:10", "p.toml:19", "p.toml:2", "p.toml:24", "p.toml:30"]);
}

#[test]
fn the_shipped_policies_and_the_example_notice_every_mutant() {
    let policies = [
        ("ucaas.toml", include_str!("../../../policies/ucaas.toml"), 450),
        ("cpaas.toml", include_str!("../../../policies/cpaas.toml"), 40),
        ("nested-quotas.toml", include_str!("../../../policies/nested-quotas.toml"), 35),
    ];
    for (name, policy, least) in policies {
        let gateway = "[upstreams.meeting]\nservers = [\"127.0.0.1:1\"]\n[upstreams.provisioning]\n\
                       servers = [\"127.0.0.1:2\"]\n[policies]\ninclude = [\"p.toml\"]\n";
        let files = [("gateway.toml", gateway.to_owned()), ("p.toml", policy.to_owned())];
        let config = load(Path::new("gateway.toml"), &InMemory(files.into())).config.unwrap();
        let findings = find(&config, &TestArgs { min_coverage: Some(100), ..args() });
        let mutation = mutation(&findings);
        let survivors: Vec<&str> = mutation.survivors().map(|(trial, _)| trial.name.as_str()).collect();
        assert_eq!(survivors, Vec::<&str>::new(), "{name}");
        assert!(findings.good() && mutation.noticed() >= least, "{name}: {}", mutation.noticed());
    }
}

#[test]
fn mutants_wait_for_the_tests_to_pass() {
    let config = config(&blocks(["as = \"low:lo-1\"\ncall = \"GET /open\"\nexpect = \"role_forbidden\""]));
    let findings = find(&config, &args());
    assert!(findings.mutation.is_none() && findings.failed().count() == 1 && !findings.good());
}
