//! The directory in the store's server, as the provisioning service writes it: a change that it announces is in force at
//! every gateway within a second, and while the server is away known accounts go on (contract section 4).

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::accounts::{Accounts, digest, key_of};
use crate::harness::client::Client;
use crate::harness::fleet::{Fleet, wait_until_known};
use crate::harness::gateway::Gateway;
use crate::harness::lab::{login, login_request};
use crate::harness::redis::RedisServer;
use crate::harness::request::{Request, get};
use crate::harness::response::Response;
use crate::harness::trial::RECOVERY;
use crate::harness::wait::{PATIENCE, eventually};

const PREFIX: &str = "portcullis:";

/// How soon a change has to be in force everywhere.
const IN_FORCE: Duration = Duration::from_secs(1);

/// The server with the lab's tree, and three gateways that take it from there.
fn three() -> (RedisServer, Fleet) {
    let redis = RedisServer::start();
    write(&redis, &Accounts::lab());
    let fleet = Fleet::start(3, |_, builder| {
        builder.store_with(&redis.url(), "budget = \"250ms\"").directory("url = \"redis:\"")
    });
    (redis, fleet)
}

fn write(redis: &RedisServer, accounts: &Accounts) {
    redis.connect().pipeline(&accounts.commands(PREFIX));
}

fn announce(redis: &RedisServer, key: &str) {
    let heard = redis.command(&["PUBLISH", "portcullis:directory", &format!("{PREFIX}{key}")]).number();
    assert_eq!(heard, 3, "each gateway listens");
}

fn as_(account: &str) -> Request {
    let id = format!("ak_{account}");
    get("/orders/1").basic(&id, &key_of(&id))
}

/// Waits until every gateway gives this answer, over connections that stay open.
#[track_caller]
fn in_force(what: &str, clients: &mut [Client], request: &Request, is_new: impl Fn(&Response) -> bool) {
    let since = Instant::now();
    for client in clients {
        eventually(what, PATIENCE, || is_new(&client.send(request)).then_some(()));
        assert!(since.elapsed() < IN_FORCE, "{what}: {:?}", since.elapsed());
        for _ in 0..3 {
            let response = client.send(request);
            assert!(is_new(&response), "{what}, and no longer: {response}");
        }
    }
    eprintln!("{what}: everywhere after {:?}", since.elapsed());
}

fn is_suspended(response: &Response) -> bool {
    response.status == 403 && response.reason() == "account_suspended"
}

fn is_served(response: &Response) -> bool {
    response.status == 200
}

#[test]
fn announced_change_is_in_force_at_every_gateway_within_a_second() {
    let (redis, fleet) = three();
    let mut clients: Vec<Client> = fleet.gateways.iter().map(Gateway::client).collect();
    let token = login(&fleet.gateways[0], "", "alice");
    let with_token = get("/orders/1").token(&token);
    let below = get("/t/list").basic("ak_usr-1", &key_of("ak_usr-1"));
    for client in &mut clients {
        for request in [&as_("alice"), &as_("bob"), &with_token, &below] {
            client.send(request).assert_ok();
        }
        client.send(&as_("gus")).assert_denied(401, "401", "credential_invalid");
    }
    write(&redis, &Accounts::lab().suspend("alice"));
    announce(&redis, "account:alice");
    in_force("suspended, with a key", &mut clients, &as_("alice"), is_suspended);
    in_force("suspended, with a token", &mut clients, &with_token, is_suspended);
    write(&redis, &Accounts::lab());
    announce(&redis, "account:alice");
    in_force("resumed", &mut clients, &as_("alice"), is_served);
    in_force("resumed, with the old token", &mut clients, &with_token, is_served);

    write(&redis, &Accounts::lab().suspend("res-7"));
    announce(&redis, "account:res-7");
    in_force("suspended far above", &mut clients, &below, is_suspended);

    let record = json!({ "id": "ak_alice", "account": "alice", "key": digest("another key") }).to_string();
    redis.command(&["SET", "portcullis:credential:ak_alice", &record]);
    announce(&redis, "credential:ak_alice");
    in_force("the old key is refused", &mut clients, &as_("alice"), |response| response.status == 401);
    in_force("the new key", &mut clients, &get("/orders/1").basic("ak_alice", "another key"), is_served);

    write(&redis, &Accounts::lab().with("gus", "user", Some("root")));
    for key in ["account:gus", "email:gus@lab.example", "credential:ak_gus"] {
        announce(&redis, key);
    }
    in_force("a new account", &mut clients, &as_("gus"), is_served);
    redis.command(&["DEL", "portcullis:account:gus"]);
    announce(&redis, "account:gus");
    in_force("a removed account", &mut clients, &as_("gus"), |response| response.status == 401);
    in_force("and nobody else", &mut clients, &as_("bob"), is_served);
}

#[test]
fn directory_that_is_away_refuses_nobody_it_knows_and_calls_nobody_unknown() {
    let (mut redis, fleet) = three();
    let gateway = &fleet.gateways[0];
    let with_token = get("/orders/1").token(&login(gateway, "", "alice"));
    gateway.call(&with_token).assert_ok();
    gateway.call(&as_("alice")).assert_ok();
    wait_until_known(gateway, &with_token);
    let assert_away = |unknown: &str| {
        for _ in 0..5 {
            gateway.call(&with_token).assert_ok();
            gateway.call(&as_("alice")).assert_ok();
            gateway.call(&get("/orders/1").basic("ak_alice", "wrong")).assert_denied(401, "401", "credential_invalid");
            gateway.call(&as_(unknown)).assert_denied(503, "503", "directory_unavailable");
            let refused = gateway.call(&login_request("", unknown));
            refused.assert_denied_one_of(503, "503", &["directory_unavailable", "store_unavailable"]);
        }
        eventually("readiness names both", PATIENCE, || {
            let degraded = gateway.degraded();
            (degraded.contains(&"store".to_owned()) && degraded.contains(&"directory".to_owned())).then_some(())
        });
        assert!(gateway.metrics().sum("portcullis_directory_up", &[]) < 0.5);
    };
    redis.pause();
    assert_away("bob");
    let repaired = Instant::now();
    redis.resume();
    while gateway.call(&as_("bob")).status != 200 {
        assert!(repaired.elapsed() < RECOVERY, "still away {:?} after the repair", repaired.elapsed());
    }
    eventually("readiness is whole", RECOVERY, || gateway.degraded().is_empty().then_some(()));
    eprintln!("directory: back after {:?}", repaired.elapsed());
    assert!(gateway.metrics().sum("portcullis_directory_up", &[]) > 0.5);

    redis.kill();
    assert_away("lone");
    gateway.call(&as_("bob")).assert_ok();
}
