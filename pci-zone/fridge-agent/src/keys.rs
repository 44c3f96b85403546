//! The sealing key, kept for as long as the service allows, so that a card need not wait for the network.
//!
//! A key is asked for at the start and again when it is too old or a card was refused for it. One asks at a time.

use std::time::Duration;

use pci_contract::{SealingKey, SealingKeyId};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::proto::SealingKeyResponse;
use crate::service::{Failure, Service};

/// The longest a key is kept, whatever the service says.
const MAX_AGE_S: u32 = 24 * 3_600;

/// The cache of one agent.
pub(crate) struct SealingKeys {
    service: Service,
    kept: Mutex<Option<(SealingKey, Instant)>>,
}

impl SealingKeys {
    /// An empty cache.
    pub(crate) fn new(service: Service) -> Self {
        Self { service, kept: Mutex::new(None) }
    }

    /// The key, asked for if there is none that is fresh.
    ///
    /// # Errors
    /// [`Failure`] of the one call; the wait is bounded by the call's bound.
    pub(crate) async fn current(&self) -> Result<SealingKey, Failure> {
        let mut kept = self.kept.lock().await;
        if let Some((key, until)) = kept.as_ref()
            && Instant::now() < *until
        {
            return Ok(key.clone());
        }
        let answer = self.service.sealing_key().await?;
        let age = Duration::from_secs(u64::from(answer.max_age_s.min(MAX_AGE_S)));
        let key = parse(&answer).ok_or(Failure::Rejected)?;
        tracing::debug!(key = key.id.as_str(), "sealing key fetched");
        *kept = Some((key.clone(), Instant::now() + age));
        Ok(key)
    }

    /// Drops the key: the next card asks for another.
    pub(crate) async fn drop_key(&self) {
        *self.kept.lock().await = None;
    }
}

fn parse(answer: &SealingKeyResponse) -> Option<SealingKey> {
    let id = SealingKeyId::parse(&answer.key_id).ok()?;
    let public = answer.public_key.as_slice().try_into().ok()?;
    Some(SealingKey { id, public })
}
