//! What a charge is counted under: 128 bits, of a keyed hash that outsiders cannot foresee.
//!
//! Made once per charge by `limits`; the tables find by it. An attacker who chooses e-mails or addresses cannot aim at
//! another's bucket or at one place of a table: the secret is random, and each process has its own. Not used towards the
//! store, where all gateways have to find the same key.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::IpAddr;

use siphasher::sip128::{Hash128, SipHasher13};

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

    /// What the table keeps of a key, never 0. With the shard, which the other half of the hash chose, it takes two of a
    /// million keys for one with a chance of less than one in ten thousand million.
    pub(super) fn tag(self) -> u64 {
        self.hash[0].max(1)
    }

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
        let hash = match charge.subject {
            Subject::Account(id) => self.hash(mark, 0, id.as_bytes()),
            Subject::Login(email) => self.hash(mark, 1, email.as_bytes()),
            Subject::Route(name) => self.hash(mark, 2, name.as_bytes()),
            Subject::Network(IpAddr::V4(address)) => self.hash(mark, 3, &address.octets()),
            Subject::Network(IpAddr::V6(address)) => self.hash(mark, 4, &address.octets()),
            Subject::Realm => self.hash(mark, 5, &[]),
            Subject::Upstream(name) => self.hash(mark, 6, name.as_bytes()),
        };
        Key { mark, hash: [hash.h1, hash.h2] }
    }

    fn hash(&self, mark: u64, kind: u64, subject: &[u8]) -> Hash128 {
        let mut hasher = self.secret;
        // A mark is a hash and stays one with a kind folded into it: one whole block, which is quick, before the subject.
        hasher.write_u64(mark ^ kind << 56);
        hasher.hash(subject)
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
