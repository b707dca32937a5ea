//! Properties of the ladder over random requests, callers, trees and routes; the seed is printed.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::access::{Access, RoleIndex, Scope};
use super::credential::{ApiKey, Presented, Scheme};
use super::decision::Question;
use super::decisions::{realm, route};
use super::facts::{Facts, Fields, LockAnswer, RequestHead, TargetAnswer};
use super::ladder::{Decision, MAX_QUESTIONS, Step, decide, explain};
use super::pattern::Pattern;
use super::principal::{Account, Identity, Lineage, Principal};
use super::quota::{QuotaAnswer, QuotaIndex, Stage, Subject};
use super::quota_decisions::quotas;
use super::route::{Route, TargetRule, TargetSource};
use super::snapshot::Snapshot;
use super::table::{Found, RouteTable};
use crate::reason::Reason;

/// SplitMix64: small, and the same everywhere.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        println!("seed {seed}");
        Self(seed)
    }

    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((word ^ (word >> 31)) % sides as u64).unwrap()
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.roll(from.len())]
    }
}

struct NoFields;

impl Fields for NoFields {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a [u8])) {
        visit("host", b"h");
    }

    fn values<'a>(&'a self, _: &str) -> Box<dyn Iterator<Item = &'a [u8]> + 'a> {
        Box::new(std::iter::empty())
    }

    fn first(&self, _: &str) -> Option<&[u8]> {
        None
    }
}

/// A tree of five levels with one to three children each; lineages, root first.
fn random_tree(dice: &mut Dice) -> Vec<Lineage> {
    let roles = ["administrator", "reseller", "customer", "user", "user"];
    let mut all = vec![Lineage::new([("a0", roles[0])]).unwrap()];
    let mut level = all.clone();
    for role in &roles[1..] {
        let mut next = Vec::new();
        for parent in &level {
            for _ in 0..=dice.roll(3) {
                let id = format!("a{}", all.len() + next.len());
                next.push(Lineage::new(parent.nodes().chain([(id.as_str(), *role)])).unwrap());
            }
        }
        all.extend(next.iter().cloned());
        level = next;
    }
    all
}

fn random_access(dice: &mut Dice) -> Access {
    let mut access = Access::default();
    for role in 0..4 {
        if dice.roll(4) > 0 {
            access.allow(RoleIndex(role), *dice.pick(&[Scope::Own, Scope::Below, Scope::Subtree]));
        }
    }
    access
}

fn random_snapshot(dice: &mut Dice) -> Snapshot {
    let rule = |source| Some(TargetRule { source, role: None });
    let query = TargetSource::Query { name: "id".into(), optional: true };
    let mut routes = vec![
        Route { access: random_access(dice), target: rule(TargetSource::Path(0)), ..route("path", &["GET /t/{id}"]) },
        Route { access: random_access(dice), target: rule(query), ..route("query", &["GET /q"]) },
        Route { public: true, access: Access::default(), ..route("public", &["GET /p/{id}"]) },
    ];
    for route in &mut routes {
        route.quotas = random_quotas(dice);
    }
    let mut realm = realm("/r", routes);
    realm.quotas = quotas();
    realm.charged = random_quotas(dice);
    Snapshot::new(vec![realm], "random")
}

/// Up to three of them, none at all as often as not.
fn random_quotas(dice: &mut Dice) -> Vec<QuotaIndex> {
    let all = quotas().len();
    let count = if dice.roll(2) == 0 { 0 } else { 1 + dice.roll(3) };
    (0..count).map(|_| QuotaIndex(u16::try_from(dice.roll(all)).unwrap())).collect()
}

fn random_answer(dice: &mut Dice) -> QuotaAnswer {
    match dice.roll(6) {
        0 => QuotaAnswer::Refused { quota: QuotaIndex(0), retry_after: 3 },
        _ => QuotaAnswer::Admitted,
    }
}

fn random_identity(dice: &mut Dice, caller: &Lineage, scheme: Scheme) -> Identity {
    let suspended = dice.roll(6) == 0;
    let account = Arc::new(Account { lineage: caller.clone(), suspended, password_mark: 0 });
    let principal = Principal { account, scheme, credential: "c".into() };
    match dice.roll(8) {
        0 => Identity::Invalid("x"),
        1 => Identity::Expired("x"),
        2 => Identity::Revoked("x"),
        3 => Identity::StoreUnavailable("x"),
        4 => Identity::DirectoryUnavailable("x"),
        5 if dice.roll(3) == 0 => Identity::Locked(1),
        _ if suspended => Identity::Suspended(principal),
        _ => Identity::Valid(principal),
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "one walk, with its properties checked along the way")]
fn permits_are_earned_rounds_are_bounded_and_explain_agrees() {
    let mut dice = Dice::new(0x5eed_0001);
    let (mut permits, mut denials, mut asked_twice, mut over_quota) = (0, 0, 0, 0);
    for _ in 0..300 {
        let tree = random_tree(&mut dice);
        let snapshot = random_snapshot(&mut dice);
        for _ in 0..60 {
            let (caller, target) = (dice.pick(&tree).clone(), dice.pick(&tree).clone());
            let id = if dice.roll(10) == 0 { "nobody" } else { target.id() };
            let line = match dice.roll(6) {
                0 => format!("/r/p/{id}"),
                1 => format!("/r/q?id={id}"),
                2 => "/r/q".to_owned(),
                3 => "/r/nowhere".to_owned(),
                _ => format!("/r/t/{id}"),
            };
            let scheme = *dice.pick(&[Scheme::Basic, Scheme::Token]);
            let mut head = RequestHead::read("GET", line.as_bytes(), &NoFields, IpAddr::V4(Ipv4Addr::LOCALHOST));
            head.presented = match (dice.roll(8), scheme) {
                (0, _) => Presented::Nothing,
                (1, _) => Presented::Unreadable(Some(scheme), "x"),
                (_, Scheme::Basic) => Presented::Basic(ApiKey::new("i", b"k")),
                (_, Scheme::Token) => Presented::Token("t"),
            };
            let mut facts = Facts::new(&head, &snapshot);
            let mut rounds = 0;
            let decision = loop {
                let decision = decide(&facts);
                let last = explain(&facts).pop().unwrap().step;
                match (&decision, &last) {
                    (Decision::Permit(a), Step::Permit(b)) => assert_eq!(a, b),
                    (Decision::Deny(a), Step::Deny(b)) => assert_eq!(a, b),
                    (Decision::Ask(a), Step::Ask(b)) => assert_eq!(a, b),
                    other => panic!("{other:?}"),
                }
                match &decision {
                    Decision::Ask(Question::LockOut) => {
                        assert!(facts.lock.is_none(), "asked for what is known");
                        assert_eq!(scheme, Scheme::Basic, "a token is no guess");
                        let locked = dice.roll(6) == 0;
                        facts.lock = Some(if locked { LockAnswer::Locked(1) } else { LockAnswer::Open });
                    }
                    Decision::Ask(Question::Identity) => {
                        assert!(scheme == Scheme::Token || facts.lock == Some(LockAnswer::Open), "judged before");
                        assert!(facts.identity.is_none(), "asked for what is known");
                        facts.identity = Some(random_identity(&mut dice, &caller, scheme));
                    }
                    Decision::Ask(Question::Target(asked)) => {
                        assert!(facts.target.is_none(), "asked for what is known");
                        assert_eq!(&**asked, id);
                        facts.target = Some(match tree.iter().find(|known| known.id() == id) {
                            Some(known) => {
                                let lineage = known.clone();
                                TargetAnswer::Known(Arc::new(Account { lineage, suspended: false, password_mark: 0 }))
                            }
                            None => TargetAnswer::Unknown,
                        });
                    }
                    Decision::Ask(Question::Quota(Stage::Arrival)) => {
                        assert!(facts.arrival.is_none(), "asked for what is known");
                        assert_eq!(rounds, 0, "something was asked before the quotas of the arrival");
                        facts.arrival = Some(random_answer(&mut dice));
                    }
                    Decision::Ask(Question::Quota(Stage::Permitted)) => {
                        assert!(facts.quota.is_none(), "asked for what is known");
                        let public = facts.place.route().unwrap().public;
                        let due = facts.charges(Stage::Permitted).expect("asked for nothing");
                        assert!(!public || due.iter().all(|charge| !matches!(charge.subject, Subject::Account(_))));
                        let answer = random_answer(&mut dice);
                        // With the quotas' consent it may pass: nothing that could refuse comes after them.
                        facts.quota = Some(QuotaAnswer::Admitted);
                        assert!(matches!(decide(&facts), Decision::Permit(_)), "{line}");
                        facts.quota = Some(answer);
                    }
                    Decision::Permit(_) | Decision::Deny(_) => break decision,
                }
                let refused = facts.refused_quota().is_some();
                let denial = matches!(decide(&facts), Decision::Deny(denial) if denial.reason == Reason::QuotaExceeded);
                assert_eq!(refused, denial, "{line}");
                over_quota += usize::from(refused);
                rounds += 1;
                assert!(rounds <= MAX_QUESTIONS, "{line}");
            };
            asked_twice += usize::from(rounds >= 2);
            match decision {
                Decision::Permit(permit) => {
                    permits += 1;
                    for (stage, answer) in [(Stage::Arrival, facts.arrival), (Stage::Permitted, facts.quota)] {
                        assert_eq!(answer, facts.charges(stage).map(|_| QuotaAnswer::Admitted), "{line}");
                    }
                    let public = snapshot.route(permit.realm(), permit.route()).unwrap().public;
                    match (public, permit.principal()) {
                        (true, principal) => assert!(principal.is_none()),
                        (false, principal) => {
                            assert_eq!(principal, facts.principal(), "{line}");
                            assert!(!principal.unwrap().account.suspended);
                        }
                    }
                    if let Some(judged) = permit.target() {
                        let account = tree.iter().find(|known| known.id() == judged).expect("an unknown target passed");
                        let inside = account == &caller || caller.contains(account);
                        assert!(inside, "{} reached {}", caller.as_str(), account.as_str());
                    }
                }
                Decision::Deny(_) => denials += 1,
                Decision::Ask(_) => unreachable!(),
            }
        }
    }
    println!("{permits} permits, {denials} denials, {asked_twice} asked twice, {over_quota} over their quota");
    assert!(permits > 1000 && denials > 1000 && asked_twice > 1000 && over_quota > 1000);
}

#[test]
fn the_table_finds_the_pattern_of_the_best_precedence() {
    let mut dice = Dice::new(0x5eed_0002);
    let words = ["a", "b", "c"];
    let mut found_some = 0;
    for _ in 0..400 {
        let (mut table, mut patterns) = (RouteTable::default(), Vec::new());
        for _ in 0..12 {
            let mut text = String::new();
            for place in 0..=dice.roll(4) {
                match dice.roll(4) {
                    0 => text.push_str(&format!("/{{p{place}}}")),
                    _ => text.push_str(&format!("/{}", dice.pick(&words))),
                }
            }
            if dice.roll(4) == 0 {
                text.push_str("/{*rest}");
            }
            let pattern = Pattern::parse(&text).unwrap();
            let index = super::table::RouteIndex(u32::try_from(patterns.len()).unwrap());
            if table.insert(super::method::Method::Get, &pattern, index).is_ok() {
                patterns.push(pattern);
            }
        }
        for _ in 0..40 {
            let path: String = (0..=dice.roll(5)).map(|_| format!("/{}", dice.pick(&words))).collect();
            let best = patterns.iter().enumerate().filter(|(_, pattern)| pattern.matches(&path));
            let best = best.min_by_key(|(_, pattern)| pattern.precedence()).map(|(index, _)| index);
            let found = match table.find(super::method::Method::Get, &path) {
                Found::Route(index, _) => Some(index.0 as usize),
                Found::Nothing => None,
                Found::Method(_) => panic!("only GET is there"),
            };
            assert_eq!(found, best, "{path} in {patterns:?}");
            found_some += usize::from(found.is_some());
        }
    }
    assert!(found_some > 1000);
}
