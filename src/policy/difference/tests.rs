//! Random edits of random policies, and random requests: whatever they decide otherwise, the difference has told.

mod random;

use std::sync::Arc;

use super::super::facts::{Facts, RequestHead};
use super::super::principal::{Account, is_id};
use super::super::properties::Dice;
use super::super::rehearsal::{Call, Tree, rehearse};
use super::super::route::Route;
use super::super::snapshot::Snapshot;
use super::super::target;
use super::outcome::{self, Outcome};
use super::{Change, Difference, Kind, Matter, RouteChange, Side, compare};
use random::{NAMES, call, policies, tree};

fn side<'s>(snapshot: &'s Snapshot, upstreams: &'s [String]) -> Side<'s> {
    Side { snapshot, upstreams }
}

/// The route that a call takes, and what the account is that it names, in the words of the difference.
fn taken(side: Side<'_>, tree: &Tree, call: &Call, wanted: &[Box<str>]) -> (Option<(String, String)>, Option<String>) {
    rehearse(side.snapshot, tree, call, |facts, _| {
        let Some(route) = facts.place.route() else { return (None, None) };
        let realm = facts.place.realm.map(|(_, realm)| realm.name.to_string()).unwrap_or_default();
        (Some((realm, route.name.to_string())), relation(facts, route, tree, call, wanted))
    })
}

fn relation(facts: &Facts<'_>, route: &Route, tree: &Tree, call: &Call, wanted: &[Box<str>]) -> Option<String> {
    let rule = route.target.as_ref()?;
    let super::super::snapshot::Spot::Route(_, _, parameters) = facts.place.spot else { return None };
    let head: &RequestHead<'_> = facts.head;
    let named = match target::read(rule, head, &parameters) {
        Ok(Some(id)) => id,
        Ok(None) | Err(target::TargetFault::HeaderMissing(_)) => return Some("none".to_owned()),
        Err(target::TargetFault::Malformed(cause)) => {
            let twice = cause.contains("repeated");
            return Some(if twice { "named twice" } else { "none" }.to_owned());
        }
    };
    let caller: &Arc<Account> = call.caller.as_ref()?;
    let label = match tree.account(&named) {
        _ if *named == *caller.lineage.id() => "self".to_owned(),
        _ if !is_id(&named) => "no id".to_owned(),
        None => "unknown".to_owned(),
        Some(account) if !caller.lineage.contains(&account.lineage) => "outside".to_owned(),
        Some(_) if wanted.is_empty() => "below".to_owned(),
        Some(account) => match wanted.iter().find(|role| ***role == *account.lineage.role()) {
            Some(role) => format!("below (a {role})"),
            None => "below (of another role)".to_owned(),
        },
    };
    Some(label)
}

/// Whether a change tells of this request.
fn covers(change: &Change, kind: Kind, caller: &str, relations: &[Option<String>; 2]) -> bool {
    let is = |words: &str, relation: &Option<String>| {
        relation.as_ref().is_some_and(|relation| words.split(" or ").any(|word| word == relation))
    };
    let related = |told: &String| match (told.split_once(" by the old rule"), told.strip_suffix(" by the new rule")) {
        (Some((old, "")), None) => is(old, &relations[0]),
        (Some((old, _)), Some(rest)) => {
            let new = rest.split_once(" by the old rule and ").map_or("", |(_, new)| new);
            is(old, &relations[0]) && is(new, &relations[1])
        }
        (None, Some(new)) => is(new, &relations[1]),
        (Some(_), None) => panic!("{told}"),
        (None, None) => relations.iter().any(|relation| relation.as_ref() == Some(told)),
    };
    let related = change.relations.is_empty() || relations == &[None, None] || change.relations.iter().any(related);
    change.kind == kind && change.matter == Matter::Verdict && change.caller == caller && related
}

fn label(call: &Call, sides: &[Side<'_>; 2], path: &str) -> String {
    let Some(caller) = &call.caller else { return "anonymous".to_owned() };
    let role = caller.lineage.role();
    let known = sides.iter().any(|side| {
        let owner = side.snapshot.realms().iter().find(|realm| realm.strip_base(path).is_some());
        owner.is_some_and(|realm| realm.role(role).is_some())
    });
    if known { role.to_owned() } else { "another role".to_owned() }
}

fn of_route<'d>(difference: &'d Difference, routes: &[Option<(String, String)>; 2]) -> Vec<&'d RouteChange> {
    let name = |rule: &Option<super::Rule>| rule.as_ref().map(|rule| (rule.realm.to_string(), rule.route.to_string()));
    difference.routes.iter().filter(|told| name(&told.old) == routes[0] && name(&told.new) == routes[1]).collect()
}

#[test]
#[allow(clippy::too_many_lines, reason = "one walk, with what must hold checked along the way")]
fn whatever_random_requests_decide_otherwise_after_random_edits_is_told() {
    let mut dice = Dice::new(0x5eed_d1ff);
    let names: Vec<String> = NAMES.map(str::to_owned).to_vec();
    let (mut differing, mut quiet, mut recharged) = ([0usize; 4], 0usize, 0usize);
    for round in 0..120 {
        let (old, new) = policies(&mut dice, round);
        let sides = [side(&old, &names), side(&new, &names)];
        let difference = compare(sides[0], sides[1], &mut |_, _| {}).unwrap();
        quiet += usize::from(difference.is_empty());
        let tree = tree();
        for _ in 0..150 {
            let call = call(&mut dice, &tree, [&old, &new]);
            let path = call.target.split('?').next().unwrap_or_default().to_owned();
            let outcomes = sides.map(|side| outcome::of(side, &tree, &call));
            let located = sides.map(|side| taken(side, &tree, &call, &[]));
            let routes = [located[0].0.clone(), located[1].0.clone()];
            let caller = label(&call, &sides, &path);
            let roles: Vec<Box<str>> = sides.iter().filter_map(|side| wanted(*side, &call)).collect();
            let relations = sides.map(|side| taken(side, &tree, &call, &roles).1);
            let told = of_route(&difference, &routes);
            for (kind, before, after) in outcome::compare(&outcomes[0], &outcomes[1]) {
                differing[kind as usize] += 1;
                let covered = match kind {
                    Kind::RefusedOtherwise => true,
                    Kind::Widened | Kind::Narrowed | Kind::Rerouted => {
                        let mut changes = told.iter().flat_map(|told| &told.changes);
                        changes.any(|change| covers(change, kind, &caller, &relations))
                    }
                };
                assert!(
                    covered,
                    "round {round}: {} {} of {caller}, target {relations:?}, {:?}: {kind:?}, {before} → {after}, is not \
                     told:\n{:#?}",
                    call.method, call.target, call.headers, told
                );
            }
            if outcomes.iter().all(Outcome::is_permit) {
                let charged = sides.map(|side| outcome::charged(side, &tree, &call));
                let shown = charged.each_ref().map(|charged| {
                    let mut shown: Vec<_> =
                        charged.iter().map(|quota| (&quota.name, &quota.per, &quota.limit)).collect();
                    shown.sort_by_key(|(name, ..)| *name);
                    shown
                });
                if shown[0] != shown[1] {
                    recharged += 1;
                    let quota = |change: &&Change| change.matter == Matter::Quota && change.caller == caller;
                    let of_route = told.iter().flat_map(|told| &told.changes).any(|change| quota(&change));
                    assert!(
                        of_route || !difference.quotas.is_empty(),
                        "round {round}: {} {}",
                        call.method,
                        call.target
                    );
                }
            }
        }
    }
    println!("{differing:?} requests differ, {recharged} are charged otherwise, {quiet} edits change nothing");
    assert!(differing[..3].iter().all(|count| *count > 100) && recharged > 100 && quiet > 10);
}

fn wanted(side: Side<'_>, call: &Call) -> Option<Box<str>> {
    let tree = Tree::default();
    rehearse(side.snapshot, &tree, call, |facts, _| facts.place.route()?.target.as_ref()?.role.clone())
}

#[test]
fn a_set_does_not_differ_from_itself_with_its_routes_in_another_order() {
    let mut dice = Dice::new(0x5eed_0dd5);
    let names: Vec<String> = NAMES.map(str::to_owned).to_vec();
    for round in 0..60 {
        let (old, _) = policies(&mut dice, round);
        let turned = random::turned(&old);
        let difference = compare(side(&old, &names), side(&turned, &names), &mut |_, _| {}).unwrap();
        assert_eq!(difference, Difference::default(), "round {round}");
    }
}
