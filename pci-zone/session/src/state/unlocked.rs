//! The hold stands, the fridge was told to unlock, and nobody has opened the door as far as we know.
//!
//! A meal that moves here is believed over the door's sensor: the door must be open.

use pci_contract::{Money, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Ended, Moved, Open, State, not_possible, repeats};
use crate::{
    Basket, Display, Effect, Effects, FridgeInput, Input, Stage,
    error::{CorruptSession, invariant},
    settlement::{About, Ending},
    terms::Terms,
};

/// Waiting for the door to be opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unlocked {
    pub(crate) terms: Terms,
    authorized: Money,
    pub(crate) since: Timestamp,
}

impl Unlocked {
    pub(super) fn enter(terms: Terms, authorized: Money, now: Timestamp) -> (State, Effects) {
        let stage = Self { terms, authorized, since: now };
        let effects = vec![stage.unlock()];
        (State::Unlocked(stage), effects)
    }

    /// What is held.
    #[must_use]
    pub const fn authorized(&self) -> Money {
        self.authorized
    }

    pub(super) fn unlock(&self) -> Effect {
        Effect::Show(Display::Unlock { hold: self.terms.hold, credit: self.terms.credit })
    }

    pub(super) fn step(self, about: About<'_>, input: Input, now: Timestamp) -> Moved {
        match input {
            Input::Fridge(FridgeInput::DoorOpened) => {
                Ok((State::Open(Open::new(self.terms, self.authorized, now)), Effects::new()))
            }
            Input::Fridge(FridgeInput::Touched(touch)) => {
                let open = Open::new(self.terms.clone(), self.authorized, now);
                open.touched(&touch).map_err(|(_, error)| (State::Unlocked(self), error))
            }
            Input::Fridge(FridgeInput::DoorClosed | FridgeInput::DoorStayedShut) | Input::StayedShutTimeout => {
                self.end(about, Ending::Closed, now)
            }
            Input::Abandoned => self.end(about, Ending::Abandoned, now),
            Input::Authorized { amount } => match repeats(amount, self.authorized) {
                Ok(()) => Ok((State::Unlocked(self), Effects::new())),
                Err(error) => Err((State::Unlocked(self), error)),
            },
            Input::PaymentUnavailable => Ok((State::Unlocked(self), Effects::new())),
            impossible @ (Input::Declined { .. }
            | Input::Incremented { .. }
            | Input::IncrementRefused { .. }
            | Input::OpenTooLong
            | Input::Captured { .. }
            | Input::Voided
            | Input::SettlementFailed { .. }) => {
                let error = not_possible(Stage::Unlocked, &impossible);
                Err((State::Unlocked(self), error))
            }
        }
    }

    fn end(self, about: About<'_>, ending: Ending, now: Timestamp) -> Moved {
        let nothing = Basket::empty(self.authorized);
        Ended::enter(about, &self.terms, self.authorized, &nothing, (ending, now), now)
            .map_err(|error| (State::Unlocked(self), error))
    }

    pub(super) fn check(&self) -> Result<(), CorruptSession> {
        let covers = self.terms.hold.exceeds(self.authorized) == Ok(false);
        invariant(covers, "the door unlocks on no less than the hold")
    }
}
