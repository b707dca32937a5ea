//! The id that names one request to the client, the upstream and the log.

use std::cell::Cell;
use std::fmt;

/// 32 lower-case hexadecimal digits, or what a trusted proxy sent.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId {
    digits: [u8; 64],
    length: u8,
}

impl RequestId {
    /// A fresh one. Ids are unique, not secret: a fast generator, seeded once a thread, is enough.
    #[must_use]
    pub fn fresh() -> Self {
        thread_local!(static STATE: Cell<[u64; 2]> = Cell::new(seed()));
        let (high, low) = STATE.with(|state| {
            let [mut a, mut b] = state.get();
            a = a.wrapping_add(0x9e37_79b9_7f4a_7c15);
            b = b.wrapping_add(0xd1b5_4a32_d192_ed03);
            state.set([a, b]);
            (mix(a ^ b.rotate_left(32)), mix(b.wrapping_add(a)))
        });
        let mut digits = [0; 64];
        for (index, digit) in digits.iter_mut().take(32).enumerate() {
            let word = if index < 16 { high } else { low };
            *digit = b"0123456789abcdef"[(word >> (60 - 4 * (index % 16))) as usize & 15];
        }
        Self { digits, length: 32 }
    }

    /// Takes a proxy's id over when it keeps to `[A-Za-z0-9._-]{1,64}`.
    #[must_use]
    pub fn accept(text: &[u8]) -> Option<Self> {
        let fits = (1..=64).contains(&text.len())
            && text.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if !fits {
            return None;
        }
        let mut digits = [0; 64];
        digits[..text.len()].copy_from_slice(text);
        u8::try_from(text.len()).ok().map(|length| Self { digits, length })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.digits[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The finaliser of SplitMix64.
const fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

fn seed() -> [u64; 2] {
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_err() {
        // Without a random source ids stay unique by time and thread; nothing depends on more.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        bytes = (now.as_nanos() ^ (std::ptr::from_ref(&bytes) as usize as u128)).to_le_bytes();
    }
    let word = u128::from_le_bytes(bytes);
    [word as u64, (word >> 64) as u64]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_ids_differ_and_are_acceptable() {
        let ids: std::collections::HashSet<String> =
            (0..10_000).map(|_| RequestId::fresh().as_str().to_owned()).collect();
        assert_eq!(ids.len(), 10_000);
        for id in ids.iter().take(10) {
            assert_eq!(id.len(), 32);
            assert_eq!(RequestId::accept(id.as_bytes()).unwrap().as_str(), id);
        }
    }

    #[test]
    fn odd_ids_are_not_taken_over() {
        for odd in [&b""[..], b"a b", b"a\"", b"\xff", &[b'a'; 65]] {
            assert!(RequestId::accept(odd).is_none());
        }
    }
}
