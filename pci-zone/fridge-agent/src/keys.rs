//! The sealing key, kept for as long as the service allows, so that a card need not wait for the network.
//!
//! A key is asked for at the start and again at half of its age, so that a service that is away for less than the other
//! half is not noticed at all; and when a card was refused for it. One asks at a time, and nobody who can do with the
//! key that is there waits for the one who asks.

use std::sync::{Mutex as Cell, PoisonError};
use std::time::Duration;

use pci_contract::{SealingKey, SealingKeyId};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::clock;
use crate::proto::SealingKeyResponse;
use crate::service::{Failure, Service};

/// The longest a key is kept, whatever the service says.
const MAX_AGE_S: u32 = 24 * 3_600;
/// The shortest pause between one key and the asking for the next.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// A key and when to stop using it.
#[derive(Clone)]
struct Kept {
    key: SealingKey,
    until: Instant,
}

/// The cache of one agent.
pub(crate) struct SealingKeys {
    service: Service,
    kept: Cell<Option<Kept>>,
    asking: Mutex<()>,
}

impl SealingKeys {
    /// An empty cache.
    pub(crate) fn new(service: Service) -> Self {
        Self { service, kept: Cell::default(), asking: Mutex::default() }
    }

    /// The key, asked for if there is none that is fresh.
    ///
    /// # Errors
    /// [`Failure`] of the one call; the wait is bounded by the call's bound.
    pub(crate) async fn current(&self) -> Result<SealingKey, Failure> {
        if let Some(key) = self.fresh() {
            return Ok(key);
        }
        let _asking = self.asking.lock().await;
        match self.fresh() {
            Some(key) => Ok(key),
            None => self.fetch().await.map(|kept| kept.key),
        }
    }

    /// The key, however often it must be asked for: a service that restarts is back in a moment. For a caller with a
    /// bound of its own.
    ///
    /// # Errors
    /// The [`Failure`] that asking again would not change.
    pub(crate) async fn obtained(&self) -> Result<SealingKey, Failure> {
        let mut backoff = Backoff::default();
        loop {
            match self.current().await {
                Err(Failure::Unreachable) => tokio::time::sleep(backoff.next(clock::chance())).await,
                done => return done,
            }
        }
    }

    /// Asks for the key again and again, each time at half of its age.
    pub(crate) async fn keep_fresh(&self) {
        let mut backoff = Backoff::default();
        loop {
            let asking = self.asking.lock().await;
            let fetched = self.fetch().await;
            drop(asking);
            let pause = match fetched {
                Ok(kept) => {
                    backoff.reset();
                    (kept.until.saturating_duration_since(Instant::now()) / 2).max(LEAST_PAUSE)
                }
                Err(Failure::Unreachable) => backoff.next(clock::chance()),
                Err(Failure::Superseded | Failure::Rejected) => backoff.longest(clock::chance()),
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Drops the key: the next card asks for another.
    pub(crate) fn drop_key(&self) {
        self.keep(None);
    }

    async fn fetch(&self) -> Result<Kept, Failure> {
        let answer = self.service.sealing_key().await?;
        let age = Duration::from_secs(u64::from(answer.max_age_s.min(MAX_AGE_S)));
        let key = parse(&answer).ok_or(Failure::Rejected)?;
        tracing::debug!(key = key.id.as_str(), "sealing key fetched");
        let kept = Kept { key, until: Instant::now() + age };
        self.keep(Some(kept.clone()));
        Ok(kept)
    }

    fn fresh(&self) -> Option<SealingKey> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|kept| Instant::now() < kept.until).map(|kept| kept.key.clone())
    }

    fn keep(&self, kept: Option<Kept>) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = kept;
    }
}

fn parse(answer: &SealingKeyResponse) -> Option<SealingKey> {
    let id = SealingKeyId::parse(&answer.key_id).ok()?;
    let public = answer.public_key.as_slice().try_into().ok()?;
    Some(SealingKey { id, public })
}
