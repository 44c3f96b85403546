//! What this service is told besides what all are told.

use pci_contract::Timestamp;
use serde::Deserialize;

const DAY_MICROS: i64 = 24 * 3600 * 1_000_000;

/// The `[service]` part of the configuration: how much of what a fridge tells is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Days a report is kept.
    pub report_days: u32,
    /// Reports kept of one fridge, however young.
    pub reports_per_fridge: u32,
    /// Different counts of what is inside kept of one fridge, however young.
    pub snapshots_per_fridge: u32,
}

impl Settings {
    /// The moment, in microseconds, before which nothing that a fridge told is kept.
    pub(crate) fn oldest(&self, now: Timestamp) -> i64 {
        now.micros().saturating_sub(i64::from(self.report_days).saturating_mul(DAY_MICROS))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { report_days: 30, reports_per_fridge: 50_000, snapshots_per_fridge: 1_000 }
    }
}
