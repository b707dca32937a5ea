//! `POST /explain` of the admin listener: what a request would come to, by the same ladder as the request itself.

use serde_json::{Value, json};

use crate::harness::accounts::key_of;
use crate::harness::lab::Lab;
use crate::harness::request::get;

fn explain(lab: &Lab, caller: &str, path: &str) -> Value {
    let body = json!({ "as": caller, "method": "GET", "path": path });
    lab.gateway.admin_json("POST", "/explain", &body).assert_ok().json()
}

#[test]
fn what_is_explained_is_what_happens() {
    let lab = Lab::start();
    let (mut permits, mut denials) = (0, 0);
    for (role, account) in [("reseller", "res-7"), ("customer", "cus-42"), ("user", "usr-1")] {
        for route in ["own", "below", "subtree"] {
            for target in ["root", "res-7", "cus-42", "usr-1", "usr-9", "nobody"] {
                let path = format!("/t/{route}/{target}");
                let id = format!("ak_{account}");
                let response = lab.call(&get(&path).basic(&id, &key_of(&id)));
                for caller in [format!("{role}:{account}"), format!("credential:{id}")] {
                    let outcome = explain(&lab, &caller, &path)["outcome"].clone();
                    if response.status == 200 {
                        permits += 1;
                        assert_eq!(outcome["decision"], "permit", "{caller} {path}: {outcome}");
                        assert_eq!(outcome["headers"]["X-Auth-Target"], target, "{outcome}");
                    } else {
                        denials += 1;
                        assert_eq!(outcome["decision"], "deny", "{caller} {path}: {outcome}");
                        assert_eq!(outcome["reason"], response.json()["data"]["reason"], "{caller} {path}");
                        assert_eq!(outcome["reply"]["status"], response.status);
                    }
                }
            }
        }
    }
    assert!(permits > 20 && denials > 20, "{permits} and {denials}");
    let nobody = explain(&lab, "anonymous", "/t/own/usr-1");
    assert_eq!(nobody["outcome"]["reason"], "header_missing");
    let rungs = nobody["rungs"].as_array().unwrap();
    assert!(rungs.iter().any(|rung| rung["rung"] == "lock-out" && rung["result"] == "not reached"), "{nobody}");
}

#[test]
fn a_question_that_makes_no_sense_is_told_so() {
    let lab = Lab::start();
    let ask = |body: Value| lab.gateway.admin_json("POST", "/explain", &body);
    let body = |caller: &str| json!({ "as": caller, "method": "GET", "path": "/t/own/usr-1" });
    for (caller, status, word) in [
        ("nobody", 400, "as may also be"),
        ("user:ghost", 404, "no account `ghost`"),
        ("customer:usr-1", 400, "is a user, not a customer"),
        ("credential:ghost", 400, "no credential `ghost`"),
    ] {
        let response = ask(body(caller));
        assert_eq!(response.status, status, "{caller}: {response}");
        assert!(response.text().contains(word), "{caller}: {response}");
    }
    assert_eq!(ask(json!({ "as": "anonymous" })).status, 400);
    assert_eq!(ask(json!({ "as": "anonymous", "method": "GET", "path": "/", "more": 1 })).status, 400);
}
