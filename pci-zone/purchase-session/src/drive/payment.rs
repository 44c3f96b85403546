//! The one thing a session still has to ask of the processor, and what the answer means.
//!
//! Each call repeats with its own key until the processor has answered. What it will never take is not asked for ever:
//! after a while a capture that is called wrong counts as failed, and is owed. A hold that may or may not stand is asked
//! for once more with the key it was asked with, which brings its fate to light, and is then released; where that cannot
//! be, only the processor's own list tells, and it may tell late. So "nothing there" is believed only when it is said
//! long after the processor can have acted.

use std::sync::Arc;
use std::time::Duration;

use pci_contract::{EventBody, Money, PaymentSettled, ReasonCode, SessionId, Settlement};
use pci_processors::{AskError, AuthorizationRef, IdempotencyKey, StandingState, StoredCard, Verb as Ask};
use pci_session::{Effect, Input, Session};
use pci_store::{Intent, IntentOutcome, IntentWrite};
use thiserror::Error;
use tokio::sync::oneshot;

use super::calls::{is_final, raise_number};
use super::live::Turn;
use super::told::Told;
use super::{Drive, clock};

const MICROS_PER_S: i64 = 1_000_000;
/// After so long a capture or void that the processor calls wrong is given up.
const REJECTED_FOR_MICROS: i64 = 3_600 * MICROS_PER_S;
/// So long after the door was shut its raises are asked for although nobody answers.
const RAISE_FOR_MICROS: i64 = 3_600 * MICROS_PER_S;
/// So long a customer who has left is kept from the word that his payment did not come about.
const NOBODY_ANSWERS_MICROS: i64 = 120 * MICROS_PER_S;
/// After so long the processor's word that it knows of no hold is final: far beyond our longest call and the time it
/// takes to list a payment.
const NOTHING_CAME_MICROS: i64 = 3_600 * MICROS_PER_S;
/// How long a session's task may take to write down what it is told.
const BOOKED_WITHIN: Duration = Duration::from_secs(30);

/// Why a job must be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum NotYet {
    #[error("the processor does not answer")]
    Processor,
    #[error("the database does not answer")]
    Store,
    #[error("the processor rejects what we ask")]
    Rejected,
    #[error("the processor may still act")]
    Early,
}

impl NotYet {
    /// The pause after so many others before it is tried again.
    pub(super) fn pause(self, waits: u32) -> Duration {
        let (first_ms, most_ms) = match self {
            Self::Processor | Self::Store => (100, 10_000),
            Self::Rejected => (1_000, 300_000),
            Self::Early => (60_000, 60_000),
        };
        Duration::from_millis(u64::min(most_ms, first_ms << waits.min(16)))
    }
}

/// Whether something is left to ask.
enum Progress {
    Done,
    More,
}

/// What became of an authorization that nobody heard the answer to.
enum Fate {
    Stands(AuthorizationRef, Money),
    Declined(ReasonCode),
    /// The processor has already given it up.
    Gone,
    /// The processor lists none, and cannot be asked again; `rejected` when it called the question wrong.
    Unseen {
        rejected: bool,
    },
}

impl Drive {
    /// Works on one session until nothing is open at the processor, or it has to wait.
    pub(super) async fn settle(self: &Arc<Self>, id: SessionId) -> Result<(), NotYet> {
        loop {
            match self.settle_once(id).await {
                Ok(Progress::Done) => return Ok(()),
                Ok(Progress::More) => {}
                Err(error) => {
                    self.metrics.settle_retries.inc();
                    tracing::warn!(session = %id, %error, "a payment waits");
                    return Err(error);
                }
            }
        }
    }

    /// Asks the processor for the one thing the session waits for, and has the session take the answer.
    async fn settle_once(self: &Arc<Self>, id: SessionId) -> Result<Progress, NotYet> {
        let Some(stored) = self.store.session(id).await.map_err(|_| NotYet::Store)? else { return Ok(Progress::Done) };
        let session = stored.session;
        match session.asked() {
            Some(Effect::Capture { amount }) => self.capture(&session, amount).await,
            Some(Effect::Void) => self.void(&session).await,
            Some(Effect::Increment { to }) => self.raise(&session, to).await,
            None if session.is_unheard(clock::now()) => {
                let told = Told { input: Some(Input::StayedShutTimeout), ..Told::default() };
                self.tell(&session, told).await?;
                Ok(Progress::Done)
            }
            _ => self.resolve(&session).await,
        }
    }

    /// How the processor calls the session's hold.
    async fn held(&self, id: SessionId) -> Result<AuthorizationRef, NotYet> {
        let known = self.store.authorization_of(id).await.map_err(|_| NotYet::Store)?;
        if let Some(known) = known.and_then(|text| AuthorizationRef::parse(&text).ok()) {
            return Ok(known);
        }
        match self.processor.sync(id).await {
            Ok(Some(standing)) => Ok(standing.authorization),
            Ok(None) => {
                tracing::error!(session = %id, "a hold is to be settled that nobody knows");
                Err(NotYet::Rejected)
            }
            Err(_) => Err(NotYet::Processor),
        }
    }

    async fn intent(&self, key: &IdempotencyKey) -> Result<Option<Intent>, NotYet> {
        self.store.intent(key.as_str()).await.map_err(|_| NotYet::Store)
    }

    async fn capture(self: &Arc<Self>, session: &Session, amount: Money) -> Result<Progress, NotYet> {
        let held = self.held(session.id()).await?;
        let key = IdempotencyKey::new(session.id(), Ask::Capture, 1);
        let told = match self.processor.capture(&key, &held, amount).await {
            Ok(captured) => Told {
                input: Some(Input::Captured { amount: captured.amount }),
                answer: Some(answer(&key, IntentOutcome::Done, Some(&held))),
                event: Some(settled(session, Settlement::Captured, captured.amount, &held)),
                ..Told::default()
            },
            Err(AskError::Declined(reason)) => failed(&key, &held, reason, IntentOutcome::Declined),
            Err(error) => self.given_up(&key, &held, error).await?,
        };
        self.tell(session, told).await?;
        Ok(Progress::Done)
    }

    async fn void(self: &Arc<Self>, session: &Session) -> Result<Progress, NotYet> {
        let held = self.held(session.id()).await?;
        let key = IdempotencyKey::new(session.id(), Ask::Void, 1);
        let told = match self.processor.void(&key, &held).await {
            // A decline says that the processor gave the hold up by itself.
            Ok(()) | Err(AskError::Declined(_)) => {
                let zero = session.receipt().map_or_else(|| self.zero(), |it| Money::zero(it.charged.currency()));
                Told {
                    input: Some(Input::Voided),
                    answer: Some(answer(&key, IntentOutcome::Done, Some(&held))),
                    event: Some(settled(session, Settlement::Voided, zero, &held)),
                    ..Told::default()
                }
            }
            Err(error) => self.given_up(&key, &held, error).await?,
        };
        self.tell(session, told).await?;
        Ok(Progress::Done)
    }

    /// A capture or void failed: for good when the processor has called it wrong for long enough.
    async fn given_up(&self, key: &IdempotencyKey, held: &AuthorizationRef, error: AskError) -> Result<Told, NotYet> {
        let AskError::Rejected { status, code } = &error else { return Err(NotYet::Processor) };
        tracing::error!(key = key.as_str(), status, code, "the processor rejects what we ask");
        if !is_final(&error) || self.age_micros(key).await? < REJECTED_FOR_MICROS {
            return Err(NotYet::Rejected);
        }
        let reason = ReasonCode::parse(code).unwrap_or(ReasonCode::PAYMENT_UNAVAILABLE);
        Ok(failed(key, held, reason, IntentOutcome::Rejected))
    }

    /// How long ago this was asked first.
    async fn age_micros(&self, key: &IdempotencyKey) -> Result<i64, NotYet> {
        let asked_at = self.intent(key).await?.map(|intent| intent.asked_at);
        Ok(asked_at.map_or(i64::MAX, |asked_at| clock::now().micros_since(asked_at)))
    }

    /// Asks once more for a raise that nobody answered, with the same key. As long as the door is open there is no
    /// hurry; once it is shut, the receipt waits for the answer, but not for ever.
    async fn raise(self: &Arc<Self>, session: &Session, to: Money) -> Result<Progress, NotYet> {
        let held = self.held(session.id()).await?;
        let key = IdempotencyKey::new(session.id(), Ask::Increment, raise_number(to));
        let (outcome, input) = match self.processor.increment(&key, &held, to).await {
            Ok(to) => (IntentOutcome::Done, Input::Incremented { to }),
            Err(AskError::Declined(_)) => (IntentOutcome::Declined, Input::IncrementRefused { asked: to }),
            Err(error) if is_final(&error) => (IntentOutcome::Rejected, Input::IncrementRefused { asked: to }),
            // It may yet be granted. The machine counts on the smaller hold, which is safe.
            Err(_) if session.closing_since().is_some_and(|at| clock::now().micros_since(at) > RAISE_FOR_MICROS) => {
                (IntentOutcome::Declined, Input::IncrementRefused { asked: to })
            }
            Err(_) => return Err(NotYet::Processor),
        };
        let told =
            Told { input: Some(input), raise: Some(to), answer: Some(answer(&key, outcome, None)), ..Told::default() };
        self.tell(session, told).await?;
        // What the session asks for next, its own task asks.
        Ok(Progress::Done)
    }

    /// Finds out what became of an authorization that nobody waits for any more, and lets the machine decide.
    async fn resolve(self: &Arc<Self>, session: &Session) -> Result<Progress, NotYet> {
        let key = IdempotencyKey::new(session.id(), Ask::Authorize, 1);
        let Some(asked) = self.intent(&key).await?.filter(|intent| intent.outcome.is_none()) else {
            return Ok(Progress::Done);
        };
        let fate = self.fate(session, &key, &asked).await?;
        let age_micros = clock::now().micros_since(asked.asked_at);
        let (input, ended) = match fate {
            Fate::Stands(reference, amount) => {
                let told = Told {
                    input: Some(Input::Authorized { amount }),
                    answer: Some(answer(&key, IntentOutcome::Done, Some(&reference))),
                    authorization: Some(reference),
                    ..Told::default()
                };
                self.tell(session, told).await?;
                return Ok(Progress::More);
            }
            Fate::Declined(reason) => (Input::Declined { reason }, Some(IntentOutcome::Declined)),
            Fate::Gone => (Input::PaymentUnavailable, Some(IntentOutcome::Dropped)),
            Fate::Unseen { rejected } if age_micros > NOTHING_CAME_MICROS => {
                let outcome = if rejected { IntentOutcome::Rejected } else { IntentOutcome::Dropped };
                (Input::PaymentUnavailable, Some(outcome))
            }
            Fate::Unseen { .. } if session.asked().is_some() && age_micros > NOBODY_ANSWERS_MICROS => {
                (Input::PaymentUnavailable, None)
            }
            Fate::Unseen { .. } => return Err(NotYet::Early),
        };
        let answer = ended.map(|outcome| answer(&key, outcome, None));
        self.tell(session, Told { input: Some(input), answer, ..Told::default() }).await?;
        if ended.is_some() { Ok(Progress::Done) } else { Err(NotYet::Early) }
    }

    /// Whether the processor holds money for this session.
    async fn fate(&self, session: &Session, key: &IdempotencyKey, asked: &Intent) -> Result<Fate, NotYet> {
        match self.processor.sync(session.id()).await {
            Ok(Some(standing)) if standing.state == StandingState::Voided => return Ok(Fate::Gone),
            Ok(Some(standing)) => return Ok(Fate::Stands(standing.authorization, standing.authorized)),
            Ok(None) => {}
            Err(_) => return Err(NotYet::Processor),
        }
        // The processor lists nothing, and may still be about to act. Asking again with the same key settles it. A card
        // that was read for this session is on record only once an answer is, so to have none says nothing.
        let Some(card) = session.card() else { return Ok(Fate::Unseen { rejected: false }) };
        let kept = self.store.stored_card(&card.token).await.map_err(|_| NotYet::Store)?;
        let Some(kept) = kept else { return Ok(Fate::Unseen { rejected: false }) };
        let Ok(card) = StoredCard::parse(&kept.reference) else { return Err(NotYet::Store) };
        match self.processor.authorize(key, session.id(), asked.amount, &card).await {
            Ok(held) => Ok(Fate::Stands(held.reference, held.amount)),
            Err(AskError::Declined(reason)) => Ok(Fate::Declined(reason)),
            Err(AskError::Rejected { status, code }) => {
                tracing::error!(session = %session.id(), status, code, "the processor rejects an authorization of ours");
                Ok(Fate::Unseen { rejected: true })
            }
            Err(AskError::NotSent | AskError::Unknown) => Err(NotYet::Processor),
        }
    }

    /// Has the session's own task take what was found out, and waits until it is on disk.
    async fn tell(self: &Arc<Self>, session: &Session, told: Told) -> Result<(), NotYet> {
        let (booked, on_disk) = oneshot::channel();
        let turn = Turn::Told(Box::new(told), booked);
        self.deliver(session.id(), session.fridge(), turn).map_err(|_| NotYet::Store)?;
        match tokio::time::timeout(BOOKED_WITHIN, on_disk).await {
            Ok(Ok(())) => {
                self.metrics.settled.inc();
                Ok(())
            }
            Ok(Err(_)) | Err(_) => Err(NotYet::Store),
        }
    }
}

/// What the world is told of a payment that came to its end.
fn settled(session: &Session, settlement: Settlement, amount: Money, held: &AuthorizationRef) -> EventBody {
    EventBody::PaymentSettled(PaymentSettled {
        session: session.id(),
        fridge: session.fridge().clone(),
        settlement,
        amount,
        processor_reference: held.to_string(),
        at: clock::now(),
    })
}

fn failed(key: &IdempotencyKey, held: &AuthorizationRef, reason: ReasonCode, outcome: IntentOutcome) -> Told {
    Told {
        input: Some(Input::SettlementFailed { reason }),
        answer: Some(answer(key, outcome, Some(held))),
        ..Told::default()
    }
}

fn answer(key: &IdempotencyKey, outcome: IntentOutcome, reference: Option<&AuthorizationRef>) -> IntentWrite {
    let reference = reference.map(|reference| reference.as_str().to_owned());
    IntentWrite::Answer { key: key.as_str().to_owned(), outcome, reference, at: clock::now() }
}
