//! Figures for the monitor, in the OpenMetrics text format: what was asked, how it was answered, how long it took.
//!
//! Labels come from the route's pattern and never from what a caller sent, so their number has a bound.

use std::sync::{Arc, OnceLock};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::authority::Followed;
use crate::problem::Fault;

/// Upper bounds of the buckets of request times, in seconds.
const BUCKETS_S: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

/// The figures of one service.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
    connections: Gauge,
    refused_connections: Counter,
    events: Counter,
    authority: AuthorityFigures,
    followed: OnceLock<Arc<Followed>>,
}

/// What is known of the authority's lists and bundle; zero while nobody is followed.
#[derive(Debug, Default)]
struct AuthorityFigures {
    horizon_s: Gauge,
    revocation_failures: Gauge,
    bundle_version: Gauge,
    bundle_heard_s: Gauge,
    bundle_failures: Gauge,
}

impl AuthorityFigures {
    fn register(&self, registry: &mut Registry) {
        for (name, help, gauge) in [
            (
                "revocation_horizon_seconds",
                "When the first revocation list in force is due to be replaced, since the Unix epoch",
                &self.horizon_s,
            ),
            ("revocation_failures", "Pulls of revocation lists that failed", &self.revocation_failures),
            ("trust_bundle_version", "Version of the trust bundle in force", &self.bundle_version),
            (
                "trust_bundle_heard_seconds",
                "When the authority last said what the trust bundle is, since the Unix epoch",
                &self.bundle_heard_s,
            ),
            ("trust_bundle_failures", "Pulls of the trust bundle that failed", &self.bundle_failures),
        ] {
            registry.register(name, help, gauge.clone());
        }
    }

    fn set(&self, followed: &Followed) {
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let (lists, bundles) = (followed.lists(), followed.bundles());
        self.horizon_s.set(lists.horizon_s().unwrap_or(0));
        self.revocation_failures.set(signed(lists.failures()));
        self.bundle_version.set(signed(bundles.version()));
        self.bundle_heard_s.set(bundles.heard_unix_s());
        self.bundle_failures.set(signed(bundles.failures()));
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All figures at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("larder");
        let requests = Family::default();
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS_S);
        let seconds = Family::new_with_constructor(histogram);
        let (connections, refused, events) = (Gauge::default(), Counter::default(), Counter::default());
        registry.register("requests", "Requests by method, route and status", requests.clone());
        registry.register("request_seconds", "Time to answer, by route", seconds.clone());
        registry.register("connections", "Connections at this moment", connections.clone());
        registry.register("refused_connections", "Connections whose handshake failed", refused.clone());
        registry.register("events_booked", "Events of the PCI zone that were booked", events.clone());
        let authority = AuthorityFigures::default();
        authority.register(&mut registry);
        let followed = OnceLock::new();
        Self { registry, requests, seconds, connections, refused_connections: refused, events, authority, followed }
    }

    /// Tells from now on what is known of the authority; the first that is named stays.
    pub(crate) fn follow(&self, followed: Arc<Followed>) {
        self.followed.get_or_init(|| followed);
    }

    /// A request was answered.
    pub fn answered(&self, method: &str, route: &str, status: u16, seconds: f64) {
        let labels = RequestLabels { method: method.to_owned(), route: route.to_owned(), status };
        self.requests.get_or_create(&labels).inc();
        self.seconds.get_or_create(&RouteLabels { route: route.to_owned() }).observe(seconds);
    }

    /// Events were booked.
    pub fn events_booked(&self, count: usize) {
        self.events.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// A connection's handshake failed.
    pub fn connection_refused(&self) {
        self.refused_connections.inc();
    }

    /// Counts a connection until the answer is dropped.
    #[must_use]
    pub fn connected(&self) -> ConnectionCount {
        self.connections.inc();
        ConnectionCount(self.connections.clone())
    }

    /// All figures as text.
    ///
    /// # Errors
    /// [`Fault`] when they cannot be written, which only lack of memory can cause.
    pub fn text(&self) -> Result<String, Fault> {
        if let Some(followed) = self.followed.get() {
            self.authority.set(followed);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).map_err(|_| Fault::new("metrics cannot be written", true))?;
        Ok(text)
    }
}

/// One connection, counted while this lives.
#[derive(Debug)]
pub struct ConnectionCount(Gauge);

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn what_happened_is_told() {
        let metrics = Metrics::new();
        metrics.answered("GET", "/meals/{id}", 200, 0.002);
        metrics.events_booked(3);
        let connection = metrics.connected();
        let text = metrics.text().unwrap();
        assert!(text.contains(r#"larder_requests_total{method="GET",route="/meals/{id}",status="200"} 1"#), "{text}");
        assert!(text.contains("larder_events_booked_total 3"), "{text}");
        assert!(text.contains("larder_connections 1"), "{text}");
        drop(connection);
        assert!(metrics.text().unwrap().contains("larder_connections 0"));
    }
}
