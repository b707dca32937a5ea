//! What bench `decide` judges: policies, accounts, a token, and heads as a carrier holds them.
//!
//! Everything is made before the first measurement, and every call is tried once: a bench of the wrong decision would
//! measure nothing.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis::config::load::{Config, Disk, Files, load};
use portcullis::config::secret::Secret;
use portcullis::config::settings;
use portcullis::identity::token::{Tokens, Verdict};
use portcullis::policy::credential::Scheme;
use portcullis::policy::decision::Question;
use portcullis::policy::facts::{Facts, LockAnswer, RequestHead, TargetAnswer};
use portcullis::policy::ladder::{Decision, MAX_QUESTIONS, decide};
use portcullis::policy::principal::{Identity, Principal};
use portcullis::policy::quota::{QuotaAnswer, Stage};
use portcullis::policy::rehearsal::Tree;
use portcullis::policy::second_opinion::{Disagreement, second_opinion};
use portcullis::policy::snapshot::Snapshot;
use portcullis::proxy::intake::MapFields;
use portcullis::reason::Reason;
use portcullis::telemetry::metrics::Metrics;

use crate::requests::{CALLS, Generated, REALM, ROUTES, generated_requests, shipped_requests};

/// What kind of decision is measured.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A route that names no account.
    Light,
    /// A route that does; where the account stands is looked up.
    Target,
    /// A role that the route does not let in.
    RoleRefused,
    /// A path of the realm that no route has.
    NotFound,
}

impl Kind {
    /// `kind as usize` is the index.
    pub(crate) const ALL: [Kind; 4] = [Kind::Light, Kind::Target, Kind::RoleRefused, Kind::NotFound];

    pub(crate) const fn name(self) -> &'static str {
        ["light", "target", "role refused", "not found"][self as usize]
    }

    fn fits(self, decision: &Decision) -> bool {
        match (self, decision) {
            (Kind::Light, Decision::Permit(permit)) => permit.target().is_none(),
            (Kind::Target, Decision::Permit(permit)) => permit.target().is_some(),
            (Kind::RoleRefused, Decision::Deny(denial)) => denial.reason == Reason::RoleForbidden,
            (Kind::NotFound, Decision::Deny(denial)) => denial.reason == Reason::RouteNotFound,
            _ => false,
        }
    }
}

/// Everything that decisions are made from.
pub(crate) struct World {
    pub(crate) sets: [Set; 2],
    accounts: Tree,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tokens: Tokens,
    pub(crate) token: String,
}

/// One compiled configuration with the calls that are judged by it.
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) snapshot: Arc<Snapshot>,
    calls: [Vec<Call>; Kind::ALL.len()],
}

impl Set {
    pub(crate) fn calls(&self, kind: Kind) -> &[Call] {
        &self.calls[kind as usize]
    }
}

/// A parsed head, as a carrier holds it, and whose token it shows.
pub(crate) struct Call {
    pub(crate) method: String,
    target: Vec<u8>,
    pub(crate) fields: HeaderMap,
    pub(crate) caller: Principal,
}

impl Call {
    pub(crate) fn path(&self) -> &str {
        let target = std::str::from_utf8(&self.target).unwrap_or_default();
        target.split('?').next().unwrap_or_default()
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let accounts = accounts();
        let metrics = Arc::new(Metrics::new().expect("metrics register"));
        let keys = vec![("2026-11".to_owned(), Secret::new(*b"0123456789abcdef0123456789abcdef"))];
        let ttl = Duration::from_secs(1200);
        let tokens = Tokens::new(
            &settings::Token {
                issuer: "portcullis".to_owned(),
                ttl,
                keys,
                cache: 1024,
                stale: ttl,
                sessions_per_account: 100,
            },
            &metrics,
        );
        let user = accounts.account("usr-1").expect("the account is there");
        let (token, _) = tokens.issue(user, REALM, NOW * 1000).expect("a token is signed");
        assert!(matches!(tokens.verify(&token, REALM, NOW), Verdict::Good(_)), "the token is good");
        let set = |name, config: Config, requests: [Vec<String>; 4]| Set {
            name,
            snapshot: config.snapshot,
            calls: requests.map(|requests| calls(&requests, &accounts, &token)),
        };
        let shipped =
            configuration(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/gateway.toml")), &Disk { secrets: true });
        let large = configuration(Path::new("gateway.toml"), &Generated);
        assert_eq!(large.snapshot.realms()[0].routes.len(), ROUTES, "the generated policy is as large as it says");
        let sets = [set(SHIPPED, shipped, shipped_requests()), set(LARGE, large, generated_requests())];
        let world = Self { sets, accounts, metrics, tokens, token };
        for set in &world.sets {
            for kind in Kind::ALL {
                for call in set.calls(kind) {
                    let decision = world.judge(&set.snapshot, call);
                    assert!(kind.fits(&decision), "{} {}: {decision:?}", call.method, call.path());
                }
            }
        }
        world
    }

    /// The whole decision. The token was verified before; its principal is at hand, as from a cache.
    pub(crate) fn judge(&self, snapshot: &Snapshot, call: &Call) -> Decision {
        self.judge_beside(snapshot, None, call).0
    }

    /// The same with candidate policies that are asked for their opinion.
    pub(crate) fn judge_beside(
        &self,
        snapshot: &Snapshot,
        candidate: Option<&Snapshot>,
        call: &Call,
    ) -> (Decision, Option<Disagreement>) {
        let fields = MapFields(&call.fields);
        let head = RequestHead::read(&call.method, &call.target, &fields, CLIENT);
        let mut facts = Facts::new(&head, snapshot);
        let mut decision = decide(&facts);
        for _ in 0..MAX_QUESTIONS {
            match decision {
                Decision::Ask(Question::LockOut) => facts.lock = Some(LockAnswer::Open),
                Decision::Ask(Question::Identity) => facts.identity = Some(Identity::Valid(call.caller.clone())),
                Decision::Ask(Question::Target(id)) => {
                    facts.target = Some(match self.accounts.account(&id) {
                        Some(account) => TargetAnswer::Known(Arc::clone(account)),
                        None => TargetAnswer::Unknown,
                    });
                }
                Decision::Ask(Question::Quota(Stage::Arrival)) => facts.arrival = Some(QuotaAnswer::Admitted),
                Decision::Ask(Question::Quota(Stage::Permitted)) => facts.quota = Some(QuotaAnswer::Admitted),
                Decision::Permit(_) | Decision::Deny(_) => break,
            }
            decision = decide(&facts);
        }
        let known = |id: &str| {
            let account = self.accounts.account(id);
            Some(account.map_or(TargetAnswer::Unknown, |account| TargetAnswer::Known(Arc::clone(account))))
        };
        let opinion = candidate.and_then(|candidate| second_opinion(&facts, &decision, snapshot, candidate, known));
        (decision, opinion)
    }
}

fn configuration(path: &Path, files: &dyn Files) -> Config {
    let loading = load(path, files);
    let found: Vec<String> = loading.faults.iter().map(ToString::to_string).collect();
    loading.config.unwrap_or_else(|| unreachable!("the configuration has faults: {found:#?}"))
}

/// A root, a reseller, customers and users: as deep as the shipped realms have roles.
fn accounts() -> Tree {
    let roles = ["administrator", "reseller", "customer", "user"].map(Box::from);
    let mut accounts = Tree::default();
    for user in 0..CALLS {
        let path = format!("root/res-7/cus-{}/usr-{user}", user % 20);
        accounts.add(&path, &roles).expect("a path of the tree");
    }
    accounts
}

/// Turns `CALLER METHOD /path` into heads with the fields that browsers and proxies send.
fn calls(requests: &[String], accounts: &Tree, token: &str) -> Vec<Call> {
    let call = |(index, request): (usize, &String)| {
        let mut words = request.split(' ');
        let mut word = || words.next().expect("a request has three words");
        let (account, method, path) = (word(), word(), word());
        let fields = [
            ("host", HOST.to_owned()),
            ("connection", "keep-alive".to_owned()),
            ("user-agent", USER_AGENT.to_owned()),
            ("accept", "application/json, text/plain, */*".to_owned()),
            ("accept-language", "en-GB,en;q=0.9,de;q=0.7".to_owned()),
            ("accept-encoding", "gzip, deflate, br".to_owned()),
            ("authorization", format!("Token {token}")),
            ("x-app-type", if index % 2 == 0 { "vc" } else { "wb" }.to_owned()),
            ("origin", "https://app.example.com".to_owned()),
            ("referer", format!("https://app.example.com/rooms/{index}")),
            ("cookie", format!("locale=en; consent=1; visitor={index:032x}")),
            ("cache-control", "no-cache".to_owned()),
            ("traceparent", format!("00-{index:032x}-00f067aa0ba902b7-01")),
        ];
        let field = |(name, value): (&'static str, String)| {
            (HeaderName::from_static(name), HeaderValue::try_from(value).expect("a legal value"))
        };
        Call {
            method: method.to_owned(),
            target: path.as_bytes().to_vec(),
            fields: fields.into_iter().map(field).collect(),
            caller: Principal {
                account: accounts.account(account).cloned().expect("the account is there"),
                scheme: Scheme::Token,
                credential: format!("{index:032x}").into(),
            },
        }
    };
    requests.iter().enumerate().map(call).collect()
}

/// The name of the set that the repository ships.
pub(crate) const SHIPPED: &str = "shipped";
/// The name of the large set.
pub(crate) const LARGE: &str = "5000";
/// The host that all calls name.
pub(crate) const HOST: &str = "api.example.com";
/// The browser that all calls come from.
pub(crate) const USER_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";
/// The address that all calls come from.
pub(crate) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
/// When all calls arrive, in seconds since the epoch.
pub(crate) const NOW: u64 = 1_795_000_000;
