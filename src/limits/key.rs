//! What a charge is counted under: 128 bits, of a hash that outsiders cannot foresee.
//!
//! An attacker who chooses e-mails or addresses cannot aim at another's bucket or at one place of a table. Not used
//! towards the store, where all gateways have to find the same key.

use crate::policy::quota::{Charge, Subject};

/// One bucket of one quota in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The quota's mark.
    pub mark: u64,
    /// Of the quota's mark and the subject.
    pub hash: [u64; 2],
}

/// Makes keys.
pub(super) struct Keys {
    secret: [u64; 2],
}

impl Keys {
    pub(super) fn new() -> Self {
        Self { secret: [getrandom::u64().unwrap_or(0), getrandom::u64().unwrap_or(0)] }
    }

    pub(super) fn of(&self, charge: &Charge<'_>) -> Key {
        use std::hash::{BuildHasher as _, Hasher as _};
        let hash = |half: u64| {
            let mut hasher = foldhash::fast::FixedState::with_seed(half).build_hasher();
            hasher.write_u64(charge.quota.mark);
            match charge.subject {
                Subject::Account(text) | Subject::Login(text) | Subject::Route(text) => hasher.write(text.as_bytes()),
                Subject::Network(std::net::IpAddr::V4(address)) => hasher.write(&address.octets()),
                Subject::Network(std::net::IpAddr::V6(address)) => hasher.write(&address.octets()),
                Subject::Realm => {}
                Subject::Upstream(index) => hasher.write_u16(index.0),
            }
            hasher.finish()
        };
        Key { mark: charge.quota.mark, hash: self.secret.map(hash) }
    }
}
