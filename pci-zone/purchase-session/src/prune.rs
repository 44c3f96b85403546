//! Takes events out of the outbox when everybody has booked them and a while has passed.
//!
//! The while is for subscribers: one that is restored from a backup younger than that is told again by its relay. Events
//! go in bounded bites, each a write like any other in the store's queue, so that no purchase waits for a day's events
//! to be cleared away. Sessions, touches and intents stay: they answer disputes, and a fridge that comes back with its
//! journal must find its session.

use std::sync::Arc;
use std::time::Duration;

use pci_contract::Timestamp;
use pci_store::{CommitError, Store};
use tokio_util::sync::CancellationToken;

use crate::clock;

/// How often the outbox is looked through.
const EVERY: Duration = Duration::from_secs(60);
/// Events that go in one write.
const BITE: u32 = 500;
/// How long an event is kept after it was told, in microseconds: a week.
const KEPT_MICROS: i64 = 7 * 24 * 3_600 * 1_000_000;

/// Runs until `stop`.
pub(crate) async fn run(store: Arc<Store>, stop: CancellationToken) {
    loop {
        let before = Timestamp::from_micros(clock::now().micros().saturating_sub(KEPT_MICROS));
        let swept = tokio::select! {
            () = stop.cancelled() => return,
            swept = sweep(&store, before) => swept,
        };
        match swept {
            Ok(0) => {}
            Ok(events) => tracing::debug!(events, "booked events were pruned"),
            Err(error) => tracing::warn!(%error, "the outbox could not be pruned"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Prunes what is older than `before` and booked by all; says how many events that were.
async fn sweep(store: &Store, before: Timestamp) -> Result<u64, CommitError> {
    let mut all = 0;
    loop {
        let bite = store.prune_events(BITE, before).await?;
        all += bite;
        if bite < u64::from(BITE) {
            return Ok(all);
        }
    }
}
