//! `[token]`, `[store]`, `[directory]` and `[lockout]`: what they may say, and what each fault tells the operator.

use std::time::Duration;

use super::*;
use crate::config::cold::cold_faults;
use crate::config::settings::{Directory, DirectorySource, Settings, Store};

/// `gateway.toml` in a folder of its own, which holds what secrets and certificates are read from.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.file("p.toml", &format!("{POLICY}{ROUTE}"));
        folder.file("ca.pem", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
        folder.file("key.pem", "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n");
        folder.file("key", "0123456789abcdef0123456789abcdef");
        folder.file("short", "0123456789abcdef0123456789abcde");
        folder
    }

    /// The same with a certificate and a key that belong together, made by the openssl command line.
    fn with_certificate() -> Self {
        let folder = Self::new();
        let mut command = std::process::Command::new("openssl");
        command.args(["req", "-x509", "-subj", "/CN=tests", "-keyout", "key.pem", "-out", "ca.pem", "-days", "2"]);
        command.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        let output = command.current_dir(folder.0.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        folder
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    fn load(&self, front: &str) -> Loading {
        self.file("gateway.toml", &format!("{front}\n{GATEWAY}"));
        load(&self.0.path().join("gateway.toml"), &super::super::load::Disk { secrets: true })
    }

    fn settings(&self, front: &str) -> Settings {
        let loading = self.load(front);
        let found = findings(&loading);
        loading.config.unwrap_or_else(|| panic!("{front}\n{found:#?}")).settings
    }

    /// The findings of a refused file, with paths relative to the folder.
    fn refused(&self, front: &str) -> Vec<String> {
        let loading = self.load(front);
        assert!(loading.config.is_none(), "accepted: {front}");
        let here = format!("{}/", self.0.path().display());
        findings(&loading).iter().map(|finding| finding.replace(&here, "")).collect()
    }
}

const KEYS: &str = "[token]\nkeys = [{ id = \"k\", secret = { file = \"key\" } }]\n";

#[test]
fn what_is_left_out_has_the_default_of_the_contract() {
    let settings = Folder::new().settings("");
    let seconds = Duration::from_secs;
    assert_eq!((settings.token.cache, settings.token.stale), (262_144, seconds(1200)));
    assert_eq!(settings.token.sessions_per_account, 100);
    let Store { redis, replicas, tls, budget, prefix } = settings.store;
    assert_eq!((redis, replicas, tls, prefix.as_str()), (None, 0, None, "portcullis:"));
    assert_eq!(budget, Duration::from_millis(50));
    let Directory { source, budget, cache, cache_entries, negative, peppers } = settings.directory;
    assert!(matches!(source, DirectorySource::File(path) if path.ends_with("policies/accounts.toml")));
    assert_eq!((budget, cache, negative), (Duration::from_millis(200), seconds(30), seconds(5)));
    assert_eq!((cache_entries, peppers.len()), (100_000, 0));
    assert_eq!((settings.lockout.attempts, settings.lockout.network_attempts), (5, 100));
    assert_eq!(settings.lockout.within, seconds(900));
}

#[test]
fn what_is_written_is_in_effect() {
    let folder = Folder::with_certificate();
    folder.file("url", "redis+sentinel://:pass@a,b/main?tls=true\n");
    let settings = folder.settings(&format!(
        "{KEYS}cache = 7\nstale = \"0s\"\nsessions_per_account = 3\n[store]\nurl = {{ file = \"url\" }}\nreplicas = 1\n\
         budget = \"80ms\"\nprefix = \"two:\"\ntls = {{ ca = \"ca.pem\", certificate = \"ca.pem\", key = \"key.pem\" }}\n\
         [directory]\nurl = \"https://prov.internal:8443/directory/\"\nbudget = \"1s\"\ncache = \"2s\"\ncache_entries = 9\n\
         negative = \"3s\"\ntoken = {{ file = \"key\" }}\nca = \"ca.pem\"\nclient_certificate = \"ca.pem\"\n\
         client_key = \"key.pem\"\npeppers = [{{ id = \"p1\", secret = {{ file = \"key\" }} }}]\n\
         [lockout]\nattempts = 2\nnetwork_attempts = 4\nwithin = \"10s\""
    ));
    assert_eq!((settings.token.cache, settings.token.stale), (7, Duration::ZERO));
    assert_eq!(settings.token.sessions_per_account, 3);
    assert_eq!(settings.store.redis.as_deref(), Some("redis+sentinel://:pass@a,b/main?tls=true"), "one line end less");
    assert_eq!((settings.store.replicas, settings.store.prefix.as_str()), (1, "two:"));
    let tls = settings.store.tls.unwrap();
    assert!(tls.ca.is_some() && tls.certificate.is_some() && tls.key.is_some());
    let DirectorySource::Https(calls) = settings.directory.source else { panic!("another source") };
    assert_eq!(calls.url, "https://prov.internal:8443/directory");
    assert_eq!(calls.token.unwrap().reveal(), b"0123456789abcdef0123456789abcdef");
    assert!(calls.tls.ca.is_some() && calls.tls.certificate.is_some() && calls.tls.key.is_some());
    assert_eq!((settings.directory.cache_entries, settings.directory.peppers[0].0.as_str()), (9, "p1"));
    assert_eq!((settings.lockout.attempts, settings.lockout.network_attempts), (2, 4));
    assert_eq!(settings.lockout.within, Duration::from_secs(10));
}

#[test]
fn nothing_of_these_sections_is_without_effect() {
    let warnings = |front: &str| {
        let loading = Folder::with_certificate().load(front);
        assert!(loading.config.is_some(), "{:#?}", findings(&loading));
        findings(&loading)
    };
    let found = warnings(&format!(
        "{KEYS}cache = 1\nstale = \"1s\"\nsessions_per_account = 1\n[store]\nurl = \"rediss://h\"\nreplicas = 1\n\
         tls = {{ ca = \"ca.pem\" }}\n[directory]\nurl = \"redis:\"\nbudget = \"1s\"\ncache = \"1s\"\ncache_entries = 1\n\
         negative = \"1s\"\npeppers = []\n[lockout]\nattempts = 1\nnetwork_attempts = 1\nwithin = \"1s\""
    ));
    assert!(!found.iter().any(|finding| finding.contains("no effect")), "{found:#?}");
    let found = warnings("[directory]\ncache = \"1s\"");
    assert!(
        found.iter().any(|finding| finding.contains(":2:1: warning: `directory.cache` has no effect with `file:`"))
    );
}

#[test]
fn each_fault_names_its_place_and_the_remedy() {
    let folder = Folder::new();
    folder.file("latin", "pass");
    std::fs::write(folder.0.path().join("latin"), b"redis://:\xff@h").unwrap();
    folder.file("ending", "bearer\n");
    let https = "[directory]\nurl = \"https://h\"\n";
    for (front, expected) in [
        ("[token]\ncache = 0", "gateway.toml:2:9: fault: `token.cache` is 1 to 16777216 (the default is 262144)"),
        ("[token]\ncache = -1", "gateway.toml:2:9: fault: `-1` is not 0 to 4294967295"),
        ("[token]\nstale = \"25h\"", "gateway.toml:2:9: fault: `token.stale` is 0s to 1d (the default is 20m)"),
        ("[token]\nsessions_per_account = 0", "gateway.toml:2:24: fault: `token.sessions_per_account` is 1 to"),
        ("[store]\nbudget = \"0s\"", "gateway.toml:2:10: fault: `store.budget` is 1ms to 10s (the default is 50ms)"),
        ("[store]\nbudget = \"1h\"", "gateway.toml:2:10: fault: `store.budget` is 1ms to 10s"),
        ("[store]\nprefix = \"a{b}\"", "gateway.toml:2:10: fault: `store.prefix` is 1 to 64 visible"),
        ("[store]\nprefix = \"\"", "gateway.toml:2:10: fault: `store.prefix` is 1 to 64 visible"),
        ("[store]\nreplicas = 1", "gateway.toml:2:12: fault: the store in memory has no replicas"),
        ("[store]\nurl = \"redis://h\"\nreplicas = 99", "gateway.toml:3:12: fault: `store.replicas` is 0 to 16"),
        ("[store]\nurl = \"mysql://h\"", "gateway.toml:2:7: fault: no such store (write \"memory:\""),
        ("[store]\nurl = { file = \"gone\" }", "gateway.toml:2:7: fault: cannot read the secret in `gone`"),
        ("[store]\nurl = { env = \"PORTCULLIS_NOT_SET\" }", "gateway.toml:2:7: fault: the environment variable"),
        ("[store]\nurl = { fil = \"x\" }", "gateway.toml:2:7: fault: a secret is"),
        ("[store]\nurl = { file = \"latin\" }", "gateway.toml:2:7: fault: what stands there is not UTF-8"),
        ("[store]\nurl = 5", "gateway.toml:2:7: fault: a string, { env = \"NAME\" } or"),
        ("[store]\ntls = {}", "gateway.toml:2:7: fault: `store.tls` is set, but `store.url` is one without TLS"),
        ("[store]\nurl = \"redis://h\"\ntls = {}", "gateway.toml:3:7: fault: `store.tls` is set, but"),
        ("[store]\nurl = \"redis+cluster://h\"\ntls = {}", "gateway.toml:3:7: fault: `store.tls` is set, but"),
        ("[store]\nurl = \"rediss://h\"\ntls = { ca = \"x\" }", "gateway.toml:3:14: fault: cannot read `x`: No such"),
        ("[store]\nurl = \"rediss://h\"\ntls = { ca = \"key\" }", "gateway.toml:3:14: fault: `store.tls.ca`: no cert"),
        (
            "[store]\nurl = \"rediss://h\"\ntls = { certificate = \"ca.pem\" }",
            "gateway.toml:3:23: fault: `store.tls.certificate` without `store.tls.key`",
        ),
        (
            "[store]\nurl = \"rediss://h\"\ntls = { certificate = \"ca.pem\", key = \"key.pem\" }",
            "gateway.toml:3:7: fault: the store's tls.certificate and tls.key have to be PEM files of one",
        ),
        ("[store]\nurl = \"rediss://h\"", "gateway.toml:1:1: fault: `token.keys` is mandatory with a shared store"),
        ("[directory]\nurl = \"ldap://h\"", "gateway.toml:2:7: fault: no such directory (write \"file:PATH\""),
        ("[directory]\nurl = \"file:\"", "gateway.toml:2:7: fault: `file:` without a path"),
        ("[directory]\nurl = \"redis:\"", "gateway.toml:2:7: fault: `redis:` needs a shared store"),
        ("[directory]\nurl = \"redis://h\"", "gateway.toml:2:7: fault: the directory in Redis is on the store's"),
        ("[directory]\nurl = \"http://10.0.0.1/d\"", "gateway.toml:2:7: fault: passwords and keys would go over"),
        ("[directory]\nurl = \"https:///d\"", "gateway.toml:2:7: fault: the directory URL "),
        ("[directory]\nurl = \"https://h:0/d\"", "gateway.toml:2:7: fault: the directory URL needs a host"),
        ("[directory]\nurl = \"https://h:99999/d\"", "gateway.toml:2:7: fault: the directory URL "),
        ("[directory]\nurl = \"https://u:p@h/d\"", "gateway.toml:2:7: fault: the directory URL holds a login"),
        ("[directory]\nurl = \"https://h/d?x=1\"", "gateway.toml:2:7: fault: the directory URL takes no ?query"),
        ("[directory]\nurl = 5", "gateway.toml:2:7: fault: a text is expected"),
        ("[directory]\nbudget = \"0s\"", "gateway.toml:2:10: fault: `directory.budget` is 1ms to 10s"),
        ("[directory]\ncache = \"0s\"", "gateway.toml:2:9: fault: `directory.cache` is 1ms to 1h (the default is 30s)"),
        ("[directory]\ncache_entries = 0", "gateway.toml:2:17: fault: `directory.cache_entries` is 1 to 10000000"),
        ("[directory]\nnegative = \"1h\"", "gateway.toml:2:12: fault: `directory.negative` is 1ms to 10m"),
        ("[directory]\nca = \"ca.pem\"", "gateway.toml:2:6: fault: `directory.ca` is set, but `directory.url`"),
        ("[directory]\ntoken = { file = \"key\" }", "gateway.toml:2:9: fault: `directory.token` is set, but"),
        (
            "[directory]\nurl = \"http://127.0.0.1:1\"\nca = \"ca.pem\"",
            "gateway.toml:3:6: fault: `directory.ca` is set, but",
        ),
        (&format!("{https}token = {{ file = \"ending\" }}"), "gateway.toml:3:9: fault: the directory token is not"),
        (&format!("{https}client_key = \"key.pem\""), "gateway.toml:3:14: fault: `directory.client_key` without"),
        (&format!("{https}ca = \"gone.pem\""), "gateway.toml:3:6: fault: cannot read `gone.pem`"),
        (
            "[directory]\npeppers = [{ id = \"p\", secret = { file = \"short\" } }]",
            "gateway.toml:2:33: fault: the pepper has 31 bytes, it needs at least 32",
        ),
        (
            "[directory]\npeppers = [{ id = \"p\", secret = { file = \"key\" } }, { id = \"p\", secret = { file = \"key\" } }]",
            "gateway.toml:2:60: fault: pepper id `p` stands twice",
        ),
        ("[lockout]\nattempts = 0", "gateway.toml:2:12: fault: `lockout.attempts` is 1 to 1000000 (the default is 5)"),
        ("[lockout]\nnetwork_attempts = 0", "gateway.toml:2:20: fault: `lockout.network_attempts` is 1 to"),
        ("[lockout]\nwithin = \"0s\"", "gateway.toml:2:10: fault: `lockout.within` is 1s to 1d (the default is 15m)"),
        ("[lockout]\ntries = 1", "gateway.toml:2:1: fault: unknown key `tries`"),
    ] {
        let found = folder.refused(front);
        assert!(found.iter().any(|fault| fault.starts_with(expected)), "{front}\nwants {expected}\n{found:#?}");
    }
}

#[test]
fn one_fault_of_the_store_raises_no_other() {
    let folder = Folder::new();
    for url in ["\"mysql://h\"", "5", "{ file = \"gone\" }"] {
        let found = folder
            .refused(&format!("[store]\nurl = {url}\ntls = {{ ca = \"ca.pem\" }}\n[directory]\nurl = \"redis:\""));
        assert_eq!(found.len(), 1, "{found:#?}");
    }
    let found = folder.refused("[directory]\nurl = \"ldap://h\"");
    assert_eq!(found.len(), 1, "no accounts are looked for: {found:#?}");
}

#[test]
fn a_password_in_a_store_url_is_never_shown() {
    for (url, shown) in [
        ("redis://:hunter2@h:1/0", "redis://:(redacted)@h:1/0"),
        ("rediss://u:hunter2@h", "rediss://u:(redacted)@h"),
        ("redis+cluster://:hunter2@a,b?tls=true", "redis+cluster://:(redacted)@a,b?tls=true"),
        (
            "redis+sentinel://a,b/m?sentinel_user=s&sentinel_password=hunter2",
            "redis+sentinel://a,b/m?sentinel_user=s&sentinel_password=(redacted)",
        ),
        ("redis://:hunter2/x@h", "redis://(redacted)"),
        ("redis://:hunter2?x@h", "redis://(redacted)"),
    ] {
        let store = Store {
            redis: Some(url.to_owned()),
            replicas: 0,
            tls: None,
            budget: Duration::from_secs(1),
            prefix: "p:".to_owned(),
        };
        assert_eq!(store.shown_url(), shown);
        assert!(!format!("{store:?}").contains("hunter2"), "{store:?}");
    }
    let folder = Folder::new();
    folder.file("url", "redis://u:hunter2@h:port");
    for front in ["[store]\nurl = { file = \"url\" }", "[store]\nurl = \"mysql://:hunter2@h\""] {
        let found = folder.refused(front);
        assert!(!found.is_empty() && !found.iter().any(|fault| fault.contains("hunter2")), "{found:#?}");
    }
}

/// The faults of a reload that would change the settings to what this file says, with paths relative to the folder.
fn cold(folder: &Folder, old: &Settings, front: &str) -> Vec<String> {
    let config = folder.load(front).config.unwrap_or_else(|| panic!("{front}"));
    let here = format!("{}/", folder.0.path().display());
    let faults = cold_faults(old, &config.settings, &config.source);
    faults.iter().map(|fault| fault.to_string().replace(&here, "")).collect()
}

#[test]
fn only_what_is_hot_may_differ_at_a_reload() {
    let folder = Folder::new();
    folder.file("other", "fedcba9876543210fedcba9876543210");
    let old = folder.settings(KEYS);
    for hot in [
        "[token]\nkeys = [{ id = \"n\", secret = { file = \"other\" } }]",
        &format!("{KEYS}[lockout]\nattempts = 9"),
        &format!("{KEYS}[reasons.role_forbidden]\nstatus = 404"),
        &format!("{KEYS}[directory]\npeppers = [{{ id = \"p\", secret = {{ file = \"other\" }} }}]"),
        &format!("[server]\nadmin_token = {{ file = \"other\" }}\n{KEYS}"),
        &format!("{KEYS}[upstreams.b]\nservers = [\"b:1\"]"),
        "",
    ] {
        assert_eq!(cold(&folder, &old, hot), [""; 0], "{hot}");
    }
    for (section, line, named) in [
        ("server", "listen = [\"127.0.0.1:1\"]", "2:10: fault: `server.listen`"),
        ("server", "admin = \"127.0.0.1:1\"", "2:9: fault: `server.admin`"),
        ("server", "threads = 1000", "2:11: fault: `server.threads`"),
        ("server", "trusted_proxies = [\"10.0.0.0/8\"]", "2:19: fault: `server.trusted_proxies`"),
        ("server", "drain = \"1s\"", "2:9: fault: `server.drain`"),
        ("server", "pre_drain = \"1s\"", "2:13: fault: `server.pre_drain`"),
        ("server", "access_log = \"x\"", "2:14: fault: `server.access_log`"),
        ("server", "log = \"debug\"", "2:7: fault: `server.log`"),
        ("server.limits", "header_timeout = \"1s\"", "2:18: fault: `server.limits.header_timeout`"),
        ("server.limits", "body_timeout = \"1s\"", "2:16: fault: `server.limits.body_timeout`"),
        ("server.limits", "idle_timeout = \"1s\"", "2:16: fault: `server.limits.idle_timeout`"),
        ("server.limits", "head_size = \"1KiB\"", "2:13: fault: `server.limits.head_size`"),
        ("server.limits", "head_lines = 9", "2:14: fault: `server.limits.head_lines`"),
        ("server.limits", "target_size = \"1KiB\"", "2:15: fault: `server.limits.target_size`"),
        ("server.limits", "body_size = \"1KiB\"", "2:13: fault: `server.limits.body_size`"),
        ("store", "url = \"redis://h\"", "2:7: fault: `store.url`"),
        ("store", "prefix = \"x:\"", "2:10: fault: `store.prefix`"),
        ("store", "budget = \"1s\"", "2:10: fault: `store.budget`"),
        ("directory", "url = \"file:x\"", "2:7: fault: `directory.url`"),
        ("directory", "budget = \"1s\"", "2:10: fault: `directory.budget`"),
        ("directory", "cache = \"1s\"", "2:9: fault: `directory.cache`"),
        ("directory", "cache_entries = 9", "2:17: fault: `directory.cache_entries`"),
        ("directory", "negative = \"1s\"", "2:12: fault: `directory.negative`"),
    ] {
        let found = cold(&folder, &old, &format!("[{section}]\n{line}\n{KEYS}"));
        let expected = format!(
            "gateway.toml:{named} is not what the gateway was started with (restart the gateway, or put the old value back)"
        );
        assert_eq!(found, [expected], "{line}");
    }
    for (line, named) in [
        ("ttl = \"1m\"", "token.ttl"),
        ("issuer = \"x\"", "token.issuer"),
        ("cache = 1", "token.cache"),
        ("stale = \"1s\"", "token.stale"),
        ("sessions_per_account = 1", "token.sessions_per_account"),
    ] {
        let [found] = &cold(&folder, &old, &format!("{KEYS}{line}"))[..] else { panic!("{line}") };
        let column = line.find('=').unwrap() + 3;
        assert!(found.starts_with(&format!("gateway.toml:3:{column}: fault: `{named}`")), "{found}");
    }
}

#[test]
fn every_cold_key_is_named_in_the_order_of_the_file_where_it_stands_or_would() {
    let folder = Folder::new();
    let old = folder.settings(&format!("{KEYS}ttl = \"1m\"\n[server]\nlog = \"debug\"\n[lockout]\nattempts = 9"));
    let found = cold(&folder, &old, &format!("{KEYS}[server]\ndrain = \"1s\"\n[lockout]\nattempts = 8"));
    let places: Vec<&str> = found.iter().map(|fault| fault.split(" is not").next().unwrap()).collect();
    let expected = [
        "gateway.toml:1:1: fault: `token.ttl`",
        "gateway.toml:3:1: fault: `server.log`",
        "gateway.toml:4:9: fault: `server.drain`",
    ];
    assert_eq!(places, expected, "{found:#?}");
}

#[test]
fn certificates_of_the_store_that_changed_are_told_where_they_are_named() {
    let folder = Folder::with_certificate();
    let front = format!("{KEYS}[store]\nurl = \"rediss://h\"\ntls = {{ ca = \"ca.pem\" }}");
    let old = folder.settings(&front);
    assert_eq!(cold(&folder, &old, &front), [""; 0]);
    let other = Folder::with_certificate();
    folder.file("ca.pem", &std::fs::read_to_string(other.0.path().join("ca.pem")).unwrap());
    let [found] = &cold(&folder, &old, &front)[..] else { panic!("one fault") };
    assert!(found.starts_with("gateway.toml:5:7: fault: `store.tls`") && found.contains("old files back"), "{found}");
}
