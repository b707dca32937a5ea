//! Who is guessing, and from where: identifiers, client networks and the names of the lock-out's keys.
//!
//! Used by the lock-out only. A name is what operators and the store see, `pair:<identifier>@<network>`, `network:<network>`
//! or `email:<email>`; it is made when something is counted, not for a caller who never failed. Nothing is counted here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::directory::records::canonical_email;
use crate::policy::principal::is_id;

/// Where a client comes from, as far as guessing goes: one IPv4 address, or one IPv6 /64, which is what a household gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Network {
    V4(Ipv4Addr),
    /// The first 64 bits.
    V6(u64),
}

impl Network {
    /// The network of a client; an IPv4 address written as an IPv6 one is the IPv4 address.
    pub(super) fn of(client: IpAddr) -> Self {
        match client.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }

    /// Reads what `Display` writes, and nothing else.
    fn parse(text: &str) -> Option<Self> {
        let network = match text.strip_suffix("/64") {
            Some(address) => Self::of(IpAddr::V6(address.parse().ok()?)),
            None => Self::V4(text.parse().ok()?),
        };
        (network.to_string() == text).then_some(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => write!(f, "{address}"),
            Self::V6(bits) => write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(*bits) << 64)),
        }
    }
}

/// What is guessed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Identifier<'a> {
    /// An API id.
    Api(&'a str),
    /// A canonical e-mail.
    Email(&'a str),
    /// Whatever keeps neither grammar. Nobody has such a name, so nothing can be guessed by it; all of a network share
    /// one bucket, which is written `*`.
    Stranger,
}

impl<'a> Identifier<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::Api(text) | Self::Email(text) => text,
            Self::Stranger => "*",
        }
    }
}

/// One who tries: an identifier from a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Subject<'a> {
    pub(super) identifier: Identifier<'a>,
    pub(super) network: Network,
}

impl<'a> Subject<'a> {
    /// A caller with an API id, as sent.
    pub(super) fn api(id: Option<&'a str>, client: IpAddr) -> Self {
        let identifier = id.filter(|id| is_id(id)).map_or(Identifier::Stranger, Identifier::Api);
        Self { identifier, network: Network::of(client) }
    }

    /// A user with an e-mail, canonical or none.
    pub(super) fn email(email: Option<&'a str>, client: IpAddr) -> Self {
        Self { identifier: email.map_or(Identifier::Stranger, Identifier::Email), network: Network::of(client) }
    }

    /// The key of the pair.
    pub(super) const fn pair(self) -> Key<'a> {
        Key::Pair(self)
    }

    /// The key of the network.
    pub(super) const fn whole_network(self) -> Key<'a> {
        Key::Network(self.network)
    }

    /// The key of the e-mail, wherever it is tried from.
    pub(super) fn everywhere(self) -> Option<Key<'a>> {
        match self.identifier {
            Identifier::Email(email) => Some(Key::Email(email)),
            Identifier::Api(_) | Identifier::Stranger => None,
        }
    }

    /// What the store remembers successes under, with the network as the member; strangers have none.
    pub(super) fn remembered_as(self) -> Option<&'a str> {
        match self.identifier {
            Identifier::Api(text) | Identifier::Email(text) => Some(text),
            Identifier::Stranger => None,
        }
    }
}

/// What failures are counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key<'a> {
    Pair(Subject<'a>),
    Network(Network),
    Email(&'a str),
}

impl<'a> Key<'a> {
    /// Reads a key's name, and nothing that `Display` would have written otherwise.
    pub(super) fn parse(name: &'a str) -> Option<Self> {
        let (kind, rest) = name.split_once(':')?;
        let canonical = |email: &str| canonical_email(email).is_some_and(|known| known == email);
        match kind {
            "pair" => {
                let (identifier, network) = rest.rsplit_once('@')?;
                let identifier = match identifier {
                    "*" => Identifier::Stranger,
                    id if is_id(id) => Identifier::Api(id),
                    email if canonical(email) => Identifier::Email(email),
                    _ => return None,
                };
                Some(Self::Pair(Subject { identifier, network: Network::parse(network)? }))
            }
            "network" => Network::parse(rest).map(Self::Network),
            "email" => canonical(rest).then_some(Self::Email(rest)),
            _ => None,
        }
    }
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pair(subject) => write!(f, "pair:{}@{}", subject.identifier.text(), subject.network),
            Self::Network(network) => write!(f, "network:{network}"),
            Self::Email(email) => write!(f, "email:{email}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_is_an_ipv4_address_or_an_ipv6_64() {
        assert_ne!(Network::of(at("192.0.2.1")), Network::of(at("192.0.2.2")));
        assert_eq!(Network::of(at("::ffff:192.0.2.1")), Network::of(at("192.0.2.1")));
        assert_eq!(Network::of(at("2001:db8:1:2::1")), Network::of(at("2001:db8:1:2:ffff:ffff:ffff:ffff")));
        assert_ne!(Network::of(at("2001:db8:1:2::1")), Network::of(at("2001:db8:1:3::1")));
        assert_eq!(Network::of(at("2001:db8:1:2::1")).to_string(), "2001:db8:1:2::/64");
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        let mut seen = 0;
        for client in ["192.0.2.1", "2001:db8::5", "::1"] {
            for subject in [
                Subject::api(Some("ak_1"), at(client)),
                Subject::api(Some("not an id"), at(client)),
                Subject::email(Some("a{}:@b"), at(client)),
                Subject::email(None, at(client)),
            ] {
                for key in [Some(subject.pair()), Some(subject.whole_network()), subject.everywhere()].iter().flatten()
                {
                    assert_eq!(Key::parse(&key.to_string()).as_ref(), Some(key), "{key}");
                    seen += 1;
                }
            }
        }
        assert_eq!(seen, 27);
        assert_eq!(Subject::email(Some("a@b"), at("::1")).pair().to_string(), "pair:a@b@::/64");
    }

    #[test]
    fn foreign_names_are_no_keys() {
        for name in [
            "",
            "pair:",
            "pair:a",
            "pair:a b@192.0.2.1",
            "pair:A@B@192.0.2.1",
            "pair:a@192.0.2.01",
            "pair:a@2001:db8::1/64",
            "pair:a@2001:db8::",
            "network:::1",
            "network:192.0.2.0/24",
            "email:A@b",
            "email:nobody",
            "session:x",
        ] {
            assert_eq!(Key::parse(name), None, "{name}");
        }
    }

    #[test]
    fn spellings_of_one_email_are_one_subject_and_other_texts_strangers() {
        let of = |text: &str| canonical_email(text);
        assert_eq!(of("ALICE@Lab.example"), of("alice@lab.example"));
        for odd in ["alice@lab.example ", " alice@lab.example", "al\u{131}ce@lab.example", "alice@lab.example\0"] {
            assert_eq!(Subject::email(of(odd).as_deref(), at("::1")).identifier, Identifier::Stranger, "{odd:?}");
        }
    }
}
