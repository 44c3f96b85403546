//! Whether what a TPM says can be believed. It is the verifier of RFC 9334, without its surroundings: evidence goes in, with
//! what was asked for and what is known to be good, and a checked value or a reason comes out. No I/O, no clock, no chance.
//!
//! The way through: `key.rs` accepts an attestation key → `statement.rs` checks that the key signed a statement and that it
//! answers this very question → `quote.rs` and `certified.rs` take from it what it is about → `replay.rs` holds the boot's
//! log against the quoted registers → `appraisal.rs` holds each measured event against the reference values. Each step
//! takes the value that the one before gave, so none can be left out. Beside it `credential.rs` makes the secret by which a
//! TPM shows that an attestation key lives where its endorsement key does.
//!
//! It leaves to others: whether the endorsement key's maker is known (its certificate), which secret and which nonce were
//! given to whom, and who may have which certificate (the authority).

mod appraisal;
mod certified;
mod credential;
mod key;
mod quote;
mod refusal;
mod replay;
mod statement;

pub use appraisal::{Appraisal, ReferenceValues, UnknownEvent};
pub use certified::CertifiedKey;
pub use credential::{Credential, EndorsementKey};
pub use key::{AttestationKey, name};
pub use quote::CheckedQuote;
pub use refusal::{KeyFlaw, Refusal};
pub use replay::{Replay, ReplayedQuote};
pub use statement::Signed;
