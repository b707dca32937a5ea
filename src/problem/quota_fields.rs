//! `RateLimit-Policy` and `RateLimit`: what a client may spend, and what of it is left, as the IETF's
//! draft-ietf-httpapi-ratelimit-headers writes them, in structured fields of RFC 9651.
//!
//! Bound to a snapshot once, since all but two numbers of a quota's fields never change; written by `proxy` to every answer
//! to a request that was charged. It neither counts nor knows which quota is the tightest.

use http::HeaderValue;

use crate::policy::quota::{Limit, Quota, QuotaIndex, Rate};
use crate::policy::snapshot::{RealmIndex, Snapshot};

/// The fields' names.
pub const NAMES: [&str; 2] = ["RateLimit-Policy", "RateLimit"];

/// Both fields of every quota with a rate.
#[derive(Clone, Debug, Default)]
pub struct QuotaFields {
    /// By realm, then by quota; `None` for those of running requests, which the draft does not know.
    realms: Vec<Vec<Option<QuotaField>>>,
}

/// Both fields of one quota, as far as they never change.
#[derive(Clone, Debug)]
struct QuotaField {
    policy: HeaderValue,
    /// Of `RateLimit`, up to the number of cells that are left.
    stem: Box<[u8]>,
}

impl QuotaFields {
    /// Of a snapshot's quotas.
    #[must_use]
    pub fn bind(snapshot: &Snapshot) -> Self {
        let of_quota = |quota: &Quota| match quota.limit {
            Limit::Rate(rate) => QuotaField::new(&quota.name, &rate),
            Limit::InFlight(_) => None,
        };
        Self { realms: snapshot.realms().iter().map(|realm| realm.quotas.iter().map(of_quota).collect()).collect() }
    }

    /// What a client is told: the values of [`NAMES`]. `remaining` cells are left, and `more_in` seconds from now there is one
    /// more.
    #[must_use]
    pub fn told(&self, realm: RealmIndex, quota: QuotaIndex, remaining: u32, more_in: u32) -> Option<[HeaderValue; 2]> {
        let field = self.realms.get(usize::from(realm.0))?.get(usize::from(quota.0))?.as_ref()?;
        Some([field.policy.clone(), field.standing(remaining, more_in)?])
    }
}

impl QuotaField {
    /// `None` for a name that is no text of a header; a compiled policy has none such.
    fn new(name: &str, rate: &Rate) -> Option<Self> {
        let policy = format!("\"{name}\";q={};w={}", rate.burst, rate.window());
        let stem = format!("\"{name}\";r=").into_bytes().into();
        HeaderValue::try_from(policy).ok().map(|policy| Self { policy, stem })
    }

    /// `"name";r=49;t=1`, of the stem and two numbers: it is written for every answer.
    fn standing(&self, remaining: u32, more_in: u32) -> Option<HeaderValue> {
        let mut text = Vec::with_capacity(self.stem.len() + 2 * LONGEST_NUMBER + 3);
        text.extend_from_slice(&self.stem);
        push_number(&mut text, remaining);
        text.extend_from_slice(b";t=");
        push_number(&mut text, more_in);
        HeaderValue::try_from(text).ok()
    }
}

/// Digits of the largest `u32`.
const LONGEST_NUMBER: usize = 10;

fn push_number(text: &mut Vec<u8>, mut number: u32) {
    let mut digits = [b'0'; LONGEST_NUMBER];
    let mut first = LONGEST_NUMBER;
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        *digit += (number % 10) as u8;
        first = place;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[first..]);
}

#[cfg(test)]
mod tests {
    use sfv::{BareItem, ListEntry, Parser};

    use super::*;

    const HOURLY: Rate = Rate { interval: 36_000_000_000, burst: 100, shared: true };

    #[test]
    fn the_fields_are_those_of_the_draft() {
        let field = QuotaField::new("per-customer", &HOURLY).unwrap();
        assert_eq!(field.policy, "\"per-customer\";q=100;w=3600");
        assert_eq!(field.standing(99, 0).unwrap(), "\"per-customer\";r=99;t=0");
    }

    #[test]
    fn another_parser_reads_every_number_as_it_was_meant() {
        let field = QuotaField::new("a", &HOURLY).unwrap();
        for (remaining, more_in) in
            [(0, 1), (1, 0), (9, 10), (10, 99), (4_294_967_295, 2_592_000), (100, 1_000_000_000)]
        {
            let value = field.standing(remaining, more_in).unwrap();
            let list = Parser::parse_list(value.as_bytes()).unwrap();
            let [ListEntry::Item(item)] = &list[..] else { panic!("{list:?}") };
            assert_eq!(item.bare_item, BareItem::String("a".into()));
            let number = |key: &str| item.params[key].as_int().unwrap();
            assert_eq!((number("r"), number("t")), (remaining.into(), more_in.into()), "{value:?}");
        }
    }

    #[test]
    fn a_quota_that_nobody_knows_tells_nothing() {
        let none = QuotaFields { realms: vec![vec![None]] };
        assert!(none.told(RealmIndex(0), QuotaIndex(0), 1, 1).is_none());
        assert!(none.told(RealmIndex(0), QuotaIndex(1), 1, 1).is_none());
        assert!(none.told(RealmIndex(1), QuotaIndex(0), 1, 1).is_none());
    }
}
