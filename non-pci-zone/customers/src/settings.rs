//! What this service is told besides what all are told.

use pci_contract::Currency;
use serde::Deserialize;

/// The `[service]` part of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What a balance of nothing is told in, for cards and customers that have no other currency yet.
    pub currency: Currency,
}

impl Default for Settings {
    fn default() -> Self {
        Self { currency: Currency::USD }
    }
}
