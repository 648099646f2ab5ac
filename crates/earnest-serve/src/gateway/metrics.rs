//! What an operator's monitoring reads at `/metrics`.

use std::time::Duration;

use axum::http::StatusCode;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use super::journal::Charge;
use crate::openai::Endpoint;

/// All of them.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    seconds: HistogramVec,
    tokens: IntCounterVec,
    cut_off: IntCounter,
    estimated: IntCounterVec,
    /// Requests in flight.
    pub in_flight: IntGauge,
    /// Entries of the journal that are not on the disk.
    pub journal_behind: IntGauge,
    /// Claims that stand.
    pub claims: IntCounter,
    /// Claims that failed.
    pub claims_failed: IntCounter,
    /// Gas of claims and statements.
    pub gas: IntCounter,
}

impl Default for Metrics {
    fn default() -> Self {
        let registry = Registry::new();
        let named = |name: &str, help: &str| Opts::new(format!("earnest_{name}"), help);
        let requests = IntCounterVec::new(
            named("requests_total", "requests, by how they ended"),
            &["endpoint", "status"],
        );
        let buckets = vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
        let seconds = HistogramVec::new(
            HistogramOpts::new("earnest_request_seconds", "from admission to the last byte").buckets(buckets),
            &["model"],
        );
        let tokens =
            IntCounterVec::new(named("model_tokens_total", "model tokens charged"), &["model", "kind"]);
        let estimated = IntCounterVec::new(
            named("estimated_total", "answers whose usage was not all stated, and is an estimate"),
            &["model"],
        );
        let cut_off =
            IntCounter::with_opts(named("cut_off_total", "answers that were not written out whole"));
        let in_flight = IntGauge::with_opts(named("in_flight", "requests in flight"));
        let behind = IntGauge::with_opts(named("journal_behind", "entries that are not on the disk"));
        let claims = IntCounter::with_opts(named("claims_total", "claims that stand on the chain"));
        let failed = IntCounter::with_opts(named("claims_failed_total", "claims that failed"));
        let gas = IntCounter::with_opts(named("gas_total", "gas of claims and statements"));
        const VALID: &str = "the names are valid";
        let metrics = Metrics {
            requests: requests.expect(VALID),
            seconds: seconds.expect(VALID),
            tokens: tokens.expect(VALID),
            cut_off: cut_off.expect(VALID),
            estimated: estimated.expect(VALID),
            in_flight: in_flight.expect(VALID),
            journal_behind: behind.expect(VALID),
            claims: claims.expect(VALID),
            claims_failed: failed.expect(VALID),
            gas: gas.expect(VALID),
            registry,
        };
        let all: [Box<dyn prometheus::core::Collector>; 10] = [
            Box::new(metrics.requests.clone()),
            Box::new(metrics.seconds.clone()),
            Box::new(metrics.tokens.clone()),
            Box::new(metrics.cut_off.clone()),
            Box::new(metrics.estimated.clone()),
            Box::new(metrics.in_flight.clone()),
            Box::new(metrics.journal_behind.clone()),
            Box::new(metrics.claims.clone()),
            Box::new(metrics.claims_failed.clone()),
            Box::new(metrics.gas.clone()),
        ];
        for one in all {
            metrics.registry.register(one).expect("each name stands once");
        }
        metrics
    }
}

impl Metrics {
    /// A request was answered and charged.
    pub fn charged(&self, endpoint: Endpoint, charge: &Charge, took: Duration) {
        let status = if charge.complete { "200" } else { "cut_off" };
        self.requests.with_label_values(&[endpoint.path(), status]).inc();
        self.seconds.with_label_values(&[&charge.model]).observe(took.as_secs_f64());
        for (kind, count) in [("input", charge.usage.input), ("output", charge.usage.output)] {
            self.tokens.with_label_values(&[charge.model.as_str(), kind]).inc_by(count);
        }
        if !charge.complete {
            self.cut_off.inc();
        }
        if charge.estimated {
            self.estimated.with_label_values(&[&charge.model]).inc();
        }
    }

    /// A client left before it had anything.
    pub fn left(&self, endpoint: Endpoint) {
        self.requests.with_label_values(&[endpoint.path(), "left"]).inc();
    }

    /// An answer was told again.
    pub fn replayed(&self, endpoint: Endpoint) {
        self.requests.with_label_values(&[endpoint.path(), "replayed"]).inc();
    }

    /// A request was refused.
    pub fn refused(&self, endpoint: Endpoint, status: StatusCode) {
        self.requests.with_label_values(&[endpoint.path(), status.as_str()]).inc();
    }

    /// As Prometheus reads them.
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}
