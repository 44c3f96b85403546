//! Whether what a TPM says can be believed. It is the verifier of RFC 9334, without its surroundings: evidence goes in, with
//! what was asked for and what is known to be good, and a checked value or a reason comes out. No I/O, no clock, no chance.
//!
//! The way through: `key.rs` accepts an attestation key → `statement.rs` checks that the key signed a statement and that it
//! answers this very question → `quote.rs` and `certified.rs` take from it what it is about → `replay.rs` holds the boot's
//! log against the quoted registers → `appraisal.rs` holds each measured event against the reference values. Each step
//! takes the value that the one before gave, so none can be left out.
//!
//! It leaves to others: that the attestation key belongs to a genuine TPM (the service, by activating a credential), which
//! nonce was given to whom, and who may have which certificate (the authority).

mod appraisal;
mod certified;
mod key;
mod quote;
mod refusal;
mod replay;
mod statement;

pub use appraisal::{Appraisal, ReferenceValues, UnknownEvent};
pub use certified::CertifiedKey;
pub use key::{AttestationKey, KeyFlaw, name};
pub use quote::CheckedQuote;
pub use refusal::Refusal;
pub use replay::{Replay, ReplayedQuote};
pub use statement::Signed;
