//! The door stayed shut. A refused session keeps refusing, whatever the fridge says.
//!
//! Money may still turn up: the processor may have authorized after the driver had given up waiting, or for less than
//! the hold. What turns up is released.

use pci_contract::{EventBody, FridgeId, PurchaseRefused, ReasonCode, SessionId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Moved, State, ended::after_end, not_possible};
use crate::{
    Display, Effect, Effects, Input, Notice, Stage, StepError,
    error::{CorruptSession, invariant},
    settlement::About,
    terms::Known,
};

/// Why the door stayed shut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub(crate) known: Known,
    pub(crate) reason: ReasonCode,
    pub(crate) release: Release,
}

/// What the processor holds for a refused session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Release {
    /// It was never asked.
    NeverAsked,
    /// Nothing, as far as we know.
    NotHeld,
    /// Something that it was asked to release.
    Releasing,
    /// Nothing any more.
    Released,
    /// Something that it will not release; it expires by itself.
    Failed {
        /// The processor's reason.
        reason: ReasonCode,
    },
}

impl Refused {
    pub(crate) fn enter(
        about: About<'_>,
        known: Known,
        reason: ReasonCode,
        release: Release,
        at: Timestamp,
    ) -> (State, Effects) {
        let event = refuse(about.session, about.fridge.clone(), known.clone(), reason.clone(), at);
        let stage = Self { known, reason, release };
        let effects = [Effect::Emit(EventBody::PurchaseRefused(event))]
            .into_iter()
            .chain(stage.asked())
            .chain([stage.show()])
            .collect();
        (State::Refused(stage), effects)
    }

    /// Why.
    #[must_use]
    pub const fn reason(&self) -> &ReasonCode {
        &self.reason
    }

    /// Who was refused, as far as known.
    #[must_use]
    pub const fn known(&self) -> &Known {
        &self.known
    }

    /// What the processor holds.
    #[must_use]
    pub const fn release(&self) -> &Release {
        &self.release
    }

    pub(super) fn show(&self) -> Effect {
        Effect::Show(Display::Refused(self.reason.clone()))
    }

    pub(super) const fn asked(&self) -> Option<Effect> {
        match self.release {
            Release::Releasing => Some(Effect::Void),
            Release::NeverAsked | Release::NotHeld | Release::Released | Release::Failed { .. } => None,
        }
    }

    pub(super) fn step(self, input: Input) -> Moved {
        if let Input::Fridge(report) = input {
            let mut effects = after_end(report);
            effects.push(self.show());
            return Ok((State::Refused(self), effects));
        }
        let (release, effects) = match (&self.release, &input) {
            (_, Input::Abandoned | Input::StayedShutTimeout | Input::OpenTooLong) => (None, Effects::new()),
            (Release::NeverAsked, _) => return self.cannot(&input),
            (Release::NotHeld, Input::Authorized { amount }) if !amount.is_positive() => {
                return Err((State::Refused(self), StepError::Amount));
            }
            (Release::NotHeld, Input::Authorized { .. }) => (Some(Release::Releasing), vec![Effect::Void]),
            (_, Input::Authorized { .. } | Input::Declined { .. } | Input::PaymentUnavailable)
            | (Release::Released, Input::Voided)
            | (Release::Failed { .. }, Input::SettlementFailed { .. }) => (None, Effects::new()),
            (Release::Releasing, Input::Voided) => (Some(Release::Released), Effects::new()),
            (Release::Releasing, Input::SettlementFailed { reason }) => (
                Some(Release::Failed { reason: reason.clone() }),
                vec![Effect::Tell(Notice::VoidFailed { reason: reason.clone() })],
            ),
            _ => return self.cannot(&input),
        };
        let release = release.unwrap_or_else(|| self.release.clone());
        Ok((State::Refused(Self { release, ..self }), effects))
    }

    fn cannot(self, input: &Input) -> Moved {
        let error = not_possible(Stage::Refused, input);
        Err((State::Refused(self), error))
    }

    pub(super) const fn check(&self) -> Result<(), CorruptSession> {
        let asked = !matches!(self.release, Release::NeverAsked);
        invariant(!asked || self.known.card.is_some(), "a processor is asked about a card")
    }
}

/// The event of a refusal.
#[must_use]
pub fn refuse(id: SessionId, fridge: FridgeId, known: Known, reason: ReasonCode, now: Timestamp) -> PurchaseRefused {
    PurchaseRefused { session: id, fridge, customer: known.customer, card: known.card, reason, at: now }
}
