//! Carries events out: for each subscriber one task that reads the outbox in order and posts batches to its inbox.
//!
//! At least once: the cursor moves after the subscriber has booked. A subscriber that is away is tried again for ever
//! with a growing pause; its events wait in the outbox and nobody else waits for it. A batch is bounded in events and
//! in bytes, and halved when the subscriber finds it too large all the same. A subscriber that was set back to a backup
//! says which event it expects, and is told again from there.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::CONTENT_TYPE;
use pci_processors::http as zone_http;
use pci_store::{EventText, Store};
use serde::Deserialize;
use thiserror::Error;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Events of one post.
const BATCH: u32 = 256;
/// Bytes of one post; an inbox takes a megabyte.
const BATCH_BYTES: u32 = 768 * 1_024;
/// A post of more bytes may have been cut for them.
const FULL_BYTES: usize = 384 * 1_024;
/// The pause after a failure; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The least time from one post to the next while there is no full batch: under load many events then share a post and
/// the transaction that books it, and an event that comes alone still goes out at once.
const GATHER: Duration = Duration::from_millis(50);
/// The media type of a batch (CloudEvents 1.0, JSON event format section 4).
const MEDIA_TYPE: &str = "application/cloudevents-batch+json";
/// The code of an inbox that expects another event next.
const SEQUENCE_GAP: &str = "sequence_gap";

/// Why a batch did not go out.
#[derive(Debug, Error)]
enum RelayError {
    #[error("the outbox cannot be read")]
    Outbox,
    #[error("the subscriber cannot be reached")]
    Unreachable,
    #[error("the subscriber answered {0}")]
    Status(u16),
    #[error("the subscriber expects event {0}, which is no longer kept; restore it from a younger backup")]
    Gone(i64),
}

/// What came of a look at the outbox.
enum Forwarded {
    /// There is nothing to tell.
    Nothing,
    /// All there was is told.
    All,
    /// There is more, or what there is must be told otherwise: look again at once.
    More,
}

/// What of a problem body is read.
#[derive(Deserialize)]
struct Gap {
    code: String,
    expected: i64,
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
        let mut most = BATCH;
        let mut news = self.store.committed();
        loop {
            let next = Instant::now() + GATHER;
            let wait = match self.forward(&mut most).await {
                Ok(Forwarded::Nothing) => None,
                Ok(Forwarded::All) => {
                    pause = FIRST_PAUSE;
                    Some(next.saturating_duration_since(Instant::now()))
                }
                Ok(Forwarded::More) => {
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

    /// Posts the next batch, of at most `most` events.
    async fn forward(&self, most: &mut u32) -> Result<Forwarded, RelayError> {
        let cursor = self.store.cursor(&self.subscriber).await.map_err(|_| RelayError::Outbox)?;
        let events = self.store.event_texts_after(cursor, *most, BATCH_BYTES).await.map_err(|error| {
            tracing::error!(%error, "the outbox cannot be read");
            RelayError::Outbox
        })?;
        let (Some(last), Ok(count)) = (events.last(), u32::try_from(events.len())) else {
            return Ok(Forwarded::Nothing);
        };
        let body = batch(&events);
        let full = count == *most || body.len() > FULL_BYTES;
        let post = zone_http::Request::post("/inbox", body.into()).text_header(CONTENT_TYPE, MEDIA_TYPE);
        let answer = self.client.send(post).await.map_err(|_| RelayError::Unreachable)?;
        match answer.status {
            status if status.is_success() => {
                self.store.save_cursor(&self.subscriber, last.position).await.map_err(|_| RelayError::Outbox)?;
                self.metrics.events_relayed.inc_by(u64::from(count));
                *most = most.saturating_mul(2).min(BATCH);
                Ok(if full { Forwarded::More } else { Forwarded::All })
            }
            StatusCode::PAYLOAD_TOO_LARGE if count > 1 => {
                *most = count / 2;
                Ok(Forwarded::More)
            }
            status => match serde_json::from_slice(&answer.body) {
                Ok(Gap { code, expected }) if code == SEQUENCE_GAP => self.go_back(cursor, expected).await,
                _ => Err(RelayError::Status(status.as_u16())),
            },
        }
    }

    /// The subscriber lost what it had booked from `expected` on: a cursor further on is set back. It only ever goes
    /// back, so a subscriber that says now this and now that is paused for like any failure.
    async fn go_back(&self, cursor: i64, expected: i64) -> Result<Forwarded, RelayError> {
        let position = expected.saturating_sub(1);
        if position >= cursor {
            return Err(RelayError::Status(StatusCode::CONFLICT.as_u16()));
        }
        let back = self.store.set_cursor_back(&self.subscriber, position).await.map_err(|_| RelayError::Outbox)?;
        if !back {
            return Err(RelayError::Gone(expected));
        }
        tracing::warn!(subscriber = %self.subscriber, cursor, position, "the subscriber lost events; it is told again");
        Ok(Forwarded::More)
    }
}

/// Events as they are stored, joined to a JSON array.
fn batch(events: &[EventText]) -> Vec<u8> {
    let mut body = Vec::with_capacity(events.iter().map(|event| event.json.len() + 1).sum::<usize>() + 1);
    for event in events {
        body.push(if body.is_empty() { b'[' } else { b',' });
        body.extend_from_slice(event.json.as_bytes());
    }
    body.push(b']');
    body
}
