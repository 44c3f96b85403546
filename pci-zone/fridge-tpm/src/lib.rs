//! What a fridge asks of its TPM: who made it, which of its keys attests, and what the boot measured.
//!
//! `address.rs` is where the TPM is, `tpm.rs` the thread that speaks to it, `device.rs` one step at a time in a TPM that has
//! room for three keys, `template.rs` what each key may do. The questions themselves are `endorsement.rs` (the maker's key
//! and certificate, and the credential that only this TPM opens) and `attest.rs` (the attestation key and what it states).
//! `stored_key.rs` is how a key is kept outside: wrapped by the TPM, so the file is worth nothing elsewhere.
//!
//! It speaks through libtss2, which writes to the standard error when a TPM refuses; `TSS2_LOG=all+NONE` silences it. It
//! leaves to others: whether what the TPM says is true (the attestation service), and when to ask (the agent).

mod address;
mod attest;
mod device;
mod endorsement;
mod error;
mod stored_key;
mod template;
mod tpm;

pub use address::TpmAddress;
pub use attest::Statement;
pub use endorsement::Endorsement;
pub use error::{Corrupt, Fault, Refusal, TpmError};
pub use stored_key::StoredKey;
pub use tpm::Tpm;
