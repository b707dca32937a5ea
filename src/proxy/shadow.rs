//! A second set of policies, judged beside the first without effect: what an edit would have changed of live traffic.

use std::sync::Arc;

use crate::policy::snapshot::Snapshot;

/// The candidate, with what its disagreements are counted by.
pub struct Shadow {
    /// Its policies.
    pub snapshot: Arc<Snapshot>,
    /// The share of disagreements that is logged, 0 to 1.
    pub sample: f64,
}
