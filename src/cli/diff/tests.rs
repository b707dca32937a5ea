//! Edits as operators make them, and what the verb says of each.

use std::fs;
use std::path::Path;

use super::*;
use crate::cli::args::ConfigArgs;

const POLICY: &str = r#"
[realm]
name = "shop"
base = "/shop"
roles = ["high", "mid", "low"]
schemes = ["basic", "token"]
upstream = "left"
quotas = ["address"]
[quota.address]
per = "address"
rate = "10/s"
[quota.calls]
per = "principal"
rate = "5/s"
burst = 10
[[route]]
name = "items.get"
match = "GET /items/{id}"
allow = { high = "subtree", mid = "below" }
target = "path.id"
quotas = ["calls"]
[[route]]
name = "items.list"
match = "GET /items"
allow = ["high", "mid"]
quotas = ["calls"]
[[route]]
name = "open"
match = "GET /open"
public = true
headers = ["X-Api-Id"]
[[route]]
name = "typed"
match = "POST /typed"
allow = ["high"]
app_types = ["vc"]
body_size = "1KiB"
"#;

fn diff(old: &str, new: &str, fail_on: &[FailOn], format: Format) -> (String, Exit) {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["old.toml", "new.toml"].map(|name| folder.path().join(name));
    fs::write(&paths[0], old).unwrap();
    fs::write(&paths[1], new).unwrap();
    let args = DiffArgs {
        config: ConfigArgs { config: "gateway.toml".into() },
        old: paths[0].display().to_string(),
        new: paths[1].display().to_string(),
        fail_on: fail_on.to_vec(),
        format,
    };
    let mut out = Vec::new();
    let exit = run(&args, &mut out).unwrap_or_else(|stop| panic!("{}", stop.message));
    let text = String::from_utf8(out).unwrap();
    (anstream::adapter::strip_str(&text).to_string().replace(folder.path().to_str().unwrap(), ""), exit)
}

/// The edit `from` → `to` is told by these lines, and by this summary.
fn told(from: &str, to: &str, lines: &[&str], summary: &str) {
    assert!(POLICY.contains(from), "{from}");
    let (text, exit) = diff(POLICY, &POLICY.replacen(from, to, 1), &[], Format::Text);
    for line in lines {
        assert!(text.lines().any(|known| known.trim() == *line), "{to}\nwants {line}\n{text}");
    }
    assert_eq!(text.lines().last(), Some(summary), "{to}\n{text}");
    assert_eq!(exit, Exit::Ok);
}

#[test]
fn scopes_and_roles() {
    let mid = "mid = \"below\"";
    told(
        ", mid = \"below\"",
        "",
        &[
            "shop items.get  GET /shop/items/{id}  (new /new.toml:16, old /old.toml:16)",
            "NARROWED  mid",
            "target below: permit (left) → role_forbidden",
        ],
        "0 widened, 1 narrowed, 0 rerouted",
    );
    told(
        mid,
        "mid = \"subtree\"",
        &["WIDENED   mid", "target self: scope_forbidden → permit (left)", "target below: scope below → scope subtree"],
        "1 widened, 0 narrowed, 0 rerouted",
    );
    told(
        mid,
        "mid = \"own\"",
        &[
            "WIDENED   mid",
            "target self: scope_forbidden → permit (left)",
            "NARROWED  mid",
            "target below: permit (left) → scope_forbidden",
        ],
        "1 widened, 1 narrowed, 0 rerouted",
    );
    told(
        "allow = [\"high\", \"mid\"]",
        "allow = { high = \"below\", mid = \"subtree\", low = \"own\" }",
        &[
            "NARROWED  high",
            "scope subtree → scope below",
            "WIDENED   low",
            "role_forbidden → permit (left, scope own)",
        ],
        "1 widened, 1 narrowed, 0 rerouted",
    );
    told(
        "target = \"path.id\"",
        "target = \"path.id\"\ntarget_role = \"low\"",
        &[
            "NARROWED  high",
            "target self, below (of another role): permit (left) → scope_forbidden",
            "NARROWED  mid",
            "target below (of another role): permit (left) → scope_forbidden",
        ],
        "0 widened, 2 narrowed, 0 rerouted",
    );
}

#[test]
fn who_may_come_and_from_where() {
    told(
        "quotas = [\"address\"]",
        "quotas = [\"address\"]\nnetworks = { mid = [\"10.0.0.0/8\"] }",
        &["NARROWED  mid", "target below: from elsewhere: permit (left) → role_forbidden"],
        "0 widened, 2 narrowed, 0 rerouted",
    );
    told(
        "schemes = [\"basic\", \"token\"]",
        "schemes = [\"basic\"]",
        &["NARROWED  high", "with a token: permit (left, scope subtree) → header_invalid"],
        "0 widened, 5 narrowed, 0 rerouted",
    );
    told(
        "public = true\n",
        "allow = [\"low\"]\n",
        &[
            "NARROWED  high, mid, another role",
            "permit (left) → role_forbidden",
            "NARROWED  anonymous",
            "permit (left) → header_missing",
            "REROUTED  low",
            "without saying who calls → in realm shop",
        ],
        "0 widened, 4 narrowed, 1 rerouted",
    );
    told(
        "app_types = [\"vc\"]\n",
        "app_types = [\"vc\"]\nenabled = false\n",
        &["NARROWED  high", "permit (left, scope subtree) → route_disabled"],
        "0 widened, 1 narrowed, 0 rerouted",
    );
}

#[test]
fn headers_app_types_and_bodies() {
    told(
        "match = \"GET /items\"\n",
        "match = \"GET /items\"\nheaders = [\"X-Key\"]\n",
        &[
            "NARROWED  high, mid",
            "without x-key: permit (left, scope subtree) → header_missing",
            "with x-key named in Connection: permit (left, scope subtree) → request_malformed",
        ],
        "0 widened, 2 narrowed, 0 rerouted",
    );
    told(
        "app_types = [\"vc\"]",
        "app_types = [\"vc\", \"wb\"]",
        &["WIDENED   high", "with app type wb: app_type_unknown → permit (left, scope subtree)"],
        "1 widened, 0 narrowed, 0 rerouted",
    );
    told(
        "body_size = \"1KiB\"",
        "body_size = \"2KiB\"",
        &["with a body of more than 1024 and at most 2048 bytes: body_too_large → permit (left, scope subtree)"],
        "1 widened, 0 narrowed, 0 rerouted",
    );
}

#[test]
fn paths() {
    let export = "[[route]]\nname = \"items.export\"\nmatch = \"GET /items/export\"\nallow = [\"low\"]\n[[route]]\nname = \"open\"";
    told(
        "[[route]]\nname = \"open\"",
        export,
        &[
            "shop items.get → shop items.export  GET /shop/items/export  (new /new.toml:27, old /old.toml:16)",
            "NARROWED  high",
            "target self, below: permit (left) → role_forbidden",
            "WIDENED   low",
            "role_forbidden → permit (left, scope subtree)",
        ],
        "1 widened, 2 narrowed, 0 rerouted",
    );
    told(
        "base = \"/shop\"",
        "base = \"/shop/v2\"",
        &[
            "no route → shop items.list  GET /shop/v2/items  (new /new.toml:22)",
            "shop items.list → no route  GET /shop/items  (old /old.toml:22)",
            "route_not_found → permit (left, scope subtree)",
            "permit (left, scope subtree) → route_not_found",
        ],
        "10 widened, 10 narrowed, 0 rerouted",
    );
}

#[test]
fn where_requests_go() {
    told(
        "upstream = \"left\"",
        "upstream = \"right\"",
        &["REROUTED  high, mid, low, another role, anonymous", "REROUTED  high", "to left → to right"],
        "0 widened, 0 narrowed, 10 rerouted",
    );
    told(
        "app_types = [\"vc\"]",
        "app_types = [\"vc\"]\nstrip_base = true",
        &["sent with the whole path → sent without the path's first 5 characters"],
        "0 widened, 0 narrowed, 1 rerouted",
    );
    told(
        "app_types = [\"vc\"]",
        "app_types = [\"vc\"]\nforward_authorization = true",
        &["sent without Authorization → sent with Authorization"],
        "0 widened, 1 narrowed, 1 rerouted",
    );
}

#[test]
fn quotas() {
    told(
        "rate = \"5/s\"",
        "rate = \"2/s\"",
        &[
            "shop quota calls  2 routes  (/new.toml:12)",
            "NARROWED  5/s, burst 10 per principal → 2/s, burst 10 per principal",
        ],
        "0 widened, 1 narrowed, 0 rerouted",
    );
    told(
        "rate = \"5/s\"\nburst = 10",
        "rate = \"2/s\"\nburst = 20",
        &["WIDENED   5/s, burst 10 per principal → 2/s, burst 20 per principal"],
        "1 widened, 1 narrowed, 0 rerouted",
    );
    told(
        "quotas = [\"calls\"]\n[[route]]\nname = \"open\"",
        "[[route]]\nname = \"open\"",
        &["WIDENED   high, mid", "quota: charged to calls (5/s, burst 10 per principal) → not to calls"],
        "2 widened, 0 narrowed, 0 rerouted",
    );
    told(
        "quotas = [\"address\"]",
        "quotas = [\"address\", \"all\"]\n[quota.all]\nper = \"realm\"\nrate = \"1/s\"",
        &[
            "shop quota all  every request  (/new.toml:9)",
            "NARROWED  none are → every request is charged: 1/s, burst 1 per realm",
        ],
        "0 widened, 1 narrowed, 0 rerouted",
    );
    let renamed = POLICY.replace("calls", "standard");
    assert_eq!(diff(POLICY, &renamed, &[], Format::Text).0, "no decision changes\n");
}

#[test]
fn a_route_in_two_has_an_allowance_more_and_two_in_one_have_one_less() {
    let one = POLICY.replace("per = \"principal\"", "per = \"route\"");
    let list = "[[route]]\nname = \"items.list\"\nmatch = ";
    let rest = "allow = [\"high\", \"mid\"]\nquotas = [\"calls\"]\n";
    let both = one.replace(&format!("{list}\"GET /items\""), &format!("{list}[\"GET /items\", \"GET /all\"]"));
    let new = format!("{list}\"GET /items\"\n{rest}[[route]]\nname = \"all\"\nmatch = \"GET /all\"");
    let apart = one.replace(&format!("{list}\"GET /items\""), &new);
    assert!(both != one && apart != one);
    let (text, exit) = diff(&both, &apart, &[FailOn::Widened], Format::Text);
    assert!(text.contains("5/s, burst 10 for items.list → 5/s, burst 10 for each of all, items.list"), "{text}");
    assert!(text.contains("1 widened, 0 narrowed, 0 rerouted") && exit == Exit::Denied, "{text}");
    let (text, _) = diff(&apart, &both, &[], Format::Text);
    assert!(text.contains("0 widened, 1 narrowed, 0 rerouted"), "{text}");
    let renamed = one.replace("items.list", "items.all");
    assert_eq!(diff(&one, &renamed, &[FailOn::Any], Format::Text).1, Exit::Ok);
}

#[test]
fn a_quota_of_any_role_above_is_seen_with_as_many_roles_as_there_can_be() {
    let roles: Vec<String> = (0..16).map(|role| format!("\"r{role}\"")).collect();
    for payer in 0..16 {
        let policy = |quotas: &str| {
            format!(
                "[realm]\nname = \"r\"\nbase = \"/a/b/c\"\nschemes = [\"basic\"]\nroles = [{}]\nupstream = \"u\"\n\
                 [quota.q]\nper = \"r{payer}\"\nrate = \"5/s\"\n\
                 [[route]]\nname = \"keep\"\nmatch = \"GET /k\"\nallow = [\"r{payer}\"]\nquotas = [\"q\"]\n\
                 [[route]]\nname = \"low\"\nmatch = \"GET /low\"\nallow = [\"r15\"]\n{quotas}\n",
                roles.join(", ")
            )
        };
        let (text, _) = diff(&policy("quotas = [\"q\"]"), &policy(""), &[], Format::Text);
        assert!(text.contains("1 widened, 0 narrowed, 0 rerouted"), "r{payer}: {text}");
    }
}

#[test]
fn a_new_name_is_a_note_and_no_change() {
    told(
        "\"items.list\"",
        "\"items.index\"",
        &["note: route items.list is called items.index now, in logs and metrics too (/new.toml:22)"],
        "no decision changes",
    );
}

#[test]
fn fail_on_names_the_kinds_that_end_with_3() {
    let narrower = POLICY.replace("\"GET /items\"", "\"GET /items\"\nheaders = [\"X-Key\"]");
    for (fail_on, exit) in [
        (vec![], Exit::Ok),
        (vec![FailOn::Widened], Exit::Ok),
        (vec![FailOn::Widened, FailOn::Narrowed], Exit::Denied),
        (vec![FailOn::Any], Exit::Denied),
    ] {
        assert_eq!(diff(POLICY, &narrower, &fail_on, Format::Text).1, exit, "{fail_on:?}");
        assert_eq!(diff(POLICY, POLICY, &fail_on, Format::Text).1, Exit::Ok, "{fail_on:?}");
    }
}

#[test]
fn json_holds_refusals_for_another_reason_too() {
    let other = POLICY.replace("allow = [\"high\"]", "allow = [\"low\"]");
    let (text, _) = diff(POLICY, &other, &[], Format::Json);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["summary"]["widened"], 1);
    let change = &value["routes"][0]["changes"][0];
    assert_eq!((&change["kind"], &change["role"]), (&"narrowed".into(), &"high".into()));
    assert_eq!(value["routes"][0]["new"]["route"], "typed");
    let missing = POLICY.replace("[[route]]\nname = \"open\"", "[[route]]\nname = \"gone\"\nenabled = false\nmatch = \"GET /gone\"\nallow = [\"low\"]\n[[route]]\nname = \"open\"");
    let (text, _) = diff(POLICY, &missing, &[], Format::Json);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["summary"]["refused_otherwise"], 6, "{value:#}");
    assert_eq!(value["routes"][0]["changes"][0]["after"], "route_disabled");
}

#[test]
fn the_shipped_policies_written_anew_are_no_difference() {
    for name in ["ucaas.toml", "cpaas.toml", "nested-quotas.toml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies").join(name);
        let text = fs::read_to_string(path).unwrap();
        let mut table: toml::Table = text.parse().unwrap();
        let routes = table.get_mut("route").and_then(toml::Value::as_array_mut).unwrap();
        assert!(routes.len() > 3, "{name}");
        routes.reverse();
        let anew = table.to_string();
        assert_ne!(anew, text);
        let (told, exit) = diff(&text, &anew, &[FailOn::Any], Format::Text);
        assert_eq!((told.as_str(), exit), ("no decision changes\n", Exit::Ok), "{name}");
    }
}
