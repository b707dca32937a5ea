//! A store as a careful operator sets it up: TLS by an authority of his own, a certificate that the gateway shows, a user
//! with the documented rights and no other, a password that no URL takes as it is, and the URL in a secret file.

use std::time::Instant;

use serde_json::json;

use crate::harness::accounts::{Accounts, key_of};
use crate::harness::certificates::Authority;
use crate::harness::fleet::{Fleet, sessions_of};
use crate::harness::gateway::Gateway;
use crate::harness::jwt::Forgery;
use crate::harness::ports;
use crate::harness::redis::{RedisServer, Reply};
use crate::harness::request::{get, post};
use crate::harness::wait::{PATIENCE, eventually};

/// Everything that a URL gives a meaning to.
const PASSWORD: &str = "p@ss:w/or#d?=50%&+ ü~";

/// The rights are documented where the commands are sent from.
const DOCUMENTED: &str = include_str!("../../src/store/redis.rs");

/// Those that only another kind of server takes, or a database of another number.
const NOT_HERE: [&str; 5] = ["+select", "+role", "+cluster|info", "+cluster|slots", "+asking"];

/// Used where many fields of one record have grown old, and one that the tests' own client uses as well.
const SELDOM: [&str; 2] = ["+hdel", "+info"];

/// A primary that talks TLS at the second address, and its replica.
fn over_tls(authority: &Authority) -> (RedisServer, u16, RedisServer) {
    authority.issue("server");
    let (mut primary, mut replica) = (RedisServer::absent(), RedisServer::absent());
    let port = ports::free().port();
    let [certificate, key, ca] = ["server.pem", "server.key", "ca.pem"].map(|name| authority.file(name));
    let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
    let ways = ["--tls-port", &port.to_string(), "--tls-auth-clients", "yes", "--repl-diskless-sync-delay", "0"];
    primary.set_options(&[&files[..], &ways].concat());
    primary.restart();
    replica.restart();
    replica.follow(&primary);
    (primary, port, replica)
}

/// The words of the documentation that grant a command.
fn documented_rights() -> Vec<&'static str> {
    let header = DOCUMENTED.lines().take_while(|line| line.starts_with("//!"));
    let words = header.flat_map(|line| line.split(|letter: char| letter.is_whitespace() || letter == '`'));
    let rights: Vec<&str> = words.filter(|word| word.starts_with('+') && !NOT_HERE.contains(word)).collect();
    assert!(rights.len() > 20, "{rights:?}");
    rights
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn fleet(authority: &Authority, port: u16) -> Fleet {
    let [ca, certificate, key] = ["ca.pem", "gate.pem", "gate.key"].map(|name| authority.file(name));
    let url = format!("rediss://gate:{}@127.0.0.1:{port}\n", percent_encoded(PASSWORD));
    let store = format!(
        "url = {{ file = \"store.url\" }}\nreplicas = 1\nbudget = \"1s\"\n\
         tls = {{ ca = \"{ca}\", certificate = \"{certificate}\", key = \"{key}\" }}"
    );
    Fleet::start(2, |_, builder| {
        let builder = builder.store_lines(&store).file("store.url", &url).directory("url = \"redis:\"");
        builder.lockout("attempts = 3\nnetwork_attempts = 100000\nwithin = \"15m\"")
    })
}

/// All that gateways ask of the store.
fn use_everything(fleet: &Fleet) {
    let [mut leaves, mut goes, mut falls] = ["alice", "alice", "bob"].map(|account| fleet.caller("", account));
    fleet.gateways[1].call(&post("/logout").token(leaves.token())).assert_ok();
    leaves.assert_revoked_everywhere(Instant::now());
    assert_eq!(sessions_of(&fleet.gateways[0], "alice"), [Forgery::of(goes.token()).jti()]);
    assert!(fleet.revoke(0, "jti", &Forgery::of(goes.token()).jti()));
    goes.assert_revoked_everywhere(Instant::now());
    assert!(fleet.revoke(1, "subtree", "root"));
    falls.assert_revoked_everywhere(Instant::now());
    let mut bob = fleet.caller("", "bob");
    assert!(fleet.revoke(0, "account", "bob"));
    bob.assert_revoked_everywhere(Instant::now());

    let wrong = get("/orders/1").basic("ak_bob", "wrong");
    (0..3).for_each(|_| fleet.gateways[0].call(&wrong).assert_denied(401, "401", "credential_invalid"));
    let locked = |gateway: &Gateway| {
        let listed = gateway.admin_get("/lockouts").assert_ok().json();
        listed.as_array().expect("a list").iter().any(|row| row["until"].as_u64() > Some(0))
    };
    for gateway in &fleet.gateways {
        eventually("the lock is known", PATIENCE, || locked(gateway).then_some(()));
    }
    fleet.gateways[1].admin_json("DELETE", "/lockouts", &json!({})).assert_ok();
    for gateway in &fleet.gateways {
        eventually("the lock is gone", PATIENCE, || (!locked(gateway)).then_some(()));
        gateway.call(&get("/orders/1").basic("ak_bob", &key_of("ak_bob"))).assert_ok();
        assert_eq!(gateway.degraded(), [""; 0]);
    }
}

#[test]
fn store_over_tls_takes_a_user_with_the_documented_rights_only() {
    let authority = Authority::new();
    authority.issue("gate");
    let (redis, port, _replica) = over_tls(&authority);
    let password = format!(">{PASSWORD}");
    let who = ["ACL", "SETUSER", "gate", "on", &password, "resetkeys", "~portcullis:*"];
    let what = ["resetchannels", "&portcullis:*", "-@all"];
    let rule = [&who[..], &what, &documented_rights()].concat();
    assert_eq!(redis.command(&rule), Reply::Text("OK".into()));
    redis.connect().pipeline(&Accounts::lab().commands("portcullis:"));

    let fleet = fleet(&authority, port);
    use_everything(&fleet);
    assert_eq!(redis.command(&["ACL", "LOG"]), Reply::List(Vec::new()), "something was refused");
    let used = redis.calls();
    let is_used = |right: &&str| used.contains_key(right.trim_start_matches('+')) || SELDOM.contains(right);
    let unused: Vec<_> = documented_rights().into_iter().filter(|right| !is_used(right)).collect();
    assert_eq!(unused, [""; 0], "documented, but nothing needs it");
    let mut as_gate = redis.connect();
    assert_eq!(as_gate.command(&["AUTH", "gate", PASSWORD]), Reply::Text("OK".into()));
    for beyond in [&["KEYS", "*"][..], &["GET", "other"], &["FLUSHALL"], &["PUBLISH", "other", "x"]] {
        let refused = as_gate.command(beyond);
        assert!(matches!(&refused, Reply::Error(text) if text.starts_with("NOPERM")), "{beyond:?}: {refused:?}");
    }
    for gateway in &fleet.gateways {
        let shown = gateway.verb(&["check", "--print"]);
        assert_eq!(shown.code, 0, "{shown:?}");
        for text in [gateway.stderr(), gateway.stdout(), shown.stdout, shown.stderr] {
            for secret in [PASSWORD, &percent_encoded(PASSWORD), "p@ss"] {
                assert!(!text.contains(secret), "the password is told");
            }
        }
    }
}
