//! Several gateways in front of one upstream and one store, as behind a balancer. Used where one gateway has to know
//! what another did.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::builder::Builder;
use crate::harness::client::Client;
use crate::harness::gateway::Gateway;
use crate::harness::lab::{builder, login};
use crate::harness::request::{Request, get};
use crate::harness::response::Response;
use crate::harness::upstream::Upstream;
use crate::harness::wait::{PATIENCE, eventually};

/// The gateways; declared first, so that they end before their upstream does.
pub(crate) struct Fleet {
    pub(crate) gateways: Vec<Gateway>,
    _upstream: Upstream,
}

/// A keep-alive connection to each gateway that uses one token, which every gateway has in its cache.
pub(crate) struct Caller {
    token: String,
    target: String,
    clients: Vec<Client>,
}

impl Fleet {
    /// So many gateways with both realms of the lab, each changed by its number.
    pub(crate) fn start(count: usize, change: impl Fn(usize, Builder) -> Builder) -> Self {
        let upstream = Upstream::start();
        let start = |number| change(number, builder().upstream("lab", upstream.address())).start();
        let gateways: Vec<Gateway> = (0..count).map(start).collect();
        let fleet = Self { gateways, _upstream: upstream };
        fleet.wait_until_heard();
        fleet
    }

    /// Waits until every gateway hears the others.
    pub(crate) fn wait_until_heard(&self) {
        for gateway in &self.gateways {
            wait_until_heard(gateway);
        }
    }

    /// Logs in at the first gateway and shows the token to all.
    #[track_caller]
    pub(crate) fn caller(&self, base: &str, account: &str) -> Caller {
        let token = login(&self.gateways[0], base, account);
        let target = if base.is_empty() { "/orders/1".to_owned() } else { format!("{base}/subtree/{account}") };
        let clients = self.gateways.iter().map(Gateway::client).collect();
        let mut caller = Caller { token, target, clients };
        for gateway in &self.gateways {
            wait_until_known(gateway, &caller.request());
        }
        caller.assert_served();
        caller
    }

    /// Revokes at one gateway; true when there was something to revoke.
    #[track_caller]
    pub(crate) fn revoke(&self, at: usize, what: &str, id: &str) -> bool {
        let answer = self.gateways[at].admin_json("POST", "/revocations", &json!({ what: id })).assert_ok().json();
        answer["revoked"].as_bool().unwrap_or_else(|| panic!("no `revoked` in {answer}"))
    }
}

impl Caller {
    /// The token.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// One request through one gateway.
    #[track_caller]
    pub(crate) fn call(&mut self, at: usize) -> Response {
        let request = self.request();
        self.clients[at].send(&request)
    }

    /// Its request, for a connection of its own.
    pub(crate) fn request(&self) -> Request {
        get(&self.target).token(&self.token)
    }

    /// Asserts that every gateway serves it, twice.
    #[track_caller]
    pub(crate) fn assert_served(&mut self) {
        for at in 0..self.clients.len() {
            self.call(at).assert_ok();
            self.call(at).assert_ok();
        }
    }

    /// Asserts that every gateway refuses it within a second after `since`, and goes on to; says how long it took.
    #[track_caller]
    pub(crate) fn assert_revoked_everywhere(&mut self, since: Instant) -> Duration {
        let mut took = Duration::ZERO;
        for at in 0..self.clients.len() {
            eventually(&format!("gateway {at} refuses"), PATIENCE, || {
                let asked = since.elapsed();
                let response = self.call(at);
                if response.status == 200 {
                    assert!(asked < Duration::from_secs(1), "gateway {at} permitted {asked:?} after the revocation");
                    return None;
                }
                response.assert_denied(401, "1001", "token_revoked");
                took = took.max(asked);
                Some(())
            });
        }
        for at in 0..self.clients.len() {
            for _ in 0..3 {
                self.call(at).assert_denied(401, "1001", "token_revoked");
            }
        }
        took
    }
}

/// Waits until a gateway hears the others: revocations reach it only from then on.
pub(crate) fn wait_until_heard(gateway: &Gateway) {
    eventually("the gateway hears the others", PATIENCE, || {
        (gateway.metrics().sum("portcullis_feed_up", &[]) > 0.5).then_some(())
    });
}

/// Repeats a request with a good token until the gateway answers it from what it knows. One call need not be enough: a
/// token is not kept when news came while the store was asked for its session, and a login is news itself. The store may
/// be late on a busy machine: nothing else is let pass.
#[track_caller]
pub(crate) fn wait_until_known(gateway: &Gateway, request: &Request) {
    let hits = || gateway.metrics().sum("portcullis_token_cache_total", &[("result", "hit")]);
    eventually("the gateway knows the token", PATIENCE, || {
        let before = hits();
        let response = gateway.call(request);
        if response.status != 200 {
            response.assert_denied(503, "503", "store_unavailable");
            return None;
        }
        (hits() > before).then_some(())
    });
}

/// The ids of an account's sessions, as one gateway lists them, the oldest first.
#[track_caller]
pub(crate) fn sessions_of(gateway: &Gateway, account: &str) -> Vec<String> {
    let listed = gateway.admin_get(&format!("/sessions?account={account}")).assert_ok().json();
    let listed = listed.as_array().unwrap_or_else(|| panic!("a list: {listed}")).clone();
    let id = |session: &Value| {
        assert_eq!(session["account"], account, "{session}");
        assert!(session["started"].is_u64() && session["expires"].is_u64(), "{session}");
        session["jti"].as_str().unwrap_or_else(|| panic!("a jti in {session}")).to_owned()
    };
    listed.iter().map(id).collect()
}
