//! Which route owns a request and what it asks for before anybody's data is looked at: overlap, order of the checks,
//! app types, required headers, whole role names (contract sections 3 and 5).

use crate::harness::accounts::{Accounts, key_of};
use crate::harness::builder::Builder;
use crate::harness::gateway::Gateway;
use crate::harness::lab::{Held, Lab, Shared};
use crate::harness::request::{Request, get, post, request};
use crate::harness::upstream::Upstream;

static LAB: Shared = Shared::new();

fn lab() -> Held {
    LAB.hold(Lab::start)
}

fn as_account(account: &str, path: &str) -> Request {
    let id = format!("ak_{account}");
    get(path).basic(&id, &key_of(&id))
}

/// A gateway of one realm with these routes; no login.
fn realm(roles: &str, routes: &str, accounts: &Accounts) -> Lab {
    let upstream = Upstream::start();
    let gateway = one_realm(roles, routes).accounts(accounts).upstream("lab", upstream.address()).start();
    Lab::of(gateway, upstream)
}

fn one_realm(roles: &str, routes: &str) -> Builder {
    let head = format!(
        "[realm]\nname = \"one\"\nbase = \"/\"\nroles = [{roles}]\nschemes = [\"basic\"]\nupstream = \"lab\"\n"
    );
    Gateway::builder().policy("one", &format!("{head}\n{routes}"))
}

const FOR_USERS: &str =
    "[[route]]\nname = \"thing\"\nmatch = \"GET /things/{id}\"\nallow = [\"administrator\", \"user\"]\n";
const FOR_ROOT: &str = "[[route]]\nname = \"export\"\nmatch = \"GET /things/export\"\nallow = [\"administrator\"]\n";

#[test]
fn literal_route_wins_in_both_orders_of_the_file() {
    let accounts = Accounts::none().with("root", "administrator", None).with("alice", "user", Some("root"));
    for routes in [format!("{FOR_USERS}{FOR_ROOT}"), format!("{FOR_ROOT}{FOR_USERS}")] {
        let lab = realm("\"administrator\", \"user\"", &routes, &accounts);
        lab.call(&as_account("alice", "/things/1")).assert_ok();
        lab.call(&as_account("alice", "/things/export")).assert_denied(403, "1002", "role_forbidden");
        lab.call(&as_account("root", "/things/export")).assert_ok();
        lab.call(&as_account("alice", "/things/export/")).assert_denied(404, "404", "route_not_found");
    }
}

#[test]
fn role_names_compare_whole() {
    let near = ["admin", "administrato", "administrators", "superadministrator", "user"];
    let roles: Vec<String> = ["administrator"].iter().chain(&near).map(|role| format!("\"{role}\"")).collect();
    let routes = "[[route]]\nname = \"admin\"\nmatch = \"GET /admin\"\nallow = [\"administrator\"]\n";
    let open = format!("[[route]]\nname = \"any\"\nmatch = \"GET /any\"\nallow = [{}]\n", roles.join(", "));
    let mut accounts = Accounts::none().with("root", "administrator", None);
    for role in near {
        accounts = accounts.with(&format!("an-{role}"), role, Some("root"));
    }
    let lab = realm(&roles.join(", "), &format!("{routes}{open}"), &accounts);
    lab.call(&as_account("root", "/admin")).assert_ok();
    for role in near {
        let account = format!("an-{role}");
        lab.forwarded(&as_account(&account, "/any")).assert_header("x-auth-role", role);
        lab.call(&as_account(&account, "/admin")).assert_denied(403, "1002", "role_forbidden");
    }
}

#[test]
fn empty_allow_list_refuses_to_start() {
    let routes = "[[route]]\nname = \"nobody\"\nmatch = \"GET /nobody\"\nallow = []\n";
    let upstream = Upstream::start();
    let builder =
        one_realm("\"administrator\", \"user\"", &format!("{FOR_USERS}{routes}")).upstream("lab", upstream.address());
    let exit = builder.clone().start_expecting_exit();
    assert_eq!(exit.code, 65, "{exit:?}");
    assert!(exit.stderr.contains("one.toml:"), "{exit:?}");
    assert_eq!(builder.verb(&["check", "-c", "gateway.toml"]).code, 2);
}

#[test]
fn route_that_says_neither_allow_nor_public_refuses_to_start() {
    let routes = "[[route]]\nname = \"silent\"\nmatch = \"GET /silent\"\n";
    let upstream = Upstream::start();
    let exit = one_realm("\"administrator\", \"user\"", &format!("{FOR_USERS}{routes}"))
        .upstream("lab", upstream.address())
        .start_expecting_exit();
    assert_eq!(exit.code, 65, "{exit:?}");
}

#[test]
fn longest_base_owns_the_request_without_a_fall_back() {
    let lab = lab();
    lab.call(&as_account("alice", "/t/orders/1")).assert_denied(404, "404", "route_not_found");
    lab.call(&get("/t/public/ping")).assert_denied(404, "404", "route_not_found");
    // Not on a segment border: the realm at the root owns it, and has no such route.
    let response = lab.call(&get("/tx"));
    response.assert_denied(404, "404", "route_not_found");
    assert_eq!(lab.gateway.line_of(&response.request_id()).text("realm"), "lab");
}

#[test]
fn unknown_route_and_method_are_told_before_any_credential_is_asked_for() {
    let lab = lab();
    lab.call(&get("/nope")).assert_denied(404, "404", "route_not_found");
    lab.call(&get("/orders/1/")).assert_denied(404, "404", "route_not_found");
    lab.call(&get("/ORDERS/1")).assert_denied(404, "404", "route_not_found");
    let response = lab.call(&request("DELETE", "/orders/1"));
    response.assert_denied(405, "405", "method_not_allowed");
    let allowed = response.all("allow").join(", ");
    let allowed: Vec<&str> = allowed.split(',').map(str::trim).collect();
    assert!(allowed.contains(&"GET") && !allowed.contains(&"DELETE"), "{response}");
    let login = lab.call(&get("/login"));
    login.assert_denied(405, "405", "method_not_allowed");
    assert!(login.all("allow").join(", ").contains("POST"), "{login}");
}

#[test]
fn get_implies_head_and_nothing_else() {
    let lab = lab();
    let token = lab.token("alice");
    let response = lab.call(&request("HEAD", "/orders/1").token(&token)).assert_ok();
    assert_eq!(lab.upstream.seen_with_id(&response.request_id()).method, "HEAD");
    lab.call(&post("/orders/1").token(&token)).assert_denied(405, "405", "method_not_allowed");
}

#[test]
fn rest_parameter_takes_one_segment_or_more() {
    let lab = lab();
    for path in ["/public/a", "/public/a/b", "/public/a/b/c.d"] {
        lab.call(&get(path)).assert_ok();
    }
    lab.call(&get("/public")).assert_denied(404, "404", "route_not_found");
}

#[test]
fn app_type_is_required_known_and_single() {
    let lab = lab();
    let plain = || as_account("usr-1", "/t/apps");
    lab.call(&plain().header("X-App-Type", "vc")).assert_ok();
    lab.call(&plain().header("x-app-type", "wb")).assert_ok();
    lab.call(&plain()).assert_denied(406, "1401", "app_type_missing");
    lab.call(&plain().header("X-App-Type", "")).assert_denied(406, "1401", "app_type_missing");
    lab.call(&plain().header("X-App-Type", "vc").header("X-App-Type", "vc")).assert_denied(
        406,
        "1402",
        "app_type_not_string",
    );
    lab.call(&plain().header("X-App-Type", "v c")).assert_denied(406, "1402", "app_type_not_string");
    lab.call(&plain().header("X-App-Type", "xx")).assert_denied(406, "1403", "app_type_unknown");
}

#[test]
fn app_type_is_asked_after_the_identity_and_before_the_role() {
    let lab = lab();
    lab.call(&get("/t/apps")).assert_denied(400, "400", "header_missing");
    lab.call(&get("/t/apps").basic("ak_usr-1", "wrong")).assert_denied(401, "401", "credential_invalid");
    lab.call(&as_account("res-7", "/t/apps")).assert_denied(406, "1401", "app_type_missing");
    lab.call(&as_account("res-7", "/t/apps").header("X-App-Type", "vc")).assert_denied(403, "1002", "role_forbidden");
}

#[test]
fn required_header_is_asked_before_the_credential() {
    let lab = lab();
    lab.call(&as_account("usr-1", "/t/needs").header("X-Tenant", "a")).assert_ok();
    lab.call(&as_account("usr-1", "/t/needs")).assert_denied(400, "400", "header_missing");
    lab.call(&get("/t/needs").basic("ak_usr-1", "wrong")).assert_denied(400, "400", "header_missing");
    lab.call(&get("/t/open")).assert_denied(400, "400", "header_missing");
    lab.call(&get("/t/open").header("X-Api-Id", "anything")).assert_ok();
}
