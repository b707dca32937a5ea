//! Accounts, their place in the tree, and who a caller turned out to be.
//!
//! The directory makes [`Account`]s, `identity` makes [`Identity`]s, the ladder judges them.

use std::fmt;
use std::sync::Arc;

use super::credential::Scheme;

/// The most levels that the tree of accounts may have.
pub const MAX_LEVELS: usize = 16;

/// Whether the text is an account or API id: `[A-Za-z0-9._~-]{1,64}`, compared byte by byte.
#[must_use]
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'))
}

/// The ids from the root of the tree to an account, and the role of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// The ids joined by `/`, root first, the account itself last.
    path: Box<str>,
    roles: Box<[Box<str>]>,
}

impl Lineage {
    /// From `(id, role)` pairs, root first. `None` when there are none, more than
    /// [`MAX_LEVELS`], an id breaks the grammar, or one stands twice.
    #[must_use]
    pub fn new<'a>(nodes: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<Self> {
        let (mut path, mut roles) = (String::new(), Vec::new());
        for (id, role) in nodes {
            if !is_id(id) || path.split('/').any(|known| known == id) || roles.len() == MAX_LEVELS {
                return None;
            }
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(id);
            roles.push(role.into());
        }
        (!roles.is_empty()).then(|| Self { path: path.into(), roles: roles.into() })
    }

    /// The ids joined by `/`, as `X-Auth-Lineage` sends them.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.path
    }

    /// The account's own id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The account's own role.
    #[must_use]
    pub fn role(&self) -> &str {
        self.roles.last().map_or("", |role| role)
    }

    /// `(id, role)` pairs, root first.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.path.split('/').zip(self.roles.iter().map(|role| &**role))
    }

    /// The id of the nearest account with this role, from the account itself upwards.
    #[must_use]
    pub fn nearest(&self, role: &str) -> Option<&str> {
        self.path.rsplit('/').zip(self.roles.iter().rev()).find(|(_, r)| &***r == role).map(|(id, _)| id)
    }

    /// Whether `other` lies strictly below this account.
    ///
    /// Both lineages come from one tree, so a common prefix on an id border says it all.
    #[must_use]
    pub fn contains(&self, other: &Lineage) -> bool {
        other.path.len() > self.path.len()
            && other.path.as_bytes()[self.path.len()] == b'/'
            && other.path.starts_with(&*self.path)
    }
}

/// An account, as the directory knows it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Where it stands; holds its id and role.
    pub lineage: Lineage,
    /// Whether it, or an account above it, is suspended.
    pub suspended: bool,
    /// Tells one password from the next without saying anything of either; 0 without a password.
    pub password_mark: u64,
}

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The account that calls.
    pub account: Arc<Account>,
    /// How it authenticated.
    pub scheme: Scheme,
    /// The API id, or the session id of the token.
    pub credential: Arc<str>,
}

/// What became of a presented credential. Never a bool: what each case means for the request is
/// decided in the ladder, not where the store or the directory is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Genuine.
    Valid(Principal),
    /// Not one of ours; the text is the private cause.
    Invalid(&'static str),
    /// Genuine, but outside its time.
    Expired(&'static str),
    /// A genuine token whose session is over.
    Revoked(&'static str),
    /// Locked while it was being looked at: whether it is genuine is not told. Seconds until another try, at least 1.
    Locked(u32),
    /// Genuine, but the account is suspended. Who it was is for the log.
    Suspended(Principal),
    /// The session store could not tell.
    StoreUnavailable(&'static str),
    /// The directory could not tell.
    DirectoryUnavailable(&'static str),
}

/// How the target account lies to the caller's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Relation {
    /// The request names no account.
    #[default]
    None,
    /// The caller's own account.
    Myself,
    /// Strictly below the caller's.
    Below,
    /// Anywhere else in the tree.
    Outside,
    /// Not in the tree.
    Unknown,
}

impl Relation {
    /// The name in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Relation::None => "none",
            Relation::Myself => "self",
            Relation::Below => "below",
            Relation::Outside => "outside",
            Relation::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lineage(path: &str) -> Lineage {
        Lineage::new(path.split('/').map(|id| (id, "role"))).unwrap()
    }

    #[test]
    fn below_is_on_an_id_border() {
        let reseller = lineage("root/res");
        assert!(reseller.contains(&lineage("root/res/cus")));
        for outside in ["root/res", "root", "root/res-2/cus", "root/re", "res/cus"] {
            assert!(!reseller.contains(&lineage(outside)), "{outside}");
        }
    }

    #[test]
    fn a_lineage_is_a_bounded_path_of_distinct_ids() {
        assert!(Lineage::new([]).is_none());
        assert!(Lineage::new([("a", "r"), ("b/c", "r")]).is_none());
        assert!(Lineage::new([("a", "r"), ("a", "r")]).is_none());
        let ids: Vec<String> = (0..=MAX_LEVELS).map(|n| format!("a{n}")).collect();
        assert!(Lineage::new(ids.iter().map(|id| (id.as_str(), "r"))).is_none());
        assert!(Lineage::new(ids[1..].iter().map(|id| (id.as_str(), "r"))).is_some());
    }

    #[test]
    fn the_nearest_account_of_a_role_is_found_upwards() {
        let user = Lineage::new([("root", "administrator"), ("c1", "customer"), ("u", "user")]).unwrap();
        assert_eq!(user.nearest("customer"), Some("c1"));
        assert_eq!(user.nearest("user"), Some("u"));
        assert_eq!(user.nearest("reseller"), None);
        assert_eq!((user.id(), user.role()), ("u", "user"));
        assert_eq!(user.nodes().last(), Some(("u", "user")));
    }

    #[test]
    fn ids_are_plain_and_bounded() {
        assert!(is_id("A-z0._~"));
        for bad in ["", "a/b", "a b", "é", "a%20", &"x".repeat(65)] {
            assert!(!is_id(bad), "{bad}");
        }
    }
}
