//! `[token]` of `gateway.toml`, and lists of keys as `[directory]` has one too.
//!
//! Called by `gateway_file` and `gateway_directory`. It signs nothing; `identity::token` does.

use std::time::Duration;

use super::spanned::Spanned;

use super::block::Block;
use super::diag::Faults;
use super::gateway_bounds::Bounds;
use super::gateway_file::Reader;
use super::raw::{RawKey, RawToken};
use super::secret::Secret;
use super::settings::{RANDOM_KEY, Token};
use crate::policy::principal::is_id;

impl Reader<'_> {
    pub(super) fn token(&self, block: Option<Block<'_>>, shared_store: bool, faults: &mut Faults) -> Option<Token> {
        let place = block.as_ref().map_or(0..0, Block::span);
        let raw: RawToken = match block {
            Some(block) => block.read_partly(faults),
            None => RawToken::default(),
        };
        let ttl = match raw.ttl {
            Some(ttl) if ttl.get_ref().0 < Duration::from_secs(1) || ttl.get_ref().0 > Duration::from_secs(86_400) => {
                faults.fault(self.source, ttl.span(), "`token.ttl` is 1s to 24h", "");
                return None;
            }
            Some(ttl) => ttl.into_inner().0,
            None => Duration::from_secs(1200),
        };
        let issuer = raw.issuer.map_or_else(|| "portcullis".to_owned(), Spanned::into_inner);
        let keys = match raw.keys {
            Some(keys) if keys.get_ref().is_empty() => {
                faults.fault(self.source, keys.span(), "`token.keys` is empty", "leave it out, or name a key");
                return None;
            }
            Some(keys) => self.keys("key", keys.into_inner(), faults)?,
            None if shared_store => {
                let hint = "keys = [{ id = \"2026-11\", secret = { env = \"PORTCULLIS_TOKEN_KEY\" } }]";
                faults.fault(self.source, place, "`token.keys` is mandatory with a shared store", hint);
                return None;
            }
            None => vec![random_key(faults)?],
        };
        let cache = CACHE.count(self.source, raw.cache, faults) as usize;
        let stale = STALE.period(self.source, raw.stale, faults);
        let sessions_per_account = SESSIONS.count(self.source, raw.sessions_per_account, faults);
        Some(Token { issuer, ttl, keys, cache, stale, sessions_per_account })
    }

    /// The keys of a list, as soon as all of them are good. `what` is "key" or "pepper".
    pub(super) fn keys(
        &self,
        what: &str,
        raw: Vec<Spanned<RawKey>>,
        faults: &mut Faults,
    ) -> Option<Vec<(String, Secret)>> {
        let count = raw.len();
        let mut keys: Vec<(String, Secret)> = Vec::with_capacity(count);
        for key in raw.into_iter().map(Spanned::into_inner) {
            let id = key.id.get_ref();
            if !is_id(id) {
                let message = format!("a {what}'s id is 1 to 64 of A-Z a-z 0-9 . _ ~ -");
                faults.fault(self.source, key.id.span(), message, "");
            } else if keys.iter().any(|(known, _)| known == id) {
                faults.fault(self.source, key.id.span(), format!("{what} id `{id}` stands twice"), "");
            }
            let Some(secret) = self.secret(&key.secret, faults) else { continue };
            if secret.reveal().len() < SHORTEST_KEY {
                let message = match secret.reveal().len() {
                    0 => format!("the {what} is empty, it needs at least {SHORTEST_KEY} bytes"),
                    length => format!("the {what} has {length} bytes, it needs at least {SHORTEST_KEY}"),
                };
                faults.fault(self.source, key.secret.span(), message, "make one with `openssl rand -hex 32`");
                continue;
            }
            keys.push((key.id.into_inner(), secret));
        }
        (keys.len() == count).then_some(keys)
    }
}

fn random_key(faults: &mut Faults) -> Option<(String, Secret)> {
    let (mut id, mut bytes) = ([0; 4], vec![0; 32]);
    match getrandom::fill(&mut id).and_then(|()| getrandom::fill(&mut bytes)) {
        Ok(()) => Some((format!("{RANDOM_KEY}{:08x}", u32::from_ne_bytes(id)), Secret::new(bytes))),
        Err(error) => {
            faults.without_place(format!("no random bytes for a token key: {error}"), "name one in token.keys");
            None
        }
    }
}

/// What HMAC-SHA256 needs to be as strong as its digest is long.
const SHORTEST_KEY: usize = 32;

const CACHE: Bounds<u32> = Bounds { key: "token.cache", default: 262_144, least: 1, most: 1 << 24 };
const STALE: Bounds<Duration> = Bounds {
    key: "token.stale",
    default: Duration::from_secs(1200),
    least: Duration::ZERO,
    most: Duration::from_secs(86_400),
};
const SESSIONS: Bounds<u32> = Bounds { key: "token.sessions_per_account", default: 100, least: 1, most: 100_000 };
