//! Watermarks: from when on the sessions of an account, or of everything below it, are good. What they mean is said
//! here once; both backends keep them and ask here.
//!
//! It reads no clock and no store: times come in as milliseconds of the store's clock.

/// The watermarks of one account. A session that began no later than one that applies to it is revoked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// For the sessions of the account itself.
    pub(super) account: Option<u64>,
    /// For those of the account and of every account below it.
    pub(super) subtree: Option<u64>,
}

/// Whether a session that began at `started` is revoked. `marks` are those of its account's lineage, root first: of the
/// last both apply, of an ancestor only the one for its subtree.
pub(super) fn is_revoked(started: u64, marks: &[Marks]) -> bool {
    let reaches = |mark: Option<u64>| mark.is_some_and(|mark| started <= mark);
    marks.iter().any(|marks| reaches(marks.subtree)) || marks.last().is_some_and(|own| reaches(own.account))
}

/// The ids of a lineage, root first.
pub(super) fn ids(lineage: &str) -> impl DoubleEndedIterator<Item = &str> {
    lineage.split('/').filter(|id| !id.is_empty())
}

/// How long a watermark is kept, in milliseconds: an hour more than the longest life of a token, so that no session it
/// revoked can come back.
pub(super) const MARK_LIFE_MS: u64 = 25 * 3600 * 1000;
