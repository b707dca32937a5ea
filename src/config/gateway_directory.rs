//! `[directory]` of `gateway.toml`: which source the records come from, and what fits that source.
//!
//! Called by `gateway_file` only. It reads secrets and PEM files, but no account and nothing from the network.

use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use super::spanned::Spanned;

use super::block::Block;
use super::diag::Faults;
use super::gateway_bounds::Bounds;
use super::gateway_file::Reader;
use super::gateway_tls::TlsKeys;
use super::raw::RawDirectory;
use super::secret::Secret;
use super::settings::{Directory, DirectoryCalls, DirectorySource, beside};

/// The accounts file, and where it is named.
type Accounts = Option<(PathBuf, Range<usize>)>;

/// What a directory URL says.
enum Url<'u> {
    File(&'u str),
    Redis,
    Https(&'u str),
}

impl Reader<'_> {
    /// The directory, and the accounts file of a `file:` one.
    pub(super) fn directory(
        &self,
        block: Option<Block<'_>>,
        store_in_memory: bool,
        faults: &mut Faults,
    ) -> (Directory, Accounts) {
        let named = block.as_ref().is_some_and(|block| block.has("url"));
        let idle: Vec<(&str, Range<usize>)> = match &block {
            Some(block) => CACHE_KEYS.iter().filter_map(|key| Some((*key, block.key_span(key)?))).collect(),
            None => Vec::new(),
        };
        let mut raw: RawDirectory = block.map(|block| block.read_partly(faults)).unwrap_or_default();
        let (text, span) = match raw.url.take() {
            Some(url) => (url.get_ref().clone(), url.span()),
            None => (DEFAULT_URL.to_owned(), 0..0),
        };
        let url = match parse(&text) {
            // A URL of another type was told already; the default is not what was meant then.
            Ok(_) if named && span == (0..0) => None,
            Ok(url) => Some(url),
            Err((message, hint)) => {
                faults.fault(self.source, span.clone(), message, hint);
                None
            }
        };
        let accounts = match &url {
            Some(Url::File(path)) => Some((beside(&self.source.name, path), span.clone())),
            Some(Url::Redis | Url::Https(_)) | None => None,
        };
        if let Some(Url::Redis) = url
            && store_in_memory
        {
            let hint = "the directory is read from the store's server: name it in store.url";
            faults.fault(self.source, span, "`redis:` needs a shared store, and `store.url` is \"memory:\"", hint);
        }
        if let Some(Url::File(_)) = url {
            for (key, span) in idle {
                let hint = "a file is kept in memory whole, and read again when it changes";
                let message = format!("`directory.{key}` has no effect with `file:`");
                faults.warn(self.source, span, message, hint);
            }
        }
        let peppers = self.keys("pepper", std::mem::take(&mut raw.peppers), faults).unwrap_or_default();
        let (budget, cache) = (raw.budget.take(), raw.cache.take());
        let (entries, negative) = (raw.cache_entries.take(), raw.negative.take());
        let directory = Directory {
            source: self.directory_source(url, raw, faults),
            budget: BUDGET.period(self.source, budget, faults),
            cache: CACHE.period(self.source, cache, faults),
            cache_entries: ENTRIES.count(self.source, entries, faults) as usize,
            negative: NEGATIVE.period(self.source, negative, faults),
            peppers,
        };
        (directory, accounts)
    }

    /// What stands for a source with a fault is never used.
    fn directory_source(&self, url: Option<Url<'_>>, raw: RawDirectory, faults: &mut Faults) -> DirectorySource {
        let (address, with_tls) = match url {
            Some(Url::Https(address)) => (address, address.starts_with("https://")),
            Some(Url::File(path)) => {
                self.refuse_call_keys(&raw, true, faults);
                return DirectorySource::File(beside(&self.source.name, path));
            }
            Some(Url::Redis) => {
                self.refuse_call_keys(&raw, true, faults);
                return DirectorySource::Redis;
            }
            None => return DirectorySource::File(PathBuf::new()),
        };
        if !with_tls {
            self.refuse_call_keys(&raw, false, faults);
        }
        let token = raw.token.as_ref().and_then(|source| {
            let token = self.secret(source, faults)?;
            self.fits_a_header(&token, source.span(), faults).then_some(token)
        });
        let keys = TlsKeys {
            ca: ("directory.ca", raw.ca),
            certificate: ("directory.client_certificate", raw.client_certificate),
            key: ("directory.client_key", raw.client_key),
        };
        let tls = self.tls_files(keys, faults);
        DirectorySource::Https(Box::new(DirectoryCalls { url: address.trim_end_matches('/').to_owned(), token, tls }))
    }

    /// The keys of `https:`, where they would do nothing; the token counts only where no call is made at all.
    fn refuse_call_keys(&self, raw: &RawDirectory, token: bool, faults: &mut Faults) {
        let paths = [("ca", &raw.ca), ("client_certificate", &raw.client_certificate), ("client_key", &raw.client_key)];
        let token = raw.token.as_ref().filter(|_| token).map(Spanned::span);
        let paths = paths.into_iter().map(|(key, path)| (key, path.as_ref().map(Spanned::span)));
        for (key, span) in paths.chain([("token", token)]) {
            if let Some(span) = span {
                let message = format!("`directory.{key}` is set, but `directory.url` does not begin with `https:`");
                faults.fault(self.source, span, message, "leave it out, or name an https: directory");
            }
        }
    }

    fn fits_a_header(&self, token: &Secret, span: Range<usize>, faults: &mut Faults) -> bool {
        let fits = !self.secrets || !token.reveal().is_empty() && token.reveal().iter().all(u8::is_ascii_graphic);
        if !fits {
            let message = "the directory token is not made of visible ASCII characters alone, without a line end";
            faults.fault(self.source, span, message, "write the file with `printf %s`");
        }
        fits
    }
}

/// Reads a directory URL. What is wrong never repeats it, since it may hold a password.
fn parse(url: &str) -> Result<Url<'_>, (&'static str, &'static str)> {
    const FORMS: &str = "write \"file:PATH\", \"redis:\" or \"https://host/path\"";
    if let Some(path) = url.strip_prefix("file:") {
        return if path.is_empty() { Err(("`file:` without a path", FORMS)) } else { Ok(Url::File(path)) };
    }
    if url == "redis:" {
        return Ok(Url::Redis);
    }
    if url.starts_with("redis") {
        return Err((
            "the directory in Redis is on the store's server and has no address of its own",
            "write \"redis:\"",
        ));
    }
    let plain = url.starts_with("http://");
    if !plain && !url.starts_with("https://") {
        return Err(("no such directory", FORMS));
    }
    if url.contains(['?', '#']) {
        return Err(("the directory URL takes no ?query and no #fragment", FORMS));
    }
    let parsed = url.parse::<http::Uri>().map_err(|_| ("the directory URL cannot be read", FORMS))?;
    let authority = parsed.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    if authority.contains('@') {
        return Err(("the directory URL holds a login", "name our bearer token in directory.token"));
    }
    let host = parsed.host().unwrap_or_default();
    let port = authority.strip_prefix(host).unwrap_or_default();
    let port_fits = port.is_empty() || port[1..].parse::<u16>().is_ok_and(|port| port > 0);
    if host.is_empty() || !port_fits {
        return Err(("the directory URL needs a host, and a port between 1 and 65535 if any", FORMS));
    }
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    if plain && host != "localhost" && !address.is_ok_and(|address| address.is_loopback()) {
        return Err(("passwords and keys would go over the network in clear text", "plain http is for loopback only"));
    }
    Ok(Url::Https(url))
}

const DEFAULT_URL: &str = "file:policies/accounts.toml";

/// What has an effect only where records are fetched.
const CACHE_KEYS: &[&str] = &["budget", "cache", "cache_entries", "negative"];

const BUDGET: Bounds<Duration> = Bounds {
    key: "directory.budget",
    default: Duration::from_millis(200),
    least: Duration::from_millis(1),
    most: Duration::from_secs(10),
};
const CACHE: Bounds<Duration> = Bounds {
    key: "directory.cache",
    default: Duration::from_secs(30),
    least: Duration::from_millis(1),
    most: Duration::from_secs(3600),
};
const ENTRIES: Bounds<u32> = Bounds { key: "directory.cache_entries", default: 100_000, least: 1, most: 10_000_000 };
const NEGATIVE: Bounds<Duration> = Bounds {
    key: "directory.negative",
    default: Duration::from_secs(5),
    least: Duration::from_millis(1),
    most: Duration::from_secs(600),
};
