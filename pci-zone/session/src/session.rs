//! One purchase session: what it is, how it begins, how it moves, and how the fridge's numbered messages enter it.
//!
//! The fridge's numbers make repeats harmless and losses visible: what was counted changes nothing again, and after a
//! gap nothing is believed until the gap is filled. So a close can never overtake its touches.

use pci_contract::{CardRef, CustomerId, FridgeId, Money, SessionId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Admitted, Bearer, CorruptSession, Effect, Effects, Input, Numbered, Receipt, Refusal, Refused, Release, Settlement,
    Stage, State, StepError, error::invariant, settlement::About, state::Authorizing,
};

/// The fridge locks an unopened door after so many seconds.
pub const OPEN_WITHIN_S: u32 = 20;

/// A service that still hears its fridge takes the door for unopened after so many seconds: the fridge's own limit,
/// and time for its word to arrive.
pub const STAYED_SHUT_AFTER_S: u32 = 35;

/// An unlocked door whose fridge nobody has heard for so long is taken for unopened. Long, since what such a fridge
/// still reports is not charged; but not for ever, since a customer's money is held for it.
pub const UNHEARD_AFTER_S: u32 = 24 * 60 * 60;

const MICROS_PER_S: i64 = 1_000_000;

/// So many seconds later.
fn after(since: Timestamp, s: u32) -> Timestamp {
    Timestamp::from_micros(since.micros().saturating_add(i64::from(s).saturating_mul(MICROS_PER_S)))
}

/// A purchase session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Session {
    id: SessionId,
    fridge: FridgeId,
    opened_at: Timestamp,
    received: u64,
    state: State,
}

/// A session as it was stored, before its invariants are looked at.
#[derive(Deserialize)]
struct Stored {
    id: SessionId,
    fridge: FridgeId,
    opened_at: Timestamp,
    received: u64,
    state: State,
}

impl TryFrom<Stored> for Session {
    type Error = CorruptSession;

    fn try_from(stored: Stored) -> Result<Self, CorruptSession> {
        let Stored { id, fridge, opened_at, received, state } = stored;
        invariant(received >= 1, "a session begins with its Open")?;
        state.check()?;
        Ok(Self { id, fridge, opened_at, received, state })
    }
}

/// What became of a fridge's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// It was known, or the session is over: nothing changed, and these are the answers worth repeating.
    Duplicate(Session, Effects),
    /// Messages before it are missing: nothing changed.
    Gap {
        /// The session as it was.
        session: Session,
        /// The number from which the fridge must send again.
        resend_from: u64,
    },
    /// It was taken, and is counted.
    Stepped(Session, Effects),
    /// It cannot be; it is not counted.
    Impossible(Session, StepError),
}

impl Session {
    /// Begins a session with its Open message; the processor is to be asked for the hold.
    #[must_use]
    pub fn begin(id: SessionId, fridge: FridgeId, admitted: Admitted, now: Timestamp) -> (Self, Effects) {
        let terms = admitted.terms;
        let effects = vec![Effect::Authorize { amount: terms.hold }];
        let state = State::Authorizing(Authorizing::new(terms));
        (Self { id, fridge, opened_at: now, received: 1, state }, effects)
    }

    /// Refuses before the processor is asked. It is a session all the same, so that a repeated Open is refused again
    /// and the refusal is told once.
    #[must_use]
    pub fn refuse(id: SessionId, fridge: FridgeId, refusal: Refusal, now: Timestamp) -> (Self, Effects) {
        let Refusal { reason, known } = refusal;
        let about = About { session: id, fridge: &fridge, opened_at: now };
        let (state, effects) = Refused::enter(about, known, reason, Release::NeverAsked, now);
        (Self { id, fridge, opened_at: now, received: 1, state }, effects)
    }

    /// Moves on one input.
    ///
    /// # Errors
    /// The session as it was, and why it stays.
    pub fn step(self, input: Input, now: Timestamp) -> Result<(Self, Effects), (Self, StepError)> {
        let Self { id, fridge, opened_at, received, state } = self;
        let about = About { session: id, fridge: &fridge, opened_at };
        match state.step(about, input, now) {
            Ok((state, effects)) => Ok((Self { id, fridge, opened_at, received, state }, effects)),
            Err((state, error)) => Err((Self { id, fridge, opened_at, received, state }, error)),
        }
    }

    /// Takes a numbered message of the fridge. Open is number 1 and was taken when the session began; for a repeated
    /// Open see [`Session::resume`].
    #[must_use]
    pub fn receive(self, message: Numbered, now: Timestamp) -> Received {
        let Numbered { sequence, body } = message;
        let is_over = matches!(self.stage(), Stage::Ended | Stage::Refused);
        let Some(next) = self.received.checked_add(1) else {
            return Received::Impossible(self, StepError::Exhausted);
        };
        if sequence < next || (is_over && sequence > next) {
            let effects = if is_over { self.resume() } else { Effects::new() };
            return Received::Duplicate(self, effects);
        }
        if sequence > next {
            return Received::Gap { session: self, resend_from: next };
        }
        match self.step(Input::Fridge(body), now) {
            Ok((session, effects)) => Received::Stepped(Self { received: next, ..session }, effects),
            Err((session, error)) => Received::Impossible(session, error),
        }
    }

    /// The answers that still matter, for a fridge that sends its Open again: Unlock, sounding alarms, the limit, the
    /// open door, the refusal or the receipt.
    #[must_use]
    pub fn resume(&self) -> Effects {
        self.state.resume()
    }

    /// The question that the processor has not answered yet, for a driver that comes back.
    #[must_use]
    pub const fn asked(&self) -> Option<Effect> {
        self.state.asked()
    }

    /// The timer that runs while the fridge's stream is alive: when it fires, and what to say then. Without a stream
    /// no timer runs, because nobody knows what the door does.
    ///
    /// `online_since` is when the present stream began. An unopened door is waited for from then, not from the first
    /// Unlock: a fridge that comes back may have its opened door still in its journal, and unlocks again if it has not.
    #[must_use]
    pub fn timer(&self, online_since: Timestamp) -> Option<(Timestamp, Input)> {
        match &self.state {
            State::Unlocked(stage) => {
                Some((after(stage.since.max(online_since), STAYED_SHUT_AFTER_S), Input::StayedShutTimeout))
            }
            State::Open(stage) if !stage.sounded => {
                Some((after(stage.since, stage.terms.open_limit_s), Input::OpenTooLong))
            }
            _ => None,
        }
    }

    /// Whether its unlocked door has been waited for too long by a driver that does not hear the fridge. It may then
    /// say [`Input::StayedShutTimeout`] although no stream is alive.
    #[must_use]
    pub fn is_unheard(&self, now: Timestamp) -> bool {
        matches!(&self.state, State::Unlocked(stage) if now >= after(stage.since, UNHEARD_AFTER_S))
    }

    /// Since when its door is shut and the decision waits for a raise, if it does. A driver does not wait for ever: it
    /// says [`Input::IncrementRefused`] in the end.
    #[must_use]
    pub const fn closing_since(&self) -> Option<Timestamp> {
        match &self.state {
            State::Closing(stage) => Some(stage.at),
            _ => None,
        }
    }

    /// Whether it keeps the fridge busy: the door is or may yet be open.
    #[must_use]
    pub const fn holds_fridge(&self) -> bool {
        match &self.state {
            State::Authorizing(stage) => !stage.leaving(),
            State::Unlocked(_) | State::Open(_) => true,
            State::Closing(_) | State::Ended(_) | State::Refused(_) => false,
        }
    }

    /// Whether nothing can change any more but by a late answer: it is decided and the processor has answered.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        match &self.state {
            State::Ended(stage) => !matches!(stage.settlement(), Settlement::Pending(_)),
            State::Refused(stage) => !matches!(stage.release(), Release::Releasing),
            State::Authorizing(_) | State::Unlocked(_) | State::Open(_) | State::Closing(_) => false,
        }
    }

    /// The credit that no other session may use: all that was shown, from admission until the decision. Afterwards
    /// what was used is in the event. Fixed before the door unlocks.
    #[must_use]
    pub const fn reserved_credit(&self) -> Option<Money> {
        match self.state.terms() {
            Some(terms) => Some(terms.credit),
            None => None,
        }
    }
}

/// What can be read.
impl Session {
    /// The session's id, made by the fridge.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// Where.
    #[must_use]
    pub const fn fridge(&self) -> &FridgeId {
        &self.fridge
    }

    /// When it was asked for.
    #[must_use]
    pub const fn opened_at(&self) -> Timestamp {
        self.opened_at
    }

    /// Every message of the fridge up to this number is counted.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Where it is, with all that is known there.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Where it is.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        self.state.stage()
    }

    /// Who pays; `None` for a refused session.
    #[must_use]
    pub const fn bearer(&self) -> Option<&Bearer> {
        match &self.state {
            State::Ended(stage) => Some(&stage.bearer),
            state => match state.terms() {
                Some(terms) => Some(&terms.bearer),
                None => None,
            },
        }
    }

    /// Who, when known.
    #[must_use]
    pub const fn customer(&self) -> Option<&CustomerId> {
        match (&self.state, self.bearer()) {
            (State::Refused(stage), _) => stage.known.customer.as_ref(),
            (_, Some(bearer)) => bearer.customer.as_ref(),
            (_, None) => None,
        }
    }

    /// The card, when one was read.
    #[must_use]
    pub const fn card(&self) -> Option<&CardRef> {
        match (&self.state, self.bearer()) {
            (State::Refused(stage), _) => stage.known.card.as_ref(),
            (_, Some(bearer)) => Some(&bearer.card),
            (_, None) => None,
        }
    }

    /// What was to be authorized, while the session lives.
    #[must_use]
    pub fn hold(&self) -> Option<Money> {
        self.state.terms().map(|terms| terms.hold)
    }

    /// After how many seconds its open door sounds, while the session lives.
    #[must_use]
    pub fn open_limit_s(&self) -> Option<u32> {
        self.state.terms().map(|terms| terms.open_limit_s)
    }

    /// The revision of the price list that holds for it, while the session lives.
    #[must_use]
    pub fn price_revision(&self) -> Option<i64> {
        self.state.terms().map(|terms| terms.price_revision)
    }

    /// The receipt, once decided.
    #[must_use]
    pub const fn receipt(&self) -> Option<&Receipt> {
        match &self.state {
            State::Ended(stage) => Some(stage.receipt()),
            _ => None,
        }
    }
}
