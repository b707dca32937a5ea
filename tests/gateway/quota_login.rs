//! Quotas of logins: per canonical e-mail, taken once the form is read and before anything is looked up or compared.

use std::time::Duration;

use serde_json::json;

use crate::harness::accounts::{Accounts, PASSWORD, email};
use crate::harness::lab::{Lab, login_request, login_with};
use crate::harness::redis::RedisServer;
use crate::harness::request::{Request, post};
use crate::harness::shop::Shop;
use crate::harness::upstream::Upstream;

fn per_email(burst: u32) -> String {
    format!("per = \"login\"\nrate = \"1/h\"\nburst = {burst}")
}

fn attempt(tenant: &str, email: &str, password: &str) -> Request {
    post("/s/login").header("X-Api-Id", tenant).json(&json!({ "email": email, "password": password }))
}

fn logins(lab: &Lab, outcome: &str) -> f64 {
    lab.gateway.metrics().sum("portcullis_logins_total", &[("realm", "shop"), ("outcome", outcome)])
}

#[test]
fn every_spelling_of_an_email_has_one_quota_whoever_the_tenant_and_right_or_wrong_the_password() {
    let lab = Shop::default().quota("login", &per_email(4), &["login"]).lab();
    let own = email("usr-1");
    lab.call(&attempt("ak_usr-1", &own, PASSWORD)).assert_ok().assert_told("login", 3);
    lab.call(&attempt("ak_usr-1", &own.to_uppercase(), PASSWORD)).assert_ok().assert_told("login", 2);
    lab.call(&attempt("ak_res-7", "Usr-1@Lab.EXAMPLE", "wrong")).assert_status(401).assert_told("login", 1);
    let forged = attempt("ak_cus-42", &own, "wrong").header("X-Forwarded-For", "192.0.2.1");
    lab.call(&forged).assert_status(401).assert_told("login", 0);
    for (email, password) in [(own.clone(), PASSWORD), (own.to_uppercase(), PASSWORD), (own, "wrong")] {
        let refused = lab.call(&attempt("ak_usr-1", &email, password));
        assert!((3500..=3600).contains(&refused.assert_over_quota()), "{refused}");
        let line = lab.gateway.line_of(&refused.request_id());
        line.assert(&[("quota", "login"), ("reason", "quota_exceeded"), ("route", "login"), ("outcome", "denied")]);
        refused.assert_told("login", 0);
    }
    lab.call(&login_request("/s", "usr-2")).assert_ok().assert_told("login", 3);
    assert_eq!(
        (logins(&lab, "granted"), logins(&lab, "login_failed"), logins(&lab, "quota_exceeded")),
        (3.0, 2.0, 3.0)
    );
    let metrics = lab.gateway.metrics();
    let said = |decision: &str| {
        metrics.sum("portcullis_quota_decisions_total", &[("quota", "shop/login"), ("decision", decision)])
    };
    assert_eq!((said("admitted"), said("refused")), (5.0, 3.0));
}

#[test]
fn a_form_that_cannot_be_read_is_charged_to_nobody() {
    let lab = Shop::default().quota("login", &per_email(2), &["login"]).lab();
    let own = json!({ "email": email("usr-1"), "password": PASSWORD });
    for bad in [
        post("/s/login").header("X-Api-Id", "ak_usr-1").body(own.to_string().as_bytes()),
        post("/s/login").header("X-Api-Id", "no id").json(&own),
        post("/s/login").header("X-Api-Id", "ak_usr-1").json(&json!({ "email": email("usr-1") })),
    ] {
        lab.call(&bad).assert_told_nothing();
    }
    lab.call(&login_request("/s", "usr-1")).assert_ok().assert_told("login", 1);
}

#[test]
fn a_login_over_its_quota_asks_neither_store_nor_directory_nor_password_pool() {
    const REFUSED: usize = 60;
    let redis = RedisServer::start();
    redis.connect().pipeline(&Accounts::lab().commands("portcullis:"));
    let shop = Shop::default().quota("login", &per_email(1), &["login"]);
    let lab = shop.lab_before(Upstream::start(), |builder| {
        let builder = builder.store_with(&redis.url(), "budget = \"5s\"");
        // Nothing is kept, so that every look-up is a command.
        builder
            .directory("url = \"redis:\"\nbudget = \"5s\"\ncache = \"1ms\"\nnegative = \"1ms\"")
            .lockout("attempts = 5")
    });
    let commands = || {
        let calls = redis.calls();
        // What the background does goes on.
        ["get", "mget", "evalsha", "eval", "hget", "hmget", "hgetall", "time"]
            .map(|name| calls.get(name).copied().unwrap_or(0))
            .iter()
            .sum::<u64>()
    };
    let before = commands();
    lab.call(&login_request("/s", "usr-1")).assert_ok().assert_told("login", 0);
    let of_one = commands() - before;
    assert!(of_one >= 4, "a login asks for more than {of_one} things");
    let (before, worked) = (commands(), lab.gateway.worked());
    let mut client = lab.gateway.client();
    for _ in 0..REFUSED {
        client.send(&login_with("/s", "usr-1", "wrong")).assert_over_quota();
    }
    let (asked, worked) = (commands() - before, lab.gateway.worked() - worked);
    assert!(asked < REFUSED as u64 / 2, "{asked} commands for {REFUSED} refusals");
    // One check of a password costs more than ten of these.
    assert!(worked < Duration::from_millis(10 * REFUSED as u64), "{REFUSED} refusals cost {worked:?}");
    // Refusals are no failures of the e-mail: nothing is locked.
    assert!(lab.gateway.metrics().sum("portcullis_lockouts_total", &[]) < 0.5);
}
