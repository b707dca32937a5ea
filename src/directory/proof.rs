//! What proves an API key: a digest, plain or under a pepper, compared in constant time.
//!
//! Records hold a [`Proof`]; [`Peppers`] are the directory's, and `Directory::proves` is the one that asks them. It
//! reads no file and no settings, and never shows a digest.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use crate::config::secret::Secret;
use crate::policy::principal::is_id;

/// The digest of an API key, over its bytes.
#[derive(Clone, PartialEq, Eq)]
pub enum Proof {
    /// `sha256:<64 hex digits>`
    Sha256([u8; 32]),
    /// `hmac-sha256:<pepper id>:<64 hex digits>`
    Hmac {
        /// Which of `directory.peppers`.
        pepper: Box<str>,
        /// Of the key, under that pepper.
        digest: [u8; 32],
    },
}

impl Proof {
    /// Reads the text of a record's `key`. `None` for anything that is no digest.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(hex) = text.strip_prefix(PLAIN) {
            return parse_digest(hex).map(Self::Sha256);
        }
        let (pepper, hex) = text.strip_prefix(PEPPERED)?.split_once(':')?;
        let digest = parse_digest(hex)?;
        is_id(pepper).then(|| Self::Hmac { pepper: pepper.into(), digest })
    }

    /// The pepper it was made with.
    #[must_use]
    pub fn pepper(&self) -> Option<&str> {
        match self {
            Self::Sha256(_) => None,
            Self::Hmac { pepper, digest: _ } => Some(pepper),
        }
    }

    /// The digest, if it was made in this way: plain, or under the pepper with this id.
    fn made_with(&self, pepper: Option<&str>) -> Option<&[u8; 32]> {
        let (Self::Sha256(digest) | Self::Hmac { pepper: _, digest }) = self;
        (self.pepper() == pepper).then_some(digest)
    }
}

/// The text of a record's `key`.
impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Sha256(digest) | Self::Hmac { pepper: _, digest }) = self;
        match self.pepper() {
            None => f.write_str(PLAIN)?,
            Some(pepper) => write!(f, "{PEPPERED}{pepper}:")?,
        }
        digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Without the digest: a log is no place for it.
impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof").field("pepper", &self.pepper()).finish_non_exhaustive()
    }
}

/// The keys of peppered digests, ready to be used.
#[derive(Clone, Default)]
pub struct Peppers(Box<[(Box<str>, Hmac<Sha256>)]>);

impl Peppers {
    /// From `directory.peppers`: id and secret.
    #[must_use]
    pub fn new(secrets: &[(String, Secret)]) -> Self {
        let keyed = |(id, secret): &(String, Secret)| {
            // HMAC takes a key of any length, so that nothing is left out here.
            Hmac::<Sha256>::new_from_slice(secret.reveal()).ok().map(|keyed| (id.as_str().into(), keyed))
        };
        Self(secrets.iter().filter_map(keyed).collect())
    }

    /// Whether keys can be compared with this digest.
    #[must_use]
    pub fn know(&self, proof: &Proof) -> bool {
        proof.pepper().is_none_or(|pepper| self.0.iter().any(|(id, _)| **id == *pepper))
    }

    /// Whether `key` is the one that the proof was made of; `None` is the proof of an unknown credential.
    ///
    /// Every way that a digest can have been made is gone, whatever this proof's is: otherwise the time would tell an
    /// unknown API id from a known one, and a plain digest from a peppered one.
    #[must_use]
    pub fn verify(&self, proof: Option<&Proof>, key: &[u8]) -> Choice {
        let compare = |digest: &[u8], pepper: Option<&str>| {
            let expected = proof.and_then(|proof| proof.made_with(pepper));
            digest.ct_eq(expected.unwrap_or(&NOBODY)) & Choice::from(u8::from(expected.is_some()))
        };
        let mut proved = compare(&Sha256::digest(key), None);
        for (id, keyed) in &self.0 {
            let mut keyed = keyed.clone();
            keyed.update(key);
            proved |= compare(&keyed.finalize().into_bytes(), Some(id));
        }
        proved
    }
}

/// The ids only.
impl fmt::Debug for Peppers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(id, _)| id)).finish()
    }
}

fn parse_digest(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

const PLAIN: &str = "sha256:";
const PEPPERED: &str = "hmac-sha256:";

/// What is compared where there is nothing to compare with.
const NOBODY: [u8; 32] = [0; 32];

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    /// RFC 4231, test case 2: key "Jefe", text "what do ya want for nothing?".
    const JEFE: &str = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";

    fn peppers() -> Peppers {
        let secret = |text: &str| Secret::new(text.as_bytes());
        Peppers::new(&[("new".to_owned(), secret("another")), ("p1".to_owned(), secret("Jefe"))])
    }

    fn proof(text: &str) -> Proof {
        Proof::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn a_key_proves_itself_plain_and_under_its_own_pepper_only() {
        let (plain, peppered) = (proof(&format!("sha256:{ABC}")), proof(&format!("hmac-sha256:p1:{JEFE}")));
        let verify = |proof: &Proof, key: &str| bool::from(peppers().verify(Some(proof), key.as_bytes()));
        assert!(verify(&plain, "abc") && !verify(&plain, "abd") && !verify(&plain, ""));
        let text = "what do ya want for nothing?";
        assert!(verify(&peppered, text) && !verify(&peppered, "abc"));
        assert!(!verify(&proof(&format!("hmac-sha256:new:{JEFE}")), text), "the digest of another pepper");
        assert!(!verify(&proof(&format!("sha256:{JEFE}")), text), "a peppered digest said to be plain");
        assert!(!verify(&proof(&format!("hmac-sha256:p1:{ABC}")), "abc"), "a plain digest said to be peppered");
    }

    #[test]
    fn nothing_proves_an_unknown_credential_or_one_of_an_unknown_pepper() {
        assert!(!bool::from(peppers().verify(None, b"abc")));
        let foreign = proof(&format!("hmac-sha256:old:{JEFE}"));
        assert!(!peppers().know(&foreign) && peppers().know(&proof(&format!("sha256:{ABC}"))));
        assert!(!bool::from(peppers().verify(Some(&foreign), b"what do ya want for nothing?")));
        let zero = proof(&format!("hmac-sha256:old:{}", "0".repeat(64)));
        assert!(!bool::from(peppers().verify(Some(&zero), b"abc")));
    }

    #[test]
    fn only_whole_digests_are_read_and_none_is_shown() {
        for text in [format!("sha256:{ABC}"), format!("hmac-sha256:p1:{JEFE}")] {
            assert_eq!(proof(&text).to_string(), text);
            assert!(!format!("{:?}", proof(&text)).contains(&text[text.len() - 16..]));
        }
        assert_eq!(proof(&format!("sha256:{}", ABC.to_uppercase())), proof(&format!("sha256:{ABC}")));
        let odd = ["", "sha256:", "abc", "sha256:ba78", "md5:ba78", "hmac-sha256:p1", "hmac-sha256:p1:ba"];
        let whole = [format!("sha256:+{}", &ABC[1..]), format!("hmac-sha256::{ABC}"), format!("hmac-sha256:a b:{ABC}")];
        for text in odd.iter().copied().chain(whole.iter().map(String::as_str)) {
            assert!(Proof::parse(text).is_none(), "{text}");
        }
        assert!(!format!("{:?}", peppers()).contains("Jefe"));
    }
}
