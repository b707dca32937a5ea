//! What a store in memory knows of accounts: which sessions each has, and its watermarks. [`super::Memory`] keeps it
//! under its locks, spread by account. It holds no sessions, only their names.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use super::super::watermark::{MARK_LIFE_MS, Marks};
use super::super::{SURPLUS_AT_ONCE, Session};

/// Part of the accounts.
#[derive(Default)]
pub(super) struct Accounts {
    /// Of each account that has sessions.
    indexes: HashMap<Box<str>, Index, RandomState>,
    /// Watermarks, and when they are forgotten.
    marks: HashMap<Box<str>, (Marks, u64), RandomState>,
}

/// The sessions of one account: (start, jti) → end of the record, in milliseconds since the epoch. Never empty.
type Index = BTreeMap<(u64, Box<str>), u64>;

/// Which of an account's watermarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Account,
    Subtree,
}

impl Accounts {
    /// Enters a session into its account's index, and takes out those that are too many, which are returned: so many as
    /// one login ends.
    pub(super) fn enter(&mut self, session: &Session, keep: u32, now: u64) -> Vec<Box<str>> {
        let index = self.indexes.entry(session.sub.clone()).or_default();
        index.retain(|_, ends| *ends > now);
        index.insert((session.started, session.jti.clone()), session.record_ends_ms());
        let mut surplus = Vec::new();
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        while index.len() > keep && surplus.len() < SURPLUS_AT_ONCE {
            let Some(((_, jti), _)) = index.pop_first() else { break };
            surplus.push(jti);
        }
        if index.is_empty() {
            self.indexes.remove(&session.sub);
        }
        surplus
    }

    pub(super) fn leave(&mut self, session: &Session) {
        if let Some(index) = self.indexes.get_mut(&session.sub) {
            index.remove(&(session.started, session.jti.clone()));
            if index.is_empty() {
                self.indexes.remove(&session.sub);
            }
        }
    }

    /// The jtis of an account, by start.
    pub(super) fn jtis(&self, account: &str) -> Vec<Box<str>> {
        self.indexes.get(account).into_iter().flatten().map(|((_, jti), _)| jti.clone()).collect()
    }

    /// Raises a watermark to `now`, never lowers it; where it stands.
    pub(super) fn raise(&mut self, id: &str, reach: Reach, now: u64) -> u64 {
        let (marks, forgotten) = self.marks.entry(id.into()).or_default();
        *forgotten = now.saturating_add(MARK_LIFE_MS);
        let mark = match reach {
            Reach::Account => &mut marks.account,
            Reach::Subtree => &mut marks.subtree,
        };
        *mark.insert(mark.unwrap_or(0).max(now))
    }

    pub(super) fn marks(&self, id: &str, now: u64) -> Marks {
        self.marks.get(id).filter(|(_, forgotten)| *forgotten > now).map_or_else(Marks::default, |(marks, _)| *marks)
    }

    pub(super) fn forget_marks(&mut self, now: u64) {
        self.marks.retain(|_, (_, forgotten)| *forgotten > now);
    }

    /// How many watermarks are held.
    #[cfg(test)]
    pub(super) fn held_marks(&self) -> usize {
        self.marks.len()
    }
}
