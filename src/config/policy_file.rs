//! The keys of a policy file, as they are written, and the compiled policy tests.
//!
//! `compile` turns the raw types into realms; only the documentation of the keys stands here.

use std::collections::BTreeMap;

use super::spanned::Spanned;
use schemars::JsonSchema;
use serde::Deserialize;

use super::rate::Rate;
use super::raw::RawTimeouts;
use super::schema::texts::{
    AccountPath, Allowed, BasePath, Caller, ClientAddress, HeaderName, Id, MethodAndPath, MethodAndPattern, Named,
    Network, OneOrMany, Payer, Protocol, SchemeName, ScopeName, TargetPlace, Verdict,
};
use super::value::{Listed, Period, Size, Texts};
use crate::policy::access::Scope;
use crate::policy::rehearsal::Call;
use crate::policy::route::Location;
use crate::reason::Reason;

/// `[realm]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRealm {
    /// Unique over all files; the audience of its tokens.
    #[schemars(with = "Id")]
    pub name: Spanned<String>,
    /// The path that it owns, `/` included.
    #[schemars(with = "BasePath")]
    pub base: Spanned<String>,
    /// Highest first: each one's data contains the next's.
    #[schemars(with = "Vec<Id>", length(min = 1, max = 16))]
    pub roles: Spanned<Vec<Spanned<String>>>,
    /// `"basic"`, `"token"` or both.
    #[schemars(with = "Vec<SchemeName>", length(min = 1))]
    pub schemes: Spanned<Vec<Spanned<String>>>,
    /// Where its routes go unless they say otherwise.
    pub upstream: Option<Spanned<String>>,
    /// Charged for every request inside the base, before routing: quotas per `address` or `realm`.
    #[serde(default)]
    pub quotas: Vec<Spanned<String>>,
    /// From where a role may call.
    #[serde(default)]
    #[schemars(with = "Named<Vec<Network>>")]
    pub networks: Listed<Vec<Spanned<String>>>,
    /// Browsers of other origins.
    #[allow(dead_code, reason = "parsed from the start; CORS is not built yet")]
    pub cors: Option<RawCors>,
}

/// `realm.cors`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "parsed from the start; CORS is not built yet")]
pub(super) struct RawCors {
    /// Whole origins: `"https://app.example.com"`.
    pub origins: Vec<String>,
    /// How long a preflight is remembered.
    pub max_age: Option<Period>,
}

/// `[login]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLogin {
    /// `"POST /login"`
    #[schemars(with = "MethodAndPattern")]
    pub login: Spanned<String>,
    /// `"POST /logout"`
    #[schemars(with = "Option<MethodAndPattern>")]
    pub logout: Option<Spanned<String>>,
    /// Charged for every login, beside the realm's.
    #[serde(default)]
    pub quotas: Vec<Spanned<String>>,
}

/// `[quota.NAME]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawQuota {
    /// `principal`, `address`, `login`, `realm`, `route`, `upstream`, or a role.
    #[schemars(with = "Payer")]
    pub per: Spanned<String>,
    /// What refills.
    pub rate: Option<Spanned<Rate>>,
    /// The most at once; the rate's number unless written.
    #[schemars(range(min = 1))]
    pub burst: Option<Spanned<u32>>,
    /// One allowance over all gateways; otherwise each gateway counts for itself. Default false.
    pub shared: Option<Spanned<bool>>,
    /// The most that run at once, in each gateway, instead of a rate.
    #[schemars(range(min = 1))]
    pub in_flight: Option<Spanned<u32>>,
}

/// `[[route]]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRoute {
    /// Unique in the realm.
    #[schemars(with = "Id")]
    pub name: Spanned<String>,
    /// `"METHOD /path"`, or several.
    #[serde(rename = "match")]
    #[schemars(with = "OneOrMany<MethodAndPattern>")]
    pub matches: Spanned<Texts>,
    /// Role → scope, or a list of roles with scope `subtree`.
    #[schemars(with = "Option<Allowed>")]
    pub allow: Option<Spanned<Listed<String>>>,
    /// `path.X`, `query.X`, `query.X?` or `header.X`.
    #[schemars(with = "Option<TargetPlace>")]
    pub target: Option<Spanned<String>>,
    /// The role that the target must have.
    pub target_role: Option<Spanned<String>>,
    /// Charged for a permitted request, all or none; those per `address` and `realm` for any request that comes here.
    #[serde(default)]
    pub quotas: Vec<Spanned<String>>,
    /// Passes without a credential.
    #[serde(default)]
    pub public: bool,
    /// Request headers that must be there.
    #[serde(default)]
    #[schemars(with = "Vec<HeaderName>")]
    pub headers: Vec<Spanned<String>>,
    /// `X-App-Type` is required and one of these.
    #[schemars(length(min = 1))]
    pub app_types: Option<Spanned<Vec<Spanned<String>>>>,
    /// Where it goes; to the realm's upstream unless written.
    pub upstream: Option<Spanned<String>>,
    /// Longest body; that of `server.limits` unless written.
    pub body_size: Option<Spanned<Size>>,
    /// Upstream time limits.
    pub timeouts: Option<RawTimeouts>,
    /// Protocols that a client may change to.
    #[serde(default)]
    #[schemars(with = "Vec<Protocol>")]
    pub upgrade: Vec<Spanned<String>>,
    /// The upstream sees the path without the base.
    #[serde(default)]
    pub strip_base: bool,
    /// `false` switches it off. Default true.
    pub enabled: Option<bool>,
    /// The upstream sees `Authorization`.
    #[serde(default)]
    pub forward_authorization: bool,
}

/// `[fixture]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFixture {
    /// Paths of account ids; the role follows from the level.
    #[schemars(with = "Vec<AccountPath>")]
    pub accounts: Vec<Spanned<String>>,
}

/// `[[test]]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTest {
    /// `"ROLE:ACCOUNT"`, `"anonymous"`, or several that all expect the same.
    #[serde(rename = "as")]
    #[schemars(with = "OneOrMany<Caller>")]
    pub callers: Spanned<Texts>,
    /// `"METHOD /path"` behind the base, or several.
    #[schemars(with = "OneOrMany<MethodAndPath>")]
    pub call: Spanned<Texts>,
    /// `"permit"` or a reason.
    #[schemars(with = "Verdict")]
    pub expect: Spanned<String>,
    /// Sent with the call.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub headers: Listed<String>,
    /// The value of `X-App-Type`.
    pub app_type: Option<String>,
    /// The scope that the permit must have.
    #[schemars(with = "Option<ScopeName>")]
    pub scope: Option<Spanned<String>>,
    /// The upstream that the permit must go to.
    pub upstream: Option<Spanned<String>>,
    /// What the upstream must get of the identity headers: `{ "X-Auth-Scope" = "below", "X-Auth-Target" = "" }`. Each header
    /// named has exactly this value; `""`: it is not sent; `"*"`: it is, with whatever value. Besides `X-Auth-…`,
    /// `Authorization` may be named (`""` or `"*"`): unless it is, a permit must leave the client's own behind.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub forwarded: Listed<String>,
    /// The address that the call comes from; loopback unless written.
    #[schemars(with = "Option<ClientAddress>")]
    pub client: Option<Spanned<String>>,
}

/// One `[[test]]`, compiled.
#[derive(Clone, Debug)]
pub struct PolicyTest {
    /// Where it stands.
    pub location: Location,
    /// The realm that it belongs to.
    pub realm: Box<str>,
    /// Each caller's name with each call, ready to be judged.
    pub calls: Vec<(String, Call)>,
    /// What must come of each.
    pub expect: Expectation,
}

/// What a policy test expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// A permit, with this scope and upstream where they are written.
    Permit {
        /// The scope granted.
        scope: Option<Scope>,
        /// The upstream's name.
        upstream: Option<String>,
        /// What the upstream gets, by names of `policy::outcome::TOLD_APART`.
        forwarded: Vec<(&'static str, Wanted)>,
    },
    /// This denial.
    Deny(Reason),
}

/// What a policy test wants of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// It is not sent.
    Nothing,
    /// It is sent.
    Anything,
    /// It is sent with this value.
    Exactly(String),
}
