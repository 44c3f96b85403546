//! Decided: the events are out and the receipt is shown. All that can still change is what the processor answers.

use pci_contract::{Money, Outcome, ReasonCode, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Moved, State, not_possible, repeats};
use crate::{
    Basket, Charge, Display, Effect, Effects, FridgeInput, Input, Notice, Receipt, Settlement, Stage, StepError, Touch,
    error::{CorruptSession, invariant},
    settlement::{About, Ending, decide, owed},
    terms::{Bearer, Terms},
};

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub(crate) bearer: Bearer,
    pub(crate) authorized: Money,
    pub(crate) receipt: Receipt,
    pub(crate) settlement: Settlement,
}

impl Ended {
    /// Decides, and so ends the session.
    pub(super) fn enter(
        about: About<'_>,
        terms: &Terms,
        authorized: Money,
        basket: &Basket,
        ending: (Ending, Timestamp),
        now: Timestamp,
    ) -> Result<(State, Effects), StepError> {
        let (receipt, settlement, effects) = decide(about, terms, authorized, basket, ending, now)?;
        let bearer = terms.bearer.clone();
        Ok((State::Ended(Self { bearer, authorized, receipt, settlement }), effects))
    }

    /// The receipt.
    #[must_use]
    pub const fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// How far the capture or void has come.
    #[must_use]
    pub const fn settlement(&self) -> &Settlement {
        &self.settlement
    }

    /// What was held when it was decided.
    #[must_use]
    pub const fn authorized(&self) -> Money {
        self.authorized
    }

    pub(super) fn show(&self) -> Effect {
        Effect::Show(Display::Receipt(self.receipt.clone()))
    }

    pub(super) const fn asked(&self) -> Option<Effect> {
        match &self.settlement {
            Settlement::Pending(charge) => Some(charge.effect()),
            Settlement::Settled(_) | Settlement::Failed { .. } => None,
        }
    }

    pub(super) fn step(self, about: About<'_>, input: Input, now: Timestamp) -> Moved {
        match input {
            Input::Captured { amount } => self.settled(Charge::Capture { amount }, &input),
            Input::Voided => self.settled(Charge::Void, &input),
            Input::SettlementFailed { reason } => self.failed(about, reason, now),
            Input::Fridge(report) => {
                let mut effects = after_end(report);
                effects.push(self.show());
                Ok((State::Ended(self), effects))
            }
            Input::Authorized { amount } => match repeats(amount, self.authorized) {
                Ok(()) => Ok((State::Ended(self), Effects::new())),
                Err(error) => Err((State::Ended(self), error)),
            },
            // A raise that turns up after the driver had given it up only enlarges what the capture or void releases.
            Input::PaymentUnavailable
            | Input::Incremented { .. }
            | Input::IncrementRefused { .. }
            | Input::OpenTooLong
            | Input::StayedShutTimeout
            | Input::Abandoned => Ok((State::Ended(self), Effects::new())),
            Input::Declined { .. } => {
                let error = not_possible(Stage::Ended, &input);
                Err((State::Ended(self), error))
            }
        }
    }

    /// The processor did something; it must be what was asked.
    fn settled(self, done: Charge, input: &Input) -> Moved {
        match &self.settlement {
            Settlement::Pending(asked) if *asked == done => {
                Ok((State::Ended(Self { settlement: Settlement::Settled(done), ..self }), Effects::new()))
            }
            Settlement::Settled(asked) if *asked == done => Ok((State::Ended(self), Effects::new())),
            Settlement::Pending(Charge::Capture { .. }) | Settlement::Settled(Charge::Capture { .. })
                if matches!(done, Charge::Capture { .. }) =>
            {
                Err((State::Ended(self), StepError::Amount))
            }
            Settlement::Pending(_) | Settlement::Settled(_) | Settlement::Failed { .. } => {
                let error = not_possible(Stage::Ended, input);
                Err((State::Ended(self), error))
            }
        }
    }

    /// A capture that will never be done is owed; a void that will never be done is the operators' to look at.
    fn failed(self, about: About<'_>, reason: ReasonCode, now: Timestamp) -> Moved {
        match self.settlement {
            Settlement::Pending(charge) => {
                let effect = match charge {
                    Charge::Capture { amount } => owed(about, &self.bearer, amount, reason.clone(), now),
                    Charge::Void => Effect::Tell(Notice::VoidFailed { reason: reason.clone() }),
                };
                Ok((State::Ended(Self { settlement: Settlement::Failed { charge, reason }, ..self }), vec![effect]))
            }
            Settlement::Failed { .. } => Ok((State::Ended(self), Effects::new())),
            Settlement::Settled(_) => {
                let error = not_possible(Stage::Ended, &Input::SettlementFailed { reason });
                Err((State::Ended(self), error))
            }
        }
    }

    pub(super) fn check(&self) -> Result<(), CorruptSession> {
        let Receipt { outcome, charged, credit_used, unpaid, lines } = &self.receipt;
        let captured = match self.settlement.charge() {
            Charge::Capture { amount } => amount,
            Charge::Void => Money::zero(self.authorized.currency()),
        };
        let is_capture = matches!(self.settlement.charge(), Charge::Capture { .. });
        invariant(captured.exceeds(self.authorized) == Ok(false), "no more is captured than is held")?;
        invariant(captured.is_positive() == is_capture, "a capture takes something")?;
        invariant(credit_used.minor() >= 0 && unpaid.minor() >= 0, "credit used and unpaid are not negative")?;
        invariant(captured.plus(*unpaid) == Ok(*charged), "captured and unpaid make up what is charged")?;
        let due = lines
            .iter()
            .filter(|line| line.price.minor() >= 0)
            .try_fold(Money::zero(charged.currency()), |sum, line| sum.plus(line.price));
        invariant(due.is_ok() && due == charged.plus(*credit_used), "charged and credit make up the prices")?;
        let fits = match outcome {
            Outcome::Charged => charged.is_positive(),
            Outcome::Free => charged.is_zero() && !lines.is_empty(),
            Outcome::NoPurchase => charged.is_zero() && lines.is_empty(),
            Outcome::Abandoned => true,
        };
        invariant(fits, "the outcome is what the sums say")
    }
}

/// What a fridge says of the door or a meal after the end is not charged, but it is not lost either.
pub(super) fn after_end(report: FridgeInput) -> Effects {
    match report {
        FridgeInput::Touched(Touch { kind, code, .. }) => vec![Effect::Tell(Notice::TouchAfterEnd { kind, code })],
        FridgeInput::DoorOpened => vec![Effect::Tell(Notice::OpenedAfterEnd)],
        FridgeInput::DoorClosed | FridgeInput::DoorStayedShut => Effects::new(),
    }
}
