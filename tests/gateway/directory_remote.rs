//! Directories that are no file, from outside: records in Redis that the provisioning service writes, and calls to it
//! (contract sections 4 and 9).

mod far;

use std::time::Duration;

use serde_json::json;

use self::far::{Far, TOKEN};
use crate::harness::accounts::{Accounts, key_of};
use crate::harness::builder::Builder;
use crate::harness::fleet::{wait_until_heard, wait_until_known};
use crate::harness::lab::{Lab, builder, login_request};
use crate::harness::redis::RedisServer;
use crate::harness::request::{Request, get};
use crate::harness::upstream::Upstream;
use crate::harness::wait::eventually;

/// How long a change may take to reach a gateway, and slack for a busy machine.
const SEEN: Duration = Duration::from_secs(2);

/// Two seconds for the repair, and slack.
const RECOVERY: Duration = Duration::from_secs(4);

fn with_key(account: &str) -> Request {
    let id = format!("ak_{account}");
    get("/orders/1").basic(&id, &key_of(&id))
}

/// Writes what differs, and announces it as the provisioning service does.
fn provision(redis: &RedisServer, before: &Accounts, after: &Accounts) {
    let (before, after) = (before.records(), after.records());
    for (key, value) in after.iter().filter(|record| !before.contains(record)) {
        redis.command(&["SET", &format!("portcullis:{key}"), value]);
        redis.command(&["PUBLISH", "portcullis:directory", &format!("portcullis:{key}")]);
    }
    for (key, _) in before.iter().filter(|(key, _)| !after.iter().any(|(known, _)| known == key)) {
        redis.command(&["DEL", &format!("portcullis:{key}")]);
        redis.command(&["PUBLISH", "portcullis:directory", &format!("portcullis:{key}")]);
    }
}

/// A gateway whose store and directory are on this server.
fn on_redis(redis: &RedisServer) -> Lab {
    let upstream = Upstream::start();
    let gateway = builder()
        .accounts(&Accounts::none())
        .store_with(&redis.url(), "budget = \"1s\"")
        .directory("url = \"redis:\"\nbudget = \"2s\"")
        .upstream("lab", upstream.address())
        .start();
    wait_until_heard(&gateway);
    Lab::of(gateway, upstream)
}

fn on_far(far: &Far) -> Lab {
    Lab::with(|builder| builder.accounts(&Accounts::none()).directory(&far.lines()).file("far-token", TOKEN))
}

#[test]
fn records_in_redis_serve_logins_keys_and_tokens_and_changes_reach_every_gateway() {
    let redis = RedisServer::start();
    provision(&redis, &Accounts::none(), &Accounts::lab());
    let gateways = [on_redis(&redis), on_redis(&redis)];
    let token = gateways[0].login("alice");
    for lab in &gateways {
        lab.call(&get("/orders/1").token(&token)).assert_ok();
        lab.forwarded(&with_key("alice")).assert_header("x-auth-lineage", "root/alice");
        lab.call(&with_key("nobody")).assert_denied(401, "401", "credential_invalid");
    }
    let suspended = Accounts::lab().suspend("root");
    provision(&redis, &Accounts::lab(), &suspended);
    for lab in &gateways {
        for request in [with_key("alice"), get("/orders/1").token(&token)] {
            let told = eventually("a suspension above is seen", SEEN, || {
                Some(lab.call(&request)).filter(|response| response.status == 403)
            });
            told.assert_denied(403, "1002", "account_suspended");
        }
    }
    provision(&redis, &suspended, &Accounts::lab());
    let without = Accounts::none().with("root", "administrator", None);
    eventually("resumed", SEEN, || (gateways[0].call(&with_key("alice")).status == 200).then_some(()));
    provision(&redis, &Accounts::lab(), &without);
    for lab in &gateways {
        let gone = |request: &Request| lab.call(request).status == 401;
        eventually("the credential is gone", SEEN, || gone(&with_key("alice")).then_some(()));
        eventually("the account is gone", SEEN, || gone(&get("/orders/1").token(&token)).then_some(()));
        lab.call(&get("/orders/1").token(&token)).assert_denied(401, "1001", "token_revoked");
    }
}

#[test]
fn an_odd_record_in_redis_is_directory_unavailable_and_never_unknown() {
    let redis = RedisServer::start();
    provision(&redis, &Accounts::none(), &Accounts::lab());
    let lab = on_redis(&redis);
    redis.command(&["SET", "portcullis:account:alice", "{\"id\":\"alice\""]);
    redis.command(&["LPUSH", "portcullis:credential:ak_list", "x"]);
    lab.call(&with_key("alice")).assert_denied(503, "503", "directory_unavailable");
    lab.call(&with_key("list")).assert_denied(503, "503", "directory_unavailable");
    lab.call(&login_request("", "alice")).assert_denied(503, "503", "directory_unavailable");
    lab.call(&with_key("bob")).assert_ok();
}

#[test]
fn without_redis_what_is_known_goes_on_and_what_is_not_is_503() {
    let mut redis = RedisServer::start();
    provision(&redis, &Accounts::none(), &Accounts::lab());
    let lab = on_redis(&redis);
    let token = lab.login("alice");
    let known = [with_key("alice"), get("/orders/1").token(&token)];
    known.iter().for_each(|request| drop(lab.call(request).assert_ok()));
    wait_until_known(&lab.gateway, &known[1]);
    redis.kill();
    eventually("readiness tells it", RECOVERY, || {
        let degraded = lab.gateway.admin_get("/readyz").json()["degraded"].clone();
        degraded.to_string().contains("directory").then_some(())
    });
    known.iter().for_each(|request| drop(lab.call(request).assert_ok()));
    lab.call(&with_key("bob")).assert_denied(503, "503", "directory_unavailable");
    redis.restart();
    provision(&redis, &Accounts::none(), &Accounts::lab());
    eventually("what was not known is served", RECOVERY, || (lab.call(&with_key("bob")).status == 200).then_some(()));
    lab.call(&with_key("alice")).assert_ok();
}

#[test]
fn a_far_directory_compares_passwords_and_its_outage_is_no_wrong_password() {
    let far = Far::start(&Accounts::lab());
    let lab = on_far(&far);
    let token = lab.login("alice");
    let known = [with_key("alice"), get("/orders/1").token(&token)];
    known.iter().for_each(|request| drop(lab.call(request).assert_ok()));
    lab.call(&with_key("nobody")).assert_denied(401, "401", "credential_invalid");
    far.set_open(false);
    lab.call(&with_key("bob")).assert_denied(503, "503", "directory_unavailable");
    lab.call(&login_request("", "alice")).assert_denied(503, "503", "directory_unavailable");
    known.iter().for_each(|request| drop(lab.call(request).assert_ok()));
    far.set_open(true);
    eventually("a login works again", RECOVERY, || (lab.call(&login_request("", "alice")).status == 200).then_some(()));
    far.replace(&Accounts::lab().suspend("alice"));
    for request in &known {
        let told = eventually("a change that nobody announced is seen", SEEN, || {
            Some(lab.call(request)).filter(|response| response.status == 403)
        });
        told.assert_denied(403, "1002", "account_suspended");
    }
    for secret in [TOKEN, &key_of("ak_alice"), &token] {
        assert!(!lab.gateway.stderr().contains(secret), "a secret in the log");
    }
}

/// The account is one that this gateway has never looked up: nobody can tell whether it exists.
#[test]
fn a_directory_that_is_away_stops_no_revocation_and_only_a_definite_unknown_is_404() {
    let far = Far::start(&Accounts::lab());
    let lab = on_far(&far);
    let token = lab.login("alice");
    let ask = |what: &str, id: &str| lab.gateway.admin_json("POST", "/revocations", &json!({ what: id }));
    ask("account", "nobody").assert_status(404);
    far.set_open(false);
    for (what, id) in [("account", "bob"), ("subtree", "stranger"), ("account", "alice")] {
        let answer = ask(what, id).assert_ok().json();
        assert_eq!(answer["revoked"], true, "{what} {id}: {answer}");
    }
    lab.call(&get("/orders/1").token(&token)).assert_denied(401, "1001", "token_revoked");
    ask("account", "a b").assert_status(400);
    far.set_open(true);
    eventually("the directory can tell again", RECOVERY, || (ask("subtree", "no-such").status == 404).then_some(()));
}

#[test]
fn the_token_of_a_far_directory_is_renewed_by_a_reload() {
    let far = Far::start(&Accounts::lab());
    let with = |builder: Builder| builder.accounts(&Accounts::none()).directory(&far.lines());
    let lab = Lab::with(|builder| with(builder).file("far-token", "the-token-of-last-year"));
    let reload = || lab.gateway.admin_json("POST", "/reload", &json!({}));
    lab.call(&with_key("alice")).assert_denied(503, "503", "directory_unavailable");
    lab.gateway.replace_file("far-token", TOKEN);
    reload().assert_ok();
    eventually("the new token is shown", RECOVERY, || (lab.call(&with_key("alice")).status == 200).then_some(()));
    // One that no header can hold is refused, and the good one stays in use.
    lab.gateway.replace_file("far-token", "two words");
    reload().assert_status(422);
    lab.call(&with_key("bob")).assert_ok();
    lab.gateway.replace_file("far-token", TOKEN);
    let elsewhere =
        lab.gateway.read_file("gateway.toml").replace("url = \"http://127.0.0.1:", "url = \"http://127.0.0.2:");
    lab.gateway.replace_file("gateway.toml", &elsewhere);
    let refused = reload().assert_status(422);
    assert!(refused.text().contains("directory.url"), "where it is stays cold: {refused}");
    lab.call(&with_key("root")).assert_ok();
}
