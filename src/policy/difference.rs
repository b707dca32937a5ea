//! The decisions that differ between two sets of policies.
//!
//! Called by `portcullis diff`. `space` lists every kind of request that the sets can tell apart; here each is put to the
//! ladder twice, and what comes out otherwise is told by route and caller. Nothing is compared by text: a set that is
//! written differently and decides alike has no difference.

mod alike;
mod crossing;
mod outcome;
mod quotas;
mod splits;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use super::access::Scope;
use super::pattern::Segment;
use super::route::{Location, Realm, UpstreamIndex};
use super::snapshot::{RealmIndex, Snapshot};
use super::space::callers::Callers;
use super::space::paths;
use crossing::crossings;
use quotas::Allowances;

/// One set of policies.
#[derive(Clone, Copy)]
pub struct Side<'s> {
    /// The policies.
    pub snapshot: &'s Snapshot,
    /// The names of its upstreams, by their place in the settings.
    pub upstreams: &'s [String],
}

impl<'s> Side<'s> {
    fn upstream(&self, index: UpstreamIndex) -> &'s str {
        self.upstreams.get(usize::from(index.0)).map_or("-", String::as_str)
    }
}

/// What a change means for who is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Something passes, or passes more often, that did not.
    Widened,
    /// Something does not pass any more, or less often.
    Narrowed,
    /// Something goes elsewhere, or arrives otherwise.
    Rerouted,
    /// Something is refused as before, for another reason.
    RefusedOtherwise,
}

impl Kind {
    /// All kinds, in the order in which they are told.
    pub const ALL: [Kind; 4] = [Kind::Widened, Kind::Narrowed, Kind::Rerouted, Kind::RefusedOtherwise];

    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Widened => "widened",
            Kind::Narrowed => "narrowed",
            Kind::Rerouted => "rerouted",
            Kind::RefusedOtherwise => "refused_otherwise",
        }
    }
}

/// A permit in words. Where no account is named, the scope is the upstream's to heed.
#[must_use]
pub fn permit_words(to: &str, scope: Option<Scope>, names_account: bool) -> String {
    match scope {
        Some(scope) if !names_account => format!("permit ({to}, scope {scope})"),
        Some(_) | None => format!("permit ({to})"),
    }
}

/// All that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// By route.
    pub routes: Vec<RouteChange>,
    /// Quotas with another limit, and those charged for every request of a realm.
    pub quotas: Vec<QuotaChange>,
    /// What differs without being a decision: names, and times that upstreams have.
    pub notes: Vec<String>,
}

/// What differs for requests that one route took, and another, or the same, takes now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteChange {
    /// The route of the old set.
    pub old: Option<Rule>,
    /// The route of the new set.
    pub new: Option<Rule>,
    /// `METHOD /path`, the base included.
    pub matches: Vec<String>,
    /// What differs for whom.
    pub changes: Vec<Change>,
}

/// A route, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its realm.
    pub realm: Box<str>,
    /// Its name.
    pub route: Box<str>,
    /// Where it is written.
    pub location: Location,
}

/// Whether a change is in a verdict or in what a request is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Matter {
    /// In the verdict.
    Verdict,
    /// In the quotas.
    Quota,
}

/// One change for one kind of caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it means.
    pub kind: Kind,
    /// What it is about.
    pub matter: Matter,
    /// A role, `another role` or `anonymous`.
    pub caller: String,
    /// How the account named lies to the caller; empty where it does not matter.
    pub relations: Vec<String>,
    /// What else is particular about the request; empty where nothing is.
    pub condition: String,
    /// By the old set.
    pub before: String,
    /// By the new set.
    pub after: String,
}

/// A change of a quota that concerns more than one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaChange {
    /// What it means.
    pub kind: Kind,
    /// The realm.
    pub realm: Box<str>,
    /// Its name.
    pub quota: Box<str>,
    /// Where it is written, by the new set if it is there.
    pub location: Location,
    /// What is charged to it.
    pub charged: String,
    /// By the old set.
    pub before: String,
    /// By the new set.
    pub after: String,
}

impl Difference {
    /// How often there is a change of this kind: once for each caller of each route, and for each quota.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        let callers = |route: &RouteChange| {
            let mut callers: Vec<&str> = route
                .changes
                .iter()
                .filter(|change| change.kind == kind)
                .map(|change| change.caller.as_str())
                .collect();
            callers.sort_unstable();
            callers.dedup();
            callers.len()
        };
        self.routes.iter().map(callers).sum::<usize>() + self.quotas.iter().filter(|quota| quota.kind == kind).count()
    }

    /// Whether every request is decided as before.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.quotas.is_empty()
    }
}

type Realms = [Option<RealmIndex>; 2];

/// What is worked out once for each pair of realms.
struct Pair<'s> {
    realms: [Option<&'s Realm>; 2],
    callers: Callers,
    allowances: Option<Allowances<'s>>,
    /// Whether roles, networks and names are the same, so that equal routes decide alike.
    alike: bool,
}

/// Compares two sets. `tick` hears how many of how many places were compared. `None` where patterns overlap in too many ways
/// to try them all.
pub fn compare<'s>(old: Side<'s>, new: Side<'s>, tick: &mut dyn FnMut(usize, usize)) -> Option<Difference> {
    let sides = [old, new];
    let fresh = fresh(&sides);
    let unknown = format!("{fresh}type");
    let paths = paths(old.snapshot, new.snapshot)?;
    let crossings = crossings(&sides, &paths, &fresh);
    let mut pairs: HashMap<Realms, Pair<'s>> = HashMap::new();
    let mut difference = Difference::default();
    for (done, crossing) in crossings.iter().enumerate() {
        tick(done, crossings.len());
        let pair = pairs.entry(crossing.realms()).or_insert_with_key(|realms| {
            let pair = Pair::of(&sides, *realms, &fresh);
            difference.quotas.extend(pair.allowances.iter().flat_map(Allowances::changes));
            pair
        });
        if pair.alike && alike::decide_alike(&sides, crossing, pair) {
            difference.notes.extend(alike::notes(crossing));
            continue;
        }
        let changes = crossing.judge(&sides, pair, &unknown);
        if changes.is_empty() {
            difference.notes.extend(alike::notes(crossing));
        } else {
            difference.add(crossing.told(&sides, changes));
        }
    }
    tick(crossings.len(), crossings.len());
    difference.quotas.extend(splits::changes(&sides, &crossings));
    difference.notes.sort();
    difference.notes.dedup();
    Some(difference)
}

impl Difference {
    /// Requests that differ in nothing but their paths are told together; they come one after the other.
    fn add(&mut self, told: RouteChange) {
        let same = |known: &&mut RouteChange| {
            (&known.old, &known.new, &known.changes) == (&told.old, &told.new, &told.changes)
        };
        match self.routes.iter_mut().rev().take(64).find(same) {
            Some(known) => known.matches.extend(told.matches),
            None => self.routes.push(told),
        }
    }
}

impl<'s> Pair<'s> {
    fn of(sides: &[Side<'s>; 2], indexes: Realms, fresh: &str) -> Self {
        let realm = |side: usize| indexes[side].and_then(|index| sides[side].snapshot.realm(index));
        let realms: [Option<&'s Realm>; 2] = [realm(0), realm(1)];
        let both = match realms {
            [Some(old), Some(new)] => Some((old, new)),
            [None, _] | [_, None] => None,
        };
        Self {
            realms,
            callers: Callers::of(realms, fresh),
            allowances: both.map(|(old, new)| Allowances::of(old, new)),
            alike: both.is_some_and(|(old, new)| alike::realms_alike(old, new)),
        }
    }
}

/// A text that nothing in either set begins with.
fn fresh(sides: &[Side<'_>; 2]) -> String {
    let mut fresh = "x".to_owned();
    let begins = |fresh: &str| {
        let realms = || sides.iter().flat_map(|side| side.snapshot.realms());
        let routes = || realms().flat_map(|realm| &realm.routes);
        let segments = routes().flat_map(|route| &route.matches).flat_map(|(_, pattern)| pattern.segments());
        let literals = segments.filter_map(|segment| match segment {
            Segment::Literal(text) => Some(&**text),
            Segment::Parameter(_) | Segment::Rest(_) => None,
        });
        let bases = realms().flat_map(|realm| realm.base.split('/'));
        let roles = realms().flat_map(|realm| &realm.roles).map(|role| &**role);
        let types = routes().flat_map(|route| &route.app_types).map(|name| &**name);
        literals.chain(bases).chain(roles).chain(types).any(|text| text.starts_with(fresh))
    };
    while begins(&fresh) {
        fresh.push('x');
    }
    fresh
}
