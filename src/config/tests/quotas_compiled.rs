//! Quotas: what a good file compiles to, and what of it counters belong to.

use super::quotas::quota;
use super::*;
use crate::policy::quota::{Limit, Per, Rate};

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
