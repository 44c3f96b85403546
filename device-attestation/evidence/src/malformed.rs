//! Why bytes are not the structure they should be, and where.

use thiserror::Error;

/// A structure that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the {structure} cannot be read, at byte {at}: {why}")]
pub struct Malformed {
    /// Which structure, by its name in the specification or in plain words.
    pub structure: &'static str,
    /// How many of its bytes were read before.
    pub at: usize,
    /// What is wrong there.
    pub why: Why,
}

/// What is wrong with a structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Why {
    /// It ends too early.
    #[error("it ends too early")]
    Short,
    /// It goes on where it should end.
    #[error("there are bytes left over")]
    LeftOver,
    /// A part, or the whole, is larger than any may be.
    #[error("more than {most} are never needed here")]
    TooLarge {
        /// The most bytes, or entries.
        most: usize,
    },
    /// It does not begin as everything does that a TPM made itself, so it may be anything that somebody had it sign.
    #[error("the TPM did not make this itself")]
    NotGenerated,
    /// It is a structure of another kind than was expected here.
    #[error("it is another kind of statement: {0:#06x}")]
    Kind(u16),
    /// An algorithm that no fridge of ours uses.
    #[error("unknown or unsupported algorithm {0:#06x}")]
    Algorithm(u16),
    /// Something else stands where this must stand.
    #[error("{0:?} must stand here")]
    Expected(&'static str),
    /// A value that the specification forbids here.
    #[error("a value that is not allowed")]
    Value,
}
