//! The processor was asked for the hold; the door is shut.
//!
//! Whoever leaves now cannot be let go at once: the processor may be holding money. The leaving is noted, and when
//! the answer comes it is released in the same step.

use pci_contract::{Money, ReasonCode, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Ended, Moved, Refused, Release, State, Unlocked, not_possible};
use crate::{
    Basket, Effects, FridgeInput, Input, Stage, StepError,
    settlement::{About, Ending},
    terms::Terms,
};

/// Waiting for the processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorizing {
    pub(crate) terms: Terms,
    pub(crate) leaving: Option<Leaving>,
}

/// The customer or the fridge did not wait for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    ending: Ending,
    at: Timestamp,
}

impl Authorizing {
    pub(crate) const fn new(terms: Terms) -> Self {
        Self { terms, leaving: None }
    }

    /// Whether the answer will only be used to release the hold.
    #[must_use]
    pub const fn leaving(&self) -> bool {
        self.leaving.is_some()
    }

    pub(super) fn step(self, about: About<'_>, input: Input, now: Timestamp) -> Moved {
        match input {
            Input::Authorized { amount } => self.authorized(about, amount, now),
            Input::Declined { reason } => Ok(self.refused(about, reason, Release::NotHeld, now)),
            Input::PaymentUnavailable => {
                Ok(self.refused(about, ReasonCode::PAYMENT_UNAVAILABLE, Release::NotHeld, now))
            }
            Input::Fridge(FridgeInput::DoorClosed | FridgeInput::DoorStayedShut) => Ok(self.leave(Ending::Closed, now)),
            Input::Abandoned => Ok(self.leave(Ending::Abandoned, now)),
            impossible @ (Input::Fridge(FridgeInput::DoorOpened | FridgeInput::Touched(_))
            | Input::Incremented { .. }
            | Input::IncrementRefused { .. }
            | Input::OpenTooLong
            | Input::StayedShutTimeout
            | Input::Captured { .. }
            | Input::Voided
            | Input::SettlementFailed { .. }) => {
                let error = not_possible(Stage::Authorizing, &impossible);
                Err((State::Authorizing(self), error))
            }
        }
    }

    fn authorized(self, about: About<'_>, amount: Money, now: Timestamp) -> Moved {
        let hold = self.terms.hold;
        let too_little = match hold.exceeds(amount) {
            Ok(_) if !amount.is_positive() => return Err((State::Authorizing(self), StepError::Amount)),
            Ok(too_little) => too_little,
            Err(error) => return Err((State::Authorizing(self), error.into())),
        };
        match self.leaving {
            None if too_little => Ok(self.refused(about, ReasonCode::INSUFFICIENT_FUNDS, Release::Releasing, now)),
            None => Ok(Unlocked::enter(self.terms, amount, now)),
            Some(Leaving { ending, at }) => {
                let nothing = Basket::empty(hold);
                Ended::enter(about, &self.terms, amount, &nothing, (ending, at), now)
                    .map_err(|error| (State::Authorizing(self), error))
            }
        }
    }

    /// The first to leave decides how it ends.
    fn leave(self, ending: Ending, at: Timestamp) -> (State, Effects) {
        let leaving = self.leaving.or(Some(Leaving { ending, at }));
        (State::Authorizing(Self { leaving, ..self }), Effects::new())
    }

    fn refused(self, about: About<'_>, reason: ReasonCode, release: Release, now: Timestamp) -> (State, Effects) {
        Refused::enter(about, self.terms.bearer.into(), reason, release, now)
    }
}
