//! Which password records are taken: argon2id in PHC form, at costs that cannot keep the gateway busy.
//!
//! Called by the readers of accounts, of the file and of JSON records. It compares no password; `identity` does.

use argon2::PasswordHash;
use thiserror::Error;

/// Why a password record is refused. None repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PhcFault {
    /// Anything else, a plain password perhaps.
    #[error("`password` is no PHC string")]
    NoPhc,
    /// Another algorithm or version, or a part is missing.
    #[error("`password` is not argon2id, version 19, with salt and hash")]
    NoArgon2id,
    /// `m`, `t` or `p` is missing.
    #[error("`password` lacks one of m, t, p")]
    NoCosts,
    /// Zero, or less than 8 blocks a lane.
    #[error("argon2 has no such costs")]
    ImpossibleCosts,
    /// More than m=65536 (64 MiB), t=10, p=16.
    #[error("these costs could be used to keep the gateway busy")]
    TooCostly,
}

/// The costs of a record that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Costs {
    /// Those of `portcullis password`.
    Usual,
    /// Others: by the time of a login, the e-mail can be told apart from an unknown one.
    Other,
}

/// Judges a PHC string.
///
/// # Errors
/// Why it is refused.
pub fn judge(text: &str) -> Result<Costs, PhcFault> {
    let hash = PasswordHash::new(text).map_err(|_| PhcFault::NoPhc)?;
    let whole = hash.salt.is_some() && hash.hash.is_some();
    if hash.algorithm.as_str() != "argon2id" || hash.version != Some(19) || !whole {
        return Err(PhcFault::NoArgon2id);
    }
    let number = |name: &str| hash.params.get_decimal(name).ok_or(PhcFault::NoCosts);
    let (m, t, p) = (number("m")?, number("t")?, number("p")?);
    if t < 1 || p < 1 || m < p.saturating_mul(8) {
        return Err(PhcFault::ImpossibleCosts);
    }
    if m > 65_536 || t > 10 || p > 16 {
        return Err(PhcFault::TooCostly);
    }
    Ok(if (m, t, p) == (19_456, 2, 1) { Costs::Usual } else { Costs::Other })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_argon2id_at_bounded_costs() {
        let judged = |head: &str| judge(&format!("{head}$c29tZXNhbHRzb21l$MDEyMzQ1Njc4OWFiY2RlZg"));
        let cases = [
            ("$argon2id$v=19$m=19456,t=2,p=1", Ok(Costs::Usual)),
            ("$argon2id$v=19$m=4096,t=3,p=1", Ok(Costs::Other)),
            ("$argon2id$v=19$m=65537,t=2,p=1", Err(PhcFault::TooCostly)),
            ("$argon2id$v=19$m=19456,t=11,p=1", Err(PhcFault::TooCostly)),
            ("$argon2id$v=19$m=7,t=1,p=1", Err(PhcFault::ImpossibleCosts)),
            ("$argon2id$v=19$m=4294967294,t=1,p=4294967295", Err(PhcFault::ImpossibleCosts)),
            ("$argon2id$v=19$m=19456,t=2", Err(PhcFault::NoCosts)),
            ("$argon2id$v=16$m=19456,t=2,p=1", Err(PhcFault::NoArgon2id)),
            ("$argon2i$v=19$m=19456,t=2,p=1", Err(PhcFault::NoArgon2id)),
        ];
        for (head, expected) in cases {
            assert_eq!(judged(head), expected, "{head}");
        }
        assert_eq!(judge("hunter2"), Err(PhcFault::NoPhc));
    }
}
