//! A quote of just the registers that were asked for.

use attest_evidence::{Clock, PcrSelection, Said};

use crate::{Refusal, Signed};

/// A quote that was signed, answers the question, and is about the registers that were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedQuote {
    pub(crate) selection: PcrSelection,
    pub(crate) digest: Vec<u8>,
    clock: Clock,
}

impl CheckedQuote {
    /// Takes the quote from a statement; `asked` are the registers that must have been quoted, no more and no less.
    ///
    /// # Errors
    /// [`Refusal::NotA`] when it is no quote, [`Refusal::Selection`] when it is one of other registers.
    pub fn of(statement: &Signed<'_>, asked: PcrSelection) -> Result<Self, Refusal> {
        let Said::Quote(quoted) = statement.said() else { return Err(Refusal::NotA("quote of registers")) };
        if quoted.selection != [asked] {
            return Err(Refusal::Selection);
        }
        Ok(Self { selection: asked, digest: quoted.digest.to_vec(), clock: statement.clock() })
    }

    /// How far the TPM's clock and counters had come.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
    }
}
