//! What concerns several files, or the file as a whole.

use super::*;

#[test]
fn realms_and_files_do_not_stand_twice() {
    let gateway = GATEWAY.replace("[\"p.toml\"]", "[\"p.toml\", \"p.toml\", \"q.toml\", \"gone.toml\"]");
    let policy = format!("{POLICY}{ROUTE}");
    let files = [("gateway.toml", gateway), ("p.toml", policy.clone()), ("q.toml", policy)];
    let loading = load(Path::new("gateway.toml"), &InMemory(files.into()));
    let found = findings(&loading);
    for expected in [
        "gateway.toml:4:22: fault: `p.toml` is included twice",
        "q.toml:2:8: fault: realm `r` stands in p.toml already",
        "q.toml:3:8: fault: base `/r/` belongs to realm `r` already",
        "gateway.toml:4:42: fault: cannot read `gone.toml`",
    ] {
        assert!(found.iter().any(|fault| fault.starts_with(expected)), "wants {expected}\n{found:#?}");
    }
}

#[test]
fn every_key_without_effect_is_warned_of() {
    let gateway = format!(
        "[server]\nproxy_protocol = true\nruntime_dir = \"x\"\n[server.tls]\nlisten = []\ncertificate = \"c\"\nkey = \"k\"\n\
         [server.limits]\nconnections = 1\nper_network = 1\ntotal_timeout = \"1s\"\nmin_rate = \"1KiB/s\"\nupgrade_lifetime = \"1h\"\n\
         upgrade_idle = \"5m\"\n[otlp]\nendpoint = \"e\"\n\
         [upstreams.b]\nservers = [\"a:1\"]\nbalance = \"account_hash\"\nhttp = \"2\"\ntls = {{ server_name = \"x\" }}\n\
         health = {{ path = \"/\" }}\neject = {{ failures = 1, for = \"1s\" }}\nretry_budget = 0.1\n{}",
        GATEWAY
    );
    let policy = format!("{POLICY}cors = {{ origins = [] }}\n{ROUTE}upgrade = [\"websocket\"]\n");
    let loading = read(&gateway, &policy);
    let found = findings(&loading);
    assert!(loading.config.is_some(), "{found:#?}");
    for key in [
        "server.proxy_protocol",
        "server.runtime_dir",
        "[server.tls]",
        "server.limits.connections",
        "server.limits.per_network",
        "server.limits.total_timeout",
        "server.limits.min_rate",
        "server.limits.upgrade_lifetime",
        "server.limits.upgrade_idle",
        "[otlp]",
        "upstreams.b.balance",
        "upstreams.b.http",
        "upstreams.b.tls",
        "upstreams.b.health",
        "upstreams.b.eject",
        "upstreams.b.retry_budget",
        "realm.cors",
        "upgrade",
    ] {
        let told = found.iter().any(|warning| warning.contains("no effect yet") && warning.contains(key));
        assert!(told, "{key} is silent\n{found:#?}");
    }
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_read() {
    let gateway = format!("\u{feff}{}", GATEWAY.replace('\n', "\r\n"));
    let policy = format!("\u{feff}{POLICY}{ROUTE}").replace('\n', "\r\n");
    let loading = read(&gateway, &policy);
    assert!(loading.config.is_some(), "{:#?}", loading.faults);
}

#[test]
fn the_revision_follows_the_policies() {
    let revision = |policy: &str| read(GATEWAY, policy).config.unwrap().snapshot.revision().to_owned();
    let one = revision(&format!("{POLICY}{ROUTE}"));
    assert_eq!(one, revision(&format!("{POLICY}{ROUTE}")));
    assert_ne!(one, revision(&format!("{POLICY}{}", ROUTE.replace("high", "low"))));
}

#[test]
fn a_route_below_another_realms_base_is_refused() {
    let gateway = GATEWAY.replace("[\"p.toml\"]", "[\"p.toml\", \"q.toml\"]");
    let below =
        format!("{POLICY}{}", ROUTE.replace("/one", "/r/one")).replace("\"/r\"", "\"/\"").replace("\"r\"", "\"q\"");
    let files = [("gateway.toml", gateway), ("p.toml", format!("{POLICY}{ROUTE}")), ("q.toml", below)];
    let found = findings(&load(Path::new("gateway.toml"), &InMemory(files.into())));
    let expected = "q.toml:9:9: fault: `GET /r/one` can never match: realm `r` owns /r";
    assert!(found.iter().any(|fault| fault.starts_with(expected)), "{found:#?}");
}

#[test]
fn one_fault_does_not_raise_another_that_is_untrue() {
    let gateway = GATEWAY.replace("\"127.0.0.1:1\"", "\"nowhere\"");
    let quota = "quotas = [\"q\"]\n[quota.q]\nper = 5\nrate = \"1/s\"\n";
    let found = findings(&read(&gateway, &format!("{POLICY}{ROUTE}{quota}")));
    assert!(found.iter().any(|fault| fault.contains("`nowhere` is not \"host:port\"")), "{found:#?}");
    assert!(found.iter().any(|fault| fault.starts_with("p.toml:13:7: fault: a text is expected")), "{found:#?}");
    assert!(!found.iter().any(|fault| fault.contains("no upstream") || fault.contains("no quota")), "{found:#?}");
}
