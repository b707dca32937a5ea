//! What a charge is counted under: 128 bits, of a keyed hash that outsiders cannot foresee.
//!
//! Made once per charge by `limits`; the tables find by it. An attacker who chooses e-mails or addresses cannot aim at
//! another's bucket or at one place of a table: the secret is random, and each process has its own. Not used towards the
//! store, where all gateways have to find the same key.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::IpAddr;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use crate::policy::quota::{Charge, Charges, MAX_CHARGES, Subject};

/// One bucket of one quota in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The quota's mark.
    pub mark: u64,
    /// Of the quota's mark and the subject.
    pub hash: [u64; 2],
}

impl Key {
    /// No bucket's.
    const NONE: Self = Self { mark: 0, hash: [0; 2] };

    /// The one bucket of its quota for all subjects that no room is left for.
    pub(super) const fn overflow(self) -> Self {
        Self { mark: self.mark, hash: [self.mark, 0] }
    }
}

/// Makes keys.
pub(super) struct Keys {
    secret: SipHasher13,
}

impl Keys {
    pub(super) fn new() -> Self {
        // Where the system has no random numbers at hand, the standard library finds some or ends the process.
        let random = || getrandom::u64().unwrap_or_else(|_| RandomState::new().hash_one(0));
        Self { secret: SipHasher13::new_with_keys(random(), random()) }
    }

    pub(super) fn of(&self, charge: &Charge<'_>) -> Key {
        let mark = charge.quota.mark;
        let hasher = match charge.subject {
            Subject::Account(id) => self.hasher(mark, 0, id.as_bytes()),
            Subject::Login(email) => self.hasher(mark, 1, email.as_bytes()),
            Subject::Route(name) => self.hasher(mark, 2, name.as_bytes()),
            Subject::Network(IpAddr::V4(address)) => self.hasher(mark, 3, &address.octets()),
            Subject::Network(IpAddr::V6(address)) => self.hasher(mark, 4, &address.octets()),
            Subject::Realm => self.hasher(mark, 5, &[]),
            Subject::Upstream(name) => self.hasher(mark, 6, name.as_bytes()),
        };
        let hash = hasher.finish128();
        Key { mark, hash: [hash.h1, hash.h2] }
    }

    fn hasher(&self, mark: u64, kind: u64, subject: &[u8]) -> SipHasher13 {
        let mut hasher = self.secret;
        // A mark is a hash and stays one with a kind folded into it: one whole block, which is quick, before the subject.
        hasher.write_u64(mark ^ kind << 56);
        hasher.write(subject);
        hasher
    }

    /// By the places of the charges.
    pub(super) fn of_all(&self, charges: &Charges<'_>) -> [Key; MAX_CHARGES] {
        let mut keys = [Key::NONE; MAX_CHARGES];
        for (key, charge) in keys.iter_mut().zip(charges.iter()) {
            *key = self.of(charge);
        }
        keys
    }
}
