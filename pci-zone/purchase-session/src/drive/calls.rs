//! The calls to the card processor that one session makes while its fridge waits: authorize and increment.
//!
//! An intent with the call's key is on disk before a call is made. An answer that did not come is asked for again with
//! the same key, never with a new one; what stays unknown when the customer's patience ends is resolved by `settle`.

use std::sync::Arc;
use std::time::Duration;

use pci_card::{Expiry, Pan};
use pci_contract::{Money, ReasonCode, SealedCard, SealingContext, SessionId};
use pci_processors::{AskError, AuthorizationRef, IdempotencyKey, Outlook, Processor, StoredCard, Verb};
use pci_store::IntentOutcome;
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
    /// Not granted, and how the intent ended.
    Refused(IntentOutcome),
    /// No answer yet.
    Unanswered,
}

/// The number of a raise in its key: what it raises to, which no other raise of the session has.
pub(super) fn raise_number(to: Money) -> u32 {
    u32::try_from(to.minor()).unwrap_or(u32::MAX)
}

/// Whether an ask that failed so will never fare better: the processor looked at it and calls it wrong. One that does
/// not know us has not looked at anything.
pub(super) const fn is_final(error: &AskError) -> bool {
    match error {
        AskError::Declined(_) => true,
        AskError::Rejected { status, .. } => !matches!(status, 401 | 403),
        AskError::NotSent | AskError::Unknown => false,
    }
}

/// A bounded run of attempts.
struct Patience {
    until: Instant,
    pause: Duration,
    once: bool,
}

impl Patience {
    fn new(budget: Duration) -> Self {
        Self { until: Instant::now() + budget, pause: FIRST_PAUSE, once: false }
    }

    /// Waits before another attempt; false when there is to be none.
    async fn wait(&mut self) -> bool {
        if self.once || Instant::now() + self.pause >= self.until {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}

/// Authorizes `hold` for `session` within `budget`. While the processor is known to be down nothing is sent and nobody
/// waits; the one who tries whether it is back tries once.
pub(super) async fn authorize(
    processor: Arc<dyn Processor>,
    session: SessionId,
    hold: Money,
    means: Means,
    budget: Duration,
) -> Authorized {
    let outlook = processor.outlook();
    if outlook == Outlook::Down {
        return Authorized::NotSent;
    }
    let mut patience = Patience { once: outlook == Outlook::Trial, ..Patience::new(budget) };
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
            Ok(Err(AskError::Declined(_))) => return Incremented::Refused(IntentOutcome::Declined),
            Ok(Err(error)) if is_final(&error) => return Incremented::Refused(IntentOutcome::Rejected),
            Ok(Err(_)) | Err(_) => {}
        }
        if !patience.wait().await {
            return Incremented::Unanswered;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guarded::Guarded;
    use pci_contract::Currency;
    use pci_processors::{ApiKey, BreakerPolicy, ProcessorConfig, StripeShaped};
    use processor_sandbox::{Sandbox, SandboxConfig, Switches};
    use zeroize::Zeroizing;

    /// So long as no test could wait for it.
    const LONG: Duration = Duration::from_secs(600);
    /// How long the breaker stays open: not to be waited for, or to be waited for.
    const HOURS_MS: u32 = 10 * 3_600 * 1_000;
    const MOMENT_MS: u32 = 200;

    struct Shop {
        sandbox: Sandbox,
        processor: Arc<dyn Processor>,
        card: StoredCard,
    }

    impl Shop {
        async fn open(open_for_ms: u32) -> Self {
            let sandbox = Sandbox::start(SandboxConfig::default()).await.expect("a sandbox");
            let key = ApiKey::new(Zeroizing::new(sandbox.api_key().to_owned()));
            let connector = StripeShaped::new(ProcessorConfig::new(sandbox.base_url(), key, sandbox.root_pem()));
            let policy = BreakerPolicy { failures_to_open: 3, open_for_ms };
            let processor = Arc::new(Guarded::new(connector.expect("a connector"), policy));
            let pan = Pan::parse(b"4242424242424242").expect("a number");
            let expiry = Expiry::parse_yymm(b"4012").expect("a month");
            let key = IdempotencyKey::new(session(0), Verb::StoreCard, 1);
            let card = processor.store_card(&key, pan, expiry).await.expect("stored");
            Self { sandbox, processor, card }
        }

        fn switch(&self, down: bool) {
            self.sandbox.control().switch(Switches { down, ..Switches::default() });
        }

        async fn authorize(&self, n: u32, budget: Duration) -> Authorized {
            let means = Means::Stored(self.card.clone());
            authorize(Arc::clone(&self.processor), session(n), hold(), means, budget).await
        }

        /// A customer who meets the processor going down waits for as long as he would; the next ones do not.
        async fn go_down(&self) {
            self.switch(true);
            let met = self.authorize(1, Duration::from_secs(2)).await;
            assert!(matches!(met, Authorized::NotSent | Authorized::Unknown { .. }), "{met:?}");
        }

        async fn until_trial(&self) {
            let trial = async {
                while self.processor.outlook() != Outlook::Trial {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), trial).await.expect("in time");
        }
    }

    fn session(n: u32) -> SessionId {
        SessionId::parse(&format!("0195a5e0-7c1e-7abc-8def-{n:012x}")).expect("an id")
    }

    fn hold() -> Money {
        Money::new(2_500, Currency::USD)
    }

    async fn at_once<T>(call: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(30), call).await.expect("nobody waits for a processor that is down")
    }

    #[tokio::test]
    async fn nobody_waits_for_a_processor_that_is_known_to_be_down() {
        let shop = Shop::open(HOURS_MS).await;
        shop.go_down().await;
        let refused = at_once(shop.authorize(2, LONG)).await;
        assert!(matches!(refused, Authorized::NotSent), "{refused:?}");
        // Not sent is the truth: even now that it is back nothing of theirs arrives.
        shop.switch(false);
        let refused = at_once(shop.authorize(3, LONG)).await;
        assert!(matches!(refused, Authorized::NotSent), "{refused:?}");
        assert_eq!(shop.sandbox.control().ledger().authorized.count, 0);
    }

    #[tokio::test]
    async fn the_one_who_tries_tries_once() {
        let shop = Shop::open(MOMENT_MS).await;
        shop.go_down().await;
        for n in 2..4 {
            shop.until_trial().await;
            let tried = at_once(shop.authorize(n, LONG)).await;
            assert!(matches!(tried, Authorized::NotSent | Authorized::Unknown { .. }), "{tried:?}");
            assert_ne!(shop.processor.outlook(), Outlook::Fair);
        }
    }

    #[tokio::test]
    async fn a_try_that_is_answered_opens_the_doors_again() {
        let shop = Shop::open(MOMENT_MS).await;
        shop.go_down().await;
        shop.switch(false);
        shop.until_trial().await;
        for n in 2..4 {
            let held = at_once(shop.authorize(n, LONG)).await;
            assert!(matches!(held, Authorized::Held { amount, .. } if amount == hold()), "{held:?}");
            assert_eq!(shop.processor.outlook(), Outlook::Fair);
        }
        assert_eq!(shop.sandbox.control().ledger().authorized.count, 2);
    }

    #[tokio::test]
    async fn a_hold_that_stands_is_let_go_whatever_the_outlook() {
        let shop = Shop::open(HOURS_MS).await;
        let Authorized::Held { reference, .. } = shop.authorize(9, LONG).await else { panic!("it is up") };
        shop.go_down().await;
        shop.switch(false);
        assert_eq!(shop.processor.outlook(), Outlook::Down);
        let key = IdempotencyKey::new(session(9), Verb::Void, 1);
        assert_eq!(shop.processor.void(&key, &reference).await, Ok(()));
    }
}
