//! Quotas: what a good file compiles to, and what of it counters belong to.

use super::quotas::quota;
use super::*;
use crate::config::load::Config;
use crate::config::policy_file::Expectation;
use crate::policy::ladder::Decision;
use crate::policy::quota::{Limit, Per, Rate, Stage};
use crate::policy::rehearsal::rehearse;

#[test]
fn a_quota_compiles_to_what_is_written_with_the_defaults_written_out() {
    for (lines, per, limit, written) in [
        (
            "per = \"principal\"\nrate = \"50/s\"\nburst = 100",
            Per::Principal,
            Limit::Rate(Rate { interval: 20_000_000, burst: 100, shared: false }),
            "50/s, burst 100",
        ),
        (
            "per = \"low\"\nrate = \"30/min\"\nshared = true",
            Per::Ancestor("low".into()),
            Limit::Rate(Rate { interval: 2_000_000_000, burst: 30, shared: true }),
            "30/min, burst 30, shared",
        ),
        (
            "per = \"route\"\nrate = \"1/h\"\nburst = 720",
            Per::Route,
            Limit::Rate(Rate { interval: 3_600_000_000_000, burst: 720, shared: false }),
            "1/h, burst 720",
        ),
        ("per = \"upstream\"\nin_flight = 20\nshared = false", Per::Upstream, Limit::InFlight(20), "20 in flight"),
    ] {
        let loading = read(GATEWAY, &quota(lines).replace("allow = [\"high\"]", "allow = [\"low\"]"));
        let config = loading.config.unwrap_or_else(|| panic!("{lines}\n{:#?}", loading.faults));
        assert_eq!(loading.faults.iter().count(), 0, "nothing to warn of: {lines}");
        let realm = &config.snapshot.realms()[0];
        let quota = &realm.quotas[0];
        assert_eq!((&*quota.name, &quota.per, &quota.limit, &*quota.written), ("q", &per, &limit, written));
        assert_eq!(quota.location.to_string(), "p.toml:12");
        assert_eq!(realm.routes[0].quotas.len(), 1);
    }
}

#[test]
fn counters_belong_to_what_a_quota_means_and_not_to_where_it_stands() {
    let mark = |policy: &str| {
        let loading = read(GATEWAY, policy);
        let config = loading.config.unwrap_or_else(|| panic!("{policy}\n{:#?}", loading.faults));
        config.snapshot.realms()[0].quotas[0].mark
    };
    let lines = "per = \"route\"\nrate = \"5/s\"";
    let one = mark(&quota(lines));
    let same = [
        format!("# a comment\n{}", quota(lines)),
        quota("rate = \"5/s\"\nper = \"route\"\nburst = 5\nshared = false"),
        format!("{POLICY}[quota.q]\n{lines}\n{ROUTE}quotas = [\"q\"]\n"),
    ];
    for policy in same {
        assert_eq!(mark(&policy), one, "{policy}");
    }
    let changed = [
        quota("per = \"realm\"\nrate = \"5/s\""),
        quota("per = \"route\"\nrate = \"6/s\""),
        quota("per = \"route\"\nrate = \"5/min\""),
        quota("per = \"route\"\nrate = \"5/s\"\nburst = 6"),
        quota("per = \"route\"\nrate = \"5/s\"\nshared = true"),
        quota("per = \"route\"\nin_flight = 5"),
        quota(lines).replace("\"q\"", "\"p\"").replace("quota.q", "quota.p"),
        quota(lines).replace("name = \"r\"", "name = \"s\""),
    ];
    for policy in changed {
        assert_ne!(mark(&policy), one, "{policy}");
    }
}

/// A gateway with these policies of the repository, and the upstreams that they name.
fn shipped(policies: &[&'static str]) -> Config {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = HashMap::new();
    for name in policies {
        files.insert(*name, std::fs::read_to_string(root.join(name)).unwrap());
    }
    let gateway =
        "[upstreams.meeting]\nservers = [\"127.0.0.1:1\"]\n[upstreams.provisioning]\nservers = [\"127.0.0.1:2\"]\n";
    files.insert("gateway.toml", format!("{gateway}[policies]\ninclude = {policies:?}\n"));
    let loading = load(Path::new("gateway.toml"), &InMemory(files));
    assert_eq!(findings(&loading), Vec::<String>::new());
    loading.config.unwrap()
}

const SHIPPED: [&str; 3] = ["policies/ucaas.toml", "policies/cpaas.toml", "policies/nested-quotas.toml"];

#[test]
fn every_shipped_policy_has_no_finding_and_a_rate_per_address() {
    let config = shipped(&SHIPPED);
    assert_eq!(config.snapshot.realms().len(), SHIPPED.len());
    for realm in config.snapshot.realms() {
        let quotas = realm.charged.iter().filter_map(|index| realm.quota(*index));
        let addresses = quotas.filter(|quota| quota.per == Per::Address && matches!(quota.limit, Limit::Rate(_)));
        assert!(addresses.count() > 0, "{}", realm.name);
    }
    let mut judged = 0;
    for test in config.tests.iter().filter(|test| &*test.realm == "nested") {
        let (_, tree) = config.trees.iter().find(|(realm, _)| *realm == test.realm).unwrap();
        for (who, call) in &test.calls {
            let as_expected = rehearse(&config.snapshot, tree, call, |_, decision| match (decision, &test.expect) {
                (Decision::Permit(_), Expectation::Permit { .. }) => true,
                (Decision::Deny(denial), Expectation::Deny(reason)) => denial.reason == *reason,
                _ => false,
            });
            assert!(as_expected, "{who} {} {} of {}", call.method, call.target, test.location);
            judged += 1;
        }
    }
    assert!(judged > 15, "only {judged} calls");
}

#[test]
fn the_example_of_nested_quotas_nests_as_it_says() {
    let config = shipped(&["policies/nested-quotas.toml"]);
    let (realm, (_, tree)) = (&config.snapshot.realms()[0], &config.trees[0]);
    let charged = |who: &str, method: &str, path: &str, stage: Stage| -> Vec<String> {
        let mut call = crate::policy::rehearsal::Call::new(method, &format!("/nested/v1{path}"));
        call.caller = tree.account(who).cloned();
        call.headers.push(("x-app-type".to_owned(), "vc".to_owned()));
        rehearse(&config.snapshot, tree, &call, |facts, decision| {
            assert!(stage == Stage::Arrival || matches!(decision, Decision::Permit(_)), "{who} {path}: {decision:?}");
            let due = facts.charges(stage);
            due.iter()
                .flat_map(|due| due.iter().map(|c| format!("{}={}", c.quota.name, c.subject)).collect::<Vec<_>>())
                .collect()
        })
    };
    for (who, nest) in [
        ("usr-1", &["user=usr-1", "customer=cus-42", "reseller=res-7"][..]),
        ("usr-2", &["user=usr-2", "customer=cus-43", "reseller=res-7"]),
        ("cus-42", &["customer=cus-42", "reseller=res-7"]),
        ("res-7", &["reseller=res-7"]),
        ("root", &[]),
    ] {
        let service = "meeting-service=meeting".to_owned();
        let expected: Vec<String> = nest.iter().map(|charge| (*charge).to_owned()).chain([service]).collect();
        assert_eq!(charged(who, "POST", "/meetings", Stage::Permitted), expected);
        assert_eq!(charged(who, "POST", "/meeting", Stage::Permitted), expected, "the other spelling");
    }
    assert!(charged("usr-1", "GET", "/meetings/m/export", Stage::Permitted).contains(&"exports=cus-42".to_owned()));
    assert_eq!(charged("root", "GET", "/customers", Stage::Permitted), Vec::<String>::new());
    assert_eq!(charged("usr-1", "GET", "/nowhere", Stage::Arrival), ["address=127.0.0.1", "everything=*"]);
    assert_eq!(
        charged("", "POST", "/login", Stage::Arrival),
        ["address=127.0.0.1", "everything=*", "login-address=127.0.0.1"]
    );

    let rate = |name: &str| match realm.quotas.iter().find(|quota| &*quota.name == name).map(|quota| &quota.limit) {
        Some(Limit::Rate(rate)) => *rate,
        other => panic!("{name}: {other:?}"),
    };
    let (user, customer, reseller) = (rate("user"), rate("customer"), rate("reseller"));
    assert!(user.burst < customer.burst && customer.burst < reseller.burst);
    assert!(user.interval > customer.interval && customer.interval > reseller.interval);
    assert!(!user.shared && customer.shared && reseller.shared);
}
