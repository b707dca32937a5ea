//! Quotas: what each fault says, where, and what it underlines.

use super::*;

/// `[quota.q]` with these lines, named by the route; the first of them is line 13.
pub(super) fn quota(lines: &str) -> String {
    format!("{POLICY}{ROUTE}quotas = [\"q\"]\n[quota.q]\n{lines}\n")
}

/// The findings with the text that each underlines.
fn underlined(loading: &Loading) -> Vec<(String, String)> {
    let text = |fault: &crate::config::diag::Fault| {
        fault.source.as_ref().map_or_else(String::new, |source| source.text[fault.span.clone()].to_owned())
    };
    loading.faults.iter().map(|fault| (fault.to_string(), text(fault))).collect()
}

/// The one finding that a policy has.
fn only_finding(policy: &str) -> (String, String) {
    let loading = read(GATEWAY, policy);
    let mut found = underlined(&loading);
    assert_eq!(found.len(), 1, "{policy}\n{found:#?}");
    assert!(loading.config.is_none() || found[0].0.contains("warning"), "{policy}");
    found.remove(0)
}

#[test]
fn each_fault_of_a_quota_has_its_place_and_remedy() {
    let like = "(write a rate like \"100/s\", \"600/min\" or \"5/h\")";
    let off = "(to switch a route off: enabled = false)";
    let known = "(known: `principal`, `address`, `login`, `realm`, `route`, `upstream`, `high`, `low`)";
    for (lines, expected, marked) in [
        ("per = \"route\"\nrate = \"0/s\"", &format!("14:8: fault: `0/s` would refuse everything {off}"), "\"0/s\""),
        (
            "per = \"route\"\nrate = \"-1/s\"",
            &format!("14:8: fault: `-1/s` is no rate: `-1` is no whole number above zero {like}"),
            "\"-1/s\"",
        ),
        (
            "per = \"route\"\nrate = \"100\"",
            &"14:8: fault: `100` is no rate: it has no unit (write \"100/s\", \"100/min\" or \"100/h\")".to_owned(),
            "\"100\"",
        ),
        (
            "per = \"route\"\nrate = \"5/day\"",
            &"14:8: fault: `5/day` is no rate: no unit `day` (known: `s`, `min`, `h`)".to_owned(),
            "\"5/day\"",
        ),
        (
            "per = \"route\"\nrate = \"5/minute\"",
            &"14:8: fault: `5/minute` is no rate: no unit `minute` (did you mean `min`?)".to_owned(),
            "\"5/minute\"",
        ),
        (
            "per = \"route\"\nrate = \"2000000000/s\"",
            &"14:8: fault: `2000000000/s` is more than anybody can reach (leave the quota out)".to_owned(),
            "\"2000000000/s\"",
        ),
        (
            "per = \"route\"\nrate = 5",
            &"14:8: fault: a rate like \"100/s\", \"600/min\" or \"5/h\" is expected, not a number".to_owned(),
            "5",
        ),
        (
            "per = \"route\"\nrate = \"1/s\"\nburst = 0",
            &format!("15:9: fault: at least 1: zero would refuse everything {off}"),
            "0",
        ),
        (
            "per = \"route\"\nrate = \"1/s\"\nburst = -1",
            &"15:9: fault: `-1` is not 0 to 4294967295".to_owned(),
            "-1",
        ),
        (
            "per = \"route\"\nin_flight = 0",
            &format!("14:13: fault: at least 1: zero would refuse everything {off}"),
            "0",
        ),
        (
            "per = \"route\"\nin_flight = 2\nburst = 3",
            &"15:9: fault: `burst` goes with `rate`, not with `in_flight` (drop it; `in_flight` is the most at once)"
                .to_owned(),
            "3",
        ),
        (
            "per = \"route\"\nin_flight = 2\nshared = true",
            &"15:10: fault: each gateway counts its own running requests (drop `shared`, and divide `in_flight` by the \
              number of gateways)"
                .to_owned(),
            "true",
        ),
        (
            "per = \"route\"\nrate = \"1/s\"\nin_flight = 2",
            &"15:13: fault: a quota has `rate` or `in_flight`, not both (make two quotas, and name both)".to_owned(),
            "2",
        ),
        (
            "per = \"route\"",
            &"12:1: fault: a quota needs `rate` or `in_flight` (rate = \"50/s\", or in_flight = 20)".to_owned(),
            "[quota.q]",
        ),
        (
            "per = \"route\"\nrate = \"1/h\"\nburst = 721",
            &"15:9: fault: it would take more than 30 days until the burst is there again (a smaller burst, or a higher \
              rate)"
                .to_owned(),
            "721",
        ),
        (
            "per = \"adress\"\nrate = \"1/s\"",
            &"13:7: fault: no quota can be per `adress` (did you mean `address`?)".to_owned(),
            "\"adress\"",
        ),
        (
            "per = \"customer\"\nrate = \"1/s\"",
            &format!("13:7: fault: no quota can be per `customer` {known}"),
            "\"customer\"",
        ),
        (
            "per = \"hihg\"\nrate = \"1/s\"",
            &"13:7: fault: no quota can be per `hihg` (did you mean `high`?)".to_owned(),
            "\"hihg\"",
        ),
        (
            "per = \"upstream\"\nrate = \"1/s\"",
            &"14:8: fault: a quota per upstream bounds running requests, not a rate (per = \"upstream\" goes with \
              in_flight; a rate can be per \"route\" or \"realm\")"
                .to_owned(),
            "\"1/s\"",
        ),
        ("rate = \"1/s\"", &"12:1: fault: `per` is missing".to_owned(), "[quota.q]"),
        (
            "per = \"route\"\nrate = \"1/s\"\nbrust = 3",
            &"15:1: fault: unknown key `brust` (did you mean `burst`?)".to_owned(),
            "brust",
        ),
    ] {
        assert_eq!(only_finding(&quota(lines)), (format!("p.toml:{expected}"), marked.to_owned()));
    }
}

#[test]
fn all_faults_of_all_quotas_are_found_in_one_run() {
    let found = findings(&read(
        GATEWAY,
        &format!(
            "{POLICY}{ROUTE}quotas = [\"a\", \"b\"]\n[quota.a]\nper = \"planet\"\nin_flight = 0\nburst = 0\nshared = true\n\
             [quota.b]\nper = 5\nrate = \"1\"\nburst = \"x\"\n"
        ),
    ));
    for place in ["13:7", "14:13", "15:9", "16:10", "18:7", "19:8", "20:9"] {
        let starts = format!("p.toml:{place}: fault: ");
        assert!(found.iter().any(|fault| fault.starts_with(&starts)), "wants {place}\n{found:#?}");
    }
}

#[test]
fn a_name_stands_once_and_is_a_label() {
    let twice = format!("{}[quota.q]\nper = \"route\"\nrate = \"1/s\"\n", quota("per = \"route\"\nrate = \"1/s\""));
    let found = findings(&read(GATEWAY, &twice));
    assert_eq!(found[0], "p.toml:15:8: fault: not TOML: duplicate key (it stands further up already)", "{found:#?}");
    let odd = "quotas = [\"a b\"]\n[quota.\"a b\"]\nper = \"route\"\nrate = \"1/s\"\n";
    let (found, marked) = only_finding(&format!("{POLICY}{ROUTE}{odd}"));
    assert_eq!(found, "p.toml:12:8: fault: a quota's name is 1 to 64 of A-Z a-z 0-9 . _ ~ -");
    assert_eq!(marked, "\"a b\"");
    let clash = POLICY.replace("\"low\"", "\"realm\"");
    let (found, _) =
        only_finding(&format!("{clash}{ROUTE}quotas = [\"q\"]\n[quota.q]\nper = \"realm\"\nrate = \"1/s\"\n"));
    let expected =
        "p.toml:13:7: fault: `realm` is a kind of quota, and a role of this realm (give the role another name)";
    assert_eq!(found, expected);
}

/// One quota of each kind, all within the bounds of what they are named for.
const EACH: &str = "[quota.principal]\nper = \"principal\"\nrate = \"1/s\"\n[quota.address]\nper = \"address\"\nrate = \"1/s\"\n\
     [quota.login]\nper = \"login\"\nrate = \"1/s\"\n[quota.realm]\nper = \"realm\"\nrate = \"1/s\"\n\
     [quota.route]\nper = \"route\"\nrate = \"1/s\"\n[quota.upstream]\nper = \"upstream\"\nin_flight = 1\n\
     [quota.high]\nper = \"high\"\nrate = \"1/s\"\n[quota.low]\nper = \"low\"\nrate = \"1/s\"\n";

/// A policy with one quota named in one place: of the realm at 7, of a login at 13, of a public route at 17, of one that
/// only `high` may call at 22.
fn naming(place: &str, quota: &str) -> String {
    let list = |here: &str| if here == place { format!("\"{quota}\"") } else { String::new() };
    let tables: Vec<&str> = EACH.split_inclusive("\n[").collect();
    let table = tables.iter().find(|table| table.trim_start_matches('[').starts_with(&format!("quota.{quota}]")));
    let table = table.unwrap().trim_start_matches('[').trim_end_matches('[');
    format!(
        "{POLICY}quotas = [{}]\n{ROUTE}[login]\nlogin = \"POST /login\"\nquotas = [{}]\n[[route]]\nname = \"open\"\n\
         match = \"GET /open\"\nquotas = [{}]\npublic = true\n[[route]]\nname = \"shut\"\nmatch = \"GET /shut\"\n\
         allow = [\"high\"]\nquotas = [{}]\n[{table}",
        list("realm"),
        list("login"),
        list("public"),
        list("high"),
    )
}

#[test]
fn a_quota_that_would_never_be_charged_where_it_is_named_is_a_fault() {
    let before = "which is not known before routing (name it in `quotas` of the routes; [realm] takes those per \
                  `address` or `realm`)";
    let nobody = "but nobody knows who calls a public route (per = \"address\", \"realm\" or \"route\")";
    let early = "but who logs in is not known before the password is right (per = \"login\", which is the e-mail, or \
                 \"address\")";
    let email = "and only a login has an e-mail (name it in `quotas` of [login]";
    for (place, quota, expected) in [
        ("realm", "principal", format!("7:11: fault: quota `principal` is per `principal`, {before}")),
        ("realm", "login", format!("7:11: fault: quota `login` is per `login`, {email})")),
        ("realm", "route", format!("7:11: fault: quota `route` is per `route`, {before}")),
        ("realm", "upstream", format!("7:11: fault: quota `upstream` is per `upstream`, {before}")),
        ("realm", "low", format!("7:11: fault: quota `low` is per `low`, {before}")),
        ("login", "principal", format!("14:11: fault: quota `principal` is per `principal`, {early}")),
        ("login", "high", format!("14:11: fault: quota `high` is per `high`, {early}")),
        (
            "login",
            "upstream",
            "14:11: fault: quota `upstream` is per `upstream`, but the gateway answers logins itself (per = \"route\" or \
             \"realm\")"
                .to_owned(),
        ),
        ("public", "principal", format!("18:11: fault: quota `principal` is per `principal`, {nobody}")),
        ("public", "low", format!("18:11: fault: quota `low` is per `low`, {nobody}")),
        (
            "public",
            "login",
            format!("18:11: fault: quota `login` is per `login`, {email}; callers of a route are `principal`)"),
        ),
        (
            "high",
            "login",
            format!("24:11: fault: quota `login` is per `login`, {email}; callers of a route are `principal`)"),
        ),
        (
            "high",
            "low",
            "24:11: fault: quota `low` is per `low`, but no role of this route is one or lies below one (it would never \
             be charged here; drop it)"
                .to_owned(),
        ),
    ] {
        let found = underlined(&read(GATEWAY, &naming(place, quota)));
        let faults: Vec<_> = found.iter().filter(|(fault, _)| fault.contains(" fault: ")).collect();
        assert_eq!(faults, [&(format!("p.toml:{expected}"), format!("\"{quota}\""))], "{place} {quota}");
    }
}

#[test]
fn every_other_quota_can_be_named_there() {
    let mut good = 0;
    for (place, quotas) in [
        ("realm", &["address", "realm"][..]),
        ("login", &["login", "address", "realm", "route"]),
        ("public", &["address", "realm", "route", "upstream"]),
        ("high", &["principal", "address", "realm", "route", "upstream", "high"]),
    ] {
        for quota in quotas {
            let loading = read(GATEWAY, &naming(place, quota));
            assert!(loading.config.is_some(), "{place} {quota}\n{:#?}", findings(&loading));
            good += 1;
        }
    }
    assert_eq!(good, 16);
    let low = naming("high", "low")
        .replace("allow = [\"high\"]\nquotas = [\"low\"]", "allow = [\"high\", \"low\"]\nquotas = [\"low\"]");
    assert!(read(GATEWAY, &low).config.is_some(), "one of the roles suffices");
}

#[test]
fn a_quota_is_charged_once_a_request_and_only_so_many_are() {
    let route = "[quota.q]\nper = \"route\"\nrate = \"1/s\"\n";
    let (found, marked) = only_finding(&format!("{POLICY}{ROUTE}quotas = [\"q\", \"q\"]\n{route}"));
    assert_eq!(found, "p.toml:11:16: fault: quota `q` stands twice, so it would be charged twice (drop one)");
    assert_eq!(marked, "\"q\"");

    let address = route.replace("route", "address");
    let (found, _) = only_finding(&format!("{POLICY}quotas = [\"q\"]\n{ROUTE}quotas = [\"q\"]\n{address}"));
    let expected = "p.toml:12:11: fault: [realm] charges every request to quota `q`, so it would be charged twice \
                    (drop it here or there)";
    assert_eq!(found, expected);
    let login =
        format!("{POLICY}quotas = [\"q\"]\n{ROUTE}[login]\nlogin = \"POST /login\"\nquotas = [\"q\"]\n{address}");
    assert!(only_finding(&login).0.starts_with("p.toml:14:11: fault: [realm] charges every request to quota `q`"));
    let another = format!("{address}{}", address.replace("quota.q", "quota.r"));
    let both = format!("{POLICY}quotas = [\"q\"]\n{ROUTE}quotas = [\"r\"]\n{another}");
    assert!(read(GATEWAY, &both).config.is_some(), "two quotas per address are two");

    let many = |per: &str, count: usize| {
        let names: Vec<String> = (0..count).map(|place| format!("\"q{place}\"")).collect();
        let table = |place| format!("[quota.q{place}]\nper = \"{per}\"\nrate = \"1/s\"\n");
        (names.join(", "), (0..count).map(table).collect::<String>())
    };
    for (per, message) in [
        ("route", "more than 8 quotas for one request"),
        ("address", "more than 8 quotas per address or realm for one request"),
    ] {
        let (names, tables) = many(per, 8);
        assert!(read(GATEWAY, &format!("{POLICY}{ROUTE}quotas = [{names}]\n{tables}")).config.is_some(), "{per}");
        let (names, tables) = many(per, 10);
        let (found, marked) = only_finding(&format!("{POLICY}{ROUTE}quotas = [{names}]\n{tables}"));
        let hint = "(the [realm]'s and the route's own count together; drop the widest)";
        assert_eq!((found, marked), (format!("p.toml:11:59: fault: {message} {hint}"), "\"q8\"".to_owned()));
    }
    let (names, tables) = many("address", 9);
    let (first, last) = names.split_at(names.find("\"q8\"").unwrap());
    let split = format!("{POLICY}quotas = [{first}]\n{ROUTE}quotas = [{last}]\n{tables}");
    assert!(only_finding(&split).0.starts_with("p.toml:12:11: fault: more than 8 quotas per address or realm"));
}

#[test]
fn a_quota_nobody_uses_or_nobody_knows_is_a_fault() {
    let (found, marked) = only_finding(&format!("{POLICY}{ROUTE}[quota.q]\nper = \"route\"\nrate = \"1/s\"\n"));
    let expected = "p.toml:11:8: fault: nobody uses quota `q` (name it in `quotas` of a route, the realm or the login)";
    assert_eq!((found.as_str(), marked.as_str()), (expected, "q"));
    let (found, _) = only_finding(&format!("{POLICY}{ROUTE}quotas = [\"q\"]\n"));
    assert_eq!(found, "p.toml:11:11: fault: no quota `q` in this file (add [quota.q])");
    let found =
        findings(&read(GATEWAY, &quota("per = \"route\"\nrate = \"1/s\"").replace("[\"q\"]", "[\"q\", \"p\"]")));
    assert_eq!(found, ["p.toml:11:16: fault: no quota `p` in this file (known: `q`)"]);
}

#[test]
fn one_fault_of_a_quota_raises_no_other_that_is_untrue() {
    // Whether the route names the quota is not known while it cannot be read.
    let unread = "rubbish = 1\nquotas = [\"q\"]\n[quota.q]\nper = \"route\"\nrate = \"1/s\"\n";
    assert!(
        only_finding(&format!("{POLICY}{ROUTE}{unread}")).0.starts_with("p.toml:11:1: fault: unknown key `rubbish`")
    );
    // Whether the login has a quota per address is not known while that has a fault.
    let login = |rate: &str| {
        format!(
            "{POLICY}{ROUTE}[login]\nlogin = \"POST /login\"\nquotas = [\"q\"]\n[quota.q]\nper = \"address\"\n{rate}\n"
        )
    };
    assert!(only_finding(&login("rate = \"1/x\"")).0.starts_with("p.toml:16:8: fault: `1/x` is no rate"));
    assert!(read(GATEWAY, &login("rate = \"1/s\"")).faults.iter().next().is_none());
    // The number of running logins bounds no guessing.
    let warning = "p.toml:11:1: warning: the login has no quota per address";
    assert!(only_finding(&login("in_flight = 9")).0.starts_with(warning));
    // Without a realm the quotas are read all the same.
    let found = findings(&read(GATEWAY, "[realm]\nname = \"r\"\n[quota.q]\nper = \"route\"\nrate = \"1\"\n"));
    assert!(found.iter().any(|fault| fault.starts_with("p.toml:5:8: fault: `1` is no rate")), "{found:#?}");
}
