//! The route table: path → the one most specific pattern → the routes of its methods.
//!
//! A tree of segments, searched in the order of [`super::pattern::Precedence`]; the time depends on the
//! length of the path, not on the number of routes, and a look-up allocates nothing. The path alone
//! chooses; a method that the chosen pattern lacks is refused, never looked for elsewhere.

pub mod walk;

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::method::{Method, MethodSet};
use super::pattern::{MAX_PARAMETERS, Pattern, Segment};

/// The place of a route in its realm's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteIndex(pub u32);

/// The values of a matched pattern's parameters, in the pattern's order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parameters<'p> {
    values: [&'p str; MAX_PARAMETERS],
    count: usize,
}

impl<'p> Parameters<'p> {
    /// The value of the parameter with this index.
    #[must_use]
    pub fn value(&self, index: usize) -> Option<&'p str> {
        self.values[..self.count].get(index).copied()
    }

    fn push(&mut self, value: &'p str) {
        if self.count < MAX_PARAMETERS {
            self.values[self.count] = value;
            self.count += 1;
        }
    }
}

/// What the table knows of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'p> {
    /// No pattern matches.
    Nothing,
    /// A pattern matches, with other methods.
    Method(MethodSet),
    /// A route.
    Route(RouteIndex, Parameters<'p>),
}

/// Another route already has this method on a pattern of equal precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clash(pub RouteIndex);

#[derive(Clone, Debug, Default)]
struct Leaf {
    by_method: [Option<RouteIndex>; Method::ALL.len()],
    allowed: MethodSet,
}

#[derive(Clone, Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, usize, FixedState>,
    parameter: Option<usize>,
    rest: Option<Leaf>,
    leaf: Option<Leaf>,
}

/// All patterns of one realm.
#[derive(Clone, Debug)]
pub struct RouteTable {
    nodes: Vec<Node>,
}

impl Default for RouteTable {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl RouteTable {
    /// Adds a route under a method and pattern. GET stands for HEAD too, unless HEAD has its own route.
    ///
    /// # Errors
    /// The route that already stands there.
    pub fn insert(&mut self, method: Method, pattern: &Pattern, route: RouteIndex) -> Result<(), Clash> {
        let mut at = 0;
        let mut rest = false;
        for segment in pattern.segments() {
            match segment {
                Segment::Literal(text) => {
                    at = match self.nodes[at].literals.get(text) {
                        Some(next) => *next,
                        None => {
                            let next = self.grow();
                            self.nodes[at].literals.insert(text.clone(), next);
                            next
                        }
                    };
                }
                Segment::Parameter(_) => {
                    at = match self.nodes[at].parameter {
                        Some(next) => next,
                        None => {
                            let next = self.grow();
                            self.nodes[at].parameter = Some(next);
                            next
                        }
                    };
                }
                Segment::Rest(_) => rest = true,
            }
        }
        let node = &mut self.nodes[at];
        let leaf = if rest { &mut node.rest } else { &mut node.leaf }.get_or_insert_default();
        if let Some(earlier) = leaf.by_method[method as usize] {
            return Err(Clash(earlier));
        }
        leaf.by_method[method as usize] = Some(route);
        leaf.allowed.insert(method);
        if method == Method::Get {
            leaf.allowed.insert(Method::Head);
        }
        Ok(())
    }

    fn grow(&mut self) -> usize {
        self.nodes.push(Node::default());
        self.nodes.len() - 1
    }

    /// Finds the route of a method and path.
    #[must_use]
    pub fn find<'p>(&self, method: Method, path: &'p str) -> Found<'p> {
        let mut parameters = Parameters::default();
        let Some(inside) = path.strip_prefix('/') else { return Found::Nothing };
        let Some(leaf) = self.descend(0, inside, &mut parameters) else { return Found::Nothing };
        let route = leaf.by_method[method as usize].or_else(|| match method {
            Method::Head => leaf.by_method[Method::Get as usize],
            Method::Get
            | Method::Post
            | Method::Put
            | Method::Patch
            | Method::Delete
            | Method::Options
            | Method::Trace
            | Method::Connect => None,
        });
        route.map_or(Found::Method(leaf.allowed), |route| Found::Route(route, parameters))
    }

    fn descend<'p>(&self, at: usize, remaining: &'p str, parameters: &mut Parameters<'p>) -> Option<&Leaf> {
        let node = self.nodes.get(at)?;
        let (segment, further) = match remaining.split_once('/') {
            Some((segment, further)) => (segment, Some(further)),
            None => (remaining, None),
        };
        let known = parameters.count;
        let ends_or_descends = |next: usize, parameters: &mut Parameters<'p>| match further {
            Some(further) => self.descend(next, further, parameters),
            None => self.nodes.get(next)?.leaf.as_ref(),
        };
        if let Some(next) = node.literals.get(segment)
            && let Some(leaf) = ends_or_descends(*next, parameters)
        {
            return Some(leaf);
        }
        if segment.is_empty() {
            return None;
        }
        if let Some(next) = node.parameter {
            parameters.push(segment);
            if let Some(leaf) = ends_or_descends(next, parameters) {
                return Some(leaf);
            }
            parameters.count = known;
        }
        let leaf = node.rest.as_ref()?;
        parameters.push(remaining);
        Some(leaf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(patterns: &[&str]) -> RouteTable {
        let mut table = RouteTable::default();
        for (index, text) in patterns.iter().enumerate() {
            let (method, path) = text.split_once(' ').unwrap();
            let route = RouteIndex(u32::try_from(index).unwrap());
            table.insert(Method::parse(method).unwrap(), &Pattern::parse(path).unwrap(), route).unwrap();
        }
        table
    }

    #[test]
    fn the_most_specific_pattern_wins_in_any_order_of_insertion() {
        let patterns = ["GET /o/{id}", "GET /o/export", "GET /o/{*all}", "GET /{x}/export/deep"];
        let reversed: Vec<&str> = patterns.iter().rev().copied().collect();
        let (table, reversed_table) = (table(&patterns), table(&reversed));
        for (path, index) in
            [("/o/1", 0), ("/o/export", 1), ("/o/1/2", 2), ("/p/export/deep", 3), ("/o/export/deep", 2)]
        {
            for (table, index) in [(&table, index), (&reversed_table, 3 - index)] {
                assert!(
                    matches!(table.find(Method::Get, path), Found::Route(RouteIndex(i), _) if i == index),
                    "{path}"
                );
            }
        }
    }

    #[test]
    fn the_path_decides_before_the_method() {
        let table = table(&["GET /m/{id}", "PATCH /m/{id}", "GET /m/permanent"]);
        let Found::Method(allowed) = table.find(Method::Patch, "/m/permanent") else { panic!("fell back") };
        assert_eq!(allowed.to_string(), "GET, HEAD");
        assert_eq!(table.find(Method::Get, "/nope"), Found::Nothing);
        assert_eq!(table.find(Method::Get, "/m"), Found::Nothing);
        assert_eq!(table.find(Method::Get, "/m/"), Found::Nothing);
    }

    #[test]
    fn get_stands_for_head_unless_head_has_a_route() {
        let table = table(&["GET /a", "GET /b", "HEAD /b"]);
        assert!(matches!(table.find(Method::Head, "/a"), Found::Route(RouteIndex(0), _)));
        assert!(matches!(table.find(Method::Head, "/b"), Found::Route(RouteIndex(2), _)));
    }

    #[test]
    fn equal_precedence_is_a_clash_that_names_the_first() {
        let mut table = table(&["GET /a/{x}"]);
        let second = Pattern::parse("/a/{y}").unwrap();
        assert_eq!(table.insert(Method::Get, &second, RouteIndex(1)), Err(Clash(RouteIndex(0))));
        assert_eq!(table.insert(Method::Post, &second, RouteIndex(1)), Ok(()));
    }

    #[test]
    fn parameters_of_a_dead_end_are_forgotten() {
        let table = table(&["GET /{a}/{b}/x", "GET /{a}/{*rest}"]);
        let Found::Route(RouteIndex(1), parameters) = table.find(Method::Get, "/1/2/y") else { panic!("not found") };
        assert_eq!((parameters.value(0), parameters.value(1), parameters.value(2)), (Some("1"), Some("2/y"), None));
    }
}
