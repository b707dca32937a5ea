//! `check --print`: what is printed reads as the settings that it was printed of.

use std::path::Path;

use super::*;

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Every key that has an effect, each with another value than its default.
const SETTINGS: &str = r#"
[server]
listen = ["127.0.0.1:1", "[::1]:2"]
admin = "127.0.0.1:3"
admin_token = { file = "key" }
threads = 3
trusted_proxies = ["10.0.0.0/8", "2001:db8::/32"]
drain = "90s"
pre_drain = "1500ms"
access_log = "the \"log\".json"
log = "debug"
[server.limits]
header_timeout = "120s"
body_timeout = "3600s"
idle_timeout = "1ms"
head_size = "64KiB"
head_lines = 7
target_size = "1025B"
body_size = "3072MiB"
[token]
issuer = 'a\b "c" é	d'
ttl = "24h"
keys = [{ id = "k", secret = { file = "key" } }, { id = "l", secret = { file = "key" } }]
cache = 5
stale = "1m"
sessions_per_account = 2
[store]
url = "redis://h:1/2"
budget = "70ms"
prefix = "p:"
replicas = 1
[directory]
url = "redis:"
budget = "80ms"
cache = "31s"
cache_entries = 6
negative = "6s"
peppers = [{ id = "p", secret = { file = "key" } }]
[lockout]
attempts = 4
network_attempts = 9
within = "1d"
[upstreams."a.b~c"]
servers = ["h:1", { address = "[::1]:2", weight = 3 }]
timeouts = { connect = "2s", read = "3s", write = "4s", idle = "5s" }
retries = 2
breaker = { failures = 7, within = "60s", open_for = "1500ms" }
[upstreams.plain-1]
servers = ["h:1"]
[policies]
include = ["p.toml"]
candidate = ["p.toml", "q.toml"]
sample = 1
[reasons.role_forbidden]
status = 404
result = "4\u0000"
msg = "no\u200b\nway"
desc = "it's \"\\\""
[reasons.scope_forbidden]
desc = ""
"#;

fn policy(realm: &str) -> String {
    format!(
        "[realm]\nname = \"{realm}\"\nbase = \"/{realm}\"\nroles = [\"r\"]\nschemes = [\"basic\"]\nupstream = \"a.b~c\"\n\
         [[route]]\nname = \"one\"\nmatch = \"GET /one\"\nallow = [\"r\"]\n"
    )
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(settings: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in [
            ("key", KEY),
            ("p.toml", &policy("p")),
            ("q.toml", &policy("q")),
            ("accounts.toml", ""),
            ("gateway.toml", settings),
        ] {
            std::fs::write(folder.0.path().join(name), text).unwrap();
        }
        folder
    }

    fn loaded(&self, name: &str) -> Config {
        let path: &Path = &self.0.path().join(name);
        match read_all(path) {
            Ok(loaded) => loaded.config,
            Err(faults) => panic!("{:#?}", faults.iter().map(ToString::to_string).collect::<Vec<_>>()),
        }
    }

    /// What is printed of a configuration, and the configuration that it is once its secrets are put back.
    fn printed(&self, config: &Config) -> (String, Config) {
        let mut out = Vec::new();
        print_settings(config, &mut out).unwrap();
        print_quotas(&config.snapshot, &mut out).unwrap();
        let printed = String::from_utf8(out).unwrap();
        std::fs::write(self.0.path().join("again.toml"), printed.replace(REDACTED, "{ file = \"key\" }")).unwrap();
        (printed, self.loaded("again.toml"))
    }
}

#[track_caller]
fn assert_lines(shown: &str, lines: &[&str]) {
    for line in lines {
        assert!(shown.lines().any(|shown| shown == *line), "{line} in\n{shown}");
    }
}

#[test]
fn what_is_printed_reads_as_the_same_settings() {
    let folder = Folder::with(SETTINGS);
    let first = folder.loaded("gateway.toml");
    let (shown, again) = folder.printed(&first);
    assert!(!shown.contains(KEY), "{shown}");
    assert_eq!(first.settings, again.settings, "{shown}");
    assert_eq!((&first.include, first.snapshot.revision()), (&again.include, again.snapshot.revision()));
    let candidate = |config: &Config| {
        let Candidate { snapshot, sample, files } = config.candidate.clone().unwrap();
        (snapshot.revision().to_owned(), sample, files)
    };
    assert_eq!(candidate(&first), candidate(&again));
    assert_eq!(folder.printed(&again).0, shown, "and so prints the same");
    assert_lines(
        &shown,
        &[
            "head_size = \"64KiB\"",
            "target_size = \"1025B\"",
            "body_size = \"3GiB\"",
            "drain = \"90s\"",
            "pre_drain = \"1500ms\"",
            "header_timeout = \"2m\"",
            "body_timeout = \"1h\"",
            "ttl = \"1d\"",
            "[upstreams.\"a.b~c\"]",
            "breaker = { failures = 7, within = \"1m\", open_for = \"1500ms\" }",
            "[upstreams.plain-1]",
        ],
    );
}

#[test]
fn defaults_are_printed_as_they_are_documented_and_read_the_same() {
    let folder = Folder::with(
        "[directory]\nurl = \"file:accounts.toml\"\n[upstreams.\"a.b~c\"]\nservers = [\"h:1\"]\n[policies]\ninclude = [\"p.toml\"]\n",
    );
    let first = folder.loaded("gateway.toml");
    let (shown, again) = folder.printed(&first);
    let mut again = again.settings;
    // No two starts make the same key.
    assert_ne!(first.settings.token.keys, again.token.keys);
    again.token.keys.clone_from(&first.settings.token.keys);
    assert_eq!(first.settings, again, "{shown}");
    assert_lines(
        &shown,
        &[
            "head_size = \"32KiB\"",
            "target_size = \"8KiB\"",
            "body_size = \"10MiB\"",
            "ttl = \"20m\"",
            "# keys: none is named, so each start makes one",
        ],
    );
}
