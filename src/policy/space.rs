//! All requests that two sets of policies can tell apart, each kind once.
//!
//! Called by `policy::difference`. Two requests are of one kind when every rule of both sets treats them alike: their paths
//! are told apart by the same patterns, their headers by the same names, their clients by the same networks. So a few
//! requests stand for all, and comparing them is exact. Nothing here judges a request.

pub mod callers;
pub mod conditions;
pub mod networks;
pub mod requests;

use std::collections::{HashSet, VecDeque};

use super::route::Realm;
use super::snapshot::Snapshot;
use super::table::walk::{Threads, Winner};

/// One segment of a path that stands for many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Piece<'s> {
    /// Exactly this; empty only at the end, behind a last slash.
    Literal(&'s str),
    /// Anything that no pattern spells out there.
    Free,
}

/// Paths of which one stands for all that end at the same patterns of both sets.
///
/// Every pair of winning patterns has one most general path: a segment is free exactly where both patterns take any.
/// Shorter paths come first, and free segments before spelled ones, so that this is the one found. `None` where patterns
/// overlap in more ways than memory should be spent on: each parameter beside a spelled segment can double them.
#[must_use]
pub fn paths<'s>(old: &'s Snapshot, new: &'s Snapshot) -> Option<Vec<Vec<Piece<'s>>>> {
    let maps = [Map::of(old), Map::of(new)];
    let mut walk = Walk { trail: Vec::new(), ends: HashSet::new(), known: HashSet::new(), queue: VecDeque::new() };
    walk.queue.push_back(Standing { trail: None, depth: 0, at: [maps[0].begin(), maps[1].begin()] });
    let mut found = Vec::new();
    while let Some(standing) = walk.queue.pop_front() {
        if walk.known.len() > MOST_POSITIONS {
            return None;
        }
        let mut spelled: Vec<&str> = Vec::new();
        for (map, at) in maps.iter().zip(&standing.at) {
            map.spelled(at, standing.depth, &mut spelled);
        }
        spelled.sort_unstable();
        spelled.dedup();
        let pieces = std::iter::once(Piece::Free).chain(spelled.into_iter().map(Piece::Literal));
        for piece in pieces.chain([Piece::Literal("")]) {
            let at = [0, 1].map(|side: usize| maps[side].step(&standing.at[side], standing.depth, piece));
            found.extend(walk.arrive(&maps, &standing, piece, at));
        }
    }
    Some(found)
}

/// Thousands of routes of which none begins with a parameter come to a few thousand. This many take half a GiB.
const MOST_POSITIONS: usize = 500_000;

struct Walk<'s> {
    /// Each step with the one before it.
    trail: Vec<(Option<usize>, Piece<'s>)>,
    ends: HashSet<[End; 2]>,
    known: HashSet<[Position; 2]>,
    queue: VecDeque<Standing>,
}

/// How far one path has come.
struct Standing {
    trail: Option<usize>,
    depth: usize,
    at: [Position; 2],
}

/// What a path comes to on one side.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct End {
    realm: Option<usize>,
    winner: Option<Winner>,
}

impl<'s> Walk<'s> {
    /// Notes where a step leads; the path up to here when it ends as none before.
    fn arrive(
        &mut self,
        maps: &[Map<'s>; 2],
        from: &Standing,
        piece: Piece<'s>,
        at: [Position; 2],
    ) -> Option<Vec<Piece<'s>>> {
        let ends = [maps[0].end(&at[0]), maps[1].end(&at[1])];
        let owned = ends.iter().any(|end| end.realm.is_some());
        let fresh = owned && self.ends.insert(ends);
        let at = [0, 1].map(|side: usize| maps[side].open(at[side].clone()));
        // Behind an empty segment comes nothing: two slashes in a row are no path.
        let further = piece != Piece::Literal("") && !self.known.contains(&at);
        if !fresh && !further {
            return None;
        }
        self.trail.push((from.trail, piece));
        let trail = Some(self.trail.len() - 1);
        if further {
            self.known.insert(at.clone());
            self.queue.push_back(Standing { trail, depth: from.depth + 1, at });
        }
        fresh.then(|| self.walked(trail))
    }

    fn walked(&self, mut trail: Option<usize>) -> Vec<Piece<'s>> {
        let mut path = Vec::new();
        while let Some((before, piece)) = trail.and_then(|step| self.trail.get(step)) {
            path.push(*piece);
            trail = *before;
        }
        path.reverse();
        path
    }
}

/// One set as a walker sees it.
struct Map<'s> {
    realms: &'s [Realm],
    bases: Vec<Vec<&'s str>>,
}

/// Where a walker stands in one set.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Position {
    /// Realms whose base goes on from here.
    ahead: Vec<usize>,
    /// How many segments of their bases were walked; 0 where none goes on.
    walked: usize,
    /// The realm that owns what was walked.
    realm: Option<usize>,
    threads: Threads,
}

impl<'s> Map<'s> {
    fn of(snapshot: &'s Snapshot) -> Self {
        let realms = snapshot.realms();
        let segments = |realm: &'s Realm| realm.base.split('/').skip(1).collect();
        Self { realms, bases: realms.iter().map(segments).collect() }
    }

    fn begin(&self) -> Position {
        let ahead = (0..self.bases.len()).filter(|realm| !self.bases[*realm].is_empty()).collect();
        let realm = self.bases.iter().position(Vec::is_empty);
        Position { ahead, walked: 0, realm, threads: realm.map(|_| Threads::begin()).unwrap_or_default() }
    }

    fn spelled(&self, at: &Position, depth: usize, spelled: &mut Vec<&'s str>) {
        spelled.extend(at.ahead.iter().filter_map(|realm| self.bases[*realm].get(depth).copied()));
        if let Some(realm) = at.realm.and_then(|realm| self.realms.get(realm)) {
            realm.table.each_literal(&at.threads, |text| spelled.push(text));
        }
        spelled.retain(|text| !text.is_empty());
    }

    fn step(&self, at: &Position, depth: usize, piece: Piece<'_>) -> Position {
        let text = match piece {
            Piece::Literal(text) => Some(text),
            Piece::Free => None,
        };
        let fits = |realm: &&usize| text.is_some() && self.bases[**realm].get(depth).copied() == text;
        let mut ahead: Vec<usize> = at.ahead.iter().filter(fits).copied().collect();
        // The same realm may be ahead after one segment and after two: what comes next is not the same.
        let walked = |ahead: &[usize]| if ahead.is_empty() { 0 } else { depth + 1 };
        // A longer base takes the path over, and nothing of the shorter one's realm is left.
        if let Some(realm) = ahead.iter().copied().find(|realm| self.bases[*realm].len() == depth + 1) {
            ahead.retain(|other| *other != realm);
            let walked = walked(&ahead);
            return Position { ahead, walked, realm: Some(realm), threads: Threads::begin() };
        }
        let threads = at.realm.map(|realm| self.realms[realm].table.step(&at.threads, text)).unwrap_or_default();
        let walked = walked(&ahead);
        Position { ahead, walked, realm: at.realm, threads }
    }

    fn end(&self, at: &Position) -> End {
        End { realm: at.realm, winner: at.realm.and_then(|realm| self.realms[realm].table.winner(&at.threads)) }
    }

    fn open(&self, at: Position) -> Position {
        let threads = match at.realm {
            Some(realm) => self.realms[realm].table.open(at.threads),
            None => at.threads,
        };
        Position { threads, ..at }
    }
}

#[cfg(test)]
mod tests {
    use super::super::decisions::{realm, route};
    use super::requests::filled;
    use super::*;

    fn snapshot(realms: &[(&str, &[&str])]) -> Snapshot {
        let realm = |(base, patterns): &(&str, &[&str])| {
            let routes = patterns.iter().enumerate().map(|(place, pattern)| route(&format!("r{place}"), &[pattern]));
            realm(base, routes.collect())
        };
        Snapshot::new(realms.iter().map(realm).collect(), "test")
    }

    fn shown(old: &[(&str, &[&str])], new: &[(&str, &[&str])]) -> Vec<String> {
        paths(&snapshot(old), &snapshot(new)).unwrap().iter().map(|path| filled(path, "~")).collect()
    }

    #[test]
    fn each_pair_of_patterns_has_one_path_and_it_spells_out_no_more_than_they_do() {
        let old = [("/a", &["GET /o/{id}", "GET /{*rest}"][..])];
        let new = [("/a", &["GET /o/{id}", "GET /o/export", "GET /o/export/"][..])];
        let paths = shown(&old, &new);
        let expected = ["/a", "/a/~1", "/a/o/~2", "/a/o/export", "/a/o/export/"];
        assert_eq!(paths, expected);
    }

    #[test]
    fn a_longer_base_takes_its_paths_over() {
        let paths = shown(&[("", &["GET /{*rest}"])], &[("", &["GET /{*rest}"]), ("/x/y", &["GET /z"])]);
        assert_eq!(paths, ["/~0", "/", "/x/y", "/x/y/z"]);
    }

    #[test]
    fn a_base_of_any_length_is_walked_to_its_end() {
        for base in ["/a", "/a/b", "/a/b/c", "/a/a/a/a", "/a/b/c/d/e/f/g"] {
            let paths = shown(&[(base, &["GET /z"])], &[("", &["GET /{*rest}"]), (base, &["GET /z"])]);
            for expected in [base.to_owned(), format!("{base}/z")] {
                assert!(paths.contains(&expected), "{expected}: {paths:?}");
            }
        }
    }

    #[test]
    fn patterns_that_overlap_in_too_many_ways_are_given_up() {
        let words: Vec<String> = (0..160)
            .map(|n| {
                let segment = |place: usize| if place == n / 20 { format!("l{n}") } else { format!("{{p{place}}}") };
                format!("GET /{}", (0..8).map(segment).collect::<Vec<_>>().join("/"))
            })
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let set = snapshot(&[("/a", words.as_slice())]);
        assert!(paths(&set, &set).is_none());
        let words: Vec<String> = (0..2_000)
            .flat_map(|n| [format!("GET /r{}/{{x}}/s{n}/{{y}}", n % 40), format!("GET /r{}/{{x}}/s{n}/export", n % 40)])
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let set = snapshot(&[("/a", words.as_slice())]);
        assert!(paths(&set, &set).is_some_and(|paths| paths.len() > 4_000), "many routes are not too many");
    }

    #[test]
    fn what_one_pattern_spells_out_below_another_s_parameter_is_not_tried_everywhere() {
        let words: Vec<String> = (0..200).flat_map(|n| [format!("GET /{{x}}/l{n}"), format!("GET /w{n}")]).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let all = [("/a", words.as_slice())];
        assert!(shown(&all, &all).len() < 1_000);
    }
}
