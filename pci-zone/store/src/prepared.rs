//! Batches as rows: made in the caller's task, so that the writer has nothing left to do but bind and run.
//!
//! Text is held in `Arc<str>`: binding it copies nothing, and a group that failed can be written again row by row.

use std::sync::Arc;

use pci_contract::{CardRef, EventBody, SessionId};
use pci_session::TouchKind;

use crate::batch::{Batch, Enrollment, IntentOutcome, IntentWrite, NewEvent, SessionWrite, StoredCard, TouchRecord};
use crate::error::{CommitError, Contradiction, Fault};

pub(crate) type Text = Arc<str>;

/// A batch, ready to be bound.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    pub(crate) session: Option<SessionRow>,
    pub(crate) touches: Vec<TouchRow>,
    pub(crate) asks: Vec<AskRow>,
    pub(crate) answers: Vec<AnswerRow>,
    pub(crate) events: Vec<EventRow>,
    pub(crate) card: Option<CardTextRow>,
    pub(crate) enrollment: Option<EnrollmentRow>,
}

#[derive(Debug)]
pub(crate) struct SessionRow {
    pub(crate) session: Text,
    pub(crate) fridge: Text,
    pub(crate) fence: i64,
    pub(crate) stage: &'static str,
    pub(crate) busy: bool,
    pub(crate) done: bool,
    pub(crate) customer: Option<Text>,
    pub(crate) token: Option<Text>,
    pub(crate) price_revision: Option<i64>,
    pub(crate) opened_at: i64,
    pub(crate) updated_at: i64,
    pub(crate) state: Text,
}

#[derive(Debug)]
pub(crate) struct TouchRow {
    pub(crate) session: Text,
    pub(crate) sequence: i64,
    pub(crate) kind: &'static str,
    pub(crate) code: Text,
    pub(crate) device_time: i64,
    pub(crate) received_at: i64,
}

#[derive(Debug, Clone)]
pub(crate) struct AskRow {
    pub(crate) key: Text,
    pub(crate) session: Text,
    pub(crate) verb: &'static str,
    pub(crate) amount_minor: i64,
    pub(crate) currency: Text,
    pub(crate) asked_at: i64,
    pub(crate) attempts: i64,
}

#[derive(Debug, Clone)]
pub(crate) struct AnswerRow {
    pub(crate) key: Text,
    pub(crate) outcome: IntentOutcome,
    pub(crate) reference: Option<Text>,
    pub(crate) answered_at: i64,
}

#[derive(Debug)]
pub(crate) struct EventRow {
    pub(crate) event: Text,
    pub(crate) at: i64,
    pub(crate) json: Text,
    pub(crate) body: EventBody,
}

#[derive(Debug)]
pub(crate) struct CardTextRow {
    pub(crate) token: Text,
    pub(crate) brand: Text,
    pub(crate) last_four: Text,
    pub(crate) reference: Text,
}

#[derive(Debug)]
pub(crate) struct EnrollmentRow {
    pub(crate) enrollment: Text,
    pub(crate) customer: Text,
    pub(crate) token: Text,
    pub(crate) brand: Text,
    pub(crate) last_four: Text,
    pub(crate) enrolled_at: i64,
}

impl TryFrom<Batch> for Prepared {
    type Error = CommitError;

    fn try_from(batch: Batch) -> Result<Self, CommitError> {
        let mut prepared = Self {
            session: batch.session.as_ref().map(session_row).transpose()?,
            touches: batch.touches.iter().map(touch_row).collect::<Result<_, _>>()?,
            events: batch.events.into_iter().map(event_row).collect::<Result<_, _>>()?,
            card: batch.stored_card.as_ref().map(card_row).transpose()?,
            enrollment: batch.enrollment.as_ref().map(enrollment_row).transpose()?,
            ..Self::default()
        };
        for intent in batch.intents {
            match intent {
                IntentWrite::Ask { key, session, verb, amount, at } => prepared.asks.push(AskRow {
                    key: key.into(),
                    session: id_text(session),
                    verb: verb.as_str(),
                    amount_minor: amount.minor(),
                    currency: amount.currency().as_str().into(),
                    asked_at: at.micros(),
                    attempts: 1,
                }),
                IntentWrite::Answer { key, outcome, reference, at } => prepared.answers.push(AnswerRow {
                    key: key.into(),
                    outcome,
                    reference: reference.map(Into::into),
                    answered_at: at.micros(),
                }),
            }
        }
        Ok(prepared)
    }
}

/// A number of ours in the database's only size.
pub(crate) fn number(value: u64) -> Result<i64, CommitError> {
    i64::try_from(value).map_err(|_| CommitError::Conflict(Contradiction::Number))
}

pub(crate) fn json<T: serde::Serialize>(value: &T) -> Result<Text, CommitError> {
    serde_json::to_string(value).map(Into::into).map_err(|error| Fault::new("wrote JSON", error).into())
}

fn id_text(session: SessionId) -> Text {
    session.to_string().into()
}

fn session_row(write: &SessionWrite) -> Result<SessionRow, CommitError> {
    let session = &write.session;
    let facts = crate::session_facts::of(session);
    Ok(SessionRow {
        session: id_text(facts.session),
        fridge: facts.fridge.as_str().into(),
        fence: number(write.fence)?,
        stage: facts.stage,
        busy: facts.busy,
        done: facts.done,
        customer: facts.customer.map(|customer| customer.as_str().into()),
        token: facts.token.map(|token| token.as_str().into()),
        price_revision: facts.price_revision,
        opened_at: facts.opened_at.micros(),
        updated_at: write.at.micros(),
        state: json(session)?,
    })
}

/// The word of a touch's kind in the database.
pub(crate) const fn touch_word(kind: TouchKind) -> &'static str {
    match kind {
        TouchKind::Taken => "taken",
        TouchKind::Returned => "returned",
    }
}

fn touch_row(touch: &TouchRecord) -> Result<TouchRow, CommitError> {
    Ok(TouchRow {
        session: id_text(touch.session),
        sequence: number(touch.sequence)?,
        kind: touch_word(touch.kind),
        code: touch.code.as_str().into(),
        device_time: touch.device_time.micros(),
        received_at: touch.received_at.micros(),
    })
}

fn event_row(event: NewEvent) -> Result<EventRow, CommitError> {
    Ok(EventRow {
        event: event.id.to_string().into(),
        at: event.at.micros(),
        json: json(&event.body)?,
        body: event.body,
    })
}

/// A brand as its word on the wire.
fn brand(card: &CardRef) -> Result<Text, CommitError> {
    let text = json(&card.brand)?;
    Ok(text.trim_matches('"').into())
}

fn card_row(stored: &StoredCard) -> Result<CardTextRow, CommitError> {
    Ok(CardTextRow {
        token: stored.card.token.as_str().into(),
        brand: brand(&stored.card)?,
        last_four: stored.card.last_four.as_str().into(),
        reference: stored.reference.as_str().into(),
    })
}

fn enrollment_row(enrollment: &Enrollment) -> Result<EnrollmentRow, CommitError> {
    Ok(EnrollmentRow {
        enrollment: enrollment.id.to_string().into(),
        customer: enrollment.customer.as_str().into(),
        token: enrollment.card.token.as_str().into(),
        brand: brand(&enrollment.card)?,
        last_four: enrollment.card.last_four.as_str().into(),
        enrolled_at: enrollment.at.micros(),
    })
}
