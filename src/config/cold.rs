//! Keys of `gateway.toml` that only a restart can change: which of them differ, and where they stand.
//!
//! Called by the reload, which refuses such a change whole. Every key of the settings is named here once, as cold or as hot, so
//! that a new one does not compile until it is decided what it is. Nothing is read here but the text that was loaded.

use std::ops::Range;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::diag::{Faults, Source};
use super::settings::{Directory, Limits, Server, Settings, Store, Token};

/// A fault for each key of `new` that a reload cannot take over, in the order of the file that says so.
#[must_use]
pub fn cold_faults(old: &Settings, new: &Settings, file: &Arc<Source>) -> Faults {
    let mut faults = Faults::default();
    for key in differences(old, new) {
        let hint = if key == TLS { TLS_HINT } else { HINT };
        let message = format!("`{key}` is not what the gateway was started with");
        faults.fault(file, place(file, key), message, hint);
    }
    faults.sort(std::slice::from_ref(&file.name));
    faults
}

const HINT: &str = "restart the gateway, or put the old value back";

/// Certificates stand in files of their own, which change without the key that names them.
const TLS: &str = "store.tls";
const TLS_HINT: &str = "the store's certificates are read at start: restart the gateway, or put the old files back";

/// The cold keys that differ.
fn differences(old: &Settings, new: &Settings) -> Vec<&'static str> {
    // Hot, each as a whole.
    let Settings { server, limits, token, store, directory, lockout: _, upstreams: _, reasons: _ } = old;
    let differing = server_keys(server, &new.server)
        .into_iter()
        .chain(limits_keys(limits, &new.limits))
        .chain(token_keys(token, &new.token))
        .chain(store_keys(store, &new.store))
        .chain(directory_keys(directory, &new.directory));
    differing.filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

fn server_keys(old: &Server, new: &Server) -> [(&'static str, bool); 8] {
    let Server { listen, admin, admin_token: _, threads, trusted_proxies, drain, pre_drain, access_log, log } = old;
    [
        ("server.listen", *listen != new.listen),
        ("server.admin", *admin != new.admin),
        ("server.threads", *threads != new.threads),
        ("server.trusted_proxies", *trusted_proxies != new.trusted_proxies),
        ("server.drain", *drain != new.drain),
        ("server.pre_drain", *pre_drain != new.pre_drain),
        ("server.access_log", *access_log != new.access_log),
        ("server.log", *log != new.log),
    ]
}

fn limits_keys(old: &Limits, new: &Limits) -> [(&'static str, bool); 7] {
    let Limits { header_timeout, body_timeout, idle_timeout, head_size, head_lines, target_size, body_size } = old;
    [
        ("server.limits.header_timeout", *header_timeout != new.header_timeout),
        ("server.limits.body_timeout", *body_timeout != new.body_timeout),
        ("server.limits.idle_timeout", *idle_timeout != new.idle_timeout),
        ("server.limits.head_size", *head_size != new.head_size),
        ("server.limits.head_lines", *head_lines != new.head_lines),
        ("server.limits.target_size", *target_size != new.target_size),
        ("server.limits.body_size", *body_size != new.body_size),
    ]
}

fn token_keys(old: &Token, new: &Token) -> [(&'static str, bool); 5] {
    let Token { issuer, ttl, keys: _, cache, stale, sessions_per_account } = old;
    [
        ("token.issuer", *issuer != new.issuer),
        ("token.ttl", *ttl != new.ttl),
        ("token.cache", *cache != new.cache),
        ("token.stale", *stale != new.stale),
        ("token.sessions_per_account", *sessions_per_account != new.sessions_per_account),
    ]
}

fn store_keys(old: &Store, new: &Store) -> [(&'static str, bool); 5] {
    let Store { redis, replicas, tls, budget, prefix } = old;
    [
        ("store.url", *redis != new.redis),
        ("store.replicas", *replicas != new.replicas),
        (TLS, *tls != new.tls),
        ("store.budget", *budget != new.budget),
        ("store.prefix", *prefix != new.prefix),
    ]
}

fn directory_keys(old: &Directory, new: &Directory) -> [(&'static str, bool); 5] {
    let Directory { source, budget, cache, cache_entries, negative, peppers: _ } = old;
    [
        // The token and the certificates that a directory is called with are hot.
        ("directory.url", !source.is_same_place(&new.source)),
        ("directory.budget", *budget != new.budget),
        ("directory.cache", *cache != new.cache),
        ("directory.cache_entries", *cache_entries != new.cache_entries),
        ("directory.negative", *negative != new.negative),
    ]
}

/// Where a key's value stands; of one that is left out, the innermost table that would hold it, or the top of the file.
fn place(file: &Source, key: &str) -> Range<usize> {
    // It was read without a fault before.
    let (root, _) = DeTable::parse_recoverable(&file.text);
    let (mut table, mut span) = (root.get_ref(), 0..0);
    for part in key.split('.') {
        let Some(value) = table.get(part) else { break };
        span = value.span();
        let DeValue::Table(inner) = value.get_ref() else { break };
        table = inner;
    }
    span
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_however_it_is_written() {
        let text = "server.log = \"info\"\n[server.limits]\nhead_lines = 9\n[token]\nttl = \"1m\"\n[store]\ntls = { ca = \"a\" }\n";
        let file = Source { name: "gateway.toml".to_owned(), text: text.to_owned() };
        for (key, expected, shown) in [
            ("server.log", (1, 14), "\"info\""),
            ("server.limits.head_lines", (3, 14), "9"),
            ("server.limits.body_size", (2, 1), "[server.limits]"),
            ("token.ttl", (5, 7), "\"1m\""),
            ("token.cache", (4, 1), "[token]"),
            ("store.tls", (7, 7), "{ ca = \"a\" }"),
            ("directory.url", (1, 1), ""),
        ] {
            let span = place(&file, key);
            assert_eq!((file.position(span.start), &file.text[span]), (expected, shown), "{key}");
        }
    }
}
