//! Mutants: policies with one rule changed, to ask whether any policy test would notice.
//!
//! Made for `portcullis test --mutate`. A mutant never changes where a request leads, only what its route or realm says of it,
//! so what is changed can take the original's place in a snapshot. Nothing here judges, or knows which mutants matter: `witness` finds
//! out by the ladder whether any request can tell a mutant from its original.

use super::access::{RoleIndex, Scope};
use super::route::{Destination, Location, Networks, Realm, Route, UpstreamIndex};
use super::snapshot::{RealmIndex, Snapshot};
use super::table::RouteIndex;

/// The one rule that is another in a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// A role is refused that was let in.
    DropRole(RoleIndex),
    /// A role is let in that was refused, as the short form of `allow` would.
    LetIn(RoleIndex),
    /// A role reaches further.
    Widen {
        /// Whose scope.
        role: RoleIndex,
        /// What it was.
        from: Scope,
        /// What it is.
        to: Scope,
    },
    /// Nobody needs a credential any more.
    MakePublic,
    /// A public route asks for a credential, and lets all roles in.
    MakePrivate,
    /// A required header may be missing.
    DropHeader(Box<str>),
    /// `X-App-Type` does not matter any more.
    DropAppTypes,
    /// The account that the request names is not judged any more.
    DropTarget,
    /// The account that the request names may have any role.
    DropTargetRole,
    /// It goes elsewhere. One other upstream stands for all: whatever notices this one notices the others.
    Reroute {
        /// Where it went.
        from: UpstreamIndex,
        /// Where it goes.
        to: UpstreamIndex,
    },
    /// It is switched on.
    Enable,
    /// The upstream sees the client's `Authorization`.
    ForwardAuthorization,
    /// The upstream does not see it any more.
    KeepAuthorization,
    /// A role may call from everywhere: the one edit of a realm.
    AnyNetwork(RoleIndex),
}

/// A route or realm with one rule changed.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// The realm.
    pub realm: RealmIndex,
    /// Where the rule stands.
    pub rule: Location,
    /// What is another.
    pub edit: Edit,
    changed: Changed,
}

#[derive(Clone, Debug)]
enum Changed {
    Route(RouteIndex, Box<Route>),
    Networks(Networks),
}

impl Mutant {
    /// The route that is changed; `None` changes the realm.
    #[must_use]
    pub const fn route(&self) -> Option<RouteIndex> {
        match &self.changed {
            Changed::Route(index, _) => Some(*index),
            Changed::Networks(_) => None,
        }
    }

    /// Changes places with the original in the snapshot that it was made of; a second time, back.
    pub fn change_places(&mut self, snapshot: &mut Snapshot) {
        match &mut self.changed {
            Changed::Route(index, route) => {
                if let Some(other) = snapshot.exchange_route(self.realm, *index, Route::clone(route)) {
                    **route = other;
                }
            }
            Changed::Networks(networks) => {
                if let Some(other) = snapshot.exchange_networks(self.realm, networks.clone()) {
                    *networks = other;
                }
            }
        }
    }
}

/// All mutants of all realms and of all routes with rules of the operator's: the gateway's own have none. `upstreams` is how
/// many there are.
#[must_use]
pub fn mutants(snapshot: &Snapshot, upstreams: usize) -> Vec<Mutant> {
    let mut all = Vec::new();
    for (realm, place) in snapshot.realms().iter().zip(0u16..).map(|(realm, place)| (realm, RealmIndex(place))) {
        all.extend(realm.networks.iter().map(|(limited, _)| {
            let others = realm.networks.iter().filter(|(role, _)| role != limited);
            Mutant {
                realm: place,
                rule: realm.location.clone(),
                edit: Edit::AnyNetwork(*limited),
                changed: Changed::Networks(others.cloned().collect()),
            }
        }));
        for (route, index) in realm.routes.iter().zip(0u32..) {
            all.extend(edits(realm, route, upstreams).into_iter().map(|edit| Mutant {
                realm: place,
                rule: route.location.clone(),
                changed: Changed::Route(RouteIndex(index), Box::new(edited(realm, route, &edit))),
                edit,
            }));
        }
    }
    all
}

fn edits(realm: &Realm, route: &Route, upstreams: usize) -> Vec<Edit> {
    let Destination::Upstream(upstream) = route.destination else { return Vec::new() };
    let mut edits = Vec::new();
    for role in roles(realm) {
        match route.access.scope(role) {
            None => edits.push(Edit::LetIn(role)),
            Some(from) => {
                edits.push(Edit::DropRole(role));
                edits.extend(from.wider().iter().map(|to| Edit::Widen { role, from, to: *to }));
            }
        }
    }
    edits.push(if route.public { Edit::MakePrivate } else { Edit::MakePublic });
    for (place, name) in route.headers.iter().enumerate() {
        // Named twice, it is one rule.
        if !route.headers[..place].contains(name) {
            edits.push(Edit::DropHeader(name.clone()));
        }
    }
    if !route.app_types.is_empty() {
        edits.push(Edit::DropAppTypes);
    }
    if let Some(target) = &route.target {
        edits.push(Edit::DropTarget);
        edits.extend(target.role.as_ref().map(|_| Edit::DropTargetRole));
    }
    let known = (0u16..).map(UpstreamIndex).take(upstreams);
    edits.extend(known.into_iter().find(|to| *to != upstream).map(|to| Edit::Reroute { from: upstream, to }));
    if !route.enabled {
        edits.push(Edit::Enable);
    }
    edits.push(if route.forward_authorization { Edit::KeepAuthorization } else { Edit::ForwardAuthorization });
    edits
}

fn roles(realm: &Realm) -> impl Iterator<Item = RoleIndex> {
    realm.roles.iter().zip(0u8..).map(|(_, index)| RoleIndex(index))
}

fn edited(realm: &Realm, route: &Route, edit: &Edit) -> Route {
    let mut changed = route.clone();
    match edit {
        Edit::DropRole(role) => changed.access.refuse(*role),
        Edit::LetIn(role) => changed.access.allow(*role, Scope::Subtree),
        Edit::Widen { role, to, .. } => changed.access.allow(*role, *to),
        Edit::MakePublic => changed.public = true,
        Edit::MakePrivate => {
            changed.public = false;
            roles(realm).for_each(|role| changed.access.allow(role, Scope::Subtree));
        }
        Edit::DropHeader(name) => changed.headers.retain(|known| known != name),
        Edit::DropAppTypes => changed.app_types.clear(),
        Edit::DropTarget => changed.target = None,
        Edit::DropTargetRole => {
            if let Some(target) = &mut changed.target {
                target.role = None;
            }
        }
        Edit::Reroute { to, .. } => changed.destination = Destination::Upstream(*to),
        Edit::Enable => changed.enabled = true,
        Edit::ForwardAuthorization => changed.forward_authorization = true,
        Edit::KeepAuthorization => changed.forward_authorization = false,
        // Nothing of a route's.
        Edit::AnyNetwork(_) => {}
    }
    changed
}

impl Edit {
    /// The change in an operator's words. `upstream` knows the upstreams' names.
    #[must_use]
    pub fn words<'u>(&self, realm: &Realm, upstream: impl Fn(UpstreamIndex) -> &'u str) -> String {
        let name = |role: &RoleIndex| realm.roles.get(usize::from(role.0)).map_or("-", |name| &**name);
        match self {
            Edit::DropRole(role) => format!("drop role {}", name(role)),
            Edit::LetIn(role) => format!("let role {} in", name(role)),
            Edit::Widen { role, from, to } => format!("scope of {} {from} → {to}", name(role)),
            Edit::MakePublic => "public".to_owned(),
            Edit::MakePrivate => "not public".to_owned(),
            Edit::DropHeader(header) => format!("drop header {}", wire_name(header)),
            Edit::DropAppTypes => "drop app_types".to_owned(),
            Edit::DropTarget => "drop target".to_owned(),
            Edit::DropTargetRole => "drop target_role".to_owned(),
            Edit::Reroute { from, to } => format!("to upstream {} instead of {}", upstream(*to), upstream(*from)),
            Edit::Enable => "switch it on".to_owned(),
            Edit::ForwardAuthorization => "forward_authorization on".to_owned(),
            Edit::KeepAuthorization => "forward_authorization off".to_owned(),
            Edit::AnyNetwork(role) => format!("role {} from any network", name(role)),
        }
    }
}

/// A lower-case header name as people write it.
#[must_use]
pub fn wire_name(header: &str) -> String {
    let word = |word: &str| match word.split_at_checked(1) {
        Some((first, rest)) => format!("{}{rest}", first.to_ascii_uppercase()),
        None => String::new(),
    };
    header.split('-').map(word).collect::<Vec<_>>().join("-")
}
