//! The one place of this binary where the clock and the dice are read; everything else gets them as arguments.

use std::time::SystemTime;

use pci_contract::{EventId, Timestamp};
use uuid::Uuid;

/// The present moment. A clock set before 1970 reads as 1970.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the binary's clock")]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}

/// The present moment in whole seconds since the Unix epoch, as certificates count.
#[must_use]
pub fn now_s() -> i64 {
    now().micros() / 1_000_000
}

/// A new event id, UUIDv7.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the binary's source of ids")]
pub fn event_id() -> EventId {
    EventId::from_uuid(Uuid::now_v7())
}

/// A name for this run of the process, by which it holds fridges' leases.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the binary's source of ids")]
pub fn run_id() -> String {
    Uuid::now_v7().to_string()
}
