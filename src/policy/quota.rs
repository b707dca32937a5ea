//! Quotas: what may be spent, and whose allowance a request is charged to.
//!
//! Made by `config::compile`, named by realms and routes. The ladder asks for a charge, the shell spends through `limits`
//! and brings the answer back as a fact. Nothing here counts, knows a clock, or knows how much is left.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::principal::Principal;
use super::route::{Destination, Location, Realm, Route};

/// The place of a quota in its realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QuotaIndex(pub u16);

/// The most quotas that one stage of a request is charged to.
pub const MAX_CHARGES: usize = 8;

/// Who has an allowance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Per {
    /// The account that calls, with whichever of its credentials.
    Principal,
    /// The client's network: an IPv4 address, the first 64 bits of an IPv6 address.
    Address,
    /// The canonical e-mail of a login.
    Login,
    /// The realm as a whole.
    Realm,
    /// The route, whichever of its patterns and methods was used.
    Route,
    /// The upstream that the route goes to.
    Upstream,
    /// The nearest account with this role, from the caller upwards; without one the quota does not apply.
    Ancestor(Box<str>),
}

impl Per {
    /// The kinds that are no roles, as policy files name them.
    pub const KINDS: [(&'static str, Per); 6] = [
        ("principal", Per::Principal),
        ("address", Per::Address),
        ("login", Per::Login),
        ("realm", Per::Realm),
        ("route", Per::Route),
        ("upstream", Per::Upstream),
    ];

    /// The name in policy files.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Per::Principal => "principal",
            Per::Address => "address",
            Per::Login => "login",
            Per::Realm => "realm",
            Per::Route => "route",
            Per::Upstream => "upstream",
            Per::Ancestor(role) => role,
        }
    }

    /// When quotas of this kind are charged: who calls, and what for, is known only once the request may pass.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        match self {
            Per::Address | Per::Realm => Stage::Arrival,
            Per::Principal | Per::Login | Per::Route | Per::Upstream | Per::Ancestor(_) => Stage::Permitted,
        }
    }
}

/// How much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Requests in time.
    Rate(Rate),
    /// Requests that run at once, in one gateway.
    InFlight(u32),
}

impl Limit {
    /// One allowance over all gateways.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        matches!(self, Limit::Rate(Rate { shared: true, .. }))
    }
}

/// Requests in time, by the generic cell rate algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds until another cell is there; at least 1.
    pub interval: u64,
    /// The most cells at once; at least 1.
    pub burst: u32,
    /// One allowance over all gateways.
    pub shared: bool,
}

impl Rate {
    /// Nanoseconds until an empty bucket is full.
    #[must_use]
    pub const fn capacity(&self) -> u64 {
        self.interval.saturating_mul(self.burst as u64)
    }

    /// The same in whole seconds, rounded up: the window that clients are told.
    #[must_use]
    pub const fn window(&self) -> u64 {
        self.capacity().div_ceil(1_000_000_000)
    }
}

/// One `[quota.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Unique in its realm; clients see it, and it labels logs and metrics.
    pub name: Box<str>,
    /// Where the operator wrote it.
    pub location: Location,
    /// Who has an allowance.
    pub per: Per,
    /// How much.
    pub limit: Limit,
    /// The limit as the operator wrote it, for people: `50/s, burst 100, shared`.
    pub written: Box<str>,
    /// A hash over realm, name, `per` and limit: counters belong to it, so a quota that was changed starts with new ones.
    pub mark: u64,
}

/// Whose allowance one request is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject<'a> {
    /// An account, by its id.
    Account(&'a str),
    /// A network: see [`network_of`].
    Network(IpAddr),
    /// A canonical e-mail.
    Login(&'a str),
    /// Everybody in the realm.
    Realm,
    /// A route, by its name.
    Route(&'a str),
    /// An upstream, by its name: its place may be another after a reload.
    Upstream(&'a str),
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Account(text) | Subject::Login(text) | Subject::Route(text) | Subject::Upstream(text) => {
                f.write_str(text)
            }
            Subject::Network(IpAddr::V4(address)) => write!(f, "{address}"),
            Subject::Network(IpAddr::V6(address)) => write!(f, "{address}/64"),
            Subject::Realm => f.write_str("*"),
        }
    }
}

/// What counts as one client: an IPv4 address, in whichever form, or the first 64 bits of an IPv6 address.
#[must_use]
pub fn network_of(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// When a request is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Before routing, whatever becomes of the request: the quotas per address and realm.
    Arrival,
    /// When every other check has passed: the rest, all or none.
    Permitted,
}

/// One quota with whose allowance of it is charged.
#[derive(Clone, Copy, Debug)]
pub struct Charge<'a> {
    /// The quota's place in its realm.
    pub index: QuotaIndex,
    /// The quota.
    pub quota: &'a Quota,
    /// Whose allowance.
    pub subject: Subject<'a>,
}

/// What one stage of a request is charged to: all of it, or nothing.
#[derive(Clone, Copy, Debug)]
pub struct Charges<'a> {
    /// The realm's name.
    pub realm: &'a str,
    list: [Option<Charge<'a>>; MAX_CHARGES],
}

impl<'a> Charges<'a> {
    /// The first [`MAX_CHARGES`] of these.
    #[must_use]
    pub fn of(realm: &'a str, charges: impl IntoIterator<Item = Charge<'a>>) -> Self {
        let mut list = [None; MAX_CHARGES];
        for (slot, charge) in list.iter_mut().zip(charges) {
            *slot = Some(charge);
        }
        Self { realm, list }
    }

    /// In the order of the policy.
    pub fn iter(&self) -> impl Iterator<Item = &Charge<'a>> {
        self.list.iter().map_while(Option::as_ref)
    }

    /// Nothing is charged.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.list[0].is_none()
    }
}

/// What is known of a request when it is charged.
#[derive(Clone, Copy)]
pub struct Charged<'a> {
    /// The realm that owns the path.
    pub realm: &'a Realm,
    /// The route taken.
    pub route: Option<&'a Route>,
    /// The caller, once it proved genuine.
    pub principal: Option<&'a Principal>,
    /// The client.
    pub client: IpAddr,
    /// The canonical e-mail of a login.
    pub login: Option<&'a str>,
}

impl<'a> Charged<'a> {
    /// What a stage charges: the realm's own quotas and the route's.
    #[must_use]
    pub fn due(&self, stage: Stage) -> Charges<'a> {
        Charges::of(&self.realm.name, self.each(stage))
    }

    /// Whether a stage charges anything. The ladder asks often, so it looks no further than the first charge.
    #[must_use]
    pub fn owes(&self, stage: Stage) -> bool {
        self.each(stage).next().is_some()
    }

    fn each(&self, stage: Stage) -> impl Iterator<Item = Charge<'a>> {
        let of_route = self.route.map_or(&[][..], |route| &route.quotas);
        self.realm.charged.iter().chain(of_route).filter_map(move |index| {
            let quota = self.realm.quota(*index)?;
            if quota.per.stage() != stage {
                return None;
            }
            Some(Charge { index: *index, quota, subject: self.subject(&quota.per)? })
        })
    }

    fn subject(&self, per: &'a Per) -> Option<Subject<'a>> {
        let lineage = self.principal.map(|principal| &principal.account.lineage);
        match per {
            Per::Principal => lineage.map(|lineage| Subject::Account(lineage.id())),
            Per::Address => Some(Subject::Network(network_of(self.client))),
            Per::Login => self.login.map(Subject::Login),
            Per::Realm => Some(Subject::Realm),
            Per::Route => self.route.map(|route| Subject::Route(&route.name)),
            Per::Upstream => match self.route?.destination {
                Destination::Upstream(index) => self.realm.upstream(index).map(Subject::Upstream),
                Destination::Login | Destination::Logout => None,
            },
            Per::Ancestor(role) => lineage?.nearest(role).map(Subject::Account),
        }
    }
}

/// What the limiter said to a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaAnswer {
    /// All was taken.
    Admitted,
    /// Nothing was taken.
    Refused {
        /// The quota that has too little left.
        quota: QuotaIndex,
        /// Seconds until it has enough; at least 1.
        retry_after: u32,
    },
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_client_is_one_ipv4_address_in_either_form_or_64_bits_of_ipv6() {
        let of = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("127.0.0.1"), IpAddr::V4(Ipv4Addr::LOCALHOST));
    }

    #[test]
    fn the_window_is_the_time_to_refill_in_whole_seconds() {
        let rate = |interval, burst| Rate { interval, burst, shared: false };
        assert_eq!(rate(20_000_000, 100).window(), 2);
        assert_eq!(rate(333_333_333, 1).window(), 1);
        assert_eq!(rate(6_000_000_000, 10).window(), 60);
    }
}
