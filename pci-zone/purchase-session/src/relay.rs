//! Carries events out: for each subscriber one task that reads the outbox in order and posts batches to its inbox.
//!
//! At least once: the cursor moves after the subscriber has booked. A subscriber that is away is tried again for ever
//! with a growing pause; its events wait in the outbox and nobody else waits for it.

use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use pci_contract::Envelope;
use pci_processors::http as zone_http;
use pci_store::Store;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Events of one post.
const BATCH: u32 = 256;
/// The pause after a failure; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The media type of a batch (CloudEvents 1.0, JSON event format section 4).
const MEDIA_TYPE: &str = "application/cloudevents-batch+json";

/// Why a batch did not go out.
#[derive(Debug, Error)]
enum RelayError {
    #[error("the outbox cannot be read")]
    Outbox,
    #[error("the events cannot be written as JSON")]
    Json,
    #[error("the subscriber cannot be reached")]
    Unreachable,
    #[error("the subscriber answered {0}")]
    Status(u16),
}

/// One subscriber.
pub struct Relay {
    /// Its name, under which its cursor is kept.
    pub subscriber: String,
    /// The way to it.
    pub client: Arc<zone_http::Client>,
    /// Where the events are.
    pub store: Arc<Store>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl Relay {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        let mut news = self.store.committed();
        loop {
            let wait = match self.forward().await {
                Ok(0) => None,
                Ok(_) => {
                    pause = FIRST_PAUSE;
                    continue;
                }
                Err(error) => {
                    tracing::warn!(subscriber = %self.subscriber, %error, "events wait");
                    self.metrics.relay_failures.inc();
                    let wait = pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    Some(wait)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait.unwrap_or(LONGEST_PAUSE)) => {}
                _ = news.changed(), if wait.is_none() => {}
            }
        }
    }

    /// Posts the next batch; how many events it had.
    async fn forward(&self) -> Result<usize, RelayError> {
        let cursor = self.store.cursor(&self.subscriber).await.map_err(|_| RelayError::Outbox)?;
        let events = self.store.events_after(cursor, BATCH).await.map_err(|_| RelayError::Outbox)?;
        let Some((last, _)) = events.last() else { return Ok(0) };
        let last = *last;
        let batch: Vec<&Envelope> = events.iter().map(|(_, envelope)| envelope).collect();
        let body = serde_json::to_vec(&batch).map_err(|_| RelayError::Json)?;
        let answer = self
            .client
            .send(zone_http::Request::post("/inbox", body.into()).text_header(CONTENT_TYPE, MEDIA_TYPE))
            .await
            .map_err(|_| RelayError::Unreachable)?;
        if !answer.status.is_success() {
            return Err(RelayError::Status(answer.status.as_u16()));
        }
        self.store.save_cursor(&self.subscriber, last).await.map_err(|_| RelayError::Outbox)?;
        self.metrics.events_relayed.inc_by(u64::try_from(batch.len()).unwrap_or(0));
        Ok(batch.len())
    }
}
