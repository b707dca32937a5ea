//! Mutants and witnesses over random policies: a witness is one, and where none is found, no random call is one either.

use super::access::{Access, RoleIndex, Scope};
use super::decisions::{realm, route};
use super::mutants::{Edit, mutants, wire_name};
use super::outcome::Outcome;
use super::properties::Dice;
use super::rehearsal::{Call, Tree, rehearse};
use super::route::{Destination, Route, TargetRule, TargetSource, UpstreamIndex};
use super::snapshot::{RealmIndex, Snapshot};
use super::witness::witness;

const HEADERS: [&str; 6] = ["x-api-id", "x-app-type", "x-of", "authorization", "host", "connection"];

fn some<'a>(dice: &mut Dice, from: &[&'a str]) -> Vec<&'a str> {
    from.iter().copied().filter(|_| dice.roll(4) == 0).collect()
}

fn random_route(dice: &mut Dice) -> Route {
    let query = |optional| TargetSource::Query { name: "of".into(), optional };
    let (pattern, sources) = match dice.roll(3) {
        0 => ("GET /t/{a}/{b}", vec![TargetSource::Path(1), TargetSource::Path(0)]),
        1 => ("POST /t/{*rest}", vec![TargetSource::Path(0), query(false)]),
        _ => ("GET /t", vec![query(true), query(false), TargetSource::Header("x-of".into())]),
    };
    let role = [None, None, Some("customer".into()), Some("reseller".into())];
    let target =
        (dice.roll(3) > 0).then(|| TargetRule { source: dice.pick(&sources).clone(), role: dice.pick(&role).clone() });
    let mut access = Access::default();
    for role in 0..4 {
        if dice.roll(3) > 0 {
            access.allow(RoleIndex(role), *dice.pick(&Scope::ALL));
        }
    }
    let types = if dice.roll(3) == 0 { vec!["vc".into(), "wb".into()] } else { Vec::new() };
    Route {
        public: dice.roll(5) == 0,
        enabled: dice.roll(8) > 0,
        access,
        headers: some(dice, &HEADERS).into_iter().map(Into::into).collect(),
        app_types: types,
        target,
        destination: Destination::Upstream(UpstreamIndex(0)),
        forward_authorization: dice.roll(4) == 0,
        ..route("random", &[pattern])
    }
}

fn random_snapshot(dice: &mut Dice) -> Snapshot {
    let mut realm = realm("/r", vec![random_route(dice), route("literal", &["GET /t/x-1/x-1"])]);
    for role in 0..4 {
        if dice.roll(5) == 0 {
            let networks = [["10.0.0.0/8"].as_slice(), &["0.0.0.0/0", "::/0"], &["192.0.2.0/24", "2001:db8::/32"]];
            let networks = dice.pick(&networks).iter().map(|text| text.parse().unwrap()).collect();
            realm.networks.push((RoleIndex(role), networks));
        }
    }
    Snapshot::new(vec![realm], "random")
}

fn random_call(dice: &mut Dice, tree: &Tree, line: &str) -> Call {
    let ids = ["root", "res-7", "cus-42", "usr-1", "res-8", "cus-9", "nobody"];
    let (method, path) = line.split_once(' ').unwrap();
    let mut path = format!("/r{path}");
    for name in ["{a}", "{b}", "{*rest}"] {
        path = path.replace(name, ids[dice.roll(ids.len())]);
    }
    if dice.roll(2) == 0 {
        path = format!("{path}?of={}", dice.pick(&ids));
    }
    let mut call = Call::new(method, &path);
    for name in &HEADERS {
        if dice.roll(4) == 0 {
            continue;
        }
        let value = match *name {
            "x-app-type" => *dice.pick(&["vc", "wb", "zz", "no token", ""]),
            "x-of" => *dice.pick(&ids),
            "host" => "h",
            "connection" => *dice.pick(&["close", "x-api-id", "x-of", "authorization"]),
            "authorization" => *dice.pick(&["Token t", "Nonsense"]),
            _ => "x",
        };
        call.headers.push(((*name).to_owned(), value.to_owned()));
    }
    if dice.roll(6) > 0 {
        let role = *dice.pick(&["administrator", "reseller", "customer", "user", "stranger"]);
        call.caller = tree.with_role(ids[dice.roll(6)], role);
    }
    let clients = ["127.0.0.1", "10.1.2.3", "192.0.2.9", "2001:db8::9", "203.0.113.5"];
    call.client = dice.pick(&clients).parse().unwrap();
    call
}

fn lab_tree() -> Tree {
    let mut tree = Tree::default();
    for path in ["root/res-7/cus-42/usr-1", "root/res-8/cus-9"] {
        tree.add(path, &["administrator", "reseller", "customer", "user"].map(Into::into)).unwrap();
    }
    tree
}

#[test]
fn a_witness_tells_a_mutant_and_without_one_no_call_does() {
    let mut dice = Dice::new(0x6d75_7461_6e74);
    let (mut told, mut indistinct, mut tried) = (0, 0, 0);
    for _ in 0..25 {
        let original = random_snapshot(&mut dice);
        let tree = lab_tree();
        let roles = original.realms()[0].roles.clone();
        let mut changed = original.clone();
        for mut mutant in mutants(&original, 2) {
            mutant.change_places(&mut changed);
            let found = witness(&original, &changed, &tree, mutant.realm, mutant.route());
            if let Some(found) = &found {
                let mut tree = tree.clone();
                for path in &found.lacking {
                    tree.add(path, &roles).unwrap();
                }
                let outcome = |snapshot| rehearse(snapshot, &tree, &found.call, Outcome::of);
                assert_eq!((outcome(&original), outcome(&changed)), (found.original.clone(), found.changed.clone()));
                assert_ne!(found.original, found.changed, "{:?}", mutant.edit);
                told += 1;
            } else {
                indistinct += 1;
                let route = &original.realms()[0].routes[mutant.route().map_or(0, |route| route.0 as usize)];
                for _ in 0..150 {
                    let (method, pattern) = &route.matches[0];
                    let call = random_call(&mut dice, &tree, &format!("{method} {pattern}"));
                    let outcome = |snapshot| rehearse(snapshot, &tree, &call, Outcome::of);
                    assert_eq!(outcome(&original), outcome(&changed), "{:?} {route:#?} {call:#?}", mutant.edit);
                    tried += 1;
                }
            }
            mutant.change_places(&mut changed);
        }
    }
    assert!(told > 150 && indistinct > 20 && tried > 2000, "{told} {indistinct} {tried}");
}

#[test]
fn a_mutant_changes_places_and_back() {
    let mut limited = realm("", vec![route("a", &["GET /a"])]);
    limited.networks.push((RoleIndex(1), vec!["10.0.0.0/8".parse().unwrap()]));
    let original = Snapshot::new(vec![limited], "r");
    let mut scratch = original.clone();
    let all = mutants(&original, 1);
    assert!(all.len() > 8);
    for mut mutant in all {
        mutant.change_places(&mut scratch);
        let of = |snapshot: &Snapshot| (snapshot.realms()[0].routes.clone(), snapshot.realms()[0].networks.clone());
        assert_ne!(of(&scratch), of(&original), "{:?}", mutant.edit);
        mutant.change_places(&mut scratch);
        assert_eq!(of(&scratch), of(&original), "{:?}", mutant.edit);
    }
}

#[test]
fn one_upstream_leaves_nowhere_else_to_go() {
    let snapshot = Snapshot::new(vec![realm("", vec![route("a", &["GET /a"])])], "r");
    let reroutes = |upstreams| {
        mutants(&snapshot, upstreams).into_iter().filter(|mutant| matches!(mutant.edit, Edit::Reroute { .. })).count()
    };
    assert_eq!((reroutes(1), reroutes(2), reroutes(9)), (0, 1, 1));
    assert_eq!(snapshot.realms()[0].role("user"), Some(RoleIndex(3)));
    let owner = snapshot.realm(RealmIndex(0)).unwrap();
    let words = Edit::Reroute { from: UpstreamIndex(0), to: UpstreamIndex(1) };
    let name = |index: UpstreamIndex| if index.0 == 0 { "provisioning" } else { "meeting" };
    assert_eq!(words.words(owner, name), "to upstream meeting instead of provisioning");
    assert_eq!(wire_name("x-api-id"), "X-Api-Id");
}
