//! Requests that come to one place in the old set and to one in the new: what differs for each caller.
//!
//! Called by `difference`. It puts the requests of `space` to the ladder, once by each set, and collects what comes out.

use std::collections::HashMap;

use super::super::method::Method;
use super::super::principal::is_id;
use super::super::rehearsal::Call;
use super::super::route::{Realm, Route};
use super::super::snapshot::{Place, RealmIndex, Spot};
use super::super::space::Piece;
use super::super::space::callers::{Caller, Player};
use super::super::space::conditions::{Setting, families};
use super::super::space::requests::{Named, Slot, call, filled, headers, names, slot, target};
use super::super::table::RouteIndex;
use super::outcome::{self, Outcome};
use super::{Change, Kind, Matter, Pair, Realms, RouteChange, Rule, Side};

/// What a realm has at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Found {
    Nothing,
    OtherMethods,
    Route(RouteIndex),
}

/// What tells one crossing from another.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key<'s> {
    realms: Realms,
    found: [Found; 2],
    slots: [Option<Slot<'s>>; 2],
}

/// One place of each side that some request comes to.
pub(super) struct Crossing<'a, 's> {
    key: Key<'s>,
    pub routes: [Option<&'s Route>; 2],
    /// Its methods and paths; the first stands for all.
    ways: Vec<(Method, &'a [Piece<'s>])>,
}

/// All crossings, in the order of the new set's routes.
pub(super) fn crossings<'a, 's>(
    sides: &[Side<'s>; 2],
    paths: &'a [Vec<Piece<'s>>],
    fresh: &str,
) -> Vec<Crossing<'a, 's>> {
    let mut places: HashMap<Key<'s>, usize> = HashMap::new();
    let mut all: Vec<Crossing<'a, 's>> = Vec::new();
    for path in paths {
        let text = filled(path, fresh);
        for method in Method::ALL.into_iter().filter(|method| *method != Method::Connect) {
            let [old, new] = sides.map(|side| side.snapshot.locate(method, &text));
            let found = [found(&old), found(&new)];
            if found[0] == found[1] && !matches!(found[0], Found::Route(_)) {
                continue; // Refused on both sides, for one reason.
            }
            let key = Key {
                realms: [old, new].map(|place| place.realm.map(|(index, _)| index)),
                found,
                slots: [slot_of(sides[0], &old, fresh), slot_of(sides[1], &new, fresh)],
            };
            let route = |side: usize| match (key.realms[side], key.found[side]) {
                (Some(realm), Found::Route(route)) => sides[side].snapshot.route(realm, route),
                (_, Found::Nothing | Found::OtherMethods) | (None, Found::Route(_)) => None,
            };
            let routes = [route(0), route(1)];
            let place = *places.entry(key.clone()).or_insert_with(|| {
                all.push(Crossing { key, routes, ways: Vec::new() });
                all.len() - 1
            });
            if let Some(crossing) = all.get_mut(place) {
                // GET stands for HEAD, unless HEAD has a route of its own.
                let said = method == Method::Head && crossing.ways.contains(&(Method::Get, path));
                crossing.ways.extend((!said).then_some((method, path.as_slice())));
            }
        }
    }
    let order = |side: usize, crossing: &Crossing<'_, '_>| match (crossing.key.realms[side], crossing.key.found[side]) {
        (Some(RealmIndex(realm)), Found::Route(RouteIndex(route))) => (0, realm, route),
        (Some(RealmIndex(realm)), Found::OtherMethods | Found::Nothing) => (1, realm, 0),
        (None, Found::Route(_) | Found::OtherMethods | Found::Nothing) => (2, 0, 0),
    };
    all.sort_by_key(|crossing| (order(1, crossing), order(0, crossing)));
    all
}

fn found(place: &Place<'_>) -> Found {
    match place.spot {
        Spot::Nothing => Found::Nothing,
        Spot::Method(_) => Found::OtherMethods,
        Spot::Route(index, ..) => Found::Route(index),
    }
}

/// The slot by the set's own route, which lives longer than the path that led there.
fn slot_of<'s>(side: Side<'s>, place: &Place<'_>, fresh: &str) -> Option<Slot<'s>> {
    let (realm, _) = place.realm?;
    let Spot::Route(index, ..) = place.spot else { return None };
    let own = side.snapshot.route(realm, index)?;
    slot(own, place, fresh)
}

/// How the requests of one crossing are put to the ladder for one caller.
struct Trial<'t, 's> {
    sides: &'t [Side<'s>; 2],
    pair: &'t Pair<'s>,
    caller: &'t Caller,
    /// Where each side reads an account from, if it looks at it when this caller asks.
    slots: [Option<&'t Slot<'s>>; 2],
    drafts: Vec<Draft>,
}

/// A change, and for which accounts named it was seen: by the old rule, and by the new one.
struct Draft {
    change: Change,
    named: Vec<[Option<Named>; 2]>,
}

impl<'s> Crossing<'_, 's> {
    pub(super) fn realms(&self) -> Realms {
        self.key.realms
    }

    /// Whether both sides read the account from the same place.
    pub(super) fn reads_alike(&self) -> bool {
        self.key.slots[0] == self.key.slots[1]
    }

    /// All that differs.
    pub(super) fn judge(&self, sides: &[Side<'s>; 2], pair: &Pair<'s>, unknown: &str) -> Vec<Change> {
        if self.routes != [None, None] {
            return pair.callers.all.iter().flat_map(|caller| self.try_caller(sides, pair, caller, unknown)).collect();
        }
        // Without a route nobody is asked who they are, so one caller stands for all.
        let nobody = pair.callers.all.last().filter(|_| self.key.found[0] != self.key.found[1]);
        nobody.into_iter().flat_map(|caller| self.try_caller(sides, pair, caller, unknown)).collect()
    }

    fn try_caller(&self, sides: &[Side<'s>; 2], pair: &Pair<'s>, caller: &Caller, unknown: &str) -> Vec<Change> {
        let slot = |side: usize| self.key.slots[side].as_ref().filter(|_| self.is_scoped(side, pair, caller));
        let slots = [slot(0), slot(1)];
        let mut trial = Trial { sides, pair, caller, slots, drafts: Vec::new() };
        let wanted = self.routes.iter().flatten().filter_map(|route| route.target.as_ref()?.role.as_deref());
        let wanted: Vec<&str> = wanted.collect();
        let headers = slots.iter().flatten().filter_map(|slot| match slot {
            Slot::Header(name) => Some(*name),
            Slot::Segment(_) | Slot::Spelled(_) | Slot::Query(_) => None,
        });
        let headers: Vec<&str> = headers.collect();
        let families = families(self.routes, &headers, &caller.origins, caller.role.is_some(), unknown);
        let names = |slot: &Slot<'s>| names(slot, &pair.callers, &wanted);
        let mut charged = false;
        for named in combinations(slots, names) {
            let spelled = spelled(&named);
            let placed = (!spelled.is_empty()).then(|| pair.callers.player(caller, 0, &spelled));
            let Some(player) = placed.as_ref().or_else(|| caller.players.first()) else { continue };
            for family in &families {
                let outcomes = self.try_one(&mut trial, &family.first, &named, player);
                if !outcomes.iter().all(Outcome::is_permit) {
                    continue;
                }
                if !charged {
                    charged = true;
                    self.compare_charges(&mut trial, &family.first, &named);
                }
                for other in &family.others {
                    self.try_one(&mut trial, other, &named, player);
                }
            }
        }
        let all = slots.map(|slot| slot.map(names).unwrap_or_default());
        let label = |named: Named| named.label(&pair.callers, !wanted.is_empty());
        let told = |draft: Draft| Change { relations: relations(slots, &all, &draft.named, label), ..draft.change };
        trial.drafts.into_iter().map(told).collect()
    }

    /// Whether a side looks at the account named when this caller asks.
    fn is_scoped(&self, side: usize, pair: &Pair<'s>, caller: &Caller) -> bool {
        let (Some(realm), Some(route), Some(role)) = (pair.realms[side], self.routes[side], &caller.role) else {
            return false;
        };
        !route.public && realm.role(role).and_then(|role| route.access.scope(role)).is_some()
    }

    fn request(
        &self,
        trial: &Trial<'_, 's>,
        setting: &Setting<'_>,
        named: &[(&Slot<'s>, Named)],
        player: &Player,
    ) -> Call {
        let callers = &trial.pair.callers;
        let (method, path) = self.ways.first().copied().unwrap_or((Method::Get, &[]));
        let signed = player.account.is_some();
        let mut call = call(method.name(), target(path, named, callers), setting, setting.scheme);
        call.headers = headers(self.routes, named, callers, setting, signed);
        call.caller.clone_from(&player.account);
        call
    }

    fn try_one(
        &self,
        trial: &mut Trial<'_, 's>,
        setting: &Setting<'_>,
        named: &[(&Slot<'s>, Named)],
        player: &Player,
    ) -> [Outcome<'s>; 2] {
        let call = self.request(trial, setting, named, player);
        let outcomes = trial.sides.map(|side| outcome::of(side, &player.tree, &call));
        for (kind, before, after) in outcome::compare(&outcomes[0], &outcomes[1]) {
            trial.note((kind, Matter::Verdict), named, &setting.label, (before, after));
        }
        outcomes
    }

    /// What the request is charged to does not depend on whom it names, but on who may stand above the caller.
    fn compare_charges(&self, trial: &mut Trial<'_, 's>, setting: &Setting<'_>, named: &[(&Slot<'s>, Named)]) {
        let (Some(allowances), [Some(old), Some(new)]) = (&trial.pair.allowances, self.routes) else { return };
        if allowances.charge_alike(&old.quotas, &new.quotas) {
            return;
        }
        let spelled = spelled(named);
        for above in 0..trial.caller.above.len() {
            let player = trial.pair.callers.player(trial.caller, above, &spelled);
            let call = self.request(trial, setting, named, &player);
            let charged = trial.sides.map(|side| outcome::charged(side, &player.tree, &call));
            for (kind, before, after) in allowances.compare(&charged) {
                trial.note((kind, Matter::Quota), &[], "", (before, after));
            }
        }
    }

    /// The crossing for people.
    pub(super) fn told(&self, sides: &[Side<'s>; 2], changes: Vec<Change>) -> RouteChange {
        let rule = |side: usize| {
            let (realm, route) = (self.key.realms[side]?, self.routes[side]?);
            let realm = sides[side].snapshot.realm(realm)?.name.clone();
            Some(Rule { realm, route: route.name.clone(), location: route.location.clone() })
        };
        let realm = |side: usize| self.key.realms[side].and_then(|realm| sides[side].snapshot.realm(realm));
        let named = [(realm(1), self.routes[1]), (realm(0), self.routes[0])];
        let matches = self.ways.iter().map(|(method, path)| format!("{method} {}", pattern(path, &named)));
        RouteChange { old: rule(0), new: rule(1), matches: matches.collect(), changes }
    }
}

impl<'s> Trial<'_, 's> {
    /// Notes a change, or that it is seen with these accounts named too.
    fn note(
        &mut self,
        what: (Kind, Matter),
        named: &[(&Slot<'s>, Named)],
        condition: &str,
        (before, after): (String, String),
    ) {
        let of = |slot: &Slot<'s>| named.iter().find(|(known, _)| *known == slot).map(|(_, named)| *named);
        let named = self.slots.map(|slot| slot.and_then(of));
        let is_known = |draft: &&mut Draft| {
            let Change { kind, matter, condition: known, before: was, after: is, .. } = &draft.change;
            ((*kind, *matter), known.as_str(), was, is) == (what, condition, &before, &after)
        };
        match self.drafts.iter_mut().find(is_known) {
            Some(draft) => draft.named.extend((!draft.named.contains(&named)).then_some(named)),
            None => {
                let (caller, (kind, matter)) = (self.caller.label.clone(), what);
                let condition = condition.to_owned();
                let change = Change { kind, matter, caller, relations: Vec::new(), condition, before, after };
                self.drafts.push(Draft { change, named: vec![named] });
            }
        }
    }
}

/// Every way to fill the slots. Nobody has two ids, so two that the path spells out cannot both be the caller's.
fn combinations<'t, 's>(
    slots: [Option<&'t Slot<'s>>; 2],
    names: impl Fn(&Slot<'s>) -> Vec<Named>,
) -> Vec<Vec<(&'t Slot<'s>, Named)>> {
    let mut all: Vec<Vec<(&Slot<'s>, Named)>> = vec![Vec::new()];
    let second = slots[1].filter(|slot| slots[0] != Some(*slot));
    for slot in [slots[0], second].into_iter().flatten() {
        let names = names(slot);
        let with = |begun: &Vec<(&'t Slot<'s>, Named)>, name: Named| [begun.as_slice(), &[(slot, name)]].concat();
        all = all.iter().flat_map(|begun| names.iter().map(move |name| with(begun, *name))).collect();
    }
    let own = |named: &[(&Slot<'s>, Named)]| {
        let spelled = |(slot, named): &&(&Slot<'s>, Named)| matches!(slot, Slot::Spelled(_)) && *named == Named::Myself;
        named.iter().filter(spelled).count()
    };
    all.retain(|named| own(named) < 2);
    all
}

/// The accounts named, in words; none where it does not matter which.
fn relations(
    slots: [Option<&Slot<'_>>; 2],
    all: &[Vec<Named>; 2],
    seen: &[[Option<Named>; 2]],
    label: impl Fn(Named) -> String,
) -> Vec<String> {
    let words = |named: &[Named]| named.iter().map(|named| label(*named)).collect::<Vec<String>>();
    if slots[0] == slots[1] || slots[0].is_none() || slots[1].is_none() {
        let side = usize::from(slots[0].is_none());
        let named: Vec<Named> = seen.iter().filter_map(|named| named[side]).collect();
        return if named.len() == all[side].len() { Vec::new() } else { words(&named) };
    }
    let by_old = |old: Named| -> Vec<Named> {
        seen.iter().filter(|named| named[0] == Some(old)).filter_map(|named| named[1]).collect()
    };
    let mut groups: Vec<(Vec<Named>, Vec<Named>)> = Vec::new();
    for old in all[0].iter().copied() {
        let new = by_old(old);
        match groups.iter_mut().find(|(_, known)| *known == new) {
            _ if new.is_empty() => {}
            Some((olds, _)) => olds.push(old),
            None => groups.push((vec![old], new)),
        }
    }
    let side = |named: &[Named], all: &[Named], rule: &str| {
        (named.len() < all.len()).then(|| format!("{} by the {rule}", words(named).join(" or ")))
    };
    let told = groups.iter().filter_map(|(olds, news)| {
        let parts = [side(olds, &all[0], "old rule"), side(news, &all[1], "new rule")];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(" and "))
    });
    told.collect()
}

/// Account ids that the path spells out, with where they stand.
fn spelled<'t>(named: &[(&'t Slot<'_>, Named)]) -> Vec<(&'t str, Named)> {
    let spelled = named.iter().filter_map(|(slot, named)| match slot {
        Slot::Spelled(text) if is_id(text) => Some((&**text, *named)),
        Slot::Spelled(_) | Slot::Segment(_) | Slot::Query(_) | Slot::Header(_) => None,
    });
    spelled.collect()
}

/// The path with the names that the first route that has them gives its parameters.
fn pattern(path: &[Piece<'_>], named: &[(Option<&Realm>, Option<&Route>)]) -> String {
    let filled = filled(path, "~");
    let patterns = named.iter().filter_map(|(realm, route)| {
        let (realm, route) = ((*realm)?, (*route)?);
        let inside = realm.strip_base(&filled)?;
        let fitting = route.matches.iter().map(|(_, pattern)| pattern).filter(|pattern| pattern.matches(inside));
        let pattern = fitting.min_by_key(|pattern| pattern.precedence())?;
        Some((realm.base.matches('/').count(), pattern))
    });
    let patterns: Vec<_> = patterns.collect();
    let name = |place: usize| {
        let names = patterns.iter().filter_map(|(base, pattern)| pattern.segments().get(place.checked_sub(*base)?));
        names.filter(|segment| segment.parameter().is_some()).map(ToString::to_string).next()
    };
    let mut text = String::new();
    for (place, piece) in path.iter().enumerate() {
        match piece {
            Piece::Literal(literal) => text.push_str(&format!("/{literal}")),
            Piece::Free => text.push_str(&name(place).unwrap_or_else(|| "/{}".to_owned())),
        }
    }
    text
}
