//! Door: whether the answer to a device-attest-01 challenge (draft-ietf-acme-device-attest, section 5) proves that this
//! device holds this key, now, for this order. The ACME server's relying party, pure: no I/O, no clock, no chance.
//!
//! Three things must agree, and each is vouched for by another: the attestation key's certificate is of our authority
//! (`certificate.rs`); the attestation key certified the new key in answer to this very challenge (the verifier); and the
//! attestation service has said of this device, account, order, key and certificate request what it thinks of them (the
//! verdict). `judge.rs` holds them against each other, `refusal.rs` says what does not hold.
//!
//! The policy that binds the key to the firmware is only seen to be there: which policies are good the attestation service
//! knows, and its verdict names the key. It leaves to others: holding the certificate request against the verdict's (the
//! ACME protocol, when it comes), and what quarantine means (the authority).

mod certificate;
mod judge;
mod refusal;

pub use judge::{Asked, Proved, Trust};
pub use refusal::{CertificateRefusal, StatementRefusal};
