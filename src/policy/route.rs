//! Realms and routes in their compiled form.
//!
//! Made by `config::compile` and in tests, read by the ladder and the stages behind it. Everything that
//! a request needs is resolved to an index or a value here; names are kept for logs and metrics.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::access::{Access, RoleIndex};
use super::credential::Schemes;
use super::method::Method;
use super::pattern::Pattern;
use super::quota::{Quota, QuotaIndex};
use super::table::{Found, RouteTable};

/// Where a rule stands in the operator's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// The file, as the operator named it.
    pub file: Box<str>,
    /// From 1.
    pub line: u32,
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// The place of an upstream in the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamIndex(pub u16);

/// Who answers a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// An upstream.
    Upstream(UpstreamIndex),
    /// The gateway: e-mail and password for a token.
    Login,
    /// The gateway: the end of a session.
    Logout,
}

impl Destination {
    /// What stands for an upstream's name where the gateway answers.
    #[must_use]
    pub const fn own_words(self) -> Option<&'static str> {
        match self {
            Self::Upstream(_) => None,
            Self::Login => Some("the gateway's login"),
            Self::Logout => Some("the gateway's logout"),
        }
    }
}

/// Where a request names the account whose data it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetSource {
    /// The pattern's parameter with this index.
    Path(usize),
    /// A query parameter.
    Query {
        /// Its decoded name.
        name: Box<str>,
        /// Without it, the route counts as one without a target.
        optional: bool,
    },
    /// A header, by its lower-case name.
    Header(Box<str>),
}

/// The account that a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetRule {
    /// Where it stands, for each pattern of the route in the same order (parameters may differ in place).
    pub source: TargetSource,
    /// The role that the account must have; one of another role is refused like one outside.
    pub role: Option<Box<str>>,
}

/// Upstream time limits, all set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection stands, TLS included.
    pub connect: Duration,
    /// The longest gap between two reads.
    pub read: Duration,
    /// The longest gap between two writes.
    pub write: Duration,
    /// How long an unused connection is kept.
    pub idle: Duration,
}

/// One `[[route]]`, or one of the gateway's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Unique in the realm; a metric label.
    pub name: Box<str>,
    /// Where the operator wrote it.
    pub location: Location,
    /// Method and pattern, as written.
    pub matches: Vec<(Method, Pattern)>,
    /// Passes without a credential.
    pub public: bool,
    /// Switched on.
    pub enabled: bool,
    /// The schemes it takes: the realm's, less for `logout`.
    pub schemes: Schemes,
    /// Which roles, and whose data each may reach.
    pub access: Access,
    /// What must be there, lower-case.
    pub headers: Vec<Box<str>>,
    /// Empty: `X-App-Type` does not matter.
    pub app_types: Vec<Box<str>>,
    /// What it is charged to, beside the realm's own: on arrival, or once it is permitted.
    pub quotas: Vec<QuotaIndex>,
    /// The account that the request names.
    pub target: Option<TargetRule>,
    /// Who answers.
    pub destination: Destination,
    /// Longest body, in bytes.
    pub body_size: u64,
    /// Upstream time limits that differ from the upstream's own.
    pub timeouts: Option<Timeouts>,
    /// The upstream sees the path without the realm's base.
    pub strip_base: bool,
    /// The upstream sees the client's `Authorization`.
    pub forward_authorization: bool,
}

impl Route {
    /// The fields that the policy judges by; an upstream must see what was judged.
    pub fn reads(&self) -> impl Iterator<Item = &str> {
        let target = self.target.as_ref().and_then(|rule| match &rule.source {
            TargetSource::Header(name) => Some(&**name),
            TargetSource::Path(_) | TargetSource::Query { .. } => None,
        });
        let app_type = (!self.app_types.is_empty()).then_some("x-app-type");
        let authorization = self.forward_authorization.then_some("authorization");
        self.headers.iter().map(|name| &**name).chain(target).chain(app_type).chain(authorization)
    }
}

/// The networks that roles may call from, for those that may not call from everywhere.
pub type Networks = Vec<(RoleIndex, Vec<IpNet>)>;

/// One protection space: a base path, its roles, schemes and routes.
#[derive(Clone, Debug)]
pub struct Realm {
    /// Unique; the `aud` of its tokens and a metric label.
    pub name: Box<str>,
    /// Where the operator wrote it.
    pub location: Location,
    /// Without a trailing slash: `/ucaas/v1`, and the empty text for `/`.
    pub base: Box<str>,
    /// Highest first.
    pub roles: Vec<Box<str>>,
    /// The schemes that it takes.
    pub schemes: Schemes,
    /// From where a role may call; empty: from anywhere.
    pub networks: Networks,
    /// All quotas of the file.
    pub quotas: Vec<Quota>,
    /// What every request inside the base is charged to, before routing.
    pub charged: Vec<QuotaIndex>,
    /// In the order of the file, the gateway's own last.
    pub routes: Vec<Route>,
    /// The names of all upstreams, by their places.
    pub upstreams: Arc<[Box<str>]>,
    /// Path → route.
    pub table: RouteTable,
}

impl Realm {
    /// The place of a role; roles compare whole and byte by byte.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<RoleIndex> {
        let index = self.roles.iter().position(|role| &**role == name)?;
        u8::try_from(index).ok().map(RoleIndex)
    }

    /// An upstream's name.
    #[must_use]
    pub fn upstream(&self, index: UpstreamIndex) -> Option<&str> {
        self.upstreams.get(usize::from(index.0)).map(|name| &**name)
    }

    /// A quota by its place.
    #[must_use]
    pub fn quota(&self, index: QuotaIndex) -> Option<&Quota> {
        self.quotas.get(usize::from(index.0))
    }

    /// Whether a role may call from this address.
    #[must_use]
    pub fn admits_network(&self, role: RoleIndex, client: IpAddr) -> bool {
        match self.networks.iter().find(|(limited, _)| *limited == role) {
            Some((_, networks)) => networks.iter().any(|network| network.contains(&client)),
            None => true,
        }
    }

    /// The path behind the base, if the base owns the path: on a segment border only.
    #[must_use]
    pub fn strip_base<'p>(&self, path: &'p str) -> Option<&'p str> {
        let inside = path.strip_prefix(&*self.base)?;
        (inside.is_empty() || inside.starts_with('/')).then_some(inside)
    }

    /// Looks a path up that the base was taken from.
    #[must_use]
    pub fn find<'p>(&self, method: Method, inside: &'p str) -> Found<'p> {
        self.table.find(method, inside)
    }

    /// Adds a route under all its patterns that no other has.
    ///
    /// # Errors
    /// The index of each pattern that a route has already, and that route. The realm serves for further judging then, not
    /// for requests.
    pub fn add(&mut self, route: Route) -> Result<(), Vec<(usize, super::table::Clash)>> {
        let index = super::table::RouteIndex(u32::try_from(self.routes.len()).unwrap_or(u32::MAX));
        let added = route.matches.iter().map(|(method, pattern)| self.table.insert(*method, pattern, index));
        let clashes: Vec<_> = added.enumerate().filter_map(|(place, added)| Some((place, added.err()?))).collect();
        self.routes.push(route);
        if clashes.is_empty() { Ok(()) } else { Err(clashes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_owns_whole_segments_only() {
        let realm = |base: &str| Realm {
            name: "r".into(),
            location: Location::default(),
            base: base.into(),
            roles: vec!["administrator".into()],
            schemes: Schemes::default(),
            networks: vec![(RoleIndex(0), vec!["10.0.0.0/8".parse().unwrap()])],
            quotas: Vec::new(),
            charged: Vec::new(),
            routes: Vec::new(),
            upstreams: [].into(),
            table: RouteTable::default(),
        };
        assert_eq!(realm("/ucaas/v1").strip_base("/ucaas/v1/users"), Some("/users"));
        assert_eq!(realm("/ucaas/v1").strip_base("/ucaas/v1"), Some(""));
        assert_eq!(realm("/ucaas/v1").strip_base("/ucaas/v12"), None);
        assert_eq!(realm("").strip_base("/x"), Some("/x"));
        assert!(realm("").admits_network(RoleIndex(0), "10.1.2.3".parse().unwrap()));
        assert!(!realm("").admits_network(RoleIndex(0), "11.1.2.3".parse().unwrap()));
        assert!(realm("").admits_network(RoleIndex(1), "11.1.2.3".parse().unwrap()));
        assert_eq!(realm("").role("admin"), None);
    }
}
