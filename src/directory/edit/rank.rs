//! Which role may stand below which: the ladders of the realms, held against the tree.
//!
//! Called when an account is added or moved. It judges only what the edit brings about; where no realm knows both roles,
//! or the policies could not be read, it has nothing to say.

use super::AccountFile;
use super::error::EditError;
use super::string;

/// The roles of every realm, highest first. Empty: nothing is known, and nothing refused.
#[derive(Clone, Debug, Default)]
pub struct Ranks {
    realms: Vec<(Box<str>, Vec<Box<str>>)>,
}

impl Ranks {
    /// From pairs of a realm's name and its roles.
    #[must_use]
    pub fn new(realms: impl IntoIterator<Item = (Box<str>, Vec<Box<str>>)>) -> Self {
        Self { realms: realms.into_iter().collect() }
    }

    /// The first realm that knows both roles and does not put `lower` below `upper`.
    fn clash(&self, upper: &str, lower: &str) -> Option<&str> {
        let place = |roles: &[Box<str>], role: &str| roles.iter().position(|known| **known == *role);
        let clashes = |roles: &[Box<str>]| place(roles, upper).zip(place(roles, lower)).is_some_and(|(u, l)| l <= u);
        self.realms.iter().find(|(_, roles)| clashes(roles)).map(|(name, _)| &**name)
    }
}

impl AccountFile {
    /// Holds the edits that follow to these ladders.
    pub fn judge_roles_by(&mut self, ranks: &Ranks) {
        self.ranks = ranks.clone();
    }

    /// Refuses an account whose role does not fit below `parent` or an account above that one. All of them are asked,
    /// since realms may know the parent's role and the account's in turns and never both.
    pub(super) fn check_rank(&self, id: &str, role: &str, parent: &str) -> Result<(), EditError> {
        for above in self.tree().climb(parent) {
            let (Some(above_id), Some(above_role)) = (string(above, "id"), string(above, "role")) else { continue };
            if let Some(realm) = self.ranks.clash(above_role, role) {
                return Err(EditError::Rank {
                    id: id.to_owned(),
                    role: role.to_owned(),
                    above: above_id.to_owned(),
                    above_role: above_role.to_owned(),
                    realm: realm.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// [`AccountFile::check_rank`] for an account and everything below it.
    pub(super) fn check_subtree_ranks(&self, id: &str, parent: &str) -> Result<(), EditError> {
        let tree = self.tree();
        for account in self.blocks(super::ACCOUNT) {
            let (Some(own), Some(role)) = (string(account, "id"), string(account, "role")) else { continue };
            if tree.climb(own).any(|above| string(above, "id") == Some(id)) {
                self.check_rank(own, role, parent)?;
            }
        }
        Ok(())
    }
}
