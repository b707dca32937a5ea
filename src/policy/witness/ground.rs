//! The tree that a witness is looked for on: the operator's own accounts, and two lines that have every role.
//!
//! Made by `witness` for one realm. The operator's accounts come first, so that a witness speaks of them where it can; the
//! two lines see to it that no class of account is missing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::policy::access::RoleIndex;
use crate::policy::principal::{Account, Relation};
use crate::policy::rehearsal::Tree;
use crate::policy::route::Realm;

/// As many of the operator's accounts are tried for each role.
const OWN_CALLERS: usize = 3;

/// No account has this id.
const UNKNOWN: &str = "unknown";

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Addresses that documents use: RFC 5737, RFC 3849.
const SOMEWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// Who calls.
pub(super) struct Caller {
    /// `ROLE:ACCOUNT` or `anonymous`.
    pub(super) name: String,
    /// Nobody's is none.
    pub(super) account: Option<Arc<Account>>,
    /// From where.
    pub(super) client: IpAddr,
}

/// The accounts that calls are made of.
pub(super) struct Ground {
    /// All of them.
    pub(super) tree: Tree,
    /// The operator's own by level and id, then the two lines.
    ordered: Vec<Arc<Account>>,
    /// How many are the operator's own.
    own: usize,
    /// The top of the first line.
    top: String,
}

impl Ground {
    /// The operator's tree with two lines more.
    pub(super) fn new(own: &Tree, realm: &Realm) -> Self {
        let mut tree = own.clone();
        let mut ordered: Vec<Arc<Account>> = own.accounts().cloned().collect();
        ordered.sort_by_key(|account| (account.lineage.nodes().count(), account.lineage.id().to_owned()));
        let count = ordered.len();
        let mut top = String::new();
        for line in ["new", "far"] {
            let prefix = free(own, line);
            for level in 1..=realm.roles.len() {
                let path = path(&prefix, level);
                // The ids are free and the path no deeper than the roles, so it is taken.
                let _ = tree.add(&path, &realm.roles);
                ordered.extend(tree.account(&format!("{prefix}-{level}")).cloned());
            }
            if top.is_empty() {
                top = format!("{prefix}-1");
            }
        }
        Self { tree, ordered, own: count, top }
    }

    /// Nobody, and some accounts of every role; the last of a role has every class of account around it.
    pub(super) fn callers(&self, realm: &Realm) -> Vec<Caller> {
        let mut callers = vec![Caller { name: "anonymous".to_owned(), account: None, client: LOOPBACK }];
        for (role, index) in realm.roles.iter().zip(0u8..) {
            let has_role = |account: &&Arc<Account>| account.lineage.role() == &**role;
            let own = self.ordered[..self.own].iter().filter(has_role).take(OWN_CALLERS);
            let new = self.ordered[self.own..].iter().filter(has_role).take(1);
            let raised = self.tree.with_role(&self.top, role);
            let (inside, outside) = clients(realm, RoleIndex(index));
            let accounts: Vec<Arc<Account>> = own.chain(new).cloned().chain(raised).collect();
            // Who calls from elsewhere is refused whatever else there is to say, so one account is enough.
            let elsewhere = accounts.first().zip(outside).map(|(account, client)| named(Arc::clone(account), client));
            callers.extend(accounts.into_iter().map(|account| named(account, inside)).chain(elsewhere));
        }
        callers
    }

    /// The first account of every class that there is, seen from the caller: relation and role.
    pub(super) fn classes(&self, caller: &Account) -> Vec<String> {
        let mut seen: Vec<(u8, &str, &str)> = Vec::new();
        for account in &self.ordered {
            let (relation, role) = (order(caller, account), account.lineage.role());
            if !seen.iter().any(|(known, of, _)| *known == relation && *of == role) {
                seen.push((relation, role, account.lineage.id()));
            }
        }
        seen.sort_by_key(|(relation, _, _)| *relation);
        seen.into_iter().map(|(_, _, id)| id.to_owned()).chain([free(&self.tree, UNKNOWN)]).collect()
    }

    /// Any account.
    pub(super) fn first(&self) -> Option<String> {
        self.ordered.first().map(|account| account.lineage.id().to_owned())
    }

    /// The paths that a call speaks of and the operator's tree does not hold.
    pub(super) fn lacking(&self, caller: &Caller, target: Option<&str>) -> Vec<String> {
        let target = target.and_then(|id| self.tree.account(id));
        let spoken_of = caller.account.iter().chain(target).map(|account| account.lineage.as_str());
        let is_new = |path: &&str| self.ordered[self.own..].iter().any(|known| known.lineage.as_str() == *path);
        let mut paths: Vec<String> = spoken_of.filter(is_new).map(str::to_owned).collect();
        // A path brings those above it along.
        paths.sort_by_key(|path| std::cmp::Reverse(path.len()));
        if let [long, short] = &paths[..]
            && long.starts_with(short.as_str())
        {
            paths.truncate(1);
        }
        paths
    }
}

fn named(account: Arc<Account>, client: IpAddr) -> Caller {
    let name = format!("{}:{}", account.lineage.role(), account.lineage.id());
    Caller { name, account: Some(account), client }
}

/// An address that the role may call from and one that it may not, where there is one.
fn clients(realm: &Realm, role: RoleIndex) -> (IpAddr, Option<IpAddr>) {
    let networks = realm.networks.iter().find(|(limited, _)| *limited == role).map_or(&[][..], |(_, list)| list);
    let Some(first) = networks.first() else { return (LOOPBACK, None) };
    let outside = |address: &IpAddr| !networks.iter().any(|network| network.contains(address));
    // Unless the networks are everything, something lies right beside one of them.
    let mut beside = SOMEWHERE.into_iter().chain(networks.iter().flat_map(neighbours));
    (first.hosts().next().unwrap_or(first.addr()), beside.find(outside))
}

/// The addresses right before and right behind a network.
fn neighbours(network: &IpNet) -> impl Iterator<Item = IpAddr> {
    let (before, behind) = match network {
        IpNet::V4(network) => (
            u32::from(network.network()).checked_sub(1).map(|bits| IpAddr::V4(bits.into())),
            u32::from(network.broadcast()).checked_add(1).map(|bits| IpAddr::V4(bits.into())),
        ),
        IpNet::V6(network) => (
            u128::from(network.network()).checked_sub(1).map(|bits| IpAddr::V6(bits.into())),
            u128::from(network.broadcast()).checked_add(1).map(|bits| IpAddr::V6(bits.into())),
        ),
    };
    before.into_iter().chain(behind)
}

/// Below, the caller itself, outside: the order in which accounts make good tests.
fn order(caller: &Account, account: &Account) -> u8 {
    let relation = if caller.lineage.id() == account.lineage.id() {
        Relation::Myself
    } else if caller.lineage.contains(&account.lineage) {
        Relation::Below
    } else {
        Relation::Outside
    };
    match relation {
        Relation::Below => 0,
        Relation::Myself => 1,
        Relation::None | Relation::Outside | Relation::Unknown => 2,
    }
}

/// `new-1/new-2/new-3` for three levels.
fn path(prefix: &str, levels: usize) -> String {
    (1..=levels).map(|level| format!("{prefix}-{level}")).collect::<Vec<_>>().join("/")
}

/// The name, made longer until no account's id begins with it.
fn free(tree: &Tree, name: &str) -> String {
    let mut name = name.to_owned();
    while tree.accounts().any(|account| account.lineage.id().starts_with(&name)) {
        name.push('x');
    }
    name
}
