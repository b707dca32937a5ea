//! `[token]` of `gateway.toml`: issuer, life and keys.
//!
//! Called by `gateway_file` only.

use std::time::Duration;

use toml::Spanned;

use super::block::Block;
use super::diag::Faults;
use super::gateway_file::Reader;
use super::raw::{RawToken, RawTokenKey};
use super::secret::Secret;
use super::settings::Token;
use crate::policy::principal::is_id;

impl Reader<'_> {
    pub(super) fn token(&self, block: Option<Block<'_>>, shared_store: bool, faults: &mut Faults) -> Option<Token> {
        let place = block.as_ref().map_or(0..0, Block::span);
        let raw: RawToken = match block {
            Some(block) => {
                block.warn_without_effect("token", &["cache", "stale", "sessions_per_account"], faults);
                block.read_partly(faults)
            }
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
            Some(keys) => self.token_keys(keys.into_inner(), faults)?,
            None if shared_store => {
                let hint = "keys = [{ id = \"2026-11\", secret = { env = \"PORTCULLIS_TOKEN_KEY\" } }]";
                faults.fault(self.source, place, "`token.keys` is mandatory with a shared store", hint);
                return None;
            }
            None => vec![("started".to_owned(), random_key(faults)?)],
        };
        let cache = raw.cache.map_or(262_144, |entries| entries as usize);
        let stale = raw.stale.map_or(Duration::from_secs(1200), |period| period.0);
        let sessions_per_account = raw.sessions_per_account.unwrap_or(100).max(1);
        Some(Token { issuer, ttl, keys, cache, stale, sessions_per_account })
    }

    fn token_keys(&self, raw: Vec<Spanned<RawTokenKey>>, faults: &mut Faults) -> Option<Vec<(String, Secret)>> {
        let count = raw.len();
        let mut keys: Vec<(String, Secret)> = Vec::with_capacity(count);
        for key in raw.into_iter().map(Spanned::into_inner) {
            let id = key.id.get_ref();
            if !is_id(id) {
                faults.fault(self.source, key.id.span(), "a key id is 1 to 64 of A-Z a-z 0-9 . _ ~ -", "");
            } else if keys.iter().any(|(known, _)| known == id) {
                faults.fault(self.source, key.id.span(), format!("key id `{id}` stands twice"), "");
            }
            let Some(secret) = self.secret(&key.secret, faults) else { continue };
            if secret.reveal().len() < 32 {
                let message = match secret.reveal().len() {
                    0 => "the key is empty, HS256 needs at least 32 bytes".to_owned(),
                    length => format!("the key has {length} bytes, HS256 needs at least 32"),
                };
                faults.fault(self.source, key.secret.span(), message, "make one with `openssl rand -hex 32`");
                continue;
            }
            keys.push((key.id.into_inner(), secret));
        }
        (keys.len() == count).then_some(keys)
    }
}

fn random_key(faults: &mut Faults) -> Option<Secret> {
    let mut bytes = vec![0; 32];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Some(Secret::new(bytes)),
        Err(error) => {
            faults.without_place(format!("no random bytes for a token key: {error}"), "name one in token.keys");
            None
        }
    }
}
