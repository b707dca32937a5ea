//! Who may use a route, and whose data it may reach.
//!
//! A realm lists its roles, highest first; an [`Access`] gives each role a scope or nothing.

use std::fmt;

/// The place of a role in its realm's list; 0 is the highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleIndex(pub u8);

/// The most roles a realm may have.
pub const MAX_ROLES: usize = 16;

/// Whose data a role may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The caller's account alone.
    Own,
    /// The accounts strictly below it.
    Below,
    /// Both.
    Subtree,
    /// Any account at all.
    Any,
}

impl Scope {
    /// All scopes, as policy files may name them.
    pub const ALL: [Scope; 4] = [Scope::Own, Scope::Below, Scope::Subtree, Scope::Any];

    /// The name in policy files and `X-Auth-Scope`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Scope::Own => "own",
            Scope::Below => "below",
            Scope::Subtree => "subtree",
            Scope::Any => "any",
        }
    }

    /// The scopes that hold all accounts that this one holds, and more.
    #[must_use]
    pub const fn wider(self) -> &'static [Scope] {
        match self {
            Scope::Own | Scope::Below => &[Scope::Subtree, Scope::Any],
            Scope::Subtree => &[Scope::Any],
            Scope::Any => &[],
        }
    }

    /// Whether all accounts that `inner` holds are held by this one, too.
    #[must_use]
    pub fn holds(self, inner: Self) -> bool {
        self == inner || inner.wider().contains(&self)
    }

    /// Reads a scope's name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Scope::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The scope of each role on one route; a role without one is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access([Option<Scope>; MAX_ROLES]);

impl Access {
    /// Lets a role in.
    pub fn allow(&mut self, role: RoleIndex, scope: Scope) {
        if let Some(slot) = self.0.get_mut(usize::from(role.0)) {
            *slot = Some(scope);
        }
    }

    /// Refuses a role.
    pub fn refuse(&mut self, role: RoleIndex) {
        if let Some(slot) = self.0.get_mut(usize::from(role.0)) {
            *slot = None;
        }
    }

    /// The scope of the role, `None` when it is refused.
    #[must_use]
    pub fn scope(&self, role: RoleIndex) -> Option<Scope> {
        self.0.get(usize::from(role.0)).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::Scope;

    #[test]
    fn a_scope_holds_itself_and_what_is_narrower() {
        let held = |outer: Scope| Scope::ALL.into_iter().filter(|inner| outer.holds(*inner)).collect::<Vec<_>>();
        assert_eq!(held(Scope::Own), [Scope::Own]);
        assert_eq!(held(Scope::Below), [Scope::Below]);
        assert_eq!(held(Scope::Subtree), [Scope::Own, Scope::Below, Scope::Subtree]);
        assert_eq!(held(Scope::Any), Scope::ALL);
    }
}
