//! The door is shut, but an increment is in flight: how much may be captured is not known until its answer comes.
//!
//! To capture while the hold is being raised would race at the processor. The session no longer holds the fridge. The
//! basket may have grown since the increment in flight was asked for, so its answer may lead to another increment:
//! nobody owes what his card was never asked for, and every basket is asked for as if the answers had come at once.

use pci_contract::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Ended, Moved, Open, State, ended::after_end, not_possible, repeats};
use crate::{
    Basket, Effects, Held, Input, Stage,
    error::{CorruptSession, invariant},
    hold::Answer,
    settlement::{About, Ending, need},
    terms::Terms,
};

/// Waiting for the answer to an increment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    pub(crate) terms: Terms,
    pub(crate) held: Held,
    basket: Basket,
    ending: Ending,
    pub(crate) at: Timestamp,
}

impl Closing {
    pub(super) fn new(open: Open, ending: Ending, at: Timestamp) -> Self {
        let Open { terms, held, basket, .. } = open;
        Self { terms, held, basket, ending, at }
    }

    pub(super) fn step(self, about: About<'_>, input: Input, now: Timestamp) -> Moved {
        match input {
            Input::Incremented { to } => {
                let mut held = self.held.clone();
                match held.raised(to) {
                    Ok(answer) => self.answered(about, held, &answer, now),
                    Err(error) => Err((State::Closing(self), error)),
                }
            }
            Input::IncrementRefused { asked } => {
                let mut held = self.held.clone();
                match held.not_raised(asked) {
                    Ok(answer) => self.answered(about, held, &answer, now),
                    Err(error) => Err((State::Closing(self), error)),
                }
            }
            Input::Fridge(report) => Ok((State::Closing(self), after_end(report))),
            Input::Authorized { amount } => match repeats(amount, self.held.authorized()) {
                Ok(()) => Ok((State::Closing(self), Effects::new())),
                Err(error) => Err((State::Closing(self), error)),
            },
            Input::PaymentUnavailable | Input::OpenTooLong | Input::StayedShutTimeout | Input::Abandoned => {
                Ok((State::Closing(self), Effects::new()))
            }
            impossible @ (Input::Declined { .. }
            | Input::Captured { .. }
            | Input::Voided
            | Input::SettlementFailed { .. }) => {
                let error = not_possible(Stage::Closing, &impossible);
                Err((State::Closing(self), error))
            }
        }
    }

    /// Only the awaited answer decides; a repeated one of an earlier raise does not. It decides once the basket is
    /// covered or the limit is reached; until then the hold is raised further.
    fn answered(self, about: About<'_>, mut held: Held, answer: &Answer, now: Timestamp) -> Moved {
        if *answer != Answer::Taken {
            return Ok((State::Closing(self), Effects::new()));
        }
        let more = match need(&self.basket, &self.terms).and_then(|need| held.cover(need)) {
            Ok(more) => more,
            Err(error) => return Err((State::Closing(self), error)),
        };
        if held.asked().is_some() {
            return Ok((State::Closing(Self { held, ..self }), more));
        }
        let ending = (self.ending, self.at);
        Ended::enter(about, &self.terms, held.authorized(), &self.basket, ending, now)
            .map_err(|error| (State::Closing(self), error))
    }

    pub(super) fn check(&self) -> Result<(), CorruptSession> {
        self.held.check()?;
        invariant(self.held.asked().is_some(), "a closing session waits for an increment")?;
        let covers = self.terms.hold.exceeds(self.held.authorized()) == Ok(false);
        invariant(covers, "the door unlocks on no less than the hold")?;
        self.basket.check(self.terms.hold)
    }
}
