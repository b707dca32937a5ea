//! `[store]` of `gateway.toml`: where it is, how it is reached, how long a request waits for it.
//!
//! Called by `gateway_file` only. The store itself judges its URL; nothing is connected here, and no message repeats a
//! URL, which may hold a password.

use std::time::Duration;

use super::spanned::Spanned;

use super::block::Block;
use super::diag::{Faults, Severity};
use super::gateway_bounds::Bounds;
use super::gateway_file::Reader;
use super::gateway_tls::TlsKeys;
use super::raw::{RawStore, RawStoreTls};
use super::settings::{Store, TlsFiles};
use super::value::TextSource;
use crate::store::RedisSettings;

impl Reader<'_> {
    /// The store, and whether it is certainly the one in memory: one with a fault is neither that nor shared.
    pub(super) fn store(&self, block: Option<Block<'_>>, faults: &mut Faults) -> (Store, bool) {
        let named = block.as_ref().is_some_and(|block| block.has("url"));
        let flaws_before = faults.count(Severity::Fault);
        let raw: RawStore = block.map(|block| block.read_partly(faults)).unwrap_or_default();
        let place = raw.url.as_ref().map(Spanned::span);
        let url = raw.url.and_then(|url| self.text(url, faults));
        let in_memory = !named || url.as_deref() == Some("memory:");
        let redis = url.filter(|_| !in_memory).filter(|url| {
            let flaw = flaw(url);
            if let Some((message, hint)) = &flaw {
                faults.fault(self.source, place.clone().unwrap_or(0..0), message, *hint);
            }
            flaw.is_none() || url.starts_with("redis")
        });
        if let Some(replicas) = raw.replicas.as_ref().filter(|replicas| in_memory && *replicas.get_ref() > 0) {
            let hint = "name a Redis with replicas in store.url, or leave it out";
            faults.fault(self.source, replicas.span(), "the store in memory has no replicas", hint);
        }
        let tls_span = raw.tls.as_ref().map(Spanned::span);
        let tls = raw.tls.and_then(|tls| self.store_tls(tls, redis.as_deref(), in_memory, faults));
        let prefix = raw.prefix.map_or_else(|| "portcullis:".to_owned(), |prefix| self.prefix(prefix, faults));
        let budget = BUDGET.period(self.source, raw.budget, faults);
        let replicas = u8::try_from(REPLICAS.count(self.source, raw.replicas, faults)).unwrap_or(u8::MAX);
        let store = Store { redis, replicas, tls, budget, prefix };
        if let (Some(span), Some(settings)) = (tls_span.filter(|_| self.secrets), store.redis_settings())
            && settings.tls.is_some()
            // What was told already would be told again in other words.
            && faults.count(Severity::Fault) == flaws_before
            && let Err(error) = crate::store::Store::redis(settings)
        {
            faults.fault(self.source, span, error.to_string(), "PEM files, as `openssl x509 -in FILE` reads them");
        }
        (store, in_memory)
    }

    /// A text, without the one line end that editors put at the end of a file.
    fn text(&self, value: Spanned<TextSource>, faults: &mut Faults) -> Option<String> {
        let span = value.span();
        let source = match value.into_inner() {
            TextSource::Written(text) => return Some(text),
            TextSource::Secret(source) => source,
        };
        if !self.secrets {
            return Some("redis://not-read-since-no-gateway-starts".to_owned());
        }
        let secret = self.secret(&Spanned::new(span.clone(), source), faults)?;
        let text = std::str::from_utf8(secret.reveal()).ok();
        let text = text.map(|text| text.strip_suffix('\n').unwrap_or(text));
        let text = text.map(|text| text.strip_suffix('\r').unwrap_or(text).to_owned());
        if text.is_none() {
            faults.fault(self.source, span, "what stands there is not UTF-8, so it is no URL", "");
        }
        text
    }

    fn prefix(&self, prefix: Spanned<String>, faults: &mut Faults) -> String {
        let allowed = |byte: u8| byte.is_ascii_graphic() && !br"{}*?[]\".contains(&byte);
        if !(1..=64).contains(&prefix.get_ref().len()) || !prefix.get_ref().bytes().all(allowed) {
            let message = r"`store.prefix` is 1 to 64 visible ASCII characters other than { } * ? [ ] \";
            faults.fault(self.source, prefix.span(), message, "write it like \"portcullis:\"");
        }
        prefix.into_inner()
    }

    fn store_tls(
        &self,
        tls: Spanned<RawStoreTls>,
        redis: Option<&str>,
        in_memory: bool,
        faults: &mut Faults,
    ) -> Option<TlsFiles> {
        let span = tls.span();
        let RawStoreTls { ca, certificate, key } = tls.into_inner();
        // A URL that is a secret and was not read may be one with TLS.
        let plain = self.secrets && redis.is_some_and(|url| !Store::speaks_tls(url));
        if in_memory || plain {
            let hint = "write \"rediss://…\", or ?tls=true behind a URL of Sentinel or Cluster";
            faults.fault(self.source, span, "`store.tls` is set, but `store.url` is one without TLS", hint);
            return None;
        }
        let keys = TlsKeys {
            ca: ("store.tls.ca", ca),
            certificate: ("store.tls.certificate", certificate),
            key: ("store.tls.key", key),
        };
        Some(self.tls_files(keys, faults))
    }
}

/// What is wrong with a store URL, and what would put it right.
fn flaw(url: &str) -> Option<(String, &'static str)> {
    const KNOWN: &str = "write \"memory:\", \"redis://host:port\", \"rediss://…\", \"redis+sentinel://h1,h2/name\" or \
                         \"redis+cluster://h1,h2\"";
    let schemes = ["redis://", "rediss://", "redis+sentinel://", "redis+cluster://"];
    if !schemes.iter().any(|scheme| url.starts_with(scheme)) {
        return Some(("no such store".to_owned(), KNOWN));
    }
    let budget = Duration::from_secs(1);
    let settings = RedisSettings { url: url.to_owned(), prefix: String::new(), budget, replicas: 0, tls: None };
    let error = crate::store::Store::redis(settings).err()?;
    Some((error.to_string(), "write \"redis://[user:password@]host:port[/database]\", or as gateway.toml shows"))
}

const BUDGET: Bounds<Duration> = Bounds {
    key: "store.budget",
    default: Duration::from_millis(50),
    least: Duration::from_millis(1),
    most: Duration::from_secs(10),
};
const REPLICAS: Bounds<u32> = Bounds { key: "store.replicas", default: 0, least: 0, most: 16 };
