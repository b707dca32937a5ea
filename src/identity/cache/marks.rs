//! Watermarks as they were heard, by account: to hear of one costs nothing in the size of the cache, and each entry is held
//! against them when it is used next.
//!
//! Kept by the cache. It knows no token and no store; the store's own watermarks are what counts in the end.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::policy::principal::Lineage;

/// The watermarks of at most [`MOST`] accounts.
#[derive(Default)]
pub(super) struct Marks(HashMap<Box<str>, Watermark, RandomState>);

/// Sessions that began no later are over: milliseconds by the store's clock.
#[derive(Clone, Copy, Default)]
pub(super) struct Watermark {
    /// Those of the account itself.
    pub(super) account: u64,
    /// Those of the account and of everything below it.
    pub(super) subtree: u64,
}

impl Marks {
    /// Changes the watermark of an account. False when there was no room for it and all others were forgotten.
    pub(super) fn set(&mut self, id: &str, set: impl FnOnce(&mut Watermark)) -> bool {
        let full = self.0.len() >= MOST && !self.0.contains_key(id);
        if full {
            self.0.clear();
        }
        set(self.0.entry(id.into()).or_default());
        !full
    }

    /// Whether a session of this account that began then is over.
    pub(super) fn end(&self, lineage: &Lineage, started: u64) -> bool {
        let own = lineage.id();
        let ends = |id: &str| {
            self.0.get(id).is_some_and(|mark| started <= mark.subtree || (id == own && started <= mark.account))
        };
        lineage.as_str().split('/').any(ends)
    }
}

/// A revoked account is forgotten only together with all others, and then nothing is believed unasked.
pub(super) const MOST: usize = 65_536;
