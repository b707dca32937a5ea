//! A realm for tests of quotas at `/s`, where the default laboratory has none: a test says which quotas there are and who
//! names them. What an answer tells of quotas is read by somebody else's parser of structured fields.

use sfv::{BareItem, ListEntry, Parser};

use crate::harness::builder::Builder;
use crate::harness::client::Client;
use crate::harness::lab::Lab;
use crate::harness::ports;
use crate::harness::request::Request;
use crate::harness::response::Response;
use crate::harness::upstream::{Step, Upstream, json};
use crate::harness::wait::{PATIENCE, eventually};

/// The realm; `{arrival}`, `{login}` and a route's name in braces stand for lists of quotas.
const REALM: &str = r#"
[realm]
name = "shop"
base = "/s"
roles = ["administrator", "reseller", "customer", "user"]
schemes = ["basic", "token"]
upstream = "lab"
quotas = [{arrival}]

[login]
login = "POST /login"
logout = "POST /logout"
quotas = [{login}]

[[route]]
name = "items"
match = ["GET /items/{id}", "POST /items/{id}", "GET /things/{id}", "GET /parcels/{*rest}"]
allow = ["administrator", "reseller", "customer", "user"]
body_size = "64KiB"
quotas = [{items}]

[[route]]
name = "other"
match = "GET /other"
allow = ["administrator", "reseller", "customer", "user"]
quotas = [{other}]

[[route]]
name = "narrow"
match = "GET /narrow"
allow = ["administrator"]
quotas = [{narrow}]

[[route]]
name = "open"
match = ["GET /open/{*rest}", "POST /open/{*rest}"]
public = true
quotas = [{open}]

[[route]]
name = "brief"
match = "GET /brief"
public = true
timeouts = { read = "200ms" }
quotas = [{brief}]

[[route]]
name = "away"
match = "GET /away"
public = true
upstream = "away"
quotas = [{away}]
"#;

/// The places for lists of quotas.
const PLACES: [&str; 8] = ["arrival", "login", "items", "other", "narrow", "open", "brief", "away"];

/// The policy, until it is written.
#[derive(Clone, Default)]
pub(crate) struct Shop {
    tables: String,
    named: Vec<(String, Vec<String>)>,
}

/// What an answer tells of one quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) name: String,
    pub(crate) burst: i64,
    pub(crate) window: i64,
    pub(crate) remaining: i64,
    pub(crate) more_in: i64,
}

impl Shop {
    /// One more quota, by the lines of its table, named by these: `arrival`, `login`, or the routes of that name.
    pub(crate) fn quota(mut self, name: &str, lines: &str, places: &[&str]) -> Self {
        self.tables.push_str(&format!("\n[quota.{name}]\n{lines}\n"));
        for place in places {
            assert!(PLACES.contains(place), "{place} has no list of quotas");
            match self.named.iter_mut().find(|(known, _)| known == place) {
                Some((_, names)) => names.push(format!("\"{name}\"")),
                None => self.named.push(((*place).to_owned(), vec![format!("\"{name}\"")])),
            }
        }
        self
    }

    /// The policy file.
    pub(crate) fn text(&self) -> String {
        let list =
            |place: &&str| self.named.iter().find(|(known, _)| known == place).map(|(_, names)| names.join(", "));
        let fill = |text: String, place: &&str| text.replace(&format!("{{{place}}}"), &list(place).unwrap_or_default());
        PLACES.iter().fold(REALM.to_owned(), fill) + &self.tables
    }

    /// A lab that has it beside its own realms.
    pub(crate) fn lab(&self) -> Lab {
        self.lab_before(Upstream::start(), |builder| builder)
    }

    /// The same before another upstream, with changes.
    pub(crate) fn lab_before(&self, upstream: Upstream, change: impl FnOnce(Builder) -> Builder) -> Lab {
        Lab::before(upstream, |builder| change(self.add_to(builder)))
    }

    /// Adds it, and the upstream that nobody answers for.
    pub(crate) fn add_to(&self, builder: Builder) -> Builder {
        builder.policy("shop", &self.text()).upstream("away", ports::refusing())
    }
}

/// An upstream that never answers `…/hold`, and everything else at once.
pub(crate) fn holding() -> Upstream {
    Upstream::scripted(|seen| if seen.target.ends_with("/hold") { vec![Step::Silence] } else { json(200, "{}") })
}

/// Sends a request that is never answered, and waits until the upstream has it: it runs until its connection ends.
#[track_caller]
pub(crate) fn hold(lab: &Lab, request: &Request) -> Client {
    let count = || lab.upstream.seen().iter().filter(|seen| seen.target.ends_with("/hold")).count();
    let before = count();
    let mut client = lab.gateway.client();
    client.write(&request.bytes());
    eventually("the upstream has the request", PATIENCE, || (count() > before).then_some(()));
    client
}

impl Response {
    /// What it tells of a quota; `None` when it has neither field. Half of it, or two of them, is a fault.
    #[track_caller]
    pub(crate) fn told(&self) -> Option<Told> {
        let (policy, standing) = (self.header("ratelimit-policy"), self.header("ratelimit"));
        assert_eq!(policy.is_some(), standing.is_some(), "both fields or none: {self}");
        let (policy, standing) = (member(policy?, self), member(standing?, self));
        assert_eq!(policy.0, standing.0, "both are about one quota: {self}");
        let number = |fields: &(String, Vec<(String, i64)>), key: &str| {
            let found = fields.1.iter().find(|(known, _)| known == key);
            found.unwrap_or_else(|| panic!("no {key} in {self}")).1
        };
        let told = Told {
            burst: number(&policy, "q"),
            window: number(&policy, "w"),
            remaining: number(&standing, "r"),
            more_in: number(&standing, "t"),
            name: policy.0,
        };
        assert!(told.burst > 0 && told.window > 0 && (0..=told.burst).contains(&told.remaining), "{self}");
        assert!(told.more_in >= 0 && (told.remaining > 0 || told.more_in > 0), "{self}");
        Some(told)
    }

    /// Asserts of which quota it tells, and how much is left of it.
    #[track_caller]
    pub(crate) fn assert_told(self, name: &str, remaining: i64) -> Self {
        let told = self.told().unwrap_or_else(|| panic!("it tells of no quota: {self}"));
        assert_eq!((told.name.as_str(), told.remaining), (name, remaining), "{self}");
        self
    }

    /// Asserts that it tells of no quota.
    #[track_caller]
    pub(crate) fn assert_told_nothing(self) -> Self {
        assert_eq!(self.told(), None, "{self}");
        self
    }

    /// Asserts a refusal by a quota, and gives its `Retry-After`.
    #[track_caller]
    pub(crate) fn assert_over_quota(&self) -> u64 {
        self.assert_denied(429, "429", "quota_exceeded");
        self.header("retry-after").and_then(|text| text.parse().ok()).expect("checked with the denial's headers")
    }
}

/// The one member of a list: a text with whole numbers for parameters.
#[track_caller]
fn member(field: &str, response: &Response) -> (String, Vec<(String, i64)>) {
    let list = Parser::parse_list(field.as_bytes()).unwrap_or_else(|fault| panic!("{fault}: {response}"));
    let [ListEntry::Item(item)] = &list[..] else { panic!("one item: {response}") };
    let BareItem::String(name) = &item.bare_item else { panic!("a text: {response}") };
    let number = |value: &BareItem| value.as_int().unwrap_or_else(|| panic!("a whole number: {response}"));
    (name.clone(), item.params.iter().map(|(key, value)| (key.clone(), number(value))).collect())
}
