//! Everything that operators wrote, compiled: immutable, swapped whole, named by its revision.

use super::method::Method;
use super::method::MethodSet;
use super::route::{Networks, Realm, Route};
use super::table::{Found, Parameters, RouteIndex};
use super::uri::parse_target;

/// The place of a realm in its snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RealmIndex(pub u16);

/// One compiled set of policies.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Longest base first, so that the first match owns a path.
    realms: Vec<Realm>,
    /// A hash over the policy files and the names of the upstreams.
    revision: Box<str>,
}

/// Where a request's method and path lead.
#[derive(Clone, Copy, Debug)]
pub struct Place<'s> {
    /// The realm whose base owns the path.
    pub realm: Option<(RealmIndex, &'s Realm)>,
    /// What the realm has there.
    pub spot: Spot<'s>,
}

/// What a realm has at a path.
#[derive(Clone, Copy, Debug)]
pub enum Spot<'s> {
    /// Nothing.
    Nothing,
    /// Routes for these methods only.
    Method(MethodSet),
    /// A route.
    Route(RouteIndex, &'s Route, Parameters<'s>),
}

impl<'s> Place<'s> {
    /// Nowhere at all: what a malformed request gets.
    pub const NOWHERE: Place<'static> = Place { realm: None, spot: Spot::Nothing };

    /// The route, if there is one.
    #[must_use]
    pub const fn route(&self) -> Option<&'s Route> {
        match self.spot {
            Spot::Route(_, route, _) => Some(route),
            Spot::Nothing | Spot::Method(_) => None,
        }
    }
}

impl Snapshot {
    /// From compiled realms.
    #[must_use]
    pub fn new(mut realms: Vec<Realm>, revision: impl Into<Box<str>>) -> Self {
        realms.sort_by(|a, b| b.base.len().cmp(&a.base.len()).then_with(|| a.base.cmp(&b.base)));
        Self { realms, revision: revision.into() }
    }

    /// The hash that names it.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// All realms, longest base first.
    #[must_use]
    pub fn realms(&self) -> &[Realm] {
        &self.realms
    }

    /// A realm by its place.
    #[must_use]
    pub fn realm(&self, index: RealmIndex) -> Option<&Realm> {
        self.realms.get(usize::from(index.0))
    }

    /// A route by its places.
    #[must_use]
    pub fn route(&self, realm: RealmIndex, route: RouteIndex) -> Option<&Route> {
        self.realm(realm)?.routes.get(route.0 as usize)
    }

    /// Puts a route in the place of another that has the same patterns, and gives that one. For tools that ask what a
    /// changed rule would do.
    pub fn exchange_route(&mut self, realm: RealmIndex, index: RouteIndex, route: Route) -> Option<Route> {
        let place = self.realms.get_mut(usize::from(realm.0))?.routes.get_mut(index.0 as usize)?;
        Some(std::mem::replace(place, route))
    }

    /// The realm whose base owns the path of a request target; `None` where the target cannot be read, too.
    #[must_use]
    pub fn owner(&self, target: &str) -> Option<&Realm> {
        let path = parse_target(target.as_bytes()).ok()?.path;
        self.realms.iter().find(|realm| realm.strip_base(path).is_some())
    }

    /// Puts other limits of where roles may call from in a realm, and gives the ones before.
    pub fn exchange_networks(&mut self, realm: RealmIndex, networks: Networks) -> Option<Networks> {
        let place = &mut self.realms.get_mut(usize::from(realm.0))?.networks;
        Some(std::mem::replace(place, networks))
    }

    /// Finds realm and route. The longest base owns a path; there is no fall-back to another realm.
    #[must_use]
    pub fn locate<'s>(&'s self, method: Method, path: &'s str) -> Place<'s> {
        for (realm, index) in self.realms.iter().zip(0u16..) {
            let Some(inside) = realm.strip_base(path) else { continue };
            let spot = match realm.find(method, inside) {
                Found::Nothing => Spot::Nothing,
                Found::Method(allowed) => Spot::Method(allowed),
                Found::Route(route, parameters) => realm
                    .routes
                    .get(route.0 as usize)
                    .map_or(Spot::Nothing, |found| Spot::Route(route, found, parameters)),
            };
            return Place { realm: Some((RealmIndex(index), realm)), spot };
        }
        Place::NOWHERE
    }
}
