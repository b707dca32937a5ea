//! The tree of accounts, from the records that tell one account each: lineage, and whether anything above is suspended.
//!
//! Used by `remote`, which finds the records. An account that was put together stays with its record, and is used for as
//! long as every record above it is the one that it was made of.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

use super::Unavailable;
use super::hearing::Read;
use super::shelf::{Found, Held, Shelf};
use super::wire::AccountRecord;
use crate::policy::principal::{Account, Lineage};

/// An account's own record, and what it comes to together with those above it.
pub(super) struct Node {
    pub(super) record: AccountRecord,
    compiled: ArcSwapOption<Compiled>,
    /// Whether it was logged that it cannot be put together.
    told: AtomicBool,
}

/// As the records say it; what was made of them does not count.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.record == other.record
    }
}

impl Node {
    pub(super) fn new(record: AccountRecord) -> Self {
        Self { record, compiled: ArcSwapOption::empty(), told: AtomicBool::new(false) }
    }

    /// The account, if it was put together and nothing changed since: `is_fresh` judges the age of its records, `shelf`
    /// tells whether they are still held, `generation` how many changes of accounts there were up to now.
    pub(super) fn account(
        &self,
        is_fresh: impl FnOnce(Read) -> bool,
        shelf: &Shelf<Self>,
        generation: &AtomicU64,
    ) -> Option<Arc<Account>> {
        let compiled = self.compiled.load();
        let compiled = compiled.as_ref().filter(|compiled| is_fresh(compiled.read))?;
        let generation = generation.load(Ordering::Acquire);
        if compiled.generation.load(Ordering::Acquire) != generation {
            // Some account changed; whether it is one of these, the shelf knows.
            let held = |held: &Arc<Held<Self>>| node(held).is_some_and(|node| shelf.holds(&node.record.id, held));
            if !compiled.above.iter().all(held) {
                return None;
            }
            compiled.generation.store(generation, Ordering::Release);
        }
        Some(Arc::clone(&compiled.account))
    }
}

/// An account put together, good for as long as every record it was made of.
struct Compiled {
    account: Arc<Account>,
    /// The records above its own, nearest first. Not its own, which holds this.
    above: Box<[Arc<Held<Node>>]>,
    /// The age of the oldest of them all.
    read: Read,
    /// The changes of accounts up to which it is known to be good.
    generation: AtomicU64,
}

/// Puts an account together from the records from its own to the root's.
pub(super) fn compile(path: &[Arc<Held<Node>>], generation: u64) -> Result<Arc<Account>, Unavailable> {
    let nodes = || path.iter().filter_map(|held| node(held));
    let Some((own, above)) = path.split_first() else { return Err(NOTHING) };
    let Some(asked) = node(own) else { return Err(NOTHING) };
    if let Some(known) = asked.compiled.load().as_ref() {
        let same = known.above.len() == above.len() && known.above.iter().zip(above).all(|(a, b)| Arc::ptr_eq(a, b));
        if same {
            known.generation.store(generation, Ordering::Release);
            return Ok(Arc::clone(&known.account));
        }
    }
    let mut pairs: Vec<(&str, &str)> = nodes().map(|node| (&*node.record.id, &*node.record.role)).collect();
    pairs.reverse();
    let Some(lineage) = Lineage::new(pairs) else {
        return Err(complain(path, "an account of the directory is its own ancestor"));
    };
    let suspended = nodes().any(|node| node.record.suspended);
    let account = Arc::new(Account { lineage, suspended, password_mark: asked.record.password_mark });
    let read = above.iter().fold(own.read, |read, held| read.with(held.read));
    let generation = AtomicU64::new(generation);
    asked.compiled.store(Some(Arc::new(Compiled {
        account: Arc::clone(&account),
        above: above.into(),
        read,
        generation,
    })));
    Ok(account)
}

fn node(held: &Held<Node>) -> Option<&Node> {
    match &held.found {
        Found::Known(node) => Some(node),
        Found::Unknown | Found::Unreadable(_) => None,
    }
}

/// Says once for each record of it that an account cannot be put together.
pub(super) fn complain(path: &[Arc<Held<Node>>], cause: &'static str) -> Unavailable {
    if let Some(node) = path.first().and_then(|held| node(held))
        && !node.told.swap(true, Ordering::Relaxed)
    {
        tracing::warn!(account = %node.record.id, "{cause}");
    }
    Unavailable(cause)
}

const NOTHING: Unavailable = Unavailable("an account of the directory has no record");
