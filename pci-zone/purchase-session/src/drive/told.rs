//! What the processor said, told to the session it is about by somebody other than the session's own task.
//!
//! Only a session's own task writes it. The settler asks the processor while that task may be at work for a fridge that
//! has come back, or may not run at all; so it does not write what it heard but hands it in here, and hears when it is
//! on disk. Both may have asked the same with the same key, so each answer may come twice.

use pci_contract::{EventBody, Money};
use pci_processors::{AuthorizationRef, Verb as Ask};
use pci_session::{Effects, Input, Session, Stage, StepError};
use pci_store::{IntentOutcome, IntentWrite, NewEvent};
use tokio::sync::oneshot;

use super::calls::{Incremented, raise_number};
use super::live::Live;
use super::outgoing::After;
use super::steps::Found;
use crate::clock;

/// Something the settler found out.
#[derive(Default)]
pub(super) struct Told {
    /// What it means to the machine; nothing when only an intent is to be closed.
    pub(super) input: Option<Input>,
    /// The raise that was asked for, when this is about one.
    pub(super) raise: Option<Money>,
    /// The intent's end; nothing when it is to stay open.
    pub(super) answer: Option<IntentWrite>,
    /// How the processor calls the hold, when that was found out.
    pub(super) authorization: Option<AuthorizationRef>,
    /// What the world is told if the session moves.
    pub(super) event: Option<EventBody>,
}

type Moved = Result<(Session, Effects), (Session, StepError)>;

impl Live {
    /// Takes what the settler found out. `booked` is told once it is on disk, and dropped when it never will be.
    pub(super) async fn told(&mut self, told: Told, booked: oneshot::Sender<()>) {
        match self.find().await {
            Found::Here => {}
            Found::Nowhere | Found::Fault => return self.fail(),
        }
        let Some(session) = self.session.take() else { return };
        let now = clock::now();
        // A task that finds a raise in flight asks for it; this one is answered already.
        self.outgoing.after.retain(|after| !matches!(after, After::Increment(to) if Some(*to) == told.raise));
        let before = session.clone();
        let moved = match told.input {
            Some(input) => self.hears(session, input),
            None => Ok((session, Effects::new())),
        };
        match moved {
            Ok((session, effects)) => {
                let moves = session != before;
                self.session = Some(session);
                self.authorization = self.authorization.take().or(told.authorization);
                self.outgoing.intents.extend(told.answer);
                if moves {
                    let event = told.event.map(|body| NewEvent { id: clock::event_id(), body, at: now });
                    self.outgoing.events.extend(event);
                    self.stepped(effects, now).await;
                }
                self.outgoing.after.push_back(After::OnDisk(booked));
            }
            Err((session, error)) => {
                tracing::error!(session = %self.id, %error, "an answer of the processor does not fit the session");
                self.session = Some(session);
            }
        }
    }

    /// Moves on what was found out.
    #[allow(clippy::result_large_err, reason = "a session that stays is handed back, as the machine does")]
    fn hears(&self, session: Session, input: Input) -> Moved {
        let now = clock::now();
        let nobody = !self.is_attached();
        match input {
            // Its fridge is back, and its own timer runs again.
            Input::StayedShutTimeout if !nobody => return Ok((session, Effects::new())),
            Input::Authorized { .. } if nobody && session.stage() == Stage::Authorizing => {}
            input => return session.step(input, now),
        }
        let before = session.clone();
        let (session, effects) = session.step(input, now)?;
        if session.stage() != Stage::Unlocked {
            return Ok((session, effects));
        }
        // Nobody was ever told to unlock, and nobody waits to be told. It ends in the same step, so that a fridge that
        // comes back in between is not told either.
        session.step(Input::StayedShutTimeout, now).map_err(|(_, error)| (before, error))
    }

    /// A call of this task for a raise has ended.
    pub(super) async fn raised(&mut self, asked: Money, ended: Incremented) {
        let (outcome, input) = match ended {
            Incremented::To(to) => (IntentOutcome::Done, Input::Incremented { to }),
            Incremented::Refused(outcome) => (outcome, Input::IncrementRefused { asked }),
            // Nobody owes what nobody answered: the settler goes on asking with the same key.
            Incremented::Unanswered => return self.outgoing.after.push_back(After::Settle),
        };
        self.answer_intent(Ask::Increment, raise_number(asked), outcome, None);
        self.input(input).await;
    }
}
