//! Shadow mode: candidate policies are asked about live traffic, and what they would decide otherwise is counted and told.
//!
//! Called by `admit`, which asks right after its own decision while the facts are there, and by `finish`, which counts when
//! the client has its answer. Nothing here changes what becomes of a request.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::quality::FixedState;

use super::Gateway;
use super::exchange::{Exchange, Live};
use crate::policy::facts::{Facts, TargetAnswer};
use crate::policy::ladder::Decision;
use crate::policy::second_opinion::{Disagreement, second_opinion};
use crate::policy::snapshot::Snapshot;

/// The candidate.
pub struct Shadow {
    /// Its policies.
    pub snapshot: Arc<Snapshot>,
    /// The share of disagreements that is logged, 0 to 1.
    pub sample: f64,
}

impl Shadow {
    /// Whether a disagreement about this request is logged: the same everywhere and at every reading of a log.
    fn is_logged(&self, request_id: &str) -> bool {
        let place = FixedState::with_seed(0).hash_one(request_id) as f64 / u64::MAX as f64;
        place < self.sample || self.sample >= 1.0
    }
}

impl Gateway {
    /// What the candidate policies say otherwise; `None` without any, too. Nobody is asked for it.
    pub(super) fn disagreement(&self, facts: &Facts<'_>, decision: &Decision, live: &Live) -> Option<Disagreement> {
        let shadow = live.shadow.as_ref()?;
        second_opinion(facts, decision, &live.snapshot, &shadow.snapshot, |id| {
            let account = self.resolver.directory().account_at_hand(id)?;
            Some(account.map_or(TargetAnswer::Unknown, TargetAnswer::Known))
        })
    }

    /// Counts it, and logs some.
    pub(super) fn record_disagreement(&self, exchange: &Exchange, shadow: &Shadow, disagreement: &Disagreement) {
        let Disagreement { live, candidate, cause, realm, route } = disagreement;
        let (snapshot, notes) = (&exchange.live.snapshot, &exchange.notes);
        let own_realm = notes.realm.and_then(|index| snapshot.realm(index));
        let their_realm = realm.and_then(|index| shadow.snapshot.realm(index));
        let realm_name = own_realm.or(their_realm).map_or("-", |realm| &realm.name);
        let labels = [realm_name, live.name(), candidate.name()];
        self.metrics.shadow_disagreements.with_label_values(&labels).inc();
        if !shadow.is_logged(exchange.request_id.as_str()) {
            return;
        }
        let rule = realm.zip(*route).and_then(|(realm, route)| shadow.snapshot.route(realm, route));
        let (their_route, place) =
            rule.map_or(("-", String::new()), |route| (&*route.name, route.location.to_string()));
        tracing::info!(
            request_id = exchange.request_id.as_str(),
            realm = realm_name,
            live = live.name(),
            candidate = candidate.name(),
            route = their_route,
            rule = place,
            revision = shadow.snapshot.revision(),
            "the candidate policies decide otherwise{}{cause}",
            if cause.is_empty() { "" } else { ": " }
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_requests_is_logged_and_the_ends_are_exact() {
        let logged = |sample: f64| {
            let shadow = Shadow { snapshot: Arc::default(), sample };
            (0..10_000).filter(|number| shadow.is_logged(&format!("request-{number}"))).count()
        };
        assert_eq!((logged(0.0), logged(1.0)), (0, 10_000));
        let tenth = logged(0.1);
        assert!((800..1200).contains(&tenth), "{tenth}");
    }
}
