//! Metric children resolved once for a policy snapshot, so that the request path looks up no label.
//!
//! A child appears with its first request; the labels are the snapshot's own names, so requests cannot
//! add series of their own making.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::{Histogram, IntCounter};

use super::metrics::Metrics;
use crate::policy::access::RoleIndex;
use crate::policy::quota::QuotaIndex;
use crate::policy::snapshot::{RealmIndex, Snapshot};
use crate::policy::table::RouteIndex;
use crate::reason::Reason;

/// How a request ended, for `requests_total` and the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Forwarded, or answered by the gateway with success.
    Permitted,
    /// Refused by a check.
    Denied,
    /// Permitted, but an upstream, the store or the gateway failed.
    Failed,
    /// The client left before its answer was complete.
    ClientGone,
}

impl Outcome {
    /// All outcomes; `outcome as usize` is the index.
    pub const ALL: [Outcome; 4] = [Outcome::Permitted, Outcome::Denied, Outcome::Failed, Outcome::ClientGone];

    /// The label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Permitted => "permitted",
            Outcome::Denied => "denied",
            Outcome::Failed => "failed",
            Outcome::ClientGone => "client_gone",
        }
    }
}

/// The children of one snapshot.
pub struct Meters {
    metrics: Arc<Metrics>,
    realms: Vec<RealmMeters>,
    /// For what no realm owns.
    nowhere: RealmMeters,
}

struct RealmMeters {
    name: Box<str>,
    roles: Vec<Box<str>>,
    denials: Vec<OnceLock<IntCounter>>,
    gateway_duration: Histogram,
    routes: Vec<RouteMeters>,
    /// Quota × what it said.
    quotas: Vec<(Box<str>, [OnceLock<IntCounter>; QUOTA_DECISIONS])>,
    /// For paths of the realm without a route.
    unmatched: RouteMeters,
}

/// How many things a quota can say; their names come with them.
pub const QUOTA_DECISIONS: usize = 4;

struct RouteMeters {
    name: Box<str>,
    /// Role (one more for none) × outcome.
    requests: Vec<[OnceLock<IntCounter>; Outcome::ALL.len()]>,
    duration: OnceLock<Histogram>,
}

impl RouteMeters {
    fn new(name: &str, roles: usize) -> Self {
        Self {
            name: name.into(),
            requests: (0..=roles).map(|_| Default::default()).collect(),
            duration: OnceLock::new(),
        }
    }
}

impl RealmMeters {
    fn new<'r>(
        metrics: &Metrics,
        name: &str,
        roles: Vec<Box<str>>,
        routes: impl Iterator<Item = &'r str>,
        quotas: impl Iterator<Item = &'r str>,
    ) -> Self {
        Self {
            routes: routes.map(|route| RouteMeters::new(route, roles.len())).collect(),
            unmatched: RouteMeters::new("-", roles.len()),
            denials: Reason::ALL.iter().map(|_| OnceLock::new()).collect(),
            gateway_duration: metrics.gateway_duration.with_label_values(&[name]),
            quotas: quotas.map(|quota| (format!("{name}/{quota}").into(), Default::default())).collect(),
            name: name.into(),
            roles,
        }
    }
}

/// Where a finished request counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// `None`: no realm owns the path.
    pub realm: Option<RealmIndex>,
    /// `None`: no route has it.
    pub route: Option<RouteIndex>,
    /// `None`: nobody was recognised.
    pub role: Option<RoleIndex>,
}

impl Meters {
    /// The children of a snapshot; replaces the revision shown in `policy_info`.
    #[must_use]
    pub fn bind(metrics: &Arc<Metrics>, snapshot: &Snapshot) -> Self {
        metrics.policy_info.reset();
        metrics.policy_info.with_label_values(&[snapshot.revision()]).set(1);
        let realms = snapshot.realms().iter().map(|realm| {
            let routes = realm.routes.iter().map(|route| &*route.name);
            let quotas = realm.quotas.iter().map(|quota| &*quota.name);
            RealmMeters::new(metrics, &realm.name, realm.roles.clone(), routes, quotas)
        });
        Self {
            realms: realms.collect(),
            nowhere: RealmMeters::new(metrics, "-", Vec::new(), std::iter::empty(), std::iter::empty()),
            metrics: Arc::clone(metrics),
        }
    }

    /// Counts what a quota said; `decision` is the answer's index and its label.
    pub fn record_quota(&self, realm: RealmIndex, quota: QuotaIndex, decision: (usize, &str)) {
        let realm = self.realms.get(usize::from(realm.0));
        let Some((name, row)) = realm.and_then(|realm| realm.quotas.get(usize::from(quota.0))) else { return };
        let Some(child) = row.get(decision.0) else { return };
        child.get_or_init(|| self.metrics.quota_decisions.with_label_values(&[name, decision.1])).inc();
    }

    /// Counts a finished request.
    pub fn record(&self, place: Place, outcome: Outcome, reason: Option<Reason>, total: Duration, gateway: Duration) {
        let realm = place.realm.and_then(|realm| self.realms.get(usize::from(realm.0))).unwrap_or(&self.nowhere);
        let route = place.route.and_then(|route| realm.routes.get(route.0 as usize)).unwrap_or(&realm.unmatched);
        let role = place.role.map(|role| usize::from(role.0)).filter(|role| *role < realm.roles.len());
        if let Some(row) = route.requests.get(role.unwrap_or(realm.roles.len())) {
            let role = role.map_or("-", |role| &realm.roles[role]);
            let labels = [&*realm.name, &*route.name, role, outcome.name()];
            row[outcome as usize].get_or_init(|| self.metrics.requests.with_label_values(&labels)).inc();
        }
        if let Some(reason) = reason {
            let labels = [&*realm.name, reason.name()];
            realm.denials[reason as usize].get_or_init(|| self.metrics.denials.with_label_values(&labels)).inc();
        }
        let timed = || self.metrics.request_duration.with_label_values(&[&*realm.name, &*route.name]);
        route.duration.get_or_init(timed).observe(total.as_secs_f64());
        realm.gateway_duration.observe(gateway.as_secs_f64());
    }
}
