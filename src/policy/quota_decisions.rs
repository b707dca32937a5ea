//! Tables of requests → charges and decisions: when the ladder asks quotas, for whom, and what their refusal comes before.

use std::net::IpAddr;
use std::sync::Arc;

use super::access::{Access, RoleIndex, Scope};
use super::credential::Scheme;
use super::decision::{Hint, Question};
use super::decisions::{realm, route};
use super::facts::{Facts, Fields, LockAnswer, RequestHead, TargetAnswer};
use super::ladder::{Decision, decide};
use super::principal::{Account, Identity, Lineage, Principal};
use super::quota::{Charge, Charged, Limit, MAX_CHARGES, Per, Quota, QuotaAnswer, QuotaIndex, Rate, Stage, Subject};
use super::route::{Destination, Location, Realm, Route, TargetRule, TargetSource};
use super::snapshot::Snapshot;
use crate::reason::Reason;

/// The names of the quotas below, by their places.
const NAMES: [&str; 9] =
    ["address", "realm", "principal", "reseller", "customer", "route", "upstream", "narrow", "login"];

pub(super) fn quotas() -> Vec<Quota> {
    let per = [
        Per::Address,
        Per::Realm,
        Per::Principal,
        Per::Ancestor("reseller".into()),
        Per::Ancestor("customer".into()),
        Per::Route,
        Per::Upstream,
        Per::Address,
        Per::Login,
    ];
    let quota = |(name, per): (&str, Per)| Quota {
        name: name.into(),
        location: Location::default(),
        per,
        limit: Limit::Rate(Rate { interval: 1_000_000_000, burst: 1, shared: false }),
        written: "1/s, burst 1".into(),
        mark: 0,
    };
    NAMES.into_iter().zip(per).map(quota).collect()
}

/// The quotas with these names.
fn named(names: &[&str]) -> Vec<QuotaIndex> {
    let place = |name: &&str| NAMES.iter().position(|known| known == name).unwrap();
    names.iter().map(|name| QuotaIndex(u16::try_from(place(name)).unwrap())).collect()
}

fn charged_realm() -> Realm {
    let all = named(&["principal", "reseller", "customer", "route", "upstream", "narrow"]);
    let mut admins = Access::default();
    admins.allow(RoleIndex(0), Scope::Subtree);
    let target = Some(TargetRule { source: TargetSource::Path(0), role: None });
    let of = |name: &str, matches: &[&str]| Route { quotas: all.clone(), ..route(name, matches) };
    let mut realm = realm(
        "/api",
        vec![
            of("things", &["GET /things", "POST /things", "GET /alias/of/things"]),
            Route { target, ..of("of", &["GET /of/{id}"]) },
            Route { access: admins, ..of("admins", &["GET /admins"]) },
            Route { headers: vec!["x-needed".into()], ..of("needs", &["GET /needs"]) },
            Route { app_types: vec!["vc".into()], ..of("typed", &["GET /typed"]) },
            Route { enabled: false, ..of("off", &["GET /off"]) },
            Route { public: true, access: Access::default(), ..of("public", &["GET /public"]) },
            Route {
                public: true,
                access: Access::default(),
                destination: Destination::Login,
                quotas: named(&["login", "route", "narrow"]),
                ..route("login", &["POST /login"])
            },
            Route { quotas: Vec::new(), ..route("free", &["GET /free"]) },
        ],
    );
    realm.quotas = quotas();
    realm.charged = named(&["address", "realm"]);
    realm
}

/// Header fields as a test writes them.
struct Written<'a>(&'a [(&'a str, &'a str)]);

impl Fields for Written<'_> {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a [u8])) {
        visit("host", b"h");
        self.0.iter().for_each(|(name, value)| visit(name, value.as_bytes()));
    }

    fn values<'a>(&'a self, name: &str) -> Box<dyn Iterator<Item = &'a [u8]> + 'a> {
        let name = name.to_owned();
        Box::new(self.0.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value.as_bytes()))
    }

    fn first(&self, name: &str) -> Option<&[u8]> {
        self.values(name).next()
    }
}

/// One request with the answers that it meets.
#[derive(Clone)]
struct Asked<'a> {
    line: &'a str,
    headers: &'a [(&'a str, &'a str)],
    caller: Option<Identity>,
    client: IpAddr,
    arrival: QuotaAnswer,
    quota: QuotaAnswer,
}

const TOKEN: &[(&str, &str)] = &[("authorization", "Token t")];
const BASIC: &[(&str, &str)] = &[("authorization", "Basic aTpr")];

impl<'a> Asked<'a> {
    fn new(path: &str, line: &'a str, headers: &'a [(&'a str, &'a str)]) -> Self {
        Self {
            line,
            headers,
            caller: Some(Identity::Valid(caller(path, Scheme::Token, "c"))),
            client: IpAddr::from([192, 0, 2, 1]),
            arrival: QuotaAnswer::Admitted,
            quota: QuotaAnswer::Admitted,
        }
    }

    /// What is asked for, in order, and what comes of it; `view` sees the facts at the end.
    fn walk<R>(&self, view: impl FnOnce(&Facts<'_>) -> R) -> (Vec<&'static str>, Decision, R) {
        let snapshot = Snapshot::new(vec![charged_realm()], "test");
        let (method, target) = self.line.split_once(' ').unwrap();
        let fields = Written(self.headers);
        let head = RequestHead::read(method, target.as_bytes(), &fields, self.client);
        let (mut facts, mut asked) = (Facts::new(&head, &snapshot), Vec::new());
        loop {
            match decide(&facts) {
                Decision::Ask(Question::LockOut) => {
                    asked.push("lock-out");
                    facts.lock = Some(LockAnswer::Open);
                }
                Decision::Ask(Question::Identity) => {
                    asked.push("identity");
                    facts.identity = Some(self.caller.clone().unwrap_or(Identity::Invalid("nobody")));
                }
                Decision::Ask(Question::Target(id)) => {
                    asked.push("target");
                    let lineage = Lineage::new([("root", "administrator"), (&*id, "user")]).unwrap();
                    let account = Account { lineage, suspended: false, password_mark: 0 };
                    facts.target = Some(TargetAnswer::Known(Arc::new(account)));
                }
                Decision::Ask(Question::Quota(Stage::Arrival)) => {
                    asked.push("arrival");
                    facts.arrival = Some(self.arrival);
                }
                Decision::Ask(Question::Quota(Stage::Permitted)) => {
                    asked.push("permitted");
                    facts.quota = Some(self.quota);
                }
                decision @ (Decision::Permit(_) | Decision::Deny(_)) => return (asked, decision, view(&facts)),
            }
            assert!(asked.len() <= 5, "asks without end: {asked:?}");
        }
    }

    fn questions(&self) -> Vec<&'static str> {
        self.walk(|_| ()).0
    }

    fn reason(&self) -> Option<Reason> {
        match self.walk(|_| ()).1 {
            Decision::Deny(denial) => Some(denial.reason),
            Decision::Permit(_) => None,
            Decision::Ask(question) => panic!("still asks {question:?}"),
        }
    }

    /// `name=whose`, of each charge of a stage.
    fn charges(&self, stage: Stage) -> Vec<String> {
        let show = |charge: &Charge<'_>| format!("{}={}", charge.quota.name, charge.subject);
        self.walk(|facts| {
            facts.charges(stage).iter().flat_map(|due| due.iter().map(show).collect::<Vec<_>>()).collect()
        })
        .2
    }
}

/// The caller with this lineage: `root/res/cus`, its roles by the level.
fn caller(path: &str, scheme: Scheme, credential: &str) -> Principal {
    let roles = ["administrator", "reseller", "customer", "user"];
    let lineage = Lineage::new(path.split('/').zip(roles)).unwrap();
    Principal {
        account: Arc::new(Account { lineage, suspended: false, password_mark: 0 }),
        scheme,
        credential: credential.into(),
    }
}

const REFUSED: QuotaAnswer = QuotaAnswer::Refused { quota: QuotaIndex(1), retry_after: 7 };

#[test]
fn a_request_is_charged_on_arrival_first_and_for_the_rest_last() {
    for (line, headers, questions) in [
        ("GET /api/things", BASIC, &["arrival", "lock-out", "identity", "permitted"][..]),
        ("GET /api/of/usr", BASIC, &["arrival", "lock-out", "identity", "target", "permitted"]),
        ("GET /api/of/usr", TOKEN, &["arrival", "identity", "target", "permitted"]),
        ("GET /api/free", TOKEN, &["arrival", "identity"]),
        ("GET /api/public", &[], &["arrival", "permitted"]),
    ] {
        let asked = Asked::new("root", line, headers);
        assert_eq!((asked.reason(), asked.questions()), (None, questions.to_vec()), "{line}");
    }
}

#[test]
fn an_exhausted_address_or_realm_is_refused_before_anything_else_is_asked() {
    for (line, headers) in [
        ("GET /api/things", TOKEN),
        ("GET /api/things", BASIC),
        ("GET /api/nowhere", TOKEN),
        ("DELETE /api/things", TOKEN),
        ("GET /api/off", TOKEN),
        ("GET /api/needs", TOKEN),
        ("GET /api/things", &[]),
        ("GET /api/things", &[("authorization", "Bearer x")]),
        ("GET /api/public", &[]),
        ("POST /api/login", &[("content-length", "99999")]),
        ("GET /api", &[]),
    ] {
        let asked = Asked { arrival: REFUSED, ..Asked::new("root", line, headers) };
        let (questions, decision, refused) = asked.walk(|facts| facts.refused_quota());
        let Decision::Deny(denial) = decision else { panic!("{line}") };
        assert_eq!((denial.reason, denial.hint), (Reason::QuotaExceeded, Hint::RetryAfter(7)), "{line}");
        assert_eq!((questions, refused), (vec!["arrival"], Some(QuotaIndex(1))), "{line}");
    }
}

#[test]
fn who_is_refused_for_another_reason_is_charged_on_arrival_and_for_nothing_else() {
    let long = [("authorization", "Token t"), ("content-length", "1001")];
    for (who, line, headers, reason) in [
        ("root", "GET /api/nowhere", TOKEN, Reason::RouteNotFound),
        ("root", "DELETE /api/things", TOKEN, Reason::MethodNotAllowed),
        ("root", "GET /api/off", TOKEN, Reason::RouteDisabled),
        ("root", "GET /api/needs", TOKEN, Reason::HeaderMissing),
        ("root", "GET /api/things", &[][..], Reason::HeaderMissing),
        ("root", "GET /api/things", &[("authorization", "Bearer x")], Reason::HeaderInvalid),
        ("root", "GET /api/typed", TOKEN, Reason::AppTypeMissing),
        ("root/res", "GET /api/admins", TOKEN, Reason::RoleForbidden),
        ("root/res", "GET /api/of/usr", TOKEN, Reason::ScopeForbidden),
        ("root", "POST /api/things", &long, Reason::BodyTooLarge),
    ] {
        // Even a quota that has nothing left does not hide the other reason.
        let asked = Asked { quota: REFUSED, ..Asked::new(who, line, headers) };
        assert_eq!(asked.reason(), Some(reason), "{line}");
        let questions = asked.questions();
        assert_eq!((questions[0], questions.contains(&"permitted")), ("arrival", false), "{line}");
    }
    let forged = Asked { caller: None, quota: REFUSED, ..Asked::new("root", "GET /api/things", BASIC) };
    assert_eq!(
        (forged.reason(), forged.questions()),
        (Some(Reason::CredentialInvalid), vec!["arrival", "lock-out", "identity"])
    );
}

#[test]
fn a_quota_that_refuses_names_itself_and_when_to_come_back() {
    let asked = Asked { quota: REFUSED, ..Asked::new("root", "GET /api/of/usr", BASIC) };
    let (questions, decision, refused) = asked.walk(|facts| facts.refused_quota());
    let Decision::Deny(denial) = decision else { panic!("{decision:?}") };
    assert_eq!((denial.reason, denial.hint), (Reason::QuotaExceeded, Hint::RetryAfter(7)));
    assert_eq!((questions.last(), refused), (Some(&"permitted"), Some(QuotaIndex(1))));
}

#[test]
fn what_is_malformed_or_lies_in_no_realm_is_charged_to_nobody() {
    for (line, reason) in [
        ("GET /api/../x", Reason::RequestMalformed),
        ("FETCH /api/things", Reason::RequestMalformed),
        ("CONNECT /api/things", Reason::RequestMalformed),
        ("GET /api//things", Reason::RequestMalformed),
        ("GET /elsewhere", Reason::RouteNotFound),
        ("GET /apiary", Reason::RouteNotFound),
    ] {
        let asked = Asked { arrival: REFUSED, quota: REFUSED, ..Asked::new("root", line, TOKEN) };
        assert_eq!((asked.reason(), asked.questions()), (Some(reason), Vec::new()), "{line}");
    }
}

#[test]
fn every_spelling_of_a_call_and_every_credential_is_charged_to_the_same() {
    let first = Asked::new("root/res/cus/usr", "GET /api/things", TOKEN);
    let due = first.charges(Stage::Permitted);
    assert_eq!(due, ["principal=usr", "reseller=res", "customer=cus", "route=things", "upstream=upstream"]);
    for (line, headers) in [
        ("HEAD /api/things", TOKEN),
        ("POST /api/things", TOKEN),
        ("GET /api/alias/of/things", TOKEN),
        ("GET /api/things?x=1", TOKEN),
        ("GET http://h/api/things", TOKEN),
        ("GET /api/things", BASIC),
        ("GET /api/things", &[("authorization", "bAsIc aTpr")]),
        ("GET /api/things", &[("authorization", "tOKEN another")]),
    ] {
        let mut asked = Asked::new("root/res/cus/usr", line, headers);
        asked.caller = Some(Identity::Valid(caller("root/res/cus/usr", Scheme::Basic, "another credential")));
        assert_eq!(asked.charges(Stage::Permitted), due, "{line}");
        assert_eq!(asked.charges(Stage::Arrival), first.charges(Stage::Arrival), "{line}");
    }
    let sibling = Asked::new("root/res/cus/usr-2", "GET /api/things", TOKEN).charges(Stage::Permitted);
    assert_eq!((sibling[0].as_str(), &sibling[1..]), ("principal=usr-2", &due[1..]), "nested in the same");
}

#[test]
fn an_ancestor_is_the_nearest_of_its_role_and_without_one_nothing_is_charged() {
    let permitted = |path: &str| Asked::new(path, "GET /api/things", TOKEN).charges(Stage::Permitted);
    assert_eq!(permitted("root"), ["principal=root", "route=things", "upstream=upstream"]);
    assert_eq!(permitted("root/res"), ["principal=res", "reseller=res", "route=things", "upstream=upstream"]);
    let two = [("root", "administrator"), ("far", "reseller"), ("near", "reseller"), ("usr", "user")];
    let account = Account { lineage: Lineage::new(two).unwrap(), suspended: false, password_mark: 0 };
    let mut asked = Asked::new("root", "GET /api/things", TOKEN);
    asked.caller =
        Some(Identity::Valid(Principal { account: Arc::new(account), ..caller("root", Scheme::Token, "c") }));
    assert_eq!(asked.charges(Stage::Permitted)[..2], ["principal=usr", "reseller=near"]);
}

#[test]
fn on_arrival_the_realm_is_charged_and_a_route_that_was_found() {
    let arrival = |line: &str| Asked::new("root", line, TOKEN).charges(Stage::Arrival);
    let both = ["address=192.0.2.1", "realm=*"];
    let found = ["address=192.0.2.1", "realm=*", "narrow=192.0.2.1"];
    for (line, due) in [
        ("GET /api/nowhere", &both[..]),
        ("DELETE /api/things", &both),
        ("GET /api/free", &both),
        ("GET /api/things", &found),
        ("GET /api/off", &found),
        ("POST /api/login", &found),
        ("GET /elsewhere", &[]),
    ] {
        assert_eq!(arrival(line), due, "{line}");
    }
}

#[test]
fn an_address_is_one_in_either_form_and_64_bits_of_ipv6() {
    let of = |client: &str| {
        let asked = Asked { client: client.parse().unwrap(), ..Asked::new("root", "GET /api/free", TOKEN) };
        asked.charges(Stage::Arrival)[0].clone()
    };
    assert_eq!(of("::ffff:192.0.2.1"), "address=192.0.2.1");
    assert_eq!(of("2001:db8:1:2:3:4:5:6"), "address=2001:db8:1:2::/64");
}

#[test]
fn a_public_route_is_charged_to_nobody_whatever_is_presented() {
    for headers in [&[][..], TOKEN, BASIC] {
        let asked = Asked::new("root/res/cus", "GET /api/public", headers);
        assert_eq!(asked.charges(Stage::Permitted), ["route=public", "upstream=upstream"]);
        assert_eq!(asked.questions(), ["arrival", "permitted"]);
    }
}

#[test]
fn a_login_is_charged_by_whoever_reads_its_e_mail_and_not_by_the_ladder() {
    let asked = Asked { quota: REFUSED, ..Asked::new("root", "POST /api/login", &[]) };
    assert_eq!((asked.reason(), asked.questions()), (None, vec!["arrival"]));
    let realm = charged_realm();
    let route = realm.routes.iter().find(|route| &*route.name == "login");
    let client = IpAddr::from([192, 0, 2, 1]);
    let charged = Charged { realm: &realm, route, principal: None, client, login: Some("ops@example.com") };
    let due: Vec<_> = charged.due(Stage::Permitted).iter().map(|charge| (charge.index.0, charge.subject)).collect();
    assert_eq!(due, [(8, Subject::Login("ops@example.com")), (5, Subject::Route("login"))]);
}

#[test]
fn a_stage_owes_something_exactly_when_something_is_due() {
    let mut realm = charged_realm();
    let principal = caller("root/res/cus/usr", Scheme::Token, "c");
    let client = IpAddr::from([192, 0, 2, 1]);
    let (mut owing, mut free) = (0, 0);
    for charged in [Vec::new(), named(&["address"]), named(&["address", "realm"])] {
        realm.charged = charged;
        for route in realm.routes.iter().map(Some).chain([None]) {
            for principal in [None, Some(&principal)] {
                let charged = Charged { realm: &realm, route, principal, client, login: None };
                for stage in [Stage::Arrival, Stage::Permitted] {
                    assert_eq!(charged.owes(stage), !charged.due(stage).is_empty());
                    owing += usize::from(charged.owes(stage));
                    free += usize::from(!charged.owes(stage));
                }
            }
        }
    }
    assert!(owing > 10 && free > 10);
    realm.charged = vec![QuotaIndex(0); 20];
    let charged = Charged { realm: &realm, route: None, principal: None, client, login: None };
    assert_eq!(charged.due(Stage::Arrival).iter().count(), MAX_CHARGES, "a list without end is cut");
    realm.charged = vec![QuotaIndex(99)];
    let charged = Charged { realm: &realm, route: None, principal: None, client, login: None };
    assert!(!charged.owes(Stage::Arrival), "a quota that is not there");
}
