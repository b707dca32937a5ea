//! The JSON Schemas say what the readers say, as far as a schema can.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

use super::*;
use crate::config::compile::TOP;
use crate::config::gateway_file::SECTIONS;
use crate::config::rate::Rate;
use crate::config::schema::judge::Judge;
use crate::config::schema::{gateway, policy};
use crate::config::settings::Settings;
use crate::config::value::{ByteRate, Period, ServerAddress, Size};

static GATEWAYS: LazyLock<Judge> = LazyLock::new(|| Judge::of(&gateway()));
static POLICIES: LazyLock<Judge> = LazyLock::new(|| Judge::of(&policy()));

/// Called for whatever the tests of this module read: an editor must not underline what `check` takes.
pub(super) fn refuse_nothing_good(gateway: &str, policy: &str, loading: &Loading) {
    if loading.config.is_some() {
        let plain = |text: &str| text.trim_start_matches('\u{feff}').to_owned();
        assert_eq!(GATEWAYS.faults(&plain(gateway)), Vec::<String>::new(), "{gateway}");
        assert_eq!(POLICIES.faults(&plain(policy)), Vec::<String>::new(), "{policy}");
    }
}

fn keys(schema: &Value) -> BTreeSet<&str> {
    schema["properties"].as_object().unwrap().keys().map(String::as_str).collect()
}

/// The table that stands at a key, behind whatever refers to it.
fn table<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let schema = schema.get("additionalProperties").filter(|inner| inner.is_object()).unwrap_or(schema);
    let link = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str());
    link.map_or(schema, |link| root.pointer(link.trim_start_matches('#')).unwrap())
}

#[test]
fn the_tables_of_a_schema_are_those_that_the_reader_takes() {
    assert_eq!(keys(&gateway()), SECTIONS.iter().copied().collect());
    assert_eq!(keys(&policy()), TOP.iter().copied().collect());
    let root = gateway();
    let server = table(&root, &root["properties"]["server"]);
    assert!(keys(server).is_superset(&BTreeSet::from(["listen", "admin", "tls", "limits"])), "{server:#}");
}

#[test]
fn every_table_refuses_keys_that_it_does_not_know() {
    let mut tables = 0;
    for root in [gateway(), policy()] {
        for (name, table) in root["definitions"].as_object().unwrap().iter().chain([(&"root".to_owned(), &root)]) {
            if table["type"] == "object" {
                assert_eq!(table["additionalProperties"], false, "{name}");
                tables += 1;
            }
        }
    }
    assert!(tables > 25, "only {tables} tables");
}

#[test]
fn every_key_of_every_table_is_described() {
    fn look(schema: &Value, path: &str, described: &mut usize) {
        for (key, value) in schema["properties"].as_object().into_iter().flatten() {
            assert!(value["description"].as_str().is_some_and(|text| text.len() > 5), "{path}.{key} says nothing");
            *described += 1;
            look(value, &format!("{path}.{key}"), described);
        }
    }
    let mut described = 0;
    for root in [gateway(), policy()] {
        look(&root, "", &mut described);
        for (name, table) in root["definitions"].as_object().unwrap() {
            look(table, name, &mut described);
        }
    }
    assert!(described > 120, "only {described} keys");
}

/// The section with every default that its schema tells written out.
fn written_out(root: &Value, section: &str, schema: &Value, written: &mut usize) -> String {
    let mut text = format!("[{section}]\n");
    for (key, value) in schema["properties"].as_object().unwrap() {
        if let Some(default) = value.get("default") {
            text.push_str(&format!("{key} = {default}\n"));
            *written += 1;
        }
    }
    for (key, value) in schema["properties"].as_object().unwrap() {
        let inner = table(root, value);
        // A table that is there has effects of its own; one of defaults alone has none.
        let inside = inner["properties"].as_object();
        if inside.is_some_and(|inside| {
            inner["required"].is_null() && inside.values().any(|key| key.get("default").is_some())
        }) {
            text.push_str(&written_out(root, &format!("{section}.{key}"), inner, written));
        }
    }
    text
}

#[test]
fn the_defaults_that_the_schema_tells_are_those_in_effect() {
    let root = gateway();
    let mut written = 0;
    let mut text = String::new();
    for section in ["server", "token", "store", "directory", "lockout"] {
        let schema = table(&root, &root["properties"][section]);
        text.push_str(&written_out(&root, section, schema, &mut written));
    }
    let upstream = table(&root, &root["properties"]["upstreams"]);
    let servers = "servers = [{ address = \"127.0.0.1:1\", weight = 1 }]";
    let upstream = written_out(&root, "upstreams.a", upstream, &mut written);
    text.push_str(&upstream.replace("[upstreams.a]", &format!("[upstreams.a]\n{servers}")));
    text.push_str("[policies]\ninclude = [\"p.toml\"]\nsample = 0.01\n");
    assert!(written > 40, "only {written} defaults\n{text}");
    let settings = |gateway: &str| -> Settings {
        let loading = read(gateway, &format!("{POLICY}{ROUTE}"));
        let config = loading.config.unwrap_or_else(|| panic!("{:#?}\n{gateway}", loading.faults));
        let mut settings = config.settings;
        // Another at every start.
        settings.token.keys.clear();
        settings
    };
    assert_eq!(format!("{:#?}", settings(&text)), format!("{:#?}", settings(GATEWAY)));
}

/// The shipped settings with every key that only a comment shows.
fn uncommented() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("gateway.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let is_key = |line: &str| {
        let name = line.split([' ', ']']).next().unwrap_or_default().trim_start_matches('[');
        let named = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || b"_.".contains(&byte));
        named && (line.starts_with('[') || line[name.len()..].starts_with(" = "))
    };
    let lines = text.lines().map(|line| line.strip_prefix("# ").filter(|rest| is_key(rest)).unwrap_or(line));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_shipped_settings_show_every_key_and_all_of_them_fit_the_schema() {
    let text = uncommented();
    assert_eq!(GATEWAYS.faults(&text), Vec::<String>::new(), "{text}");
    let (root, shown): (Value, toml::Table) = (gateway(), toml::from_str(&text).unwrap());
    let mut keys_seen = 0;
    let mut shows = |section: &str, schema: &Value, shown: &toml::Value| {
        for key in keys(schema) {
            assert!(shown.get(key).is_some(), "gateway.toml does not show {section}.{key}");
            keys_seen += 1;
        }
    };
    for section in keys(&root) {
        let (schema, shown) = (&root["properties"][section], &shown[section]);
        let (schema, shown) = match section {
            "upstreams" => (table(&root, schema), &shown["provisioning"]),
            "reasons" => {
                (table(&root, &table(&root, schema)["properties"]["role_forbidden"]), &shown["role_forbidden"])
            }
            _ => (table(&root, schema), shown),
        };
        shows(section, schema, shown);
        if section == "server" {
            for part in ["tls", "limits"] {
                shows(part, table(&root, &schema["properties"][part]), &shown[part]);
            }
        }
    }
    assert!(keys_seen > 70, "only {keys_seen} keys");
}

#[test]
fn the_shipped_policies_fit_the_schema() {
    for name in ["ucaas", "cpaas", "nested-quotas"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("policies/{name}.toml"));
        assert_eq!(POLICIES.faults(&std::fs::read_to_string(path).unwrap()), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn what_a_schema_refuses_is_a_fault_of_the_file() {
    for front in [
        "[server]\nlisten = []",
        "[server]\nport = 1",
        "[server]\nlog = \"inf\"",
        "[server]\nthreads = 2000",
        "[server]\ndrain = 5",
        "[server.limits]\nhead_lines = 0",
        "[server.limits]\nbody_size = \"1MB\"",
        "[token]\nttl = \"20\"",
        "[token]\nkeys = [{ id = \"a\", secret = \"hunter2\" }]",
        "[directory]\nurl = \"ftp://x\"",
        "[lockout]\nattempts = 0",
        "[upstreams.b]\nservers = []",
        "[upstreams.b]\nservers = [\"nowhere\"]",
        "[upstreams.b]\nservers = [\"a:1\"]\nretries = 6",
        "[upstreams.b]\nservers = [\"a:1\"]\nbalance = \"dice\"",
        "[upstreams.b]\nservers = [\"a:1\"]\nbreaker = { failures = 0, within = \"1s\", open_for = \"1s\" }",
        "[upstreams.b]\nservers = [\"a:1\"]\nbreaker = { failures = 1, within = \"1s\" }",
        "[reasons.role_forbiden]\nmsg = \"x\"",
        "[reasons.role_forbidden]\nstatus = 200",
        "[otlp]\nsample = 1.0",
    ] {
        let text = format!("{front}\n{GATEWAY}");
        assert!(!GATEWAYS.faults(&text).is_empty(), "{front}");
        assert!(read(&text, &format!("{POLICY}{ROUTE}")).faults.any_fault(), "{front}");
    }
    for rest in [
        "quota = [\"q\"]",
        "quotas = [\"q\"]\n[quota.q]\nper = \"address\"\nrate = \"5/day\"",
        "quotas = [\"q\"]\n[quota.q]\nper = \"address\"\nrate = \"0/s\"",
        "quotas = [\"q\"]\n[quota.q]\nper = \"address\"\nrate = \"1/s\"\nburst = 0",
        "target = \"body.x\"",
        "headers = [\"X Api\"]",
        "upgrade = [\"h2c\"]",
        "[[route]]\nname = \"two\"\nmatch = \"get /two\"\nallow = [\"high\"]",
        "[[route]]\nname = \"two\"\nmatch = \"CONNECT /two\"\nallow = [\"high\"]",
        "[[route]]\nname = \"two\"\nmatch = \"GET /two\"\nallow = { high = \"all\" }",
        "[[route]]\nname = \"t o\"\nmatch = \"GET /two\"\nallow = [\"high\"]",
        "[[test]]\nas = \"anonymous\"\ncall = \"GET /one\"\nexpect = \"deny\"",
        "[[test]]\nas = \"anonymous\"\ncall = \"/one\"\nexpect = \"permit\"",
        "[fixture]\naccounts = [\"a//b\"]",
    ] {
        let text = format!("{POLICY}{ROUTE}{rest}\n");
        assert!(!POLICIES.faults(&text).is_empty(), "{rest}");
        assert!(read(GATEWAY, &text).faults.any_fault(), "{rest}");
    }
}

#[test]
fn value_types_take_in_a_schema_what_their_parsers_take() {
    fn agree<T: JsonSchema>(parses: impl Fn(&str) -> bool, texts: &[&str]) {
        let judge = Judge::of(&T::json_schema(&mut SchemaGenerator::default()).into());
        let good = texts.iter().filter(|text| parses(text)).count();
        assert!(good > 0 && good < texts.len(), "{} tries both", T::schema_name());
        for text in texts {
            let taken = judge.faults_of(&Value::from(*text)).is_empty();
            assert_eq!(taken, parses(text), "{} {text:?}", T::schema_name());
        }
    }
    let periods = ["0s", "250ms", "90s", "20m", "1h", "2d", "", "20", "m", "-1s", "1.5s", "1w", "1 s", "1S"];
    agree::<Period>(|text| Period::parse(text).is_some(), &periods);
    let sizes = ["512B", "8KiB", "1MiB", "2GiB", "1", "1KB", "KiB", "1TiB", "-1B"];
    agree::<Size>(|text| Size::parse(text).is_some(), &sizes);
    agree::<ByteRate>(|text| ByteRate::parse(text).is_some(), &["1KiB/s", "1KiB", "1/s", "1KiB/min"]);
    let rates = ["100/s", "600/min", "5/h", "05/h", "0/s", "00/s", "/s", "5", "5/d", "5/ s", "-5/s"];
    agree::<Rate>(|text| Rate::parse(text).is_ok(), &rates);
    let servers = ["a:1", "[::1]:80", "127.0.0.1:9101", "localhost", ":80", "a:0", "a:b", "http://a:80"];
    let server = |text: &str| toml::from_str::<ServerTable>(&format!("server = \"{text}\"")).is_ok();
    agree::<ServerAddress>(server, &servers);
}

#[derive(serde::Deserialize)]
struct ServerTable {
    #[allow(dead_code, reason = "only whether it can be read is asked")]
    server: ServerAddress,
}
