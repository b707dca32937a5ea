//! Who may call: one caller for each role that either realm knows, one of a role that neither knows, and nobody.
//!
//! Made once for each pair of realms by `policy::difference`. A caller has an account of every higher role above it, as quotas
//! may be theirs, and accounts of every role below it, as targets may be. The tree is made up; the ladder only asks it.

use std::sync::Arc;

use super::super::principal::{Account, Lineage};
use super::super::rehearsal::Tree;
use super::super::route::Realm;
use super::networks::{Origin, origins};
use super::requests::Named;

/// Lineages hold sixteen accounts; one place is for the caller and one for what lies below it.
const MOST_ABOVE: usize = 14;

/// All callers of a pair of realms.
pub struct Callers {
    /// In the order in which they are shown: highest role first, nobody last.
    pub all: Vec<Caller>,
    /// The roles of accounts that may lie below: all that are known, and one that is not.
    pub below: Vec<Box<str>>,
    /// What every made-up text begins with, and nothing in either set.
    pub fresh: String,
}

/// One kind of caller.
pub struct Caller {
    /// For people.
    pub label: String,
    /// `None` sends no credential.
    pub role: Option<Box<str>>,
    /// The roles above it, by the old realm and, where that differs, by the new one; more than one list where a tree
    /// does not hold them all.
    pub above: Vec<Vec<Box<str>>>,
    /// From where it may call.
    pub origins: Vec<Origin>,
    /// With its own made-up account, for each of `above`.
    pub players: Vec<Player>,
}

/// A caller's account with the tree around it.
#[derive(Clone)]
pub struct Player {
    /// Who calls.
    pub account: Option<Arc<Account>>,
    /// What the ladder may ask for.
    pub tree: Tree,
}

impl Callers {
    /// The callers that a pair of realms tells apart.
    #[must_use]
    pub fn of(realms: [Option<&Realm>; 2], fresh: &str) -> Self {
        let mut roles: Vec<Box<str>> = Vec::new();
        for role in realms.iter().flatten().flat_map(|realm| &realm.roles) {
            if !roles.contains(role) {
                roles.push(role.clone());
            }
        }
        let stranger: Box<str> = format!("{fresh}stranger").into();
        let mut callers = Self { all: Vec::new(), below: roles.clone(), fresh: fresh.to_owned() };
        callers.below.push(stranger.clone());
        for role in roles {
            let label = role.to_string();
            callers.add(label, Some(role), realms);
        }
        callers.add("another role".to_owned(), Some(stranger), realms);
        callers.add("anonymous".to_owned(), None, realms);
        callers
    }

    fn add(&mut self, label: String, role: Option<Box<str>>, realms: [Option<&Realm>; 2]) {
        let mut above: Vec<Vec<Box<str>>> = Vec::new();
        for realm in realms.into_iter().flatten() {
            let place = role.as_ref().and_then(|role| realm.roles.iter().position(|known| known == role));
            let Some(place) = place else { continue };
            // More than fit stand in two lists, as a quota may be any one's.
            for first in [0, place.saturating_sub(MOST_ABOVE)] {
                let higher = realm.roles[first..place].iter().take(MOST_ABOVE).cloned().collect();
                if !above.contains(&higher) {
                    above.push(higher);
                }
            }
        }
        if above.is_empty() {
            above.push(Vec::new());
        }
        let mut caller = Caller {
            label,
            origins: origins(realms, role.as_deref().unwrap_or_default()),
            role,
            above,
            players: Vec::new(),
        };
        caller.players = (0..caller.above.len()).map(|above| self.player(&caller, above, &[])).collect();
        self.all.push(caller);
    }

    /// An account id that names an account of this kind. The two that a request can name are other accounts, as that
    /// can be told from one named twice.
    #[must_use]
    pub fn id(&self, named: Named, second: bool) -> String {
        let (fresh, place) = (&self.fresh, u8::from(second));
        match named {
            Named::Myself => format!("{fresh}self"),
            Named::Below(role) => format!("{fresh}below{role}-{place}"),
            Named::Outside => format!("{fresh}outside-{place}"),
            Named::Unknown | Named::Absent | Named::Malformed => format!("{fresh}unknown-{place}"),
            Named::NoId => format!("{fresh}:{place}"),
        }
    }

    /// The caller with its tree. What `spelled` lists are account ids that the patterns themselves spell out, and where
    /// those accounts stand.
    #[must_use]
    pub fn player(&self, caller: &Caller, above: usize, spelled: &[(&str, Named)]) -> Player {
        let mut tree = Tree::default();
        let Some(role) = caller.role.as_deref() else { return Player { account: None, tree } };
        let own = spelled.iter().find(|(_, named)| *named == Named::Myself);
        let own = own.map_or_else(|| self.id(Named::Myself, false), |(id, _)| (*id).to_owned());
        let above = caller.above.get(above).map_or(&[][..], Vec::as_slice);
        let ids: Vec<String> = (0..above.len()).map(|level| format!("{}above{level}", self.fresh)).collect();
        let mut nodes: Vec<(&str, &str)> =
            ids.iter().map(String::as_str).zip(above.iter().map(|role| &**role)).collect();
        nodes.push((&own, role));
        let elsewhere = role;
        let standing = (0..self.below.len()).map(Named::Below).chain([Named::Outside]);
        let places = standing.flat_map(|named| [false, true].map(|second| (self.id(named, second), named)));
        for (id, named) in places.chain(spelled.iter().map(|(id, named)| ((*id).to_owned(), *named))) {
            let lineage = match named {
                Named::Below(place) => {
                    let role = self.below.get(place).map_or(role, |role| &**role);
                    Lineage::new(nodes.iter().copied().chain([(id.as_str(), role)]))
                }
                Named::Outside => Lineage::new([(id.as_str(), elsewhere)]),
                Named::Myself | Named::Unknown | Named::NoId | Named::Absent | Named::Malformed => None,
            };
            if let Some(lineage) = lineage {
                // Made-up ids are all different, so none stands in two places.
                let _ = tree.insert(account(lineage));
            }
        }
        Player { account: Lineage::new(nodes).map(account), tree }
    }
}

fn account(lineage: Lineage) -> Arc<Account> {
    Arc::new(Account { lineage, suspended: false, password_mark: 0 })
}
