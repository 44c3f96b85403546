//! Whether what a TPM says can be believed. It is the verifier of RFC 9334, without its surroundings: evidence goes in, with
//! what was asked for and what is known to be good, and a checked value or a reason comes out. No I/O, no clock, no chance.
//!
//! The way through: `key.rs` accepts an attestation key → `statement.rs` checks that the key signed a statement and that it
//! answers this very question → `quote.rs` and `certified.rs` take from it what it is about → `replay.rs` holds the boot's
//! log against the quoted registers → `appraisal.rs` holds each measured event against the reference values. Each step
//! takes the value that the one before gave, so none can be left out. Beside it `certificate.rs` judges the certificate by
//! which a TPM's maker vouches for an endorsement key, and `credential.rs` makes the secret by which a TPM shows that an
//! attestation key lives where that endorsement key does.
//!
//! It leaves to others: which makers are believed, which secret and which nonce were given to whom (the service), and who
//! may have which certificate (the authority).

mod appraisal;
mod certificate;
mod certified;
mod credential;
mod key;
mod quote;
mod refusal;
mod replay;
mod spki;
mod statement;

pub use appraisal::{Appraisal, ReferenceValues, UnknownEvent};
pub use certificate::{EndorsementCertificate, MakerRoots, PermanentIdentifier, TpmModel};
pub use certified::CertifiedKey;
pub use credential::{Credential, EndorsementKey};
pub use key::{AttestationKey, name};
pub use quote::CheckedQuote;
pub use refusal::{CertificateRefusal, KeyFlaw, Refusal, RootsFlaw};
pub use replay::{Replay, ReplayedQuote};
pub use statement::Signed;
