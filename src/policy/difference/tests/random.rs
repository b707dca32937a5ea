//! Random small policies, edits of them, and requests that come across their rules.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::super::access::{Access, RoleIndex, Scope};
use super::super::super::credential::{Scheme, Schemes};
use super::super::super::decisions::route;
use super::super::super::pattern::{Pattern, Segment};
use super::super::super::principal::{Account, Lineage};
use super::super::super::properties::Dice;
use super::super::super::quota::{Limit, Per, Quota, QuotaIndex, Rate};
use super::super::super::rehearsal::{Call, Tree};
use super::super::super::route::{Destination, Location, Realm, Route, TargetRule, TargetSource, UpstreamIndex};
use super::super::super::snapshot::Snapshot;
use super::super::super::table::RouteTable;

pub(super) const NAMES: [&str; 2] = ["left", "right"];
const ROLES: [&str; 5] = ["administrator", "reseller", "customer", "user", "member"];
const PATTERNS: [&str; 11] = [
    "/p",
    "/p/",
    "/p/{x}",
    "/p/z",
    "/p/{x}/q",
    "/p/z/{y}",
    "/{x}/{y}/q",
    "/{x}",
    "/p/{*r}",
    "/{*r}",
    "/p/{x}/{y}/{*r}",
];
const METHODS: [&str; 3] = ["GET", "POST", "HEAD"];
const BASES: [&str; 6] = ["/a", "/a/p", "", "/b", "/b/p/p", "/a/p/z/q"];
const NETWORKS: [&str; 4] = ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24", "2001:db8::/32"];
const CLIENTS: [&str; 5] = ["10.9.9.9", "10.1.2.3", "192.0.2.7", "2001:db8::1", "198.51.100.1"];
const HEADERS: [&str; 4] = ["x-one", "x-two", "x-app-type", "authorization"];

impl Dice {
    fn draw<T: Clone>(&mut self, from: &[T]) -> T {
        self.pick(from).clone()
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }

    fn some<T: Clone + PartialEq>(&mut self, from: &[T]) -> Vec<T> {
        let mut some: Vec<T> = Vec::new();
        for _ in 0..1 + self.roll(2) {
            let one = self.draw(from);
            if !some.contains(&one) {
                some.push(one);
            }
        }
        some
    }
}

fn quotas() -> Vec<Quota> {
    let pers = [Per::Principal, Per::Address, Per::Ancestor("customer".into()), Per::Realm];
    let quota = |(place, per): (usize, Per)| Quota {
        name: format!("q{place}").into(),
        location: Location::default(),
        per,
        limit: Limit::Rate(Rate { interval: 1000, burst: 10, shared: false }),
        written: "1/s".into(),
        mark: 0,
    };
    pers.into_iter().enumerate().map(quota).collect()
}

fn access(dice: &mut Dice) -> Access {
    let mut access = Access::default();
    for role in 0..4 {
        if !dice.one_in(3) {
            access.allow(RoleIndex(role), dice.draw(&Scope::ALL));
        }
    }
    access
}

fn target(dice: &mut Dice, route: &Route) -> Option<TargetRule> {
    let parameters =
        |(_, pattern): &(_, Pattern)| pattern.segments().iter().filter(|segment| segment.parameter().is_some()).count();
    let fewest = route.matches.iter().map(parameters).min().unwrap_or(0);
    let source = match dice.roll(6) {
        0 => return None,
        1 => TargetSource::Query { name: "id".into(), optional: dice.one_in(2) },
        2 => TargetSource::Header("x-target".into()),
        _ if fewest == 0 => return None,
        _ => TargetSource::Path(dice.roll(fewest)),
    };
    Some(TargetRule { source, role: dice.one_in(4).then(|| dice.draw(&ROLES).into()) })
}

fn edit(dice: &mut Dice, route: &mut Route) {
    match dice.roll(14) {
        0 => route.public = !route.public,
        1 => route.enabled = !route.enabled,
        2 => route.access = access(dice),
        3 => route.headers = dice.some(&HEADERS).into_iter().map(Into::into).collect(),
        4 => route.headers = Vec::new(),
        5 => route.app_types = dice.some(&["vc", "wb", "xx"]).into_iter().map(Into::into).collect(),
        6 => route.app_types = Vec::new(),
        7 => route.target = target(dice, route),
        8 => route.destination = Destination::Upstream(UpstreamIndex(u16::try_from(dice.roll(2)).unwrap())),
        9 => route.body_size = dice.draw(&[10, 100, 1000]),
        10 => route.strip_base = !route.strip_base,
        11 => route.forward_authorization = !route.forward_authorization,
        12 => {
            route.schemes =
                dice.draw(&[(true, true), (true, false), (false, true)].map(|(basic, token)| Schemes { basic, token }))
        }
        _ => route.quotas = dice.some(&[QuotaIndex(0), QuotaIndex(1), QuotaIndex(2)]),
    }
    if route.public {
        route.target = None;
        route.access = Access::default();
    }
}

fn random_route(dice: &mut Dice, place: usize) -> Route {
    let matches: Vec<String> =
        (0..1 + dice.roll(2)).map(|_| format!("{} {}", dice.draw(&METHODS), dice.draw(&PATTERNS))).collect();
    let matches: Vec<&str> = matches.iter().map(String::as_str).collect();
    let mut route = Route { access: access(dice), ..route(&format!("r{place}"), &matches) };
    route.target = target(dice, &route);
    for _ in 0..dice.roll(4) {
        edit(dice, &mut route);
    }
    route
}

fn plan(dice: &mut Dice, name: &str, base: &str) -> Realm {
    let mut roles: Vec<Box<str>> = ROLES[..4].iter().map(|role| (*role).into()).collect();
    if dice.one_in(5) {
        roles.swap(1, 2);
    }
    Realm {
        name: name.into(),
        location: Location::default(),
        base: base.into(),
        roles,
        upstreams: [].into(),
        schemes: Schemes { basic: true, token: true },
        networks: if dice.one_in(2) { networks(dice) } else { Vec::new() },
        quotas: quotas(),
        charged: if dice.one_in(2) { vec![QuotaIndex(3)] } else { Vec::new() },
        routes: (0..3 + dice.roll(5)).map(|place| random_route(dice, place)).collect(),
        table: RouteTable::default(),
    }
}

fn networks(dice: &mut Dice) -> Vec<(RoleIndex, Vec<ipnet::IpNet>)> {
    let role = RoleIndex(u8::try_from(dice.roll(4)).unwrap());
    vec![(role, dice.some(&NETWORKS).iter().map(|net| net.parse().unwrap()).collect())]
}

/// Routes whose pattern another one has already are left out, as no file could hold both.
fn built(plans: &[Realm]) -> Snapshot {
    let realms = plans.iter().map(|plan| {
        let mut realm = Realm { routes: Vec::new(), table: RouteTable::default(), ..plan.clone() };
        for route in &plan.routes {
            let mut tried = realm.clone();
            if tried.add(route.clone()).is_ok() {
                realm = tried;
            }
        }
        realm
    });
    Snapshot::new(realms.collect(), "random")
}

/// A set and an edit of it; every tenth edit is none.
pub(super) fn policies(dice: &mut Dice, round: usize) -> (Snapshot, Snapshot) {
    let mut bases = BASES.to_vec();
    let plans: Vec<Realm> = (0..1 + dice.roll(2))
        .map(|place| {
            let base = bases.remove(dice.roll(bases.len()));
            plan(dice, &format!("realm{place}"), base)
        })
        .collect();
    let mut edited = plans.clone();
    let edits = if round.is_multiple_of(10) { 0 } else { 1 + dice.roll(3) };
    for _ in 0..edits {
        let place = dice.roll(edited.len());
        let realm = &mut edited[place];
        let route = dice.roll(realm.routes.len());
        match dice.roll(12) {
            0 => {
                realm.routes.remove(route);
            }
            1 => realm.routes.insert(0, random_route(dice, 100)),
            2 => realm.networks = networks(dice),
            3 => realm.roles[3] = "member".into(),
            4 => realm.roles.swap(0, 1),
            5 => realm.charged = if realm.charged.is_empty() { vec![QuotaIndex(1)] } else { Vec::new() },
            6 => realm.quotas[0].limit = Limit::InFlight(3),
            7 => realm.base = bases.first().map_or("/c", |base| base).into(),
            _ => edit(dice, &mut realm.routes[route]),
        }
        if realm.routes.is_empty() {
            realm.routes.push(random_route(dice, 101));
        }
    }
    (built(&plans), built(&edited))
}

/// The same set with routes and lists turned round and upstreams where they were.
pub(super) fn turned(set: &Snapshot) -> Snapshot {
    let mut plans: Vec<Realm> = set.realms().to_vec();
    for realm in &mut plans {
        realm.routes.reverse();
        for route in &mut realm.routes {
            route.headers.reverse();
            route.app_types.reverse();
            route.matches.reverse();
            route.location = Location { file: "other.toml".into(), line: 7 };
        }
    }
    plans.reverse();
    built(&plans)
}

/// Accounts of all roles; some have ids that patterns spell out.
pub(super) fn tree() -> Tree {
    let mut tree = Tree::default();
    let lines = [
        "root:administrator/res:reseller/cus:customer/z:user",
        "root:administrator/res:reseller/cus:customer/usr:user",
        "root:administrator/res:reseller/cus:customer/mem:member",
        "root:administrator/q:customer/p:user",
        "root:administrator/res:reseller/odd:stranger/low:user",
        "top:reseller/mid:administrator/end:customer",
    ];
    for line in lines {
        let nodes: Vec<(&str, &str)> = line.split('/').map(|node| node.split_once(':').unwrap()).collect();
        for end in 1..=nodes.len() {
            let lineage = Lineage::new(nodes[..end].iter().copied()).unwrap();
            tree.insert(Arc::new(Account { lineage, suspended: false, password_mark: 0 })).unwrap();
        }
    }
    tree
}

const IDS: [&str; 16] =
    ["root", "res", "cus", "z", "usr", "mem", "q", "p", "odd", "low", "top", "mid", "end", "nobody", "not:id", "a"];

/// The path of a route with ids for its parameters, or some path.
fn path(dice: &mut Dice, set: &Snapshot, route: Option<(&Realm, &Route)>, own: &str) -> (String, String) {
    let id = |dice: &mut Dice| if dice.one_in(3) { own.to_owned() } else { dice.draw(&IDS).to_owned() };
    if let Some((realm, route)) = route {
        let (method, pattern) = dice.draw(&route.matches);
        let mut path = realm.base.to_string();
        for segment in pattern.segments() {
            match segment {
                Segment::Literal(text) => path.push_str(&format!("/{text}")),
                Segment::Parameter(_) => path.push_str(&format!("/{}", id(dice))),
                Segment::Rest(_) => path.push_str(&"/z/q"[..2 + 2 * dice.roll(2)]),
            }
        }
        return (method.name().to_owned(), path);
    }
    let base = set.realms().first().map_or("", |realm| &*realm.base);
    let mut path = dice.draw(&["/a", "/a/p", "/b", base]).to_owned();
    for _ in 0..dice.roll(4) {
        path.push_str(&format!("/{}", if dice.one_in(2) { dice.draw(&["p", "z", "q"]).to_owned() } else { id(dice) }));
    }
    if path.is_empty() || dice.one_in(6) {
        path.push('/');
    }
    (dice.draw(&["GET", "POST", "HEAD", "PUT", "DELETE"]).to_owned(), path)
}

/// A request that is likely to meet the rules of one of the sets.
pub(super) fn call(dice: &mut Dice, tree: &Tree, sets: [&Snapshot; 2]) -> Call {
    let set = sets[dice.roll(2)];
    let realm = &set.realms()[dice.roll(set.realms().len())];
    let route =
        (!dice.one_in(5) && !realm.routes.is_empty()).then(|| (realm, &realm.routes[dice.roll(realm.routes.len())]));
    let own = dice.draw(&IDS[..13]);
    let (method, mut target) = path(dice, set, route, own);
    let id = |dice: &mut Dice| if dice.one_in(3) { own } else { dice.draw(&IDS) };
    match dice.roll(6) {
        0 => target.push_str(&format!("?id={}&id={0}", id(dice))),
        1 => {}
        _ => target.push_str(&format!("?id={}", id(dice))),
    }
    let mut call = Call::new(&method, &target);
    let mut add = |name: &str, value: &str| call.headers.push((name.to_owned(), value.to_owned()));
    for name in ["x-one", "x-two"] {
        if !dice.one_in(6) {
            add(name, "1");
        }
    }
    for _ in 0..[0, 1, 1, 1, 1, 2][dice.roll(6)] {
        add("x-target", id(dice));
    }
    let types = route.map(|(_, route)| route.app_types.as_slice()).unwrap_or_default();
    let fitting = types.first().map_or("vc", |name| name);
    for _ in 0..[0, 1, 1, 1, 1, 1, 1, 2][dice.roll(8)] {
        let other = dice.draw(&["vc", "wb", "xx", "yy"]);
        add("x-app-type", if dice.one_in(3) { other } else { fitting });
    }
    if dice.one_in(4) {
        add("content-length", dice.draw(&["5", "50", "500", "5000"]));
    }
    if dice.one_in(20) {
        add("connection", dice.draw(&["x-one", "x-two", "x-target", "x-app-type", "authorization"]));
    }
    call.client = dice.draw(&CLIENTS).parse::<IpAddr>().unwrap();
    call.scheme = Some(dice.draw(&[Scheme::Basic, Scheme::Token]));
    if !dice.one_in(8) {
        call.caller = tree.account(own).cloned();
        call.headers.push(("authorization".to_owned(), "Token t".to_owned()));
    }
    call
}
