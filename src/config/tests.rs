//! Broken configurations: each fault with its place, message and remedy; all of a file in one run.
#![allow(clippy::too_many_lines, reason = "tables")]

use std::collections::HashMap;
use std::path::Path;

use super::diag::Severity;
use super::load::{Files, Loading, Unread, load};

mod quotas;
mod quotas_compiled;
mod schemas;
mod services;
mod watched;
mod whole;

struct InMemory(HashMap<&'static str, String>);

impl Files for InMemory {
    fn read(&self, path: &Path) -> Result<String, Unread> {
        self.0.get(path.to_str().unwrap()).cloned().ok_or_else(|| "no such file".to_owned().into())
    }
}

const GATEWAY: &str = "[upstreams.a]\nservers = [\"127.0.0.1:1\"]\n[policies]\ninclude = [\"p.toml\"]\n";
const POLICY: &str = "[realm]\nname = \"r\"\nbase = \"/r\"\nroles = [\"high\", \"low\"]\nschemes = [\"basic\", \"token\"]\nupstream = \"a\"\n";
const ROUTE: &str = "[[route]]\nname = \"one\"\nmatch = \"GET /one\"\nallow = [\"high\"]\n";

fn read(gateway: &str, policy: &str) -> Loading {
    let files = [("gateway.toml", gateway), ("p.toml", policy)].map(|(name, text)| (name, text.to_owned()));
    let loading = load(Path::new("gateway.toml"), &InMemory(files.into()));
    schemas::refuse_nothing_good(gateway, policy, &loading);
    loading
}

fn findings(loading: &Loading) -> Vec<String> {
    loading.faults.iter().map(ToString::to_string).collect()
}

/// The gateway file with this in front, so that line 1 is the first line of it.
fn gateway_fault(front: &str, expected: &str) {
    let loading = read(&format!("{front}\n{GATEWAY}"), &format!("{POLICY}{ROUTE}"));
    let found = findings(&loading);
    assert!(found.iter().any(|fault| fault.starts_with(expected)), "{front}\nwants {expected}\n{found:#?}");
    assert!(loading.config.is_none() || expected.contains("warning"), "{front}");
}

/// A policy whose lines from 11 on are these.
fn policy_fault(rest: &str, expected: &str) {
    let loading = read(GATEWAY, &format!("{POLICY}{ROUTE}{rest}"));
    let found = findings(&loading);
    assert!(found.iter().any(|fault| fault.starts_with(expected)), "{rest}\nwants {expected}\n{found:#?}");
    assert!(loading.config.is_none() || expected.contains("warning"), "{rest}");
}

#[test]
fn the_smallest_configuration_is_good() {
    let loading = read(GATEWAY, &format!("{POLICY}{ROUTE}"));
    let config = loading.config.unwrap_or_else(|| panic!("{:#?}", loading.faults));
    assert_eq!(config.snapshot.realms()[0].routes.len(), 1);
    assert_eq!(config.settings.token.keys.len(), 1, "a key is made for the store in memory");
    assert_eq!(config.settings.limits, super::settings::Limits::default());
    assert_eq!(loading.faults.count(Severity::Fault), 0);
}

#[test]
fn faults_of_gateway_toml_have_their_places() {
    for (front, expected) in [
        ("[server]\nlisten = [\"nowhere\"]", "gateway.toml:2:11: fault: `nowhere` is no address"),
        ("[server]\nlisten = []", "gateway.toml:2:1: fault: `server.listen` is empty"),
        ("[server]\nport = 1", "gateway.toml:2:1: fault: unknown key `port`"),
        ("[server]\nadmin = \"0.0.0.0:1\"", "gateway.toml:2:9: fault: `server.admin` is not on loopback"),
        ("[server]\ntrusted_proxies = [\"x\"]", "gateway.toml:2:20: fault: `x` is no network"),
        ("[server]\nlog = \"inf\"", "gateway.toml:2:7: fault: `inf` is no log level (did you mean `info`?)"),
        ("[server]\ndrain = 5", "gateway.toml:2:9: fault: a duration like"),
        ("[server.limits]\nidle_timeout = \"0s\"", "gateway.toml:2:16: fault: a time limit of zero"),
        ("[server.limits]\nhead_size = \"1B\"", "gateway.toml:2:13: fault: `head_size` is 256B to 512KiB"),
        ("[server.limits]\nhead_lines = 0", "gateway.toml:2:14: fault: `head_lines`"),
        ("[server.limits]\nbody_size = \"1MB\"", "gateway.toml:2:13: fault: `1MB` is not a size"),
        ("[token]\nttl = \"20\"", "gateway.toml:2:7: fault: `20` is not a duration"),
        ("[token]\nttl = \"0s\"", "gateway.toml:2:7: fault: `token.ttl` is 1s to 24h"),
        ("[token]\nkeys = []", "gateway.toml:2:8: fault: `token.keys` is empty"),
        (
            "[token]\nkeys = [{ id = \"a\", secret = \"hunter2\" }]",
            "gateway.toml:2:30: fault: a secret is never written in a file (use",
        ),
        (
            "[token]\nkeys = [{ id = \"a\", secret = { env = \"PORTCULLIS_NOT_SET\" } }]",
            "gateway.toml:2:30: fault: the environment variable `PORTCULLIS_NOT_SET` is not set",
        ),
        (
            "[token]\nkeys = [{ id = \"a\", secret = { file = \"/nowhere/x\" } }]",
            "gateway.toml:2:30: fault: cannot read the secret",
        ),
        ("[store]\nurl = \"mysql://a\"", "gateway.toml:2:7: fault: no such store"),
        ("[store]\nurl = \"redis://a\"", "gateway.toml:1:1: fault: `token.keys` is mandatory with a shared store"),
        ("[upstreams.b]\nservers = []", "gateway.toml:2:11: fault: `upstreams.b.servers` is empty"),
        ("[upstreams.b]\nservers = [\"a\"]", "gateway.toml:2:12: fault: `a` is not \"host:port\""),
        (
            "[upstreams.b]\nservers = [{ address = \"a:1\", weight = 0 }]",
            "gateway.toml:2:12: fault: a weight is 1 to 100",
        ),
        ("[upstreams.b]", "gateway.toml:1:1: fault: `servers` is missing"),
        ("[upstreams.b]\nservers = [\"a:1\"]\nhttp = \"3\"", "gateway.toml:3:8: fault: `3` is not possible here"),
        (
            "[upstreams.b]\nservers = [\"a:1\"]\ntimeouts = { read = \"0s\" }",
            "gateway.toml:3:21: fault: a time limit of zero",
        ),
        (
            "[reasons.role_forbiden]\nstatus = 403",
            "gateway.toml:1:10: fault: no reason `role_forbiden` (did you mean `role_forbidden`?)",
        ),
        ("[reasons.role_forbidden]\nstatus = 200", "gateway.toml:2:10: fault: the status of a refusal is 400 to 599"),
        ("[serverr]", "gateway.toml:1:2: fault: unknown key `serverr` (did you mean `server`?)"),
        ("server = 1", "gateway.toml:1:10: fault: [server] has to be a table"),
        ("[server", "gateway.toml:1:8: fault: not TOML"),
        ("[server]\nlisten = [\"127.0.0.1:0\"]", "gateway.toml:2:11: fault: `127.0.0.1:0` is no address"),
        (
            "[server]\nlisten = [\"127.0.0.1:9\", \"127.0.0.1:9\"]",
            "gateway.toml:2:26: fault: `server.listen` names 127.0.0.1:9 twice",
        ),
        (
            "[server]\nlisten = [\"127.0.0.1:8081\"]",
            "gateway.toml:1:1: fault: 127.0.0.1:8081 is one of `server.listen`",
        ),
        ("[server]\nthreads = 60000", "gateway.toml:2:11: fault: `server.threads` is at most 1024"),
        ("[server]\nlog = 5\nadmin = \"x\"", "gateway.toml:3:9: fault: `x` is no address"),
        ("[store]\nurl = \"redis://h?x=1\"", "gateway.toml:2:7: fault: "),
        ("[upstreams.b]\nservers = 5\n[upstreams.c]", "gateway.toml:3:1: fault: `servers` is missing"),
    ] {
        gateway_fault(front, expected);
    }
}

#[test]
fn faults_of_a_policy_have_their_places() {
    for (rest, expected) in [
        (
            "[[route]]\nname = \"two\"\nmatch = \"GET /one\"\nallow = [\"high\"]",
            "p.toml:13:9: fault: `GET /one` matches what `one` at p.toml:7 matches",
        ),
        (
            "[[route]]\nname = \"one\"\nmatch = \"GET /x\"\nallow = [\"high\"]",
            "p.toml:12:8: fault: route `one` stands twice, first at p.toml:7",
        ),
        (
            "[[route]]\nname = \"two\"\nmatch = [\"GET /x/{a}\", \"GET /x/{b}\"]\nallow = [\"high\"]",
            "p.toml:13:24: fault: `GET /x/{b}` stands twice in `two`",
        ),
        (
            "[[route]]\nname = \"two\"\nmatch = \"FETCH /x\"\nallow = [\"high\"]",
            "p.toml:13:9: fault: no method `FETCH`",
        ),
        (
            "[[route]]\nname = \"two\"\nmatch = \"get /x\"\nallow = [\"high\"]",
            "p.toml:13:9: fault: no method `get` (did you mean `GET`?)",
        ),
        (
            "[[route]]\nname = \"two\"\nmatch = \"/x\"\nallow = [\"high\"]",
            "p.toml:13:9: fault: `/x` is no method and path",
        ),
        (
            "[[route]]\nname = \"two\"\nmatch = \"GET /%61\"\nallow = [\"high\"]",
            "p.toml:13:9: fault: `/%61`: path escapes an unreserved character",
        ),
        ("[[route]]\nname = \"two\"\nmatch = \"GET /{*r}/x\"\nallow = [\"high\"]", "p.toml:13:9: fault: `/{*r}/x`"),
        (
            "[[route]]\nname = \"two\"\nmatch = \"GET /x\"\nallow = [\"hihg\"]",
            "p.toml:14:10: fault: the realm has no role `hihg` (did you mean `high`?)",
        ),
        ("[[route]]\nname = \"two\"\nmatch = \"GET /x\"\nallow = []", "p.toml:14:9: fault: the route allows nobody"),
        ("[[route]]\nname = \"two\"\nmatch = \"GET /x\"", "p.toml:11:1: fault: the route allows nobody"),
        (
            "[[route]]\nname = \"two\"\nmatch = \"GET /x\"\nallow = { high = \"all\" }",
            "p.toml:14:18: fault: no scope `all`",
        ),
        (
            "[[route]]\nname = \"two\"\nmatch = \"GET /x\"\nallow = { high = \"any\" }",
            "p.toml:14:11: warning: `high` may reach the data of any account",
        ),
        (
            "[[route]]\nname = \"two\"\nmatch = \"GET /x\"\npublic = true\nallow = [\"high\"]",
            "p.toml:15:9: fault: a public route has no `allow`",
        ),
        (
            "[[route]]\nname = \"two\"\nmatch = \"GET /x/{a}\"\npublic = true\ntarget = \"path.a\"",
            "p.toml:15:10: fault: a public route names no target",
        ),
        (
            "[[route]]\nname = \"two\"\nmatch = \"GET /x\"\npublic = true",
            "p.toml:12:8: warning: a public route without a quota per address",
        ),
        (
            "[[route]]\nname = \"two\"\nmatch = \"GET /x\"\nallow = [\"high\"]\ntarget = \"path.id\"",
            "p.toml:15:10: fault: not every pattern of the route has `{id}`",
        ),
        (
            "[[route]]\nname = \"two\"\nmatch = \"GET /x\"\nallow = [\"high\"]\ntarget = \"body.id\"",
            "p.toml:15:10: fault: `body.id` is no target",
        ),
        (
            "[[route]]\nname = \"two\"\nmatch = \"GET /x\"\nallow = [\"high\"]\ntarget_role = \"low\"",
            "p.toml:15:15: fault: `target_role` without `target`",
        ),
        (
            "[[route]]\nname = \"two\"\nmatch = \"GET /x\"\nallow = [\"high\"]\nupstream = \"b\"",
            "p.toml:15:12: fault: no upstream `b` in gateway.toml",
        ),
        (
            "[[route]]\nname = \"two\"\nmatch = \"GET /x\"\nallow = [\"high\"]\napp_types = []",
            "p.toml:15:13: fault: `app_types` is empty",
        ),
        (
            "[[route]]\nname = \"two\"\nmatch = \"GET /x\"\nallow = [\"high\"]\nheaders = [\"a b\"]",
            "p.toml:15:12: fault: `a b` is no header name",
        ),
        (
            "[[route]]\nname = \"two\"\nmatch = \"GET /x\"\nallow = [\"high\"]\nupgrade = [\"h2c\"]",
            "p.toml:15:12: fault: no upgrade to `h2c`",
        ),
        ("[[route]]\nname = \"a b\"\nmatch = \"GET /x\"\nallow = [\"high\"]", "p.toml:12:8: fault: a route's name"),
        ("[[route]]\nnam = \"two\"", "p.toml:12:1: fault: unknown key `nam` (did you mean `name`?)"),
        ("[fixture]\naccounts = [\"a/b/c\"]", "p.toml:12:13: fault: `a/b/c` has 3 levels, but the realm has 2 roles"),
        ("[fixture]\naccounts = [\"a/b\", \"c/b\"]", "p.toml:12:20: fault: `b` stands in two places"),
        (
            "[[test]]\nas = \"high:x\"\ncall = \"GET /one\"\nexpect = \"permit\"",
            "p.toml:12:6: fault: the fixture has no account `x`",
        ),
        (
            "[[test]]\nas = \"anonymous\"\ncall = \"GET /one\"\nexpect = \"nope\"",
            "p.toml:14:10: fault: `nope` is no reason",
        ),
        (
            "[[test]]\nas = \"anonymous\"\ncall = \"GET /one\"\nexpect = \"header_missing\"\nscope = \"own\"",
            "p.toml:15:9: fault: only a permit",
        ),
        (
            "[[test]]\nas = \"anonymous\"\ncall = \"GET one\"\nexpect = \"permit\"",
            "p.toml:13:8: fault: `GET one` is no method and path",
        ),
        ("[login]\nlogin = \"POST /one\"\nlogout = \"GET /one\"", "p.toml:13:10: fault: `GET /one` matches what `one`"),
        ("[login]\nlogin = \"POST /login\"", "p.toml:11:1: warning: the login has no quota per address"),
        ("[[route]]\nname = \"two\"\nmatch = []\nallow = [\"high\"]", "p.toml:13:9: fault: the route matches nothing"),
        (
            "[[route]]\nname = \"two\"\nmatch = \"CONNECT /x\"\nallow = [\"high\"]",
            "p.toml:13:9: fault: CONNECT opens tunnels",
        ),
        (
            "[[route]]\nname = \"two\"\nmatch = \"GET /x\"\nallow = [\"high\"]\ntarget = \"header.Authorization\"",
            "p.toml:15:10: fault: header `Authorization` is not one",
        ),
        ("[[test]]\nas = []\ncall = \"GET /one\"\nexpect = \"permit\"", "p.toml:12:6: fault: this test tests nothing"),
        ("[routes]", "p.toml:11:2: fault: unknown key `routes` (did you mean `route`?)"),
    ] {
        policy_fault(rest, expected);
    }
}

#[test]
fn faults_of_a_realm_have_their_places() {
    for (realm, expected) in [
        ("", "p.toml:1:1: fault: `[realm]` is missing"),
        (&POLICY.replace("\"/r\"", "\"r\""), "p.toml:3:8: fault: `r` is no base path"),
        (&POLICY.replace("\"/r\"", "\"/r/\""), "p.toml:3:8: fault: `/r/` is no base path"),
        (&POLICY.replace("\"high\", \"low\"", ""), "p.toml:4:9: fault: a realm has 1 to 16 roles"),
        (
            &POLICY.replace("\"low\"", "\"high\""),
            "p.toml:4:18: fault: role `high` stands twice, so it would outrank itself",
        ),
        (&POLICY.replace("\"basic\", ", "\"digest\", "), "p.toml:5:12: fault: no scheme `digest`"),
        (&POLICY.replace("upstream = \"a\"", "upstream = \"b\""), "p.toml:6:12: fault: no upstream `b`"),
        (&POLICY.replace("name = \"r\"", "name = 5"), "p.toml:2:8: fault: a text is expected, not a number"),
        (&format!("{POLICY}networks = {{ high = [\"x\"] }}\n"), "p.toml:7:22: fault: `x` is no network"),
        (&format!("{POLICY}networks = {{ hig = [\"::/0\"] }}\n"), "p.toml:7:14: fault: the realm has no role `hig`"),
    ] {
        let found = findings(&read(GATEWAY, &format!("{realm}{ROUTE}")));
        assert!(found.iter().any(|fault| fault.starts_with(expected)), "{realm}\nwants {expected}\n{found:#?}");
    }
    let found = findings(&read(GATEWAY, POLICY));
    assert!(found.iter().any(|fault| fault.contains("the realm has no `[[route]]`")), "{found:#?}");
    let found = findings(&read(GATEWAY, ""));
    assert!(found.iter().any(|fault| fault.contains("`[realm]` is missing")), "{found:#?}");
}
