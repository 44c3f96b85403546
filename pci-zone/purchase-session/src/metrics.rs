//! What is counted, in Prometheus' text format. Labels come from closed sets of our own words, so no caller can put
//! anything into a label, least of all a card number.

use std::fmt;
use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::authority::Followed;

/// The label of an ended session.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Ending {
    /// `charged`, `free`, `no_purchase`, `abandoned` or `refused`.
    pub outcome: &'static str,
}

/// The label of a feed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Feed {
    /// Its name.
    pub feed: &'static str,
}

/// The label of something operators should look at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Notice {
    /// `open_too_long`, `basket_full`, `touch_after_end`, `opened_after_end` or `void_failed`.
    pub notice: &'static str,
}

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    /// Sessions by how they ended.
    pub sessions: Family<Ending, Counter>,
    /// Alarms sounded.
    pub alarms: Counter,
    /// What operators should look at.
    pub notices: Family<Notice, Counter>,
    /// Seconds from a fridge's Open to its answer.
    pub open_seconds: Histogram,
    /// Seconds from a fridge's DoorClosed to its receipt.
    pub close_seconds: Histogram,
    /// Calls settled at the processor.
    pub settled: Counter,
    /// Attempts to settle that must be repeated.
    pub settle_retries: Counter,
    /// Payments that wait for the processor.
    pub settling: Gauge<i64, AtomicI64>,
    /// Events that subscribers have booked, counted once a subscriber.
    pub events_relayed: Counter,
    /// Posts of events that failed.
    pub relay_failures: Counter,
    /// Pulls of feeds that failed.
    pub feed_failures: Counter,
    /// Rows pulled, by feed.
    pub feed_rows: Family<Feed, Counter>,
    /// The revision up to which rows are known, by feed.
    pub feed_revision: Family<Feed, Gauge<i64, AtomicI64>>,
    /// How often a feed was read to its end, by feed. A feed that never was holds the doors shut.
    pub feed_ends: Family<Feed, Counter>,
    /// Connections now open.
    pub connections: Gauge<i64, AtomicI64>,
    /// Handshakes that failed.
    pub handshake_failures: Counter,
    /// Connections closed because their certificate was revoked.
    pub revoked_connections: Counter,
    /// When the first of the revocation lists in force is due to be replaced, seconds since the Unix epoch; 0 before any.
    /// To be alarmed on long before it is past.
    pub revocation_horizon: Gauge<i64, AtomicI64>,
    /// Pulls of the revocation lists that failed, or brought some that are not believed.
    pub revocation_failures: Gauge<i64, AtomicI64>,
    /// The version of the trust bundle in force; 0 while it is not known.
    pub trust_bundle_version: Gauge<i64, AtomicI64>,
    /// When the authority last said what the trust bundle is, seconds since the Unix epoch; 0 before the first time. To be
    /// alarmed on when it is long past.
    pub trust_bundle_heard: Gauge<i64, AtomicI64>,
    /// Pulls of the trust bundle that failed, or brought one that is not believed.
    pub trust_bundle_failures: Gauge<i64, AtomicI64>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.000_5, 2.0, 16));
        let mut metrics = Self {
            registry: Registry::with_prefix("larder_purchase"),
            sessions: Family::default(),
            alarms: Counter::default(),
            notices: Family::default(),
            open_seconds: seconds(),
            close_seconds: seconds(),
            settled: Counter::default(),
            settle_retries: Counter::default(),
            settling: Gauge::default(),
            events_relayed: Counter::default(),
            relay_failures: Counter::default(),
            feed_failures: Counter::default(),
            feed_rows: Family::default(),
            feed_revision: Family::default(),
            feed_ends: Family::default(),
            connections: Gauge::default(),
            handshake_failures: Counter::default(),
            revoked_connections: Counter::default(),
            revocation_horizon: Gauge::default(),
            revocation_failures: Gauge::default(),
            trust_bundle_version: Gauge::default(),
            trust_bundle_heard: Gauge::default(),
            trust_bundle_failures: Gauge::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("sessions", "Sessions by how they ended", self.sessions.clone());
        r.register("alarms", "Alarms sounded", self.alarms.clone());
        r.register("notices", "What operators should look at", self.notices.clone());
        r.register("open_seconds", "From Open to its answer", self.open_seconds.clone());
        r.register("close_seconds", "From DoorClosed to the receipt", self.close_seconds.clone());
        r.register("settled", "Calls settled at the processor", self.settled.clone());
        r.register("settle_retries", "Attempts to settle that must be repeated", self.settle_retries.clone());
        r.register("settling", "Payments that wait for the processor", self.settling.clone());
        r.register("events_relayed", "Events booked by subscribers", self.events_relayed.clone());
        r.register("relay_failures", "Posts of events that failed", self.relay_failures.clone());
        r.register("feed_failures", "Pulls of feeds that failed", self.feed_failures.clone());
        r.register("feed_rows", "Rows pulled, by feed", self.feed_rows.clone());
        r.register("feed_revision", "Revision up to which rows are known, by feed", self.feed_revision.clone());
        r.register("feed_ends", "How often a feed was read to its end, by feed", self.feed_ends.clone());
        r.register("connections", "Connections now open", self.connections.clone());
        r.register("handshake_failures", "Handshakes that failed", self.handshake_failures.clone());
        r.register("revoked_connections", "Connections closed by a revocation", self.revoked_connections.clone());
        r.register(
            "revocation_horizon_seconds",
            "When the first revocation list in force is due to be replaced, since the Unix epoch",
            self.revocation_horizon.clone(),
        );
        r.register("revocation_failures", "Pulls of revocation lists that failed", self.revocation_failures.clone());
        r.register("trust_bundle_version", "Version of the trust bundle in force", self.trust_bundle_version.clone());
        r.register(
            "trust_bundle_heard_seconds",
            "When the authority last said what the trust bundle is, since the Unix epoch",
            self.trust_bundle_heard.clone(),
        );
        r.register(
            "trust_bundle_failures",
            "Pulls of the trust bundle that failed",
            self.trust_bundle_failures.clone(),
        );
    }

    /// Takes over what is known of the authority's lists and bundle.
    pub fn follows(&self, followed: &Followed) {
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let (lists, bundles) = (followed.lists(), followed.bundles());
        self.revocation_horizon.set(lists.horizon_s().unwrap_or(0));
        self.revocation_failures.set(signed(lists.failures()));
        self.trust_bundle_version.set(signed(bundles.version()));
        self.trust_bundle_heard.set(bundles.heard_unix_s());
        self.trust_bundle_failures.set(signed(bundles.failures()));
    }

    /// The text that `GET /metrics` answers; empty when it cannot be written.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        match text::encode(&mut out, &self.registry) {
            Ok(()) => out,
            Err(fmt::Error) => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_session_is_counted_under_its_outcome() {
        let metrics = Metrics::default();
        metrics.sessions.get_or_create(&Ending { outcome: "charged" }).inc();
        assert!(metrics.text().contains("larder_purchase_sessions_total{outcome=\"charged\"} 1"), "{}", metrics.text());
    }
}
