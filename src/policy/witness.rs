//! A call that tells two versions of one route apart, or the proof that no policy test could.
//!
//! Asked by `portcullis test --mutate` about mutants that no test noticed: the call is what a missing test would look like,
//! and a mutant without one is no other policy at all. It judges nothing itself; both versions are rehearsed.
//!
//! The search is whole. What the ladder asks of a call is the caller's role, the class of the account named (its relation to
//! the caller, and its role), whether the role may call from the client's network, and of each header whether it is there and
//! good; every combination is tried, on a tree in which every role has accounts above, beside and below. Methods and patterns of one route are alike.

use super::outcome::Outcome;
use super::pattern::Segment;
use super::rehearsal::{Call, Tree, rehearse};
use super::route::{Realm, Route, TargetRule, TargetSource};
use super::snapshot::{RealmIndex, Snapshot, Spot};
use super::table::RouteIndex;

mod ground;
mod heads;

use self::ground::{Caller, Ground};
use self::heads::heads;

/// A call that two versions of a route judge differently.
#[derive(Clone, Debug)]
pub struct Witness {
    /// `ROLE:ACCOUNT` or `anonymous`.
    pub caller: String,
    /// The call.
    pub call: Call,
    /// What came of it before.
    pub original: Outcome,
    /// What comes of it now.
    pub changed: Outcome,
    /// Paths of accounts that the call speaks of and the tree does not hold.
    pub lacking: Vec<String>,
}

/// How many calls more are tried for a better witness than the one at hand.
const PATIENCE: usize = 300;

/// Finds a call that `original` and `changed`, which differ in one rule of this route or, without one, of this realm,
/// judge differently; best of all one that was refused and now passes. `None`: no test can tell them apart.
#[must_use]
pub fn witness(
    original: &Snapshot,
    changed: &Snapshot,
    tree: &Tree,
    realm: RealmIndex,
    route: Option<RouteIndex>,
) -> Option<Witness> {
    if let Some(route) = route {
        return on_route(original, changed, tree, realm, route);
    }
    let routes = (0u32..).map(RouteIndex).take(original.realm(realm)?.routes.len());
    routes.into_iter().find_map(|route| on_route(original, changed, tree, realm, route))
}

fn on_route(
    original: &Snapshot,
    changed: &Snapshot,
    tree: &Tree,
    realm: RealmIndex,
    route: RouteIndex,
) -> Option<Witness> {
    let (owner, before, after) = (original.realm(realm)?, original.route(realm, route)?, changed.route(realm, route)?);
    let ground = Ground::new(tree, owner);
    let filler = filler(original, owner, before, route);
    let mut best: Option<(u8, Witness)> = None;
    let mut patience = PATIENCE;
    let lands = |call: &Call| {
        rehearse(original, &ground.tree, call, |facts, decision| {
            let here = matches!((facts.place.realm, facts.place.spot),
                (Some((at, _)), Spot::Route(index, _, _)) if at == realm && index == route);
            here.then(|| Outcome::of(facts, decision))
        })
    };
    for caller in ground.callers(owner) {
        let targets = targets(&ground, &caller, [before, after]);
        for head in heads(before, after) {
            for target in &targets {
                let call = call(owner, [before, after], &caller, &head, target.as_deref(), filler);
                let Some(was) = lands(&call) else { continue };
                let is = rehearse(changed, &ground.tree, &call, Outcome::of);
                let rank = rank(&call, &was, &is);
                if was != is && best.as_ref().is_none_or(|(known, _)| rank < *known) {
                    let lacking = ground.lacking(&caller, target.as_deref());
                    let caller = caller.name.clone();
                    best = Some((rank, Witness { caller, call, original: was, changed: is, lacking }));
                }
                if let Some((rank, _)) = &best {
                    patience -= 1;
                    if *rank == 0 || patience == 0 {
                        return best.map(|(_, witness)| witness);
                    }
                }
            }
        }
    }
    best.map(|(_, witness)| witness)
}

/// What makes the better test: a hole, then a call that passes no more, or with something else, then another refusal. A call
/// with an odd header comes after all others.
fn rank(call: &Call, was: &Outcome, is: &Outcome) -> u8 {
    let odd = call.headers.iter().any(|(name, _)| name == "connection");
    let rank = match (was, is) {
        (Outcome::Denied(_), Outcome::Permitted { .. }) => 0,
        (Outcome::Permitted { .. }, Outcome::Denied(_)) => 1,
        (Outcome::Permitted { .. }, Outcome::Permitted { .. }) => 2,
        (Outcome::Denied(_), Outcome::Denied(_)) => 3,
    };
    if odd { rank + 4 } else { rank }
}

/// The accounts that the calls name, one of each class; `None` names nobody. Who has no identity is not judged by them.
fn targets(ground: &Ground, caller: &Caller, versions: [&Route; 2]) -> Vec<Option<String>> {
    let mut rules = versions.into_iter().filter_map(|route| route.target.as_ref());
    let Some(rule) = rules.next() else { return vec![None] };
    let mut targets: Vec<Option<String>> = match &caller.account {
        Some(account) => ground.classes(account).into_iter().map(Some).collect(),
        None => vec![ground.first()],
    };
    if !matches!(rule.source, TargetSource::Path(_)) {
        targets.push(None);
    }
    targets
}

/// What stands for parameters that name no account: no literal of another route.
fn filler(snapshot: &Snapshot, realm: &Realm, route: &Route, index: RouteIndex) -> &'static str {
    const FILLERS: [&str; 4] = ["x-1", "y-2", "z-3", "w-4"];
    let leads_here = |filler: &&&str| {
        let Some((method, _)) = route.matches.first() else { return false };
        let path = target_of(realm, route, None, None, filler);
        matches!(snapshot.locate(*method, &path).spot, Spot::Route(found, _, _) if found == index)
    };
    FILLERS.iter().find(leads_here).unwrap_or(&FILLERS[0])
}

fn call(
    realm: &Realm,
    versions: [&Route; 2],
    caller: &Caller,
    head: &[(String, String)],
    target: Option<&str>,
    filler: &str,
) -> Call {
    let [before, after] = versions;
    let rule = before.target.as_ref().or(after.target.as_ref());
    let method = before.matches.first().map_or("GET", |(method, _)| method.name());
    let mut call = Call::new(method, &target_of(realm, before, rule, target, filler));
    call.headers = head.to_vec();
    if let (Some(TargetSource::Header(name)), Some(target)) = (rule.map(|rule| &rule.source), target) {
        call.headers.push((name.to_string(), target.to_owned()));
    }
    call.client = caller.client;
    call.caller.clone_from(&caller.account);
    call
}

/// Path and query by the route's first pattern.
fn target_of(realm: &Realm, route: &Route, rule: Option<&TargetRule>, target: Option<&str>, filler: &str) -> String {
    let source = rule.map(|rule| &rule.source);
    let mut text = realm.base.to_string();
    let mut parameters = 0;
    for segment in route.matches.iter().take(1).flat_map(|(_, pattern)| pattern.segments()) {
        text.push('/');
        match segment {
            Segment::Literal(literal) => text.push_str(literal),
            Segment::Parameter(_) | Segment::Rest(_) => {
                let judged = matches!(source, Some(TargetSource::Path(index)) if *index == parameters);
                text.push_str(target.filter(|_| judged).unwrap_or(filler));
                parameters += 1;
            }
        }
    }
    if let (Some(TargetSource::Query { name, .. }), Some(target)) = (source, target) {
        text.push('?');
        for byte in name.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
        text.push('=');
        text.push_str(target);
    }
    text
}
