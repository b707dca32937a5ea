//! The default laboratory: the realm of the shared cases at `/`, a four-level realm at `/t`, one upstream and the tree
//! of [`Accounts::lab`]. Tests of one file share a lab where its state permits.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use serde_json::json;

use crate::harness::accounts::{Accounts, PASSWORD, api_id, email};
use crate::harness::builder::Builder;
use crate::harness::gateway::Gateway;
use crate::harness::request::{Request, post};
use crate::harness::response::Response;
use crate::harness::upstream::{Seen, Upstream};
use crate::harness::wait::{PATIENCE, eventually};

/// The realm of the shared cases, with three routes more.
pub(crate) const LAB_POLICY: &str = r#"
[realm]
name = "lab"
base = "/"
roles = ["administrator", "user"]
schemes = ["basic", "token"]
upstream = "lab"

[login]
login = "POST /login"
logout = "POST /logout"

[[route]]
name = "public"
match = ["GET /public/{*rest}", "POST /public/echo"]
public = true

[[route]]
name = "orders"
match = "GET /orders/{id}"
allow = ["administrator", "user"]

[[route]]
name = "orders-of"
match = "GET /orders"
allow = { administrator = "subtree", user = "own" }
target = "query.customer_id?"

[[route]]
name = "customer-orders"
match = "GET /customers/{customer_id}/orders"
allow = { administrator = "subtree", user = "own" }
target = "path.customer_id"

[[route]]
name = "stream"
match = "GET /stream"
allow = ["administrator", "user"]
upgrade = ["websocket"]

[[route]]
name = "admin"
match = ["GET /admin/{*rest}", "POST /admin/{*rest}"]
allow = ["administrator"]

[[route]]
name = "write"
match = "POST /write/{id}"
allow = ["administrator", "user"]

[[route]]
name = "verbatim"
match = "GET /verbatim/{id}"
allow = ["administrator", "user"]
forward_authorization = true
"#;

/// A realm of four levels for the scopes.
pub(crate) const TREE_POLICY: &str = r#"
[realm]
name = "tree"
base = "/t"
roles = ["administrator", "reseller", "customer", "user"]
schemes = ["basic", "token"]
upstream = "lab"

[login]
login = "POST /login"
logout = "POST /logout"

[[route]]
name = "own"
match = "GET /own/{id}"
allow = { reseller = "own", customer = "own", user = "own" }
target = "path.id"

[[route]]
name = "below"
match = "GET /below/{id}"
allow = { administrator = "below", reseller = "below", customer = "below" }
target = "path.id"

[[route]]
name = "subtree"
match = "GET /subtree/{id}"
allow = { administrator = "subtree", reseller = "subtree", customer = "subtree", user = "subtree" }
target = "path.id"

[[route]]
name = "query"
match = "GET /query"
allow = { administrator = "subtree", reseller = "subtree", customer = "subtree", user = "own" }
target = "query.account"

[[route]]
name = "optional"
match = "GET /optional"
allow = { administrator = "subtree", reseller = "below", customer = "below", user = "own" }
target = "query.account?"

[[route]]
name = "header"
match = "GET /header"
allow = { administrator = "subtree", reseller = "subtree", customer = "subtree", user = "own" }
target = "header.X-Account"

[[route]]
name = "list"
match = "GET /list"
allow = { administrator = "subtree", reseller = "below", user = "own" }

[[route]]
name = "apps"
match = "GET /apps"
allow = ["administrator", "customer", "user"]
app_types = ["vc", "wb"]

[[route]]
name = "needs"
match = "GET /needs"
allow = ["administrator", "customer", "user"]
headers = ["X-Tenant"]

[[route]]
name = "open"
match = "GET /open"
public = true
headers = ["X-Api-Id"]
"#;

/// A gateway with its upstream.
pub(crate) struct Lab {
    /// Declared first, so that it ends before its upstream does.
    pub(crate) gateway: Gateway,
    /// The upstream called `lab`.
    pub(crate) upstream: Upstream,
    tokens: Mutex<HashMap<String, String>>,
}

impl Lab {
    /// The default.
    pub(crate) fn start() -> Self {
        Self::with(|builder| builder)
    }

    /// The default with changes.
    pub(crate) fn with(change: impl FnOnce(Builder) -> Builder) -> Self {
        Self::before(Upstream::start(), change)
    }

    /// The default before another upstream, with changes.
    pub(crate) fn before(upstream: Upstream, change: impl FnOnce(Builder) -> Builder) -> Self {
        let gateway = change(builder().upstream("lab", upstream.address())).start();
        Self::of(gateway, upstream)
    }

    /// A gateway that was started by other means.
    pub(crate) fn of(gateway: Gateway, upstream: Upstream) -> Self {
        Self { gateway, upstream, tokens: Mutex::new(HashMap::new()) }
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub(crate) fn call(&self, request: &Request) -> Response {
        self.gateway.call(request)
    }

    /// One request that must be forwarded: what the upstream saw of it.
    #[track_caller]
    pub(crate) fn forwarded(&self, request: &Request) -> Seen {
        let response = self.call(request).assert_ok();
        self.upstream.seen_with_id(&response.request_id())
    }

    /// A token of an account in the realm `lab`; the same one on every call.
    #[track_caller]
    pub(crate) fn token(&self, account: &str) -> String {
        self.kept_token("", account)
    }

    /// A token of an account in the realm `tree`; the same one on every call.
    #[track_caller]
    pub(crate) fn tree_token(&self, account: &str) -> String {
        self.kept_token("/t", account)
    }

    /// A fresh token of an account in the realm `lab`.
    #[track_caller]
    pub(crate) fn login(&self, account: &str) -> String {
        login(&self.gateway, "", account)
    }

    #[track_caller]
    fn kept_token(&self, base: &str, account: &str) -> String {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.entry(format!("{base} {account}")).or_insert_with(|| login(&self.gateway, base, account)).clone()
    }
}

/// A builder with both realms and the lab's tree, but without an upstream.
pub(crate) fn builder() -> Builder {
    Gateway::builder().policy("lab", LAB_POLICY).policy("tree", TREE_POLICY).accounts(&Accounts::lab())
}

/// The login request of an account, through its own API id.
pub(crate) fn login_request(base: &str, account: &str) -> Request {
    login_with(base, account, PASSWORD)
}

/// The same with another password.
pub(crate) fn login_with(base: &str, account: &str, password: &str) -> Request {
    post(&format!("{base}/login"))
        .header("X-Api-Id", &api_id(account))
        .json(&json!({ "email": email(account), "password": password }))
}

/// Logs an account in.
#[track_caller]
pub(crate) fn login(gateway: &Gateway, base: &str, account: &str) -> String {
    let response = gateway.call(&login_request(base, account)).assert_ok();
    response.json()["token"].as_str().expect("a token").to_owned()
}

/// The same where a busy machine may keep the store from answering within its budget, for what is only set up.
#[track_caller]
pub(crate) fn login_at_last(gateway: &Gateway, base: &str, account: &str) -> String {
    eventually("a login works", PATIENCE, || {
        let response = gateway.call(&login_request(base, account));
        (response.status == 200).then(|| response.json()["token"].as_str().expect("a token").to_owned())
    })
}

/// A place for the lab that the tests of one file share: started by the first, ended with the last that holds it, since
/// a static itself is never dropped and its processes would outlive the run.
pub(crate) struct Shared(Mutex<Weak<Lab>>);

/// A hold on a shared lab; prints its logs when the test that holds it fails.
pub(crate) struct Held(Arc<Lab>);

impl Shared {
    /// Nothing started yet.
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    /// The running lab, or a new one.
    pub(crate) fn hold(&self, start: impl FnOnce() -> Lab) -> Held {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = place.upgrade() {
            return Held(running);
        }
        let started = Arc::new(start());
        *place = Arc::downgrade(&started);
        Held(started)
    }
}

impl Deref for Held {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.gateway.print_logs();
        }
    }
}
