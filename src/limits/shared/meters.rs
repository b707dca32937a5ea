//! How long the store is waited for by draws and give-backs, and what kept it from answering.
//!
//! Bound once by `app`; a gateway without metrics, as in tests, measures nothing.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use prometheus::Histogram;

use crate::store::StoreError;
use crate::telemetry::metrics::{Metrics, observe_since};

/// A verb of the store.
#[derive(Clone, Copy)]
pub(super) enum Op {
    Draw,
    GiveBack,
}

/// The metrics of both verbs.
#[derive(Default)]
pub(super) struct Meters(OnceLock<Bound>);

struct Bound {
    metrics: Arc<Metrics>,
    draw: Histogram,
    give_back: Histogram,
}

impl Op {
    const fn name(self) -> &'static str {
        match self {
            Op::Draw => "draw",
            Op::GiveBack => "give_back",
        }
    }
}

impl Meters {
    /// Measures from now on; only the first binding counts.
    pub(super) fn bind(&self, metrics: &Arc<Metrics>) {
        self.0.get_or_init(|| {
            let duration = |op: Op| metrics.store_duration.with_label_values(&[op.name()]);
            Bound { metrics: Arc::clone(metrics), draw: duration(Op::Draw), give_back: duration(Op::GiveBack) }
        });
    }

    /// Measures a call.
    pub(super) async fn over<T>(
        &self,
        op: Op,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let answer = call.await;
        if let Some(bound) = self.0.get() {
            let histogram = match op {
                Op::Draw => &bound.draw,
                Op::GiveBack => &bound.give_back,
            };
            observe_since(histogram, begun);
            if let Err(error) = &answer {
                bound.metrics.store_errors.with_label_values(&[op.name(), error.kind()]).inc();
            }
        }
        answer
    }
}
