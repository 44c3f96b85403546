//! The stages of a session. Each holds exactly what is known there, and each is a file that says what every input
//! means to it: a move takes the stage by value and gives the next one, or hands it back with a [`StepError`].
//!
//! ```text
//! Authorizing ─→ Unlocked ─→ Open ─→ Ended
//!      │             └────────│──────↗
//!      ↓                      ↓    ↗
//!   Refused                Closing            (the door is shut, an increment is still in flight)
//! ```

mod authorizing;
mod closing;
mod ended;
mod open;
mod refused;
mod unlocked;

pub use authorizing::{Authorizing, Leaving};
pub use closing::Closing;
pub use ended::Ended;
pub use open::Open;
use pci_contract::{Money, Timestamp};
pub use refused::{Refused, Release, refuse};
use serde::{Deserialize, Serialize};
pub use unlocked::Unlocked;

use crate::{
    Display, Effect, Effects, Input, Stage, StepError, error::CorruptSession, settlement::About, terms::Terms,
};

/// Where a session is, with all that is known there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "one lives at a time, and most live as Open")]
pub enum State {
    /// The processor was asked for the hold.
    Authorizing(Authorizing),
    /// The door may be opened.
    Unlocked(Unlocked),
    /// The door is open.
    Open(Open),
    /// The door is shut; the decision waits for an increment in flight.
    Closing(Closing),
    /// Decided; the processor may still have to answer.
    Ended(Ended),
    /// The door stayed shut.
    Refused(Refused),
}

/// What a move gives: the next stage and its effects, or the stage as it was and why it stays.
pub(crate) type Moved = Result<(State, Effects), (State, StepError)>;

impl State {
    /// Which stage this is.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        match self {
            Self::Authorizing(_) => Stage::Authorizing,
            Self::Unlocked(_) => Stage::Unlocked,
            Self::Open(_) => Stage::Open,
            Self::Closing(_) => Stage::Closing,
            Self::Ended(_) => Stage::Ended,
            Self::Refused(_) => Stage::Refused,
        }
    }

    pub(crate) fn step(self, about: About<'_>, input: Input, now: Timestamp) -> Moved {
        match self {
            Self::Authorizing(stage) => stage.step(about, input, now),
            Self::Unlocked(stage) => stage.step(about, input, now),
            Self::Open(stage) => stage.step(about, input, now),
            Self::Closing(stage) => stage.step(about, input, now),
            Self::Ended(stage) => stage.step(about, input, now),
            Self::Refused(stage) => stage.step(input),
        }
    }

    /// What a fridge that comes back must be told again.
    pub(crate) fn resume(&self) -> Effects {
        match self {
            Self::Authorizing(_) | Self::Closing(_) => Effects::new(),
            Self::Unlocked(stage) => vec![stage.unlock()],
            Self::Open(stage) => stage.standing(),
            Self::Ended(stage) => vec![stage.show()],
            Self::Refused(stage) => vec![stage.show()],
        }
    }

    /// The question that the processor has not answered yet.
    pub(crate) const fn asked(&self) -> Option<Effect> {
        match self {
            Self::Authorizing(stage) => Some(Effect::Authorize { amount: stage.terms.hold }),
            Self::Unlocked(_) => None,
            Self::Open(stage) => stage.held.asked(),
            Self::Closing(stage) => stage.held.asked(),
            Self::Ended(stage) => stage.asked(),
            Self::Refused(stage) => stage.asked(),
        }
    }

    /// The terms, while they still bind.
    pub(crate) const fn terms(&self) -> Option<&Terms> {
        match self {
            Self::Authorizing(stage) => Some(&stage.terms),
            Self::Unlocked(stage) => Some(&stage.terms),
            Self::Open(stage) => Some(&stage.terms),
            Self::Closing(stage) => Some(&stage.terms),
            Self::Ended(_) | Self::Refused(_) => None,
        }
    }

    /// Refuses a stored state that no run of the machine could have written.
    pub(crate) fn check(&self) -> Result<(), CorruptSession> {
        if let Some(terms) = self.terms() {
            terms.check()?;
        }
        match self {
            Self::Authorizing(_) => Ok(()),
            Self::Unlocked(stage) => stage.check(),
            Self::Open(stage) => stage.check(),
            Self::Closing(stage) => stage.check(),
            Self::Ended(stage) => stage.check(),
            Self::Refused(stage) => stage.check(),
        }
    }
}

/// The refusal of an input that cannot be at this stage.
const fn not_possible(stage: Stage, input: &Input) -> StepError {
    StepError::NotPossible { stage, input: input.kind() }
}

/// A repeated answer to the authorization: at most what is known to be held.
fn repeats(amount: Money, authorized: Money) -> Result<(), StepError> {
    if amount.is_positive() && !amount.exceeds(authorized)? { Ok(()) } else { Err(StepError::Amount) }
}

/// Tells the fridge.
fn show(display: Display) -> Effects {
    vec![Effect::Show(display)]
}
