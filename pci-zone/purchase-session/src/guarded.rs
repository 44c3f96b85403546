//! The card processor with a circuit breaker before it, so that nobody waits at a fridge for one that is known to be
//! down.
//!
//! Every ask tells the breaker how it went, and only asks that begin something (a card to be stored, a hold to be made)
//! are held back by it: they answer [`AskError::NotSent`] without having been made, which is the truth and is what
//! refuses a customer at once. What concerns a hold that stands (to raise, capture, void or look it up) is always
//! asked; those who ask it have time, and their asks are the first to notice that the processor is back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pci_card::{Expiry, Pan};
use pci_contract::{Money, SessionId, Timestamp};
use pci_processors::{
    Admission, Ask, AskError, Authorization, AuthorizationRef, Breaker, BreakerPolicy, Captured, IdempotencyKey,
    Outcome, Outlook, Processor, Standing, StoredCard,
};
use tokio::time::Instant;

/// An ask given up after so long without an answer has failed.
const OVERDUE: Duration = Duration::from_secs(1);

/// A processor behind a breaker.
pub struct Guarded<P> {
    processor: P,
    watch: Watch,
}

impl<P: Processor> Guarded<P> {
    /// Puts a closed breaker before `processor`.
    pub fn new(processor: P, policy: BreakerPolicy) -> Self {
        let breaker = Arc::new(Mutex::new(Breaker::new(policy)));
        Self { processor, watch: Watch { breaker, started: Instant::now() } }
    }

    /// Asks unless the breaker is open.
    fn unless_down<T: Send + 'static>(&self, ask: impl FnOnce() -> Ask<T>) -> Ask<T> {
        match self.watch.with(Breaker::admit) {
            Admission::Pass => self.watch.over(ask()),
            Admission::Wait { .. } => Box::pin(std::future::ready(Err(AskError::NotSent))),
        }
    }
}

impl<P: Processor> Processor for Guarded<P> {
    fn store_card(&self, key: &IdempotencyKey, pan: Pan, expiry: Expiry) -> Ask<StoredCard> {
        self.unless_down(|| self.processor.store_card(key, pan, expiry))
    }

    fn authorize(
        &self,
        key: &IdempotencyKey,
        session: SessionId,
        hold: Money,
        card: &StoredCard,
    ) -> Ask<Authorization> {
        self.unless_down(|| self.processor.authorize(key, session, hold, card))
    }

    fn increment(&self, key: &IdempotencyKey, authorization: &AuthorizationRef, to: Money) -> Ask<Money> {
        self.watch.over(self.processor.increment(key, authorization, to))
    }

    fn capture(&self, key: &IdempotencyKey, authorization: &AuthorizationRef, amount: Money) -> Ask<Captured> {
        self.watch.over(self.processor.capture(key, authorization, amount))
    }

    fn void(&self, key: &IdempotencyKey, authorization: &AuthorizationRef) -> Ask<()> {
        self.watch.over(self.processor.void(key, authorization))
    }

    fn refund(&self, key: &IdempotencyKey, authorization: &AuthorizationRef, amount: Money) -> Ask<()> {
        self.watch.over(self.processor.refund(key, authorization, amount))
    }

    fn sync(&self, session: SessionId) -> Ask<Option<Standing>> {
        self.watch.over(self.processor.sync(session))
    }

    fn outlook(&self) -> Outlook {
        self.watch.with(|breaker, now| breaker.outlook(now))
    }
}

/// The breaker and its clock, which runs evenly whatever is done to the machine's.
#[derive(Clone)]
struct Watch {
    breaker: Arc<Mutex<Breaker>>,
    started: Instant,
}

impl Watch {
    fn with<T>(&self, act: impl FnOnce(&mut Breaker, Timestamp) -> T) -> T {
        let elapsed = i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX);
        act(&mut self.breaker.lock().unwrap_or_else(PoisonError::into_inner), Timestamp::from_micros(elapsed))
    }

    /// Tells the breaker what comes of an ask.
    fn over<T: Send + 'static>(&self, ask: Ask<T>) -> Ask<T> {
        let mut told = Told { watch: self.clone(), asked: Instant::now(), outcome: None };
        Box::pin(async move {
            let result = ask.await;
            told.outcome = Some(Outcome::of(&result));
            drop(told);
            result
        })
    }

    fn record(&self, outcome: Outcome) {
        self.with(|breaker, now| {
            let closed = breaker.is_closed();
            breaker.record(outcome, now);
            match (closed, breaker.is_closed()) {
                (true, false) => tracing::error!("the card processor is down; customers are refused until it is back"),
                (false, true) => tracing::info!("the card processor is back"),
                _ => {}
            }
        });
    }
}

/// Tells the breaker when dropped. An ask that was given up says something only if there was time to answer it.
struct Told {
    watch: Watch,
    asked: Instant,
    outcome: Option<Outcome>,
}

impl Drop for Told {
    fn drop(&mut self) {
        let overdue = self.asked.elapsed() >= OVERDUE;
        if let Some(outcome) = self.outcome.or(overdue.then_some(Outcome::Failed)) {
            self.watch.record(outcome);
        }
    }
}
