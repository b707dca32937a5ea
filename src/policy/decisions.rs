//! Tables of facts → decision: the ladder without anything around it.

use std::net::IpAddr;

use super::access::{Access, RoleIndex, Scope};
use super::credential::{Scheme, Schemes};
use super::decision::Hint;
use super::ladder::{Decision, Step, explain};
use super::method::Method;
use super::pattern::Pattern;
use super::principal::{Lineage, Relation};
use super::rehearsal::{Call, Tree, rehearse};
use super::route::{Destination, Location, Realm, Route, TargetRule, TargetSource, UpstreamIndex};
use super::snapshot::Snapshot;
use super::table::RouteTable;
use crate::reason::Reason;

const ROLES: [&str; 4] = ["administrator", "reseller", "customer", "user"];

/// A route that everybody may call on everything below; tests change what they are about.
pub(super) fn route(name: &str, matches: &[&str]) -> Route {
    let mut access = Access::default();
    for role in 0..4 {
        access.allow(RoleIndex(role), Scope::Subtree);
    }
    let parse = |text: &&str| {
        let (method, path) = text.split_once(' ').unwrap();
        (Method::parse(method).unwrap(), Pattern::parse(path).unwrap())
    };
    Route {
        name: name.into(),
        location: Location { file: "policy.toml".into(), line: 1 },
        matches: matches.iter().map(parse).collect(),
        public: false,
        enabled: true,
        schemes: Schemes { basic: true, token: true },
        access,
        headers: Vec::new(),
        app_types: Vec::new(),
        quotas: Vec::new(),
        target: None,
        destination: Destination::Upstream(UpstreamIndex(0)),
        body_size: 1000,
        timeouts: None,
        strip_base: false,
        forward_authorization: false,
    }
}

pub(super) fn realm(base: &str, routes: Vec<Route>) -> Realm {
    let mut realm = Realm {
        name: format!("realm{}", base.replace('/', "-")).into(),
        location: Location { file: "policy.toml".into(), line: 1 },
        base: base.into(),
        roles: ROLES.map(Into::into).to_vec(),
        schemes: Schemes { basic: true, token: true },
        networks: Vec::new(),
        quotas: Vec::new(),
        charged: Vec::new(),
        routes: Vec::new(),
        upstreams: ["upstream".into()].into(),
        table: RouteTable::default(),
    };
    for route in routes {
        realm.add(route).unwrap();
    }
    realm
}

fn access(scopes: &[(u8, Scope)]) -> Access {
    let mut access = Access::default();
    for (role, scope) in scopes {
        access.allow(RoleIndex(*role), *scope);
    }
    access
}

pub(super) fn snapshot() -> Snapshot {
    let target = |source| Some(TargetRule { source, role: None });
    let scopes = [(0, Scope::Any), (1, Scope::Subtree), (2, Scope::Below), (3, Scope::Own)];
    let mut limited = realm("/limited", vec![route("limited", &["GET /x"])]);
    limited.networks.push((RoleIndex(0), vec!["10.0.0.0/8".parse().unwrap()]));
    let mut basic_only = route("basic-only", &["GET /basic"]);
    basic_only.schemes = Schemes { basic: true, token: false };
    let path = TargetSource::Path(0);
    let query = TargetSource::Query { name: "id".into(), optional: false };
    let header = TargetSource::Header("x-target".into());
    Snapshot::new(
        vec![
            limited,
            realm(
                "/api",
                vec![
                    route("plain", &["GET /plain", "POST /plain"]),
                    Route {
                        public: true,
                        access: Access::default(),
                        headers: vec!["x-api-id".into()],
                        ..route("public", &["GET /public"])
                    },
                    Route { app_types: vec!["vc".into(), "wb".into()], ..route("typed", &["GET /typed"]) },
                    Route { access: access(&[(0, Scope::Subtree)]), ..route("admins", &["GET /admins"]) },
                    Route { enabled: false, ..route("off", &["GET /off"]) },
                    Route { access: access(&scopes), target: target(path), ..route("of", &["GET /of/{id}"]) },
                    Route { target: target(query), ..route("query", &["GET /query"]) },
                    Route { target: target(header), ..route("header", &["GET /header"]) },
                    basic_only,
                ],
            ),
        ],
        "test",
    )
}

pub(super) fn tree() -> Tree {
    let mut tree = Tree::default();
    for path in ["root/res-7/cus-42/usr-1", "root/res-8/cus-9"] {
        tree.add(path, &ROLES.map(Into::into)).unwrap();
    }
    tree
}

pub(super) fn call(who: &str, line: &str, headers: &[(&str, &str)]) -> Call {
    let (method, target) = line.split_once(' ').unwrap();
    let mut call = Call::new(method, target);
    call.headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    call.caller = tree().account(who).cloned();
    call
}

/// The reason of a denial, or what the permit says.
fn judge(call: &Call) -> Result<(String, Option<Scope>, Relation), Reason> {
    let snapshot = snapshot();
    rehearse(&snapshot, &tree(), call, |_, decision| match decision {
        Decision::Permit(permit) => {
            let route = snapshot.route(permit.realm(), permit.route()).unwrap();
            Ok((route.name.to_string(), permit.scope(), permit.relation()))
        }
        Decision::Deny(denial) => Err(denial.reason),
        Decision::Ask(question) => panic!("still asks {question:?}"),
    })
}

fn denied(who: &str, line: &str, headers: &[(&str, &str)]) -> Reason {
    judge(&call(who, line, headers)).expect_err(line)
}

#[test]
fn each_check_refuses_with_its_own_reason() {
    for (who, line, headers, reason) in [
        ("root", "GET /api/../x", &[][..], Reason::RequestMalformed),
        ("root", "get /api/plain", &[], Reason::RequestMalformed),
        ("root", "GET /elsewhere", &[], Reason::RouteNotFound),
        ("root", "GET /apiary/plain", &[], Reason::RouteNotFound),
        ("root", "GET /api/plain/", &[], Reason::RouteNotFound),
        ("root", "DELETE /api/plain", &[], Reason::MethodNotAllowed),
        ("root", "GET /api/off", &[], Reason::RouteDisabled),
        ("", "GET /api/public", &[], Reason::HeaderMissing),
        ("", "GET /api/public", &[("x-api-id", "")], Reason::HeaderMissing),
        ("", "GET /api/plain", &[], Reason::HeaderMissing),
        ("", "GET /api/plain", &[("authorization", "Bearer x")], Reason::HeaderInvalid),
        ("", "GET /api/plain", &[("authorization", "Token x")], Reason::TokenInvalid),
        ("", "GET /api/plain", &[("authorization", "Basic eDp5")], Reason::CredentialInvalid),
        ("root", "GET /api/typed", &[], Reason::AppTypeMissing),
        ("root", "GET /api/typed", &[("x-app-type", "")], Reason::AppTypeMissing),
        ("root", "GET /api/typed", &[("x-app-type", "v c")], Reason::AppTypeNotString),
        ("root", "GET /api/typed", &[("x-app-type", "vc"), ("x-app-type", "vc")], Reason::AppTypeNotString),
        ("root", "GET /api/typed", &[("x-app-type", "VC")], Reason::AppTypeUnknown),
        ("usr-1", "GET /api/admins", &[], Reason::RoleForbidden),
        ("usr-1", "GET /api/query", &[], Reason::RequestMalformed),
        ("usr-1", "GET /api/query?id=usr-1&id=usr-1", &[], Reason::RequestMalformed),
        ("usr-1", "GET /api/header", &[], Reason::HeaderMissing),
        ("usr-1", "GET /api/header", &[("x-target", "usr-1"), ("x-target", "usr-1")], Reason::RequestMalformed),
        ("usr-1", "GET /api/header", &[("x-target", "cus-42")], Reason::ScopeForbidden),
        (
            "usr-1",
            "GET /api/header",
            &[("x-target", "usr-1"), ("connection", "close, X-Target")],
            Reason::RequestMalformed,
        ),
        ("", "GET /api/public", &[("x-api-id", "a"), ("connection", "x-api-id")], Reason::RequestMalformed),
        ("root", "GET /api/typed", &[("x-app-type", "vc"), ("connection", "X-App-Type")], Reason::RequestMalformed),
        ("root", "GET /api/of/a%20b", &[], Reason::ScopeForbidden),
        ("root", "POST /api/plain", &[("content-length", "1001")], Reason::BodyTooLarge),
        (
            "root",
            "POST /api/plain",
            &[("content-length", "1"), ("transfer-encoding", "chunked")],
            Reason::RequestMalformed,
        ),
        ("root", "GET /api/plain", &[("host", "a"), ("host", "a")], Reason::RequestMalformed),
        ("root", "GET /api/plain", &[("connection", "x-forwarded-for")], Reason::RequestMalformed),
        ("root", "GET /api/plain", &[("upgrade", "websocket"), ("content-length", "1")], Reason::RequestMalformed),
        ("root", "GET http://other/api/plain", &[], Reason::RequestMalformed),
    ] {
        assert_eq!(denied(who, line, headers), reason, "{who} {line} {headers:?}");
    }
}

#[test]
fn the_first_check_that_refuses_decides() {
    // Everything at once is wrong with these; what stands higher on the ladder is told.
    let wrong: &[(&str, &str)] = &[("authorization", "Bearer x"), ("content-length", "9999")];
    assert_eq!(denied("", "DELETE /api/typed", wrong), Reason::MethodNotAllowed);
    assert_eq!(denied("", "GET /api/public", wrong), Reason::HeaderMissing);
    assert_eq!(denied("", "GET /api/typed", wrong), Reason::HeaderInvalid);
    assert_eq!(denied("usr-1", "GET /api/admins", &[("content-length", "9999")]), Reason::RoleForbidden);
    assert_eq!(denied("usr-1", "GET /api/of/root", &[("content-length", "9999")]), Reason::ScopeForbidden);
}

#[test]
fn scopes_hold_over_the_tree() {
    use Scope::{Any, Below, Own, Subtree};
    for (who, target, expected) in [
        ("root", "usr-1", Ok((Any, Relation::Below))),
        ("root", "nobody", Ok((Any, Relation::Unknown))),
        ("res-7", "res-7", Ok((Subtree, Relation::Myself))),
        ("res-7", "usr-1", Ok((Subtree, Relation::Below))),
        ("res-7", "res-8", Err(Reason::ScopeForbidden)),
        ("res-7", "cus-9", Err(Reason::ScopeForbidden)),
        ("res-7", "root", Err(Reason::ScopeForbidden)),
        ("res-7", "nobody", Err(Reason::ScopeForbidden)),
        ("res-7", "no%20id", Err(Reason::ScopeForbidden)),
        ("cus-42", "cus-42", Err(Reason::ScopeForbidden)),
        ("cus-42", "usr-1", Ok((Below, Relation::Below))),
        ("usr-1", "usr-1", Ok((Own, Relation::Myself))),
        ("usr-1", "cus-42", Err(Reason::ScopeForbidden)),
    ] {
        let got = judge(&call(who, &format!("GET /api/of/{target}"), &[]))
            .map(|(_, scope, relation)| (scope.unwrap(), relation));
        assert_eq!(got, expected, "{who} on {target}");
    }
}

#[test]
fn a_role_is_judged_whole_and_by_its_network() {
    for odd in ["Administrator", "admin", "administrator ", "user,administrator", ""] {
        let mut call = call("root", "GET /api/admins", &[]);
        let lineage = Lineage::new([("root", odd)]).unwrap();
        call.caller =
            Some(std::sync::Arc::new(super::principal::Account { lineage, suspended: false, password_mark: 0 }));
        assert_eq!(judge(&call).unwrap_err(), Reason::RoleForbidden, "{odd:?}");
    }
    let mut call = call("root", "GET /limited/x", &[]);
    assert_eq!(judge(&call).unwrap_err(), Reason::RoleForbidden);
    call.client = IpAddr::from([10, 1, 2, 3]);
    assert!(judge(&call).is_ok());
}

#[test]
fn a_suspended_account_and_a_foreign_scheme_are_refused() {
    let mut suspended = call("root", "GET /api/plain", &[]);
    let lineage = Lineage::new([("root", "administrator")]).unwrap();
    suspended.caller =
        Some(std::sync::Arc::new(super::principal::Account { lineage, suspended: true, password_mark: 0 }));
    assert_eq!(judge(&suspended).unwrap_err(), Reason::AccountSuspended);
    let mut token = call("root", "GET /api/basic", &[]);
    token.scheme = Some(Scheme::Token);
    assert_eq!(judge(&token).unwrap_err(), Reason::HeaderInvalid);
    token.scheme = Some(Scheme::Basic);
    assert!(judge(&token).is_ok());
}

#[test]
fn head_goes_where_get_goes_and_a_public_route_needs_nobody() {
    assert_eq!(judge(&call("usr-1", "HEAD /api/plain", &[])).unwrap().0, "plain");
    let public = judge(&call("", "GET /api/public", &[("x-api-id", "a"), ("authorization", "nonsense")]));
    assert_eq!(public, Ok(("public".to_owned(), None, Relation::None)));
}

#[test]
fn a_denial_carries_the_remedy_that_the_policy_knows() {
    let hint = |line: &str| {
        rehearse(&snapshot(), &tree(), &call("", line, &[]), |facts, _| {
            match explain(facts).pop().map(|rung| rung.step) {
                Some(Step::Deny(denial)) => denial.hint,
                other => panic!("{other:?}"),
            }
        })
    };
    assert_eq!(hint("GET /api/public"), Hint::Header("x-api-id".into()));
    assert_eq!(hint("GET /api/plain"), Hint::Header("Authorization".into()));
    assert!(matches!(hint("PUT /api/plain"), Hint::Allow(methods) if methods.to_string() == "GET, HEAD, POST"));
}
