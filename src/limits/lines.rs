//! Buckets where the processor finds them soonest: four in a cache line, and a search most often looks at one line.
//!
//! The storage of one shard of `table`, which guards it. A bucket's tag says in which line it belongs; where that is full,
//! it is in the next that was not. Nothing is taken out but by laying all lines anew, so a free place ends a search. What a
//! bucket's number stands for is not known here.

use std::mem;
use std::sync::atomic::AtomicU64;

/// Buckets by tag.
#[derive(Default)]
pub(super) struct Lines {
    /// None, or a power of two of them.
    lines: Box<[Line]>,
    held: usize,
}

#[derive(Default)]
#[repr(align(64))]
struct Line([Bucket; IN_LINE]);

#[derive(Default)]
struct Bucket {
    tag: u64,
    /// When it will be full again.
    tat: AtomicU64,
}

impl Lines {
    /// The number of the bucket with this tag, which is never 0.
    pub(super) fn find(&self, tag: u64) -> Option<&AtomicU64> {
        for line in self.walk(tag) {
            let line = &self.lines[line];
            if let Some(place) = line.place(tag) {
                return Some(&line.0[place].tat);
            }
            if line.place(FREE).is_some() {
                break;
            }
        }
        None
    }

    /// Adds a bucket that is not there.
    pub(super) fn insert(&mut self, tag: u64, tat: u64) {
        if self.held >= most_in(self.lines.len()) {
            self.lay(lines_for(self.held + 1), |_| true);
        }
        self.put(tag, tat);
    }

    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// Forgets the buckets whose time has come, where those are so many or more, and memory that is not needed then.
    /// Gives how many it forgot, and the earliest time among those that are left.
    pub(super) fn forget(&mut self, now: u64, fewest: usize) -> (usize, u64) {
        let buckets = self.lines.iter_mut().flat_map(|line| &mut line.0).filter(|bucket| bucket.tag != FREE);
        let (mut kept, mut earliest, mut earliest_kept) = (0, u64::MAX, u64::MAX);
        for tat in buckets.map(|bucket| *bucket.tat.get_mut()) {
            earliest = earliest.min(tat);
            if tat > now {
                kept += 1;
                earliest_kept = earliest_kept.min(tat);
            }
        }
        let forgotten = self.held - kept;
        if forgotten < fewest.max(1) {
            return (0, earliest);
        }
        let has = self.lines.len();
        self.lay(if most_in(has) > 4 * kept { lines_for(2 * kept) } else { has }, |tat| tat > now);
        (forgotten, earliest_kept)
    }

    /// Lays so many lines, with the buckets that stay.
    fn lay(&mut self, lines: usize, stays: impl Fn(u64) -> bool) {
        let before = mem::replace(&mut self.lines, (0..lines).map(|_| Line::default()).collect());
        self.held = 0;
        for bucket in before.into_iter().flat_map(|line| line.0).filter(|bucket| bucket.tag != FREE) {
            let tat = bucket.tat.into_inner();
            if stays(tat) {
                self.put(bucket.tag, tat);
            }
        }
    }

    /// There is a free place.
    fn put(&mut self, tag: u64, tat: u64) {
        for line in self.walk(tag) {
            let line = &mut self.lines[line];
            if let Some(place) = line.place(FREE) {
                line.0[place] = Bucket { tag, tat: AtomicU64::new(tat) };
                self.held += 1;
                return;
            }
        }
    }

    /// The places of all lines, from the one where a tag belongs.
    fn walk(&self, tag: u64) -> impl Iterator<Item = usize> + use<> {
        let (first, lines) = (tag as usize, self.lines.len());
        (0..lines).map(move |step| first.wrapping_add(step) & (lines - 1))
    }

    /// How many bytes the lines take.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        size_of_val(&*self.lines)
    }
}

impl Line {
    /// The place of a tag. All are compared before anything depends on one: who stopped at the first that is equal would
    /// have the processor guess which, and most often guess wrong.
    fn place(&self, tag: u64) -> Option<usize> {
        let [a, b, c, d] = [0, 1, 2, 3].map(|place: usize| u8::from(self.0[place].tag == tag) << place);
        let equal = a | b | c | d;
        (equal != 0).then(|| equal.trailing_zeros() as usize % IN_LINE)
    }
}

/// So many buckets that a search seldom looks at a second line.
const fn most_in(lines: usize) -> usize {
    lines * IN_LINE * 7 / 8
}

/// The fewest lines for so many.
fn lines_for(buckets: usize) -> usize {
    if buckets == 0 { 0 } else { (8 * buckets).div_ceil(7 * IN_LINE).next_power_of_two() }
}

const IN_LINE: usize = 4;

/// The tag of a free place.
const FREE: u64 = 0;
