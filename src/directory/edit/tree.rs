//! The accounts as a tree: ancestors, depth, and names that come close to one that is not there.
//!
//! Called by the operations of [`AccountFile`]. Every walk is bounded by the sixteen levels the directory allows, so a
//! cycle in a file that is being read for the first time ends too.

use std::collections::HashMap;
use std::iter;

use toml_edit::Table;

use super::error::EditError;
use super::{ACCOUNT, AccountFile, string};

pub(super) struct Tree<'a> {
    by_id: HashMap<&'a str, &'a Table>,
}

impl AccountFile {
    pub(super) fn tree(&self) -> Tree<'_> {
        let named = self.blocks(ACCOUNT).filter_map(|account| Some((string(account, "id")?, account)));
        Tree { by_id: named.collect() }
    }

    /// Refuses accounts whose ancestors do not lead to a root.
    pub(super) fn check_tree(&self) -> Result<(), EditError> {
        let tree = self.tree();
        for account in self.blocks(ACCOUNT) {
            let Some(parent) = string(account, "parent") else {
                continue;
            };
            if !tree.contains(parent) {
                return Err(
                    self.fault(account.get("parent"), &format!("there is no account `{parent}` to be the parent"))
                );
            }
            if tree.depth(parent) + 1 > LEVELS {
                let what = format!("the parents of this account form a cycle or more than {LEVELS} levels");
                return Err(self.fault(account.get("parent"), &what));
            }
        }
        Ok(())
    }
}

impl<'a> Tree<'a> {
    pub(super) fn contains(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    pub(super) fn account(&self, id: &str) -> Result<&'a Table, EditError> {
        let near = || nearest(id, self.by_id.keys().copied());
        self.by_id.get(id).copied().ok_or_else(|| EditError::UnknownAccount { id: id.to_owned(), near: near() })
    }

    /// Like [`Tree::account`], with the blame on the parent.
    pub(super) fn check_parent(&self, id: &str) -> Result<(), EditError> {
        if self.contains(id) {
            return Ok(());
        }
        Err(EditError::UnknownParent { id: id.to_owned(), near: nearest(id, self.by_id.keys().copied()) })
    }

    /// The account and its ancestors, upwards, as many as there may be.
    pub(super) fn climb(&self, id: &str) -> impl Iterator<Item = &'a Table> {
        let above = |account: &&'a Table| string(account, "parent").and_then(|parent| self.by_id.get(parent)).copied();
        iter::successors(self.by_id.get(id).copied(), above).take(LEVELS)
    }

    /// Level of an account: 1 for a root.
    pub(super) fn depth(&self, id: &str) -> usize {
        self.climb(id).count()
    }

    /// Levels of the subtree that begins with an account: 1 when nothing is below it.
    pub(super) fn height(&self, id: &str) -> usize {
        let below = |other: &&str| self.climb(other).position(|account| string(account, "id") == Some(id));
        self.by_id.keys().filter_map(below).max().unwrap_or(0) + 1
    }
}

pub(super) fn check_depth(id: &str, level: usize) -> Result<(), EditError> {
    if level > LEVELS {
        return Err(EditError::TooDeep { id: id.to_owned(), levels: LEVELS });
    }
    Ok(())
}

/// The known name a slip of the hand away, if there is one; the first in the alphabet of several.
pub(super) fn nearest<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let slips = (wanted.len() / 3).max(1);
    known
        .map(|name| (strsim::damerau_levenshtein(wanted, name), name))
        .filter(|(distance, _)| *distance <= slips)
        .min()
        .map(|(_, name)| name.to_owned())
}

const LEVELS: usize = 16;
