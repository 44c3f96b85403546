//! What remains after a session's end: the capture or the void, and the holds whose answer never came.
//!
//! The decision is on disk before it comes here, so a job may be lost and is found again; each call repeats with its
//! own key until the processor has answered, however long that takes. A hold that may or may not stand is asked for
//! once more with the key it was asked with, which brings its fate to light, and is then released.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use pci_contract::{EventBody, Money, PaymentSettled, SessionId, Settlement, Timestamp};
use pci_processors::{AskError, AuthorizationRef, IdempotencyKey, StandingState, StoredCard, Verb as Ask};
use pci_session::{Effect, Input, Session};
use pci_store::{Batch, IntentOutcome, IntentWrite, NewEvent, SessionWrite, Verb};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::live::Turn;
use super::{Drive, clock};

/// Jobs handed over in memory; what does not fit is found on disk by the next sweep.
const HANDED_OVER: usize = 4_096;
/// How often the disk is asked for jobs nobody works on.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// Jobs one sweep takes up.
const SWEEP_ROWS: u32 = 1_024;
/// How long a session that waits for an authorization is left to its fridge, in microseconds.
const FRIDGE_MAY_RETURN_MICROS: i64 = 60_000_000;
/// The pause before a call is made again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Where ended sessions are handed over.
pub(super) struct Settler {
    jobs: mpsc::Sender<SessionId>,
    at_once: usize,
}

impl Settler {
    /// A settler that works on `at_once` sessions at a time, and its queue.
    pub(super) fn new(at_once: usize) -> (Self, mpsc::Receiver<SessionId>) {
        let (jobs, queue) = mpsc::channel(HANDED_OVER);
        (Self { jobs, at_once }, queue)
    }

    /// Hands a session over. It is on disk; a full queue only means that a sweep finds it later.
    pub(super) fn hand_over(&self, session: SessionId) {
        let _ = self.jobs.try_send(session);
    }
}

/// Works on jobs until `stop`.
pub(super) async fn run(drive: Arc<Drive>, mut queue: mpsc::Receiver<SessionId>, stop: CancellationToken) {
    let mut working = JoinSet::new();
    let mut taken = HashSet::new();
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let room = working.len() < drive.settler.at_once;
        tokio::select! {
            () = stop.cancelled() => return,
            Some(job) = queue.recv(), if room => take(&drive, &mut working, &mut taken, job),
            Some(done) = working.join_next(), if !working.is_empty() => {
                if let Ok(session) = done {
                    taken.remove(&session);
                }
            }
            _ = sweep.tick(), if room => {
                for job in drive.forgotten().await {
                    take(&drive, &mut working, &mut taken, job);
                }
            }
        }
        drive.metrics.settling.set(i64::try_from(taken.len()).unwrap_or(i64::MAX));
    }
}

fn take(drive: &Arc<Drive>, working: &mut JoinSet<SessionId>, taken: &mut HashSet<SessionId>, job: SessionId) {
    if taken.insert(job) {
        let drive = Arc::clone(drive);
        working.spawn(async move {
            drive.settle(job).await;
            job
        });
    }
}

/// Why a job must be tried again.
#[derive(Debug, Clone, Copy, Error)]
enum NotYet {
    #[error("the processor does not answer")]
    Processor,
    #[error("the database does not answer")]
    Store,
    #[error("the processor rejects what we ask")]
    Rejected,
}

/// What is known of a session's hold.
enum Hold {
    Stands(AuthorizationRef, Money),
    /// The processor has none, or has already given it up.
    None,
}

impl Drive {
    /// Jobs on disk that may have been left by an earlier run.
    async fn forgotten(self: &Arc<Self>) -> Vec<SessionId> {
        let pending = match self.store.pending_intents(SWEEP_ROWS).await {
            Ok(pending) => pending,
            Err(error) => {
                tracing::error!(%error, "unsettled payments could not be read");
                return Vec::new();
            }
        };
        let now = clock::now();
        let mut jobs = Vec::new();
        for intent in pending {
            let old = now.micros_since(intent.asked_at) > FRIDGE_MAY_RETURN_MICROS;
            match intent.verb {
                Verb::Capture | Verb::Void => jobs.push(intent.session),
                Verb::Authorize | Verb::Increment if old && !self.registry.is_running(intent.session) => {
                    // Nobody drives it. Its task, started anew, asks the processor again or gives the session up.
                    let (ended, _) = oneshot::channel();
                    if intent.verb == Verb::Increment {
                        let _ = self.deliver(intent.session, &intent.fridge, Turn::Abandon(ended));
                    } else {
                        jobs.push(intent.session);
                    }
                }
                Verb::Authorize | Verb::Increment | Verb::Refund => {}
            }
        }
        jobs
    }

    /// Works on one session until nothing is open at the processor.
    async fn settle(&self, id: SessionId) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.settle_once(id).await {
                Ok(Progress::Done) => return,
                Ok(Progress::More) => continue,
                Err(error) => {
                    self.metrics.settle_retries.inc();
                    tracing::warn!(session = %id, %error, "a payment waits");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Asks the processor for the one thing the session waits for, and writes down what it answered.
    async fn settle_once(&self, id: SessionId) -> Result<Progress, NotYet> {
        let Some(stored) = self.store.session(id).await.map_err(|_| NotYet::Store)? else { return Ok(Progress::Done) };
        let session = stored.session;
        let held = self.store.authorization_of(id).await.map_err(|_| NotYet::Store)?;
        let held = held.and_then(|text| AuthorizationRef::parse(&text).ok());
        match (session.asked(), held) {
            (Some(Effect::Capture { amount }), Some(held)) => self.capture(session, held, amount).await,
            (Some(Effect::Void), Some(held)) => self.void(session, held).await,
            (Some(Effect::Increment { .. }), _) => Ok(Progress::Done),
            (None, Some(_)) => Ok(Progress::Done),
            (Some(Effect::Authorize { .. }) | None, None) => self.resolve(session).await,
            (Some(_), held) => {
                tracing::error!(session = %id, known = held.is_some(), "a hold is to be settled that nobody knows");
                Err(NotYet::Rejected)
            }
        }
    }

    /// Finds out what became of an authorization that nobody waits for any more, and lets the machine decide.
    async fn resolve(&self, session: Session) -> Result<Progress, NotYet> {
        let id = session.id();
        let key = IdempotencyKey::new(id, Ask::Authorize, 1);
        let answered = self.store.intent_outcome(key.as_str()).await.map_err(|_| NotYet::Store)?;
        if answered.is_some() {
            return Ok(Progress::Done);
        }
        let waits = session.asked().is_some();
        match self.hold(&session, &key).await? {
            Hold::Stands(reference, amount) => {
                let answer = (Ask::Authorize, IntentOutcome::Done, Some(reference));
                self.answered(session, Input::Authorized { amount }, answer, None).await
            }
            Hold::None if waits => {
                let answer = (Ask::Authorize, IntentOutcome::Dropped, None);
                self.answered(session, Input::PaymentUnavailable, answer, None).await
            }
            Hold::None => {
                let intents = vec![answer_write(id, Ask::Authorize, IntentOutcome::Dropped, None, clock::now())];
                let batch = Batch { intents, ..Batch::default() };
                self.store.commit(batch).await.map_err(|_| NotYet::Store)?;
                Ok(Progress::Done)
            }
        }
    }

    /// Whether the processor holds money for this session.
    async fn hold(&self, session: &Session, key: &IdempotencyKey) -> Result<Hold, NotYet> {
        match self.processor.sync(session.id()).await {
            Ok(Some(standing)) if standing.state == StandingState::Voided => return Ok(Hold::None),
            Ok(Some(standing)) => return Ok(Hold::Stands(standing.authorization, standing.authorized)),
            Ok(None) => {}
            Err(_) => return Err(NotYet::Processor),
        }
        // The processor knows nothing, and may still be about to act. Asking again with the same key settles it.
        let pending = self.store.pending_intents(SWEEP_ROWS).await.map_err(|_| NotYet::Store)?;
        let Some(asked) = pending.into_iter().find(|intent| intent.key == key.as_str()) else {
            return Ok(Hold::None);
        };
        let Some(card) = session.card() else { return Ok(Hold::None) };
        let Some(kept) = self.store.stored_card(&card.token).await.map_err(|_| NotYet::Store)? else {
            // Without a stored card no authorization was ever sent.
            return Ok(Hold::None);
        };
        let Ok(card) = StoredCard::parse(&kept.reference) else { return Err(NotYet::Store) };
        match self.processor.authorize(key, session.id(), asked.amount, &card).await {
            Ok(held) => Ok(Hold::Stands(held.reference, held.amount)),
            Err(AskError::Declined(_)) => Ok(Hold::None),
            Err(AskError::Rejected { .. }) => Err(NotYet::Rejected),
            Err(AskError::NotSent | AskError::Unknown) => Err(NotYet::Processor),
        }
    }

    async fn capture(&self, session: Session, held: AuthorizationRef, amount: Money) -> Result<Progress, NotYet> {
        let id = session.id();
        let key = IdempotencyKey::new(id, Ask::Capture, 1);
        match self.processor.capture(&key, &held, amount).await {
            Ok(captured) => {
                let told = Some((Settlement::Captured, captured.amount));
                let answer = (Ask::Capture, IntentOutcome::Done, Some(held));
                self.answered(session, Input::Captured { amount: captured.amount }, answer, told).await
            }
            Err(AskError::Declined(reason)) => {
                let answer = (Ask::Capture, IntentOutcome::Declined, Some(held));
                self.answered(session, Input::SettlementFailed { reason }, answer, None).await
            }
            Err(error) => Err(not_yet(id, &error)),
        }
    }

    async fn void(&self, session: Session, held: AuthorizationRef) -> Result<Progress, NotYet> {
        let id = session.id();
        match self.processor.void(&IdempotencyKey::new(id, Ask::Void, 1), &held).await {
            // A decline says that the processor gave the hold up by itself.
            Ok(()) | Err(AskError::Declined(_)) => {
                let currency = session.hold().map_or(pci_contract::Currency::USD, Money::currency);
                let told = session.receipt().map(|receipt| receipt.charged.currency()).unwrap_or(currency);
                let told = Some((Settlement::Voided, Money::zero(told)));
                let answer = (Ask::Void, IntentOutcome::Done, Some(held));
                self.answered(session, Input::Voided, answer, told).await
            }
            Err(error) => Err(not_yet(id, &error)),
        }
    }

    /// Lets the machine know, and writes its new state with the answer and the events in one transaction.
    async fn answered(
        &self,
        session: Session,
        input: Input,
        (ask, outcome, reference): (Ask, IntentOutcome, Option<AuthorizationRef>),
        told: Option<(Settlement, Money)>,
    ) -> Result<Progress, NotYet> {
        let now = clock::now();
        let (id, fridge) = (session.id(), session.fridge().clone());
        let (session, effects) = session.step(input, now).map_err(|(_, error)| {
            tracing::error!(session = %id, %error, "an answer of the processor does not fit the session");
            NotYet::Rejected
        })?;
        let mut events = Vec::new();
        if let Some((settlement, amount)) = told {
            let processor_reference = reference.as_ref().map_or_else(String::new, ToString::to_string);
            let fridge = fridge.clone();
            let data = PaymentSettled { session: id, fridge, settlement, amount, processor_reference, at: now };
            events.push(EventBody::PaymentSettled(data));
        }
        let mut intents = vec![answer_write(id, ask, outcome, reference, now)];
        let mut more = false;
        for effect in effects {
            match effect {
                Effect::Emit(body) => events.push(body),
                Effect::Capture { amount } => intents.push(ask_write(id, Ask::Capture, Verb::Capture, amount, now)),
                Effect::Void => {
                    let none = Money::zero(pci_contract::Currency::USD);
                    intents.push(ask_write(id, Ask::Void, Verb::Void, none, now));
                }
                Effect::Tell(notice) => tracing::warn!(session = %id, %fridge, ?notice, "for operators"),
                Effect::Show(_) | Effect::Authorize { .. } | Effect::Increment { .. } => {}
            }
            more = true;
        }
        let fence = self.fence(&fridge).await.map_err(|_| NotYet::Store)?;
        let events = events.into_iter().map(|body| NewEvent { id: clock::event_id(), body, at: now }).collect();
        let session = Some(SessionWrite { session, fence, at: now });
        let batch = Batch { session, intents, events, ..Batch::default() };
        self.store.commit(batch).await.map_err(|error| {
            tracing::error!(session = %id, %error, "an answer of the processor could not be written");
            self.forget_fence(&fridge);
            NotYet::Store
        })?;
        self.metrics.settled.inc();
        Ok(if more { Progress::More } else { Progress::Done })
    }
}

/// Whether something is left to ask.
enum Progress {
    Done,
    More,
}

fn not_yet(session: SessionId, error: &AskError) -> NotYet {
    match error {
        AskError::Rejected { status, code } => {
            tracing::error!(%session, status, code, "the processor rejects what we ask");
            NotYet::Rejected
        }
        AskError::Declined(_) | AskError::NotSent | AskError::Unknown => NotYet::Processor,
    }
}

fn ask_write(session: SessionId, ask: Ask, verb: Verb, amount: Money, at: Timestamp) -> IntentWrite {
    IntentWrite::Ask { key: IdempotencyKey::new(session, ask, 1).as_str().to_owned(), session, verb, amount, at }
}

fn answer_write(
    session: SessionId,
    ask: Ask,
    outcome: IntentOutcome,
    reference: Option<AuthorizationRef>,
    at: Timestamp,
) -> IntentWrite {
    let key = IdempotencyKey::new(session, ask, 1).as_str().to_owned();
    IntentWrite::Answer { key, outcome, reference: reference.map(|text| text.as_str().to_owned()), at }
}
