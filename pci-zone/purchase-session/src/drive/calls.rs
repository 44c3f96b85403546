//! The calls to the card processor that one session makes while its fridge waits: authorize and increment.
//!
//! An intent with the call's key is on disk before a call is made. An answer that did not come is asked for again with
//! the same key, never with a new one; what stays unknown when the customer's patience ends is resolved by `settle`.

use std::sync::Arc;
use std::time::Duration;

use pci_card::{Expiry, Pan};
use pci_contract::{Money, ReasonCode, SealedCard, SealingContext, SessionId};
use pci_processors::{AskError, AuthorizationRef, IdempotencyKey, Processor, StoredCard, Verb};
use pci_vault::Vault;
use tokio::time::Instant;

use crate::clock;

/// The pause before a call is made again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What pays: a card just read, or the processor's reference of one it already stores.
pub(super) enum Means {
    /// A card just read. The number is gone when the processor has answered.
    Fresh(Box<Fresh>),
    /// A card the processor stores for us.
    Stored(StoredCard),
}

/// A card just read, and the way to read it once more: the number itself is never kept for a second attempt.
pub(super) struct Fresh {
    pub(super) pan: Pan,
    pub(super) expiry: Expiry,
    pub(super) vault: Arc<Vault>,
    pub(super) sealed: SealedCard,
    pub(super) context: SealingContext,
}

/// How an authorization ended for the waiting fridge.
#[derive(Debug)]
pub(super) enum Authorized {
    /// The hold stands.
    Held {
        /// The processor's reference of the hold.
        reference: AuthorizationRef,
        /// How much is held.
        amount: Money,
        /// The processor's reference of the card, when it was stored just now.
        stored: Option<StoredCard>,
    },
    /// The processor said no.
    Declined {
        /// Why.
        reason: ReasonCode,
        /// The processor's reference of the card, when it was stored just now.
        stored: Option<StoredCard>,
    },
    /// The processor certainly never saw it.
    NotSent,
    /// It may hold money; `settle` finds out and releases it.
    Unknown {
        /// The processor's reference of the card, when it was stored just now.
        stored: Option<StoredCard>,
    },
}

/// How an increment ended.
#[derive(Debug)]
pub(super) enum Incremented {
    /// This much is held now.
    To(Money),
    /// Not granted, or not in time.
    Refused,
}

/// A bounded run of attempts.
struct Patience {
    until: Instant,
    pause: Duration,
}

impl Patience {
    fn new(budget: Duration) -> Self {
        Self { until: Instant::now() + budget, pause: FIRST_PAUSE }
    }

    /// Waits before another attempt; false when there is no time left for one.
    async fn wait(&mut self) -> bool {
        if Instant::now() + self.pause >= self.until {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}

/// Authorizes `hold` for `session` within `budget`.
pub(super) async fn authorize(
    processor: Arc<dyn Processor>,
    session: SessionId,
    hold: Money,
    means: Means,
    budget: Duration,
) -> Authorized {
    let mut patience = Patience::new(budget);
    let (card, stored) = match means {
        Means::Stored(card) => (card, None),
        Means::Fresh(fresh) => match store(&processor, session, *fresh, &mut patience).await {
            Ok(card) => (card.clone(), Some(card)),
            Err(ended) => return ended,
        },
    };
    let key = IdempotencyKey::new(session, Verb::Authorize, 1);
    let mut seen = false;
    loop {
        match tokio::time::timeout_at(patience.until, processor.authorize(&key, session, hold, &card)).await {
            Ok(Ok(held)) => return Authorized::Held { reference: held.reference, amount: held.amount, stored },
            Ok(Err(AskError::Declined(reason))) => return Authorized::Declined { reason, stored },
            Ok(Err(AskError::Rejected { status, code })) => {
                tracing::error!(%session, status, code, "the processor rejects an authorization of ours");
                return Authorized::Unknown { stored };
            }
            Ok(Err(AskError::NotSent)) => {}
            Ok(Err(AskError::Unknown)) | Err(_) => seen = true,
        }
        if !patience.wait().await {
            return if seen { Authorized::Unknown { stored } } else { Authorized::NotSent };
        }
    }
}

/// Has the processor store a card just read. A stored card that nobody refers to holds no money, so an answer that did
/// not come leaves nothing to clean up.
async fn store(
    processor: &Arc<dyn Processor>,
    session: SessionId,
    fresh: Fresh,
    patience: &mut Patience,
) -> Result<StoredCard, Authorized> {
    let key = IdempotencyKey::new(session, Verb::StoreCard, 1);
    let Fresh { mut pan, mut expiry, vault, sealed, context } = fresh;
    loop {
        match tokio::time::timeout_at(patience.until, processor.store_card(&key, pan, expiry)).await {
            Ok(Ok(card)) => return Ok(card),
            Ok(Err(AskError::Declined(reason))) => return Err(Authorized::Declined { reason, stored: None }),
            Ok(Err(AskError::Rejected { status, code })) => {
                tracing::error!(%session, status, code, "the processor rejects a card we asked it to store");
                return Err(Authorized::NotSent);
            }
            Ok(Err(AskError::NotSent | AskError::Unknown)) | Err(_) => {}
        }
        if !patience.wait().await {
            return Err(Authorized::NotSent);
        }
        let again = vault.open(sealed.clone(), context.clone(), clock::now().seconds()).await;
        (pan, expiry) = again.map(|opened| (opened.pan, opened.expiry)).map_err(|_| Authorized::NotSent)?;
    }
}

/// Raises the hold to `to` within `budget`.
pub(super) async fn increment(
    processor: Arc<dyn Processor>,
    key: IdempotencyKey,
    authorization: AuthorizationRef,
    to: Money,
    budget: Duration,
) -> Incremented {
    let mut patience = Patience::new(budget);
    loop {
        match tokio::time::timeout_at(patience.until, processor.increment(&key, &authorization, to)).await {
            Ok(Ok(held)) => return Incremented::To(held),
            Ok(Err(AskError::Declined(_) | AskError::Rejected { .. })) => return Incremented::Refused,
            Ok(Err(AskError::NotSent | AskError::Unknown)) | Err(_) => {}
        }
        if !patience.wait().await {
            // It may yet be granted. The machine counts on the smaller hold, which is safe.
            return Incremented::Refused;
        }
    }
}
