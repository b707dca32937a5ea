//! The table seen from outside: which pattern wins at every path there is, found segment by segment.
//!
//! Called by `policy::space`. A look-up tries the choices at each segment one after the other and comes back from dead
//! ends; here all of them are followed at once, the best first, so that paths need not be guessed. It looks nothing up.

use super::{Node, RouteTable};

/// One choice of patterns that still fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Thread {
    /// Fits up to this node.
    At(usize),
    /// Fits whatever comes: the rest pattern of this node.
    Rest(usize),
}

/// All choices that fit the segments walked so far, the one that wins first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Threads(Vec<Thread>);

/// The pattern that wins at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Winner {
    node: usize,
    rest: bool,
}

impl Threads {
    /// Before the first segment.
    #[must_use]
    pub fn begin() -> Self {
        Self(vec![Thread::At(0)])
    }
}

impl RouteTable {
    /// One segment further; `None` is a segment that no pattern spells out. An empty one can only be the last.
    #[must_use]
    pub fn step(&self, threads: &Threads, segment: Option<&str>) -> Threads {
        let mut next = Vec::new();
        for thread in &threads.0 {
            let at = match *thread {
                Thread::At(at) => at,
                Thread::Rest(_) => {
                    next.push(*thread);
                    break;
                }
            };
            let Some(node) = self.nodes.get(at) else { continue };
            next.extend(segment.and_then(|text| node.literals.get(text)).copied().map(Thread::At));
            if segment == Some("") {
                continue;
            }
            next.extend(node.parameter.map(Thread::At));
            if node.rest.is_some() {
                // It fits every path from here on, so nothing behind it can ever win.
                next.push(Thread::Rest(at));
                break;
            }
        }
        Threads(next)
    }

    /// What the patterns that still fit spell out next.
    pub fn each_literal<'t>(&'t self, threads: &Threads, mut visit: impl FnMut(&'t str)) {
        for thread in &threads.0 {
            let node = match thread {
                Thread::At(at) => self.nodes.get(*at),
                Thread::Rest(_) => None,
            };
            node.into_iter().flat_map(|node| node.literals.keys()).for_each(|text| visit(text));
        }
    }

    /// Which pattern wins if the path ends here.
    #[must_use]
    pub fn winner(&self, threads: &Threads) -> Option<Winner> {
        threads.0.iter().find_map(|thread| match *thread {
            Thread::At(node) => self.nodes.get(node)?.leaf.as_ref().map(|_| Winner { node, rest: false }),
            Thread::Rest(node) => Some(Winner { node, rest: true }),
        })
    }

    /// The same without the choices that have nothing further: two that are equal now lead to the same places.
    #[must_use]
    pub fn open(&self, threads: Threads) -> Threads {
        let leads_on = |node: &Node| !node.literals.is_empty() || node.parameter.is_some() || node.rest.is_some();
        let Threads(mut list) = threads;
        list.retain(|thread| match thread {
            Thread::At(at) => self.nodes.get(*at).is_some_and(leads_on),
            Thread::Rest(_) => true,
        });
        Threads(list)
    }
}
