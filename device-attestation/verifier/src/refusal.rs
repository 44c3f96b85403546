//! Why evidence is not believed, in words for whoever stands before the fridge.

use attest_evidence::Malformed;
use thiserror::Error;

use crate::key::KeyFlaw;

/// Why evidence is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// A structure cannot be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A key is not of the kind it must be.
    #[error(transparent)]
    Key(#[from] KeyFlaw),
    /// The signature is not of this key over this statement.
    #[error("the attestation key did not sign this statement, or it was altered since")]
    Signature,
    /// The statement answers another question.
    #[error("the statement answers an earlier or another question: its nonce is not the one that was given")]
    Nonce,
    /// The statement is about something else.
    #[error("the statement is no {0}")]
    NotA(&'static str),
    /// Other registers were quoted than were asked for.
    #[error("other registers were quoted than were asked for")]
    Selection,
    /// The log does not tell how the registers came to be.
    #[error("the boot log does not lead to the quoted registers: it was altered, cut, or is of another boot")]
    Log,
    /// No credential can be made of it.
    #[error("a credential's secret has 1 to 32 bytes, and chance must be had to seal it")]
    Secret,
    /// The key that is vouched for is another.
    #[error("the key that is vouched for is another than the one presented")]
    AnotherKey,
}
