//! The registry and every metric of it.
//!
//! Built once by `app`; an own registry, so that tests in one process do not share one. Children with
//! labels are resolved by `meters`, not on the request path.

use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use super::names::{self, Name};

/// Buckets in seconds: from 50 µs, where the gateway's own time lies, to the longest time limits.
const BUCKETS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0,
];

/// The same for the store and the directory, with a bound at the default budget and 20 ms: whether the wait keeps to it
/// can be read off.
const WAITS: &[f64] =
    &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.07, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// All metrics of the gateway.
#[allow(missing_docs, reason = "each is documented where it is named, in `names`")]
pub struct Metrics {
    registry: Registry,
    pub requests: IntCounterVec,
    pub denials: IntCounterVec,
    pub request_duration: HistogramVec,
    pub gateway_duration: HistogramVec,
    pub in_flight: IntGauge,
    pub connections: IntGauge,
    pub logins: IntCounterVec,
    pub tokens_revoked: IntCounterVec,
    pub token_verifications: IntCounterVec,
    pub token_cache: IntCounterVec,
    pub token_cache_entries: IntGauge,
    pub lockouts: IntCounterVec,
    pub feed_up: IntGauge,
    pub sessions_missing: IntCounter,
    pub store_up: IntGauge,
    pub store_duration: HistogramVec,
    pub store_errors: IntCounterVec,
    pub directory_up: IntGauge,
    pub directory_duration: HistogramVec,
    pub directory_errors: IntCounterVec,
    pub directory_cache: IntCounterVec,
    pub quota_decisions: IntCounterVec,
    pub upstream_requests: IntCounterVec,
    pub upstream_duration: HistogramVec,
    pub upstream_retries: IntCounterVec,
    pub policy_info: IntGaugeVec,
    pub policy_stale: IntGauge,
    pub policy_reloads: IntCounterVec,
    pub shadow_disagreements: IntCounterVec,
    pub access_lines_dropped: IntCounter,
    pub panics: IntCounter,
}

/// Registers metrics by their names.
struct Maker(Registry);

impl Maker {
    fn keep<C: Collector + Clone + 'static>(&self, metric: C) -> Result<C, prometheus::Error> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counters(&self, name: &Name) -> Result<IntCounterVec, prometheus::Error> {
        self.keep(IntCounterVec::new(Opts::new(name.name, name.help), name.labels)?)
    }

    fn counter(&self, name: &Name) -> Result<IntCounter, prometheus::Error> {
        self.keep(IntCounter::new(name.name, name.help)?)
    }

    fn gauges(&self, name: &Name) -> Result<IntGaugeVec, prometheus::Error> {
        self.keep(IntGaugeVec::new(Opts::new(name.name, name.help), name.labels)?)
    }

    fn gauge(&self, name: &Name) -> Result<IntGauge, prometheus::Error> {
        self.keep(IntGauge::new(name.name, name.help)?)
    }

    fn histograms(&self, name: &Name, bounds: &[f64]) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(name.name, name.help).buckets(bounds.to_vec());
        self.keep(HistogramVec::new(options, name.labels)?)
    }
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// A name that stands twice or is none: a defect of this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let maker = Maker(Registry::new());
        maker.0.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let build = maker.gauges(&names::BUILD_INFO)?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), option_env!("PORTCULLIS_COMMIT").unwrap_or("-")]).set(1);
        Ok(Self {
            requests: maker.counters(&names::REQUESTS)?,
            denials: maker.counters(&names::DENIALS)?,
            request_duration: maker.histograms(&names::REQUEST_DURATION, BUCKETS)?,
            gateway_duration: maker.histograms(&names::GATEWAY_DURATION, BUCKETS)?,
            in_flight: maker.gauge(&names::IN_FLIGHT)?,
            connections: maker.gauge(&names::CONNECTIONS)?,
            logins: maker.counters(&names::LOGINS)?,
            tokens_revoked: maker.counters(&names::TOKENS_REVOKED)?,
            token_verifications: maker.counters(&names::TOKEN_VERIFICATIONS)?,
            token_cache: maker.counters(&names::TOKEN_CACHE)?,
            token_cache_entries: maker.gauge(&names::TOKEN_CACHE_ENTRIES)?,
            lockouts: maker.counters(&names::LOCKOUTS)?,
            feed_up: maker.gauge(&names::FEED_UP)?,
            sessions_missing: maker.counter(&names::SESSIONS_MISSING)?,
            store_up: maker.gauge(&names::STORE_UP)?,
            store_duration: maker.histograms(&names::STORE_DURATION, WAITS)?,
            store_errors: maker.counters(&names::STORE_ERRORS)?,
            directory_up: maker.gauge(&names::DIRECTORY_UP)?,
            directory_duration: maker.histograms(&names::DIRECTORY_DURATION, WAITS)?,
            directory_errors: maker.counters(&names::DIRECTORY_ERRORS)?,
            directory_cache: maker.counters(&names::DIRECTORY_CACHE)?,
            quota_decisions: maker.counters(&names::QUOTA_DECISIONS)?,
            upstream_requests: maker.counters(&names::UPSTREAM_REQUESTS)?,
            upstream_duration: maker.histograms(&names::UPSTREAM_DURATION, BUCKETS)?,
            upstream_retries: maker.counters(&names::UPSTREAM_RETRIES)?,
            policy_info: maker.gauges(&names::POLICY_INFO)?,
            policy_stale: maker.gauge(&names::POLICY_STALE)?,
            policy_reloads: maker.counters(&names::POLICY_RELOADS)?,
            shadow_disagreements: maker.counters(&names::SHADOW_DISAGREEMENTS)?,
            access_lines_dropped: maker.counter(&names::ACCESS_LINES_DROPPED)?,
            panics: maker.counter(&names::PANICS)?,
            registry: maker.0,
        })
    }

    /// The text that Prometheus scrapes.
    ///
    /// # Errors
    /// When a metric cannot be encoded.
    pub fn encode(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::with_capacity(16 << 10);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// Counts something in a gauge for as long as it lives, however it ends.
pub struct Counted(IntGauge);

impl Counted {
    /// One more, until this is dropped.
    #[must_use]
    pub fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Observes seconds since a moment.
pub fn observe_since(histogram: &Histogram, started: std::time::Instant) {
    histogram.observe(started.elapsed().as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_list_is_registered_once() {
        let metrics = Metrics::new().unwrap();
        let registered: Vec<String> = [
            metrics.requests.desc(),
            metrics.denials.desc(),
            metrics.request_duration.desc(),
            metrics.gateway_duration.desc(),
            metrics.in_flight.desc(),
            metrics.connections.desc(),
            metrics.logins.desc(),
            metrics.tokens_revoked.desc(),
            metrics.token_verifications.desc(),
            metrics.token_cache.desc(),
            metrics.token_cache_entries.desc(),
            metrics.lockouts.desc(),
            metrics.feed_up.desc(),
            metrics.sessions_missing.desc(),
            metrics.store_up.desc(),
            metrics.store_duration.desc(),
            metrics.store_errors.desc(),
            metrics.directory_up.desc(),
            metrics.directory_duration.desc(),
            metrics.directory_errors.desc(),
            metrics.directory_cache.desc(),
            metrics.quota_decisions.desc(),
            metrics.upstream_requests.desc(),
            metrics.upstream_duration.desc(),
            metrics.upstream_retries.desc(),
            metrics.policy_info.desc(),
            metrics.policy_stale.desc(),
            metrics.policy_reloads.desc(),
            metrics.shadow_disagreements.desc(),
            metrics.access_lines_dropped.desc(),
            metrics.panics.desc(),
        ]
        .concat()
        .into_iter()
        .map(|desc| desc.fq_name.clone())
        .chain([names::BUILD_INFO.name.to_owned()])
        .collect();
        for name in names::ALL {
            assert!(registered.iter().any(|known| known == name.name), "{} is named but not kept", name.name);
        }
        assert_eq!(registered.len(), names::ALL.len());
    }

    #[test]
    fn the_text_holds_build_and_process() {
        let text = String::from_utf8(Metrics::new().unwrap().encode().unwrap()).unwrap();
        assert!(text.contains("portcullis_build_info{") && text.contains("process_resident_memory_bytes"), "{text}");
    }
}
