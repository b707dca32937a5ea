//! What one request remembers from its head to its access line: the carrier's per-request context.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderValue;

use super::shadow::Shadow;
use super::turnstile::refuses_arrivals;
use crate::limits::{Reading, Running};
use crate::policy::access::{RoleIndex, Scope};
use crate::policy::ladder::Permit;
use crate::policy::principal::{Principal, Relation};
use crate::policy::quota::QuotaIndex;
use crate::policy::second_opinion::Disagreement;
use crate::policy::snapshot::{RealmIndex, Snapshot};
use crate::policy::table::RouteIndex;
use crate::problem::quota_fields::{NAMES, QuotaFields};
use crate::problem::registry::Registry;
use crate::reason::Reason;
use crate::store::Patience;
use crate::telemetry::meters::Meters;
use crate::telemetry::metrics::{Counted, Metrics};
use crate::telemetry::request_id::RequestId;
use crate::upstream::Upstreams;
use crate::upstream::breaker::Pass;

/// One policy snapshot with what is bound to it. A request sees exactly one.
pub struct Live {
    /// The compiled policies.
    pub snapshot: Arc<Snapshot>,
    /// Its metric children.
    pub meters: Meters,
    /// What refusals say.
    pub registry: Registry,
    /// What clients are told of quotas.
    pub quota_fields: QuotaFields,
    /// Whether any request can be refused on arrival without asking the store.
    pub refuses_arrivals: bool,
    /// Where requests go.
    pub upstreams: Upstreams,
    /// Policies that are judged beside these, without effect.
    pub shadow: Option<Shadow>,
}

impl Live {
    /// Binds to a snapshot what requests need beside it.
    #[must_use]
    pub fn bind(
        metrics: &Arc<Metrics>,
        snapshot: Arc<Snapshot>,
        registry: Registry,
        upstreams: Upstreams,
        shadow: Option<Shadow>,
    ) -> Self {
        let (meters, quota_fields) = (Meters::bind(metrics, &snapshot), QuotaFields::bind(&snapshot));
        let refuses_arrivals = refuses_arrivals(snapshot.realms());
        Self { snapshot, meters, registry, quota_fields, refuses_arrivals, upstreams, shadow }
    }
}

/// Who sent a request, as far as proxies in front are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The client.
    pub client: IpAddr,
    /// Whom trusted proxies speak for, the client first, as far as they are trusted; nobody where there is none of them.
    pub verified: Vec<IpAddr>,
    /// Who is connected.
    pub peer: IpAddr,
    /// The peer is a trusted proxy.
    pub trusted: bool,
    /// The client spoke TLS, as a trusted proxy says.
    pub https: bool,
}

impl Sender {
    /// A client that is connected itself.
    #[must_use]
    pub const fn direct(peer: IpAddr) -> Self {
        Self { client: peer, verified: Vec::new(), peer, trusted: false, https: false }
    }

    /// `X-Forwarded-For` as it goes upstream: the verified chain and the peer.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut chain = String::new();
        for address in &self.verified {
            // Writing to a text cannot fail.
            let _ = write!(chain, "{address}, ");
        }
        let _ = write!(chain, "{}", self.peer);
        chain
    }
}

/// What became known of a request while it was judged; all of it is for the log.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// The realm that owns the path.
    pub realm: Option<RealmIndex>,
    /// The route taken.
    pub route: Option<RouteIndex>,
    /// The caller's role in the realm.
    pub role: Option<RoleIndex>,
    /// The caller.
    pub principal: Option<Principal>,
    /// What the route gives the role.
    pub scope: Option<Scope>,
    /// The account that the request names.
    pub target: Option<Box<str>>,
    /// How it lies to the caller's.
    pub relation: Relation,
    /// The quota that refused it.
    pub quota: Option<QuotaIndex>,
    /// What the candidate policies say otherwise.
    pub disagreement: Option<Disagreement>,
}

/// What a request was charged, and what it occupies for as long as it runs.
#[derive(Debug, Default)]
pub struct Spending {
    /// The quota that the client is told of.
    pub reading: Option<Reading>,
    /// Free again when this is dropped: when the answer is complete ([`Exchange::release`]), or at the latest with the
    /// exchange, whatever became of it.
    pub running: Running,
}

impl Spending {
    /// Of all that was charged, the tightest is told.
    pub fn note(&mut self, reading: Option<Reading>) {
        self.reading = match (self.reading, reading) {
            (Some(known), Some(reading)) => Some(known.tighter(reading)),
            (known, reading) => known.or(reading),
        };
    }
}

/// One request with its reply and what we remember of it.
pub struct Exchange {
    /// When its head was there.
    pub started: Instant,
    /// Its name everywhere.
    pub request_id: RequestId,
    /// The policies that it is judged by.
    pub live: Arc<Live>,
    /// How long it still waits for the store.
    pub patience: Patience,
    /// Who sent it.
    pub sender: Sender,
    /// For the log.
    pub notes: Notes,
    /// What it was charged.
    pub spending: Spending,
    /// The proof that it may pass, until it is forwarded or answered.
    pub permit: Option<Permit>,
    /// Why it was refused or failed.
    pub reason: Option<Reason>,
    /// The private cause of that.
    pub cause: Option<Cow<'static, str>>,
    /// What came of it on the upstream's side.
    pub upstream: UpstreamSide,
    /// Longest body allowed.
    pub body_limit: u64,
    /// Bytes of the body so far.
    pub body_received: u64,
    /// It is in flight until it is dropped, even by a panic.
    _counted: Counted,
}

/// The upstream's part of an exchange.
#[derive(Debug, Default)]
pub struct UpstreamSide {
    /// Servers tried.
    pub tries: u8,
    /// When the first was.
    pub started: Option<Instant>,
    /// Until the reply head.
    pub took: Option<Duration>,
    /// The status of the reply head.
    pub status: Option<u16>,
    /// For the breaker, until it is known whether a reply head comes. Dropped with the exchange, it keeps no place.
    pub pass: Option<Pass>,
}

impl Exchange {
    /// A request of which nothing is known yet.
    #[must_use]
    pub fn begin(live: Arc<Live>, counted: Counted, patience: Patience) -> Self {
        Self {
            started: Instant::now(),
            request_id: RequestId::fresh(),
            live,
            patience,
            sender: Sender::direct(IpAddr::from([0, 0, 0, 0])),
            notes: Notes::default(),
            spending: Spending::default(),
            permit: None,
            reason: None,
            cause: None,
            upstream: UpstreamSide::default(),
            body_limit: 0,
            body_received: 0,
            _counted: counted,
        }
    }

    /// The fields that tell the client of its tightest quota; none where it was not charged.
    #[must_use]
    pub fn quota_fields(&self) -> Option<[(&'static str, HeaderValue); 2]> {
        let (realm, Reading { quota, remaining, more_in }) = self.notes.realm.zip(self.spending.reading)?;
        let [policy, standing] = self.live.quota_fields.told(realm, quota, remaining, more_in)?;
        let [policy_name, standing_name] = NAMES;
        Some([(policy_name, policy), (standing_name, standing)])
    }

    /// Runs no more: frees what it occupied. Called before the last bytes of an answer leave, so that a client that waits
    /// for each answer never runs into a request of its own that has just ended.
    pub fn release(&mut self) {
        drop(std::mem::take(&mut self.spending.running));
    }

    /// Notes why it ends short of success. The first reason stays: it is the one that the client is told.
    pub fn fail(&mut self, reason: Reason, cause: impl Into<Cow<'static, str>>) {
        if self.reason.is_none() {
            self.reason = Some(reason);
            self.cause = Some(cause.into());
        }
    }
}
