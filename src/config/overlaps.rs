//! Patterns of one realm that match the same paths: what never gets a request, and which method a path lacks though a
//! broader pattern has it.
//!
//! Called by `compile` once all routes are in. The route table itself is asked, with sample paths; no precedence is
//! worked out here a second time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use super::compile_route::Places;
use super::diag::{Faults, Source};
use super::policy_file::{Expectation, PolicyTest};
use crate::policy::method::Method;
use crate::policy::pattern::{Pattern, Segment};
use crate::policy::route::{Realm, Route};
use crate::policy::table::{Found, RouteIndex};
use crate::reason::Reason;

/// A pattern without the names of its parameters.
type Shape<'r> = Vec<Kind<'r>>;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind<'r> {
    Literal(&'r str),
    One,
    Rest,
}

/// A method on a pattern of a route.
struct Rule<'r> {
    method: Method,
    pattern: &'r Pattern,
    index: usize,
    route: &'r Route,
    span: Range<usize>,
}

/// A node of the tree of shapes. A shape stands at its last node.
#[derive(Default)]
struct Node<'r> {
    literals: BTreeMap<&'r str, Node<'r>>,
    one: Option<Box<Node<'r>>>,
    rest: Option<usize>,
    here: Option<usize>,
}

/// All patterns of a realm.
struct Overlaps<'r> {
    realm: &'r Realm,
    shapes: Vec<(Shape<'r>, Vec<Rule<'r>>)>,
    root: Node<'r>,
    /// A segment that no pattern names.
    fresh: String,
}

/// Notes patterns that never get a request, and warns of methods that are hidden. A test that expects
/// `method_not_allowed` on such a path says that it is meant.
pub(super) fn judge(source: &Arc<Source>, realm: &Realm, places: &[Places], tests: &[PolicyTest], faults: &mut Faults) {
    let overlaps = Overlaps::of(realm, places);
    let never = overlaps.refuse_unreachable(source, faults);
    let meant = meant(realm, tests);
    for (shape, (_, rules)) in overlaps.shapes.iter().enumerate() {
        if rules.iter().all(|rule| never.contains(&rule.span.start)) {
            continue;
        }
        let mut others = Vec::new();
        overlaps.root.overlapping(&overlaps.shapes[shape].0, &mut others);
        others.sort_unstable();
        overlaps.warn_of_hidden(source, shape, &others, &meant, faults);
    }
}

/// Warnings that one route gets; a route for everything else would get one of nearly every other.
const MOST_WARNINGS: usize = 3;

impl<'r> Overlaps<'r> {
    fn of(realm: &'r Realm, places: &[Places]) -> Self {
        let mut shapes: Vec<(Shape<'r>, Vec<Rule<'r>>)> = Vec::new();
        let mut known: HashMap<Shape<'r>, usize> = HashMap::new();
        let mut root = Node::default();
        let mut literals = BTreeSet::new();
        for (index, (route, places)) in realm.routes.iter().zip(places).enumerate() {
            for ((method, pattern), span) in route.matches.iter().zip(&places.matches) {
                let shape: Shape<'r> = pattern.segments().iter().map(Kind::of).collect();
                literals.extend(shape.iter().filter_map(|kind| kind.literal()));
                let at = *known.entry(shape.clone()).or_insert_with(|| {
                    root.insert(&shape, shapes.len());
                    shapes.push((shape, Vec::new()));
                    shapes.len() - 1
                });
                shapes[at].1.push(Rule { method: *method, pattern, index, route, span: span.clone() });
            }
        }
        let mut fresh = "x".to_owned();
        while literals.contains(fresh.as_str()) {
            fresh.push('x');
        }
        Self { realm, shapes, root, fresh }
    }

    /// Only a pattern for the rest of a path can be covered by others; the places of those that are.
    fn refuse_unreachable(&self, source: &Arc<Source>, faults: &mut Faults) -> BTreeSet<usize> {
        let longest = self.shapes.iter().map(|(shape, _)| shape.len()).max().unwrap_or(0);
        let mut never = BTreeSet::new();
        for (shape, rules) in self.shapes.iter().filter(|(shape, _)| shape.last() == Some(&Kind::Rest)) {
            for rule in rules {
                let mut takers: Vec<&Route> = Vec::new();
                let mut samples = (1..=longest + 1).flat_map(|tail| {
                    let path = self.path(shape, tail);
                    [format!("{path}/"), path]
                });
                let reached = samples.any(|path| match self.realm.find(rule.method, &path) {
                    Found::Route(RouteIndex(found), _) => {
                        takers.extend(self.realm.routes.get(found as usize));
                        found as usize == rule.index
                    }
                    Found::Method(_) | Found::Nothing => false,
                });
                if !reached {
                    let taker = takers.first().map(|route| format!(", as `{}` at {}", route.name, route.location));
                    let message = format!(
                        "`{} {}` can never match: more specific patterns take all its paths{}",
                        rule.method,
                        rule.pattern,
                        taker.unwrap_or_default()
                    );
                    faults.fault(source, rule.span.clone(), message, "drop it");
                    never.insert(rule.span.start);
                }
            }
        }
        never
    }

    /// Warns of the methods of a pattern that patterns above it in precedence hide.
    fn warn_of_hidden(
        &self,
        source: &Arc<Source>,
        shape: usize,
        others: &[usize],
        meant: &[(Method, &str)],
        faults: &mut Faults,
    ) {
        let (hidden_shape, rules) = &self.shapes[shape];
        for rule in rules {
            let mut hiders: Vec<(&Rule<'_>, String)> = Vec::new();
            for other in others.iter().filter(|other| **other != shape) {
                let (taking_shape, takers) = &self.shapes[*other];
                let Some(taker) = takers.first() else { continue };
                let common = intersection(hidden_shape, taking_shape);
                let hides = |path: &String| {
                    let refused = matches!(self.realm.find(rule.method, path), Found::Method(_));
                    refused && self.takes(taker, path)
                };
                let Some(path) = (1..=2).map(|tail| self.path(&common, tail)).find(hides) else { continue };
                let both = |path: &str| rule.pattern.matches(path) && taker.pattern.matches(path);
                if !meant.iter().any(|(method, path)| *method == rule.method && both(path)) {
                    hiders.push((taker, path));
                }
            }
            self.warn(source, rule, &hiders, faults);
        }
    }

    fn warn(&self, source: &Arc<Source>, rule: &Rule<'_>, hiders: &[(&Rule<'_>, String)], faults: &mut Faults) {
        for (place, (taker, path)) in hiders.iter().enumerate().take(MOST_WARNINGS) {
            let Rule { method, pattern, route, .. } = rule;
            let more = hiders.len().saturating_sub(MOST_WARNINGS);
            let more = (more > 0 && place + 1 == MOST_WARNINGS).then(|| format!("; so do {more} more patterns"));
            let message = format!(
                "`{}` hides `{method} {pattern}` of `{}` at {}{}",
                taker.pattern,
                route.name,
                route.location,
                more.unwrap_or_default()
            );
            let call = format!("{method} {}", path.replace(&format!("/{}", self.fresh), "/…"));
            let hint = format!(
                "{call} is refused with method_not_allowed; give `{}` {method} too, or expect that in a [[test]]",
                taker.pattern
            );
            faults.warn(source, taker.span.clone(), message, hint);
        }
    }

    /// Whether the table chooses the pattern of this rule for the path.
    fn takes(&self, rule: &Rule<'_>, path: &str) -> bool {
        match self.realm.find(rule.method, path) {
            Found::Route(RouteIndex(found), _) => found as usize == rule.index,
            Found::Method(_) | Found::Nothing => false,
        }
    }

    /// A path of the shape, with so many segments for the rest.
    fn path(&self, shape: &[Kind<'_>], tail: usize) -> String {
        let mut path = String::new();
        for kind in shape {
            let (text, times) = match kind {
                Kind::Literal(text) => (*text, 1),
                Kind::One => (self.fresh.as_str(), 1),
                Kind::Rest => (self.fresh.as_str(), tail),
            };
            for _ in 0..times {
                path.push('/');
                path.push_str(text);
            }
        }
        path
    }
}

impl<'r> Kind<'r> {
    fn of(segment: &'r Segment) -> Self {
        match segment {
            Segment::Literal(text) => Kind::Literal(text),
            Segment::Parameter(_) => Kind::One,
            Segment::Rest(_) => Kind::Rest,
        }
    }

    const fn literal(self) -> Option<&'r str> {
        match self {
            Kind::Literal(text) => Some(text),
            Kind::One | Kind::Rest => None,
        }
    }
}

impl<'r> Node<'r> {
    fn insert(&mut self, shape: &[Kind<'r>], index: usize) {
        let mut at = self;
        for kind in shape {
            at = match kind {
                Kind::Literal(text) => at.literals.entry(text).or_default(),
                Kind::One => at.one.get_or_insert_default(),
                Kind::Rest => {
                    at.rest = Some(index);
                    return;
                }
            };
        }
        at.here = Some(index);
    }

    /// The shapes that have a path in common with this one.
    fn overlapping(&self, shape: &[Kind<'_>], found: &mut Vec<usize>) {
        let Some((first, further)) = shape.split_first() else {
            found.extend(self.here);
            return;
        };
        // A parameter stands for at least one character, so for no empty segment behind a trailing slash.
        let named = || self.literals.iter().filter(|(text, _)| !text.is_empty()).map(|(_, node)| node);
        let wild = self.one.as_deref();
        match first {
            Kind::Literal(text) => {
                let same = self.literals.get(text);
                let wild = wild.filter(|_| !text.is_empty());
                same.into_iter().chain(wild).for_each(|node| node.overlapping(further, found));
                found.extend(self.rest.filter(|_| !text.is_empty()));
            }
            Kind::One => {
                named().chain(wild).for_each(|node| node.overlapping(further, found));
                found.extend(self.rest);
            }
            Kind::Rest => {
                named().chain(wild).for_each(|node| node.all(found));
                found.extend(self.rest);
            }
        }
    }

    fn all(&self, found: &mut Vec<usize>) {
        found.extend(self.here.into_iter().chain(self.rest));
        self.literals.values().chain(self.one.as_deref()).for_each(|node| node.all(found));
    }
}

/// The shape of the paths that two overlapping shapes have in common.
fn intersection<'r>(one: &[Kind<'r>], other: &[Kind<'r>]) -> Shape<'r> {
    let mut common = Vec::with_capacity(one.len().max(other.len()));
    for (place, kinds) in one.iter().zip(other).enumerate() {
        match kinds {
            (Kind::Rest, _) => {
                common.extend(&other[place..]);
                return common;
            }
            (_, Kind::Rest) => {
                common.extend(&one[place..]);
                return common;
            }
            (Kind::Literal(text), _) | (_, Kind::Literal(text)) => common.push(Kind::Literal(text)),
            (Kind::One, Kind::One) => common.push(Kind::One),
        }
    }
    common
}

/// The calls, relative to the base, that tests expect to be refused for their method.
fn meant<'t>(realm: &Realm, tests: &'t [PolicyTest]) -> Vec<(Method, &'t str)> {
    let tests = tests.iter().filter(|test| test.expect == Expectation::Deny(Reason::MethodNotAllowed));
    let calls = tests.flat_map(|test| &test.calls);
    let calls = calls.filter_map(|(_, call)| {
        let path = call.target.split('?').next().unwrap_or_default();
        Some((Method::parse(&call.method)?, realm.strip_base(path)?))
    });
    calls.collect()
}
