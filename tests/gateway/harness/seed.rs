//! A small seeded generator (SplitMix64) for the property tests. The seed is printed, and `PORTCULLIS_TEST_SEED`
//! plays a printed one again.

use crate::harness::wait::now_ms;

/// The state of the generator.
pub(crate) struct Random(u64);

impl Random {
    /// A fresh seed, or the one of the environment, printed under the test's name.
    pub(crate) fn announced(test: &str) -> Self {
        let seed = match std::env::var("PORTCULLIS_TEST_SEED") {
            Ok(text) => text.parse().expect("PORTCULLIS_TEST_SEED is a number"),
            Err(_) => now_ms(),
        };
        eprintln!("{test}: PORTCULLIS_TEST_SEED={seed}");
        Self(seed)
    }

    /// A given seed: one thread's own numbers, drawn from an announced one.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a usize fits into 64 bits");
        usize::try_from(self.next() % bound).expect("smaller than a usize")
    }

    /// One of `choices`.
    pub(crate) fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }

    /// A lower-case word of 1 to `longest` letters and digits.
    pub(crate) fn word(&mut self, longest: usize) -> String {
        let letters = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let length = 1 + self.below(longest);
        (0..length).map(|_| char::from(letters[self.below(letters.len())])).collect()
    }
}
