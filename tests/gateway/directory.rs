//! The directory is hot and is read on every request: what changes in `accounts.toml` changes running sessions and
//! credentials within seconds (contract section 4).

mod cli;
mod redis;

use std::time::Duration;

use crate::harness::accounts::{Accounts, key_of};
use crate::harness::gateway::password_record;
use crate::harness::lab::Lab;
use crate::harness::request::{Request, get};
use crate::harness::response::Response;
use crate::harness::wait::eventually;

/// How long an edit may take to be seen.
const SEEN: Duration = Duration::from_secs(3);

fn lab() -> Lab {
    Lab::start()
}

fn as_account(path: &str, account: &str) -> Request {
    let id = format!("ak_{account}");
    get(path).basic(&id, &key_of(&id))
}

/// Replaces the directory, and waits until `request` is answered with this status. From then on the new directory
/// is the one that is served.
fn edit(lab: &Lab, accounts: &Accounts, request: &Request, status: u16) -> Response {
    lab.gateway.replace_file("accounts.toml", &accounts.toml());
    eventually(&format!("{} becomes {status}", request.line()), SEEN, || {
        Some(lab.call(request)).filter(|response| response.status == status)
    })
}

#[test]
fn suspended_account_is_told_so_under_basic_and_token_until_it_is_resumed() {
    let lab = lab();
    let with_token = get("/orders/1").token(&lab.login("alice"));
    let with_key = as_account("/orders/1", "alice");
    lab.call(&with_token).assert_ok();
    edit(&lab, &Accounts::lab().suspend("alice"), &with_key, 403).assert_denied(403, "1002", "account_suspended");
    lab.call(&with_token).assert_denied(403, "1002", "account_suspended");
    lab.call(&as_account("/orders/1", "bob")).assert_ok();
    edit(&lab, &Accounts::lab(), &with_key, 200);
}

#[test]
fn suspended_ancestor_suspends_everybody_below() {
    let lab = lab();
    let token = lab.tree_token("usr-1");
    lab.call(&get("/t/list").token(&token)).assert_ok();
    let suspended = Accounts::lab().suspend("res-7");
    edit(&lab, &suspended, &as_account("/t/list", "res-7"), 403).assert_denied(403, "1002", "account_suspended");
    lab.call(&get("/t/list").token(&token)).assert_denied(403, "1002", "account_suspended");
    lab.call(&as_account("/t/subtree/usr-1", "cus-42")).assert_denied(403, "1002", "account_suspended");
    lab.call(&as_account("/t/list", "res-8")).assert_ok();
}

#[test]
fn status_of_the_target_itself_is_not_judged() {
    let lab = lab();
    edit(&lab, &Accounts::lab().suspend("usr-1"), &as_account("/t/list", "usr-1"), 403);
    lab.call(&as_account("/t/subtree/usr-1", "cus-42")).assert_ok();
}

#[test]
fn role_taken_away_revokes_the_session_and_counts_at_once_for_the_credential() {
    let lab = Lab::with(|builder| builder.accounts(&Accounts::lab().with("ann", "administrator", Some("root"))));
    let with_token = get("/admin/users").token(&lab.login("ann"));
    lab.call(&with_token).assert_ok();
    let lowered = Accounts::lab().with("ann", "user", Some("root"));
    edit(&lab, &lowered, &as_account("/admin/users", "ann"), 403).assert_denied(403, "1002", "role_forbidden");
    lab.call(&with_token).assert_denied(401, "1001", "token_revoked");
    lab.forwarded(&as_account("/orders/1", "ann")).assert_header("x-auth-role", "user");
}

#[test]
fn moved_account_loses_its_session_and_carries_the_new_lineage() {
    let lab = lab();
    let with_token = get("/t/own/usr-1").token(&lab.tree_token("usr-1"));
    lab.call(&with_token).assert_ok();
    let moved = Accounts::lab().change("usr-1", |account| account.parent = Some("cus-9".to_owned()));
    edit(&lab, &moved, &as_account("/t/subtree/usr-1", "cus-9"), 200);
    lab.call(&with_token).assert_denied(401, "1001", "token_revoked");
    lab.forwarded(&as_account("/t/own/usr-1", "usr-1")).assert_header("x-auth-lineage", "root/res-8/cus-9/usr-1");
    lab.call(&as_account("/t/subtree/usr-1", "cus-42")).assert_denied(403, "1002", "scope_forbidden");
}

#[test]
fn password_change_ends_the_sessions_of_its_account_only() {
    let lab = lab();
    let (alice, bob) = (lab.login("alice"), lab.login("bob"));
    let record = password_record("another password");
    let changed = Accounts::lab().change("alice", |account| account.password = record);
    let response = edit(&lab, &changed, &get("/orders/1").token(&alice), 401);
    response.assert_denied(401, "1001", "token_revoked");
    lab.call(&get("/orders/1").token(&bob)).assert_ok();
}

#[test]
fn removed_account_keeps_neither_its_credential_nor_its_session() {
    let gus = Accounts::lab().with("gus", "user", Some("root"));
    let lab = Lab::with(|builder| builder.accounts(&gus));
    let with_token = get("/orders/1").token(&lab.login("gus"));
    edit(&lab, &Accounts::lab(), &as_account("/orders/1", "gus"), 401).assert_denied(401, "401", "credential_invalid");
    lab.call(&with_token).assert_denied(401, "1001", "token_revoked");
}

#[test]
fn broken_directory_file_keeps_the_old_directory() {
    let mut lab = lab();
    let whole = Accounts::lab().suspend("alice").toml();
    let inside_a_string = whole.find("$argon2id$").expect("a password record") + 5;
    let naming = |lab: &Lab| lab.gateway.stderr().matches("accounts.toml").count();
    for broken in [&whole[..inside_a_string], "[[account]\n"] {
        let before = naming(&lab);
        lab.gateway.replace_file("accounts.toml", broken);
        eventually("the operational log names the broken file", SEEN, || (naming(&lab) > before).then_some(()));
        lab.call(&as_account("/orders/1", "alice")).assert_ok();
    }
    edit(&lab, &Accounts::lab().suspend("bob"), &as_account("/orders/1", "bob"), 403);
    lab.call(&as_account("/orders/1", "alice")).assert_ok();
    assert!(lab.gateway.is_running());
}
