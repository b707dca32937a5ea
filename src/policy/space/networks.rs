//! Which client addresses a role's networks tell apart: one address stands for all that lie in the same of them.
//!
//! Called by `space::callers`. Two networks nest or are strangers, so what is left of each without those inside it is all
//! there is to try. Whether a role may call from an address is the realm's to say, not ours.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::super::route::Realm;

/// Addresses that both sides treat alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// One of them.
    pub client: IpAddr,
    /// Whether the role may call from there: the old realm's word, and the new one's.
    pub admitted: [bool; 2],
    /// The networks they are in, for people.
    pub label: String,
}

/// The kinds of addresses for one role; one where no realm limits it. A realm that is not there admits everybody.
#[must_use]
pub fn origins(realms: [Option<&Realm>; 2], role: &str) -> Vec<Origin> {
    let named = |realm: Option<&Realm>| {
        let realm = realm?;
        let role = realm.role(role)?;
        let (_, networks) = realm.networks.iter().find(|(limited, _)| *limited == role)?;
        Some(networks.clone())
    };
    let mut networks: Vec<IpNet> = realms.into_iter().filter_map(named).flatten().map(|net| net.trunc()).collect();
    networks.sort();
    networks.dedup();
    let admitted = |client| realms.map(|realm| realm.is_none_or(|realm| admits(realm, role, client)));
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    if networks.is_empty() {
        return vec![Origin { client: loopback, admitted: admitted(loopback), label: String::new() }];
    }
    let elsewhere = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
    let places = networks.iter().map(|net| (*net, net.to_string()));
    let places = places.chain(elsewhere.map(|net| (net, "elsewhere".to_owned())));
    let mut origins: Vec<Origin> = Vec::new();
    for (place, name) in places {
        let Some(client) = outside(place, &networks) else { continue };
        let admitted = admitted(client);
        match origins.iter_mut().find(|known| known.admitted == admitted) {
            Some(known) if known.label.split(", ").any(|label| label == name) => {}
            Some(known) => known.label = format!("{}, {name}", known.label),
            None => origins.push(Origin { client, admitted, label: name }),
        }
    }
    origins
}

fn admits(realm: &Realm, role: &str, client: IpAddr) -> bool {
    realm.role(role).is_none_or(|role| realm.admits_network(role, client))
}

/// An address of the network that is in none of those strictly inside it; `None` where they fill it.
fn outside(network: IpNet, all: &[IpNet]) -> Option<IpAddr> {
    let inside: Vec<IpNet> =
        all.iter().filter(|other| **other != network && network.contains(*other)).copied().collect();
    free(network, &inside)
}

fn free(network: IpNet, taken: &[IpNet]) -> Option<IpAddr> {
    if taken.contains(&network) {
        return None;
    }
    let within: Vec<IpNet> = taken.iter().filter(|other| network.contains(*other)).copied().collect();
    if within.is_empty() {
        return Some(network.addr());
    }
    let halves = network.subnets(network.prefix_len().checked_add(1)?).ok()?;
    halves.into_iter().find_map(|half| free(half, &within))
}

#[cfg(test)]
mod tests {
    use super::super::super::access::RoleIndex;
    use super::super::super::decisions::realm;
    use super::*;

    fn limited(networks: &[&str]) -> Realm {
        let mut realm = realm("/r", Vec::new());
        realm.networks.push((RoleIndex(0), networks.iter().map(|text| text.parse().unwrap()).collect()));
        realm
    }

    #[test]
    fn one_address_stands_for_each_part_that_either_side_tells_apart() {
        let (old, new) = (limited(&["10.0.0.0/8"]), limited(&["10.1.0.0/16", "2001:db8::/32"]));
        let origins = origins([Some(&old), Some(&new)], "administrator");
        let shown: Vec<([bool; 2], &str)> = origins.iter().map(|at| (at.admitted, at.label.as_str())).collect();
        let expected = [
            ([true, false], "10.0.0.0/8"),
            ([true, true], "10.1.0.0/16"),
            ([false, true], "2001:db8::/32"),
            ([false, false], "elsewhere"),
        ];
        assert_eq!(shown, expected);
        assert_eq!(origins[0].client, "10.0.0.0".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn a_network_that_others_fill_has_no_part_of_its_own() {
        let filled = limited(&["10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9"]);
        let nets = filled.networks[0].1.clone();
        assert_eq!(outside(nets[0], &nets), None);
        assert_eq!(outside(nets[1], &nets), Some("10.0.0.0".parse().unwrap()));
        assert!(outside(IpNet::V4(Ipv4Net::default()), &nets).is_some_and(|client| !nets[0].contains(&client)));
    }

    #[test]
    fn a_role_without_networks_is_of_one_kind() {
        let (old, new) = (limited(&["10.0.0.0/8"]), limited(&["10.0.0.0/8"]));
        assert_eq!(origins([Some(&old), Some(&new)], "user").len(), 1);
        assert_eq!(origins([Some(&old), None], "administrator").len(), 2);
    }
}
