//! What the machine says when it cannot move, sorted by whose fault it is.
//!
//! [`StepError`] is the driver's or the processor's: the input cannot be, here. [`CorruptSession`] is nobody's to
//! repair: a stored state that no run of this machine could have written. A customer's refusal is neither; it is a
//! `Refusal` (see `admission`).

use pci_contract::MoneyError;
use thiserror::Error;

use crate::{InputKind, Stage};

/// Why an input was not taken. The session is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StepError {
    /// No correct driver or processor says this at this stage.
    #[error("{input:?} cannot be in stage {stage:?}")]
    NotPossible {
        /// Where the session is.
        stage: Stage,
        /// What was said.
        input: InputKind,
    },
    /// The amount contradicts what was asked, is not positive, or a price is negative.
    #[error("the amount contradicts what was asked")]
    Amount,
    /// The sum does not fit, or two currencies met.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// The numbers of the fridge's messages are used up.
    #[error("no message number is left")]
    Exhausted,
}

impl StepError {
    /// A stable code for logs and metrics.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotPossible { .. } => "not_possible",
            Self::Amount => "amount",
            Self::Money(_) => "money",
            Self::Exhausted => "exhausted",
        }
    }
}

/// A stored session that breaks the invariant named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a stored session is impossible: {0}")]
pub struct CorruptSession(pub &'static str);

/// `Ok` when `holds`, else the broken invariant by name.
pub(crate) const fn invariant(holds: bool, name: &'static str) -> Result<(), CorruptSession> {
    if holds { Ok(()) } else { Err(CorruptSession(name)) }
}
