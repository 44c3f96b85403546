//! Door: what the attestation service says of a device, for whoever relies on it (RFC 9334: the attestation result).
//!
//! A verdict is an entity attestation token (EAT, RFC 9711) as a CWT (RFC 8392) in `COSE_Sign1` (RFC 9052), signed by the
//! attestation service's own certificate, whose chain it carries (`x5chain`, RFC 9360). It has exactly one form: what is
//! read is written again and must be the same bytes, so nothing can be said twice, left out or slipped in.
//!
//! `transcript.rs` is the one hash of what was agreed on, `verdict.rs` what is said, `claims.rs` its form, `sealed.rs` the
//! signature around it, `issuer.rs` whether the signer may say it. It leaves to others: how a device is judged (the service), and what follows from it (the authority, which
//! compares a verdict's [`Binding`] with the order that it is asked to fulfil).

mod claims;
mod issuer;
mod refusal;
mod sealed;
mod transcript;
mod verdict;

pub use issuer::Issuer;
pub use refusal::VerdictRefusal;
pub use transcript::Transcript;
pub use verdict::{Appraised, Binding, LIFE_S, Verdict};
