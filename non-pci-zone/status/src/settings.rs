//! What this service is told besides what all are told.

use serde::Deserialize;

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

impl Default for Settings {
    fn default() -> Self {
        Self { report_days: 30, reports_per_fridge: 50_000, snapshots_per_fridge: 1_000 }
    }
}
