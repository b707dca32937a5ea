//! The demo, as somebody meets it who follows what it prints (contract section 1).

use std::net::SocketAddr;

use serde_json::json;

use crate::harness::client::Client;
use crate::harness::gateway::Gateway;
use crate::harness::request::{get, post};
use crate::harness::wait::{PATIENCE, eventually};

/// What stands between two marks of the introduction.
#[track_caller]
fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("no {before:?} in {text}")).1;
    rest.split_once(after).unwrap_or_else(|| panic!("no {after:?} behind {before:?}")).0
}

#[test]
fn demo_with_a_directory_that_is_called_logs_in_and_serves_and_shows_the_directory() {
    let demo = Gateway::demo(&["--directory", "https"]).taking_connections();
    let told = eventually("its introduction", PATIENCE, || Some(demo.stdout()).filter(|text| text.contains("Ctrl-C")));
    let directory: SocketAddr =
        between(&told, "sample directory: curl -s http://", "/accounts/usr-1").parse().expect("an address");
    let account = Client::connect(directory).send(&get("/accounts/usr-1")).assert_ok().json();
    assert_eq!(
        (&account["id"], &account["role"], &account["parent"]),
        (&json!("usr-1"), &json!("user"), &json!("cus-42"))
    );
    Client::connect(directory).send(&get("/accounts/usr-2")).assert_status(404);

    let (password, tenant) = (between(&told, "all with the password ", "\n"), between(&told, "X-Api-Id: ", "\n"));
    let credentials = json!({ "email": "usr-1@demo.example", "password": password });
    let login = post("/ucaas/v1/login").header("X-Api-Id", tenant).json(&credentials);
    // The sample compares passwords in an unoptimised build, and a call has its budget.
    let session =
        eventually("a login", PATIENCE, || Some(demo.call(&login)).filter(|answer| answer.status == 200)).json();
    let token = session["token"].as_str().expect("a token");
    let answer = demo.call(&get("/ucaas/v1/meetings").token(token).header("X-App-Type", "vc")).assert_ok().json();
    assert_eq!(answer["told"]["x-auth-lineage"], "root/res-7/cus-42/usr-1", "{answer}");
    let (id, key) = between(&told, "A server's key     ", "  (").split_once(':').expect("an id and a key");
    demo.call(&get("/ucaas/v1/users/usr-1").basic(id, key)).assert_ok();
    demo.call(&get("/ucaas/v1/users/cus-9").basic(id, key)).assert_denied(403, "1002", "scope_forbidden");
    assert!(demo.metrics().sum("portcullis_directory_up", &[]) > 0.5);
    assert!(!demo.stderr().contains("panic"), "{}", demo.stderr());
}
