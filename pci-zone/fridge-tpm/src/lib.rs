//! Everything that a fridge asks of its TPM: who made it, which of its keys attests, what the boot measured, and a key for
//! TLS that the TPM alone can use, and only while the firmware is the one that it was made under.
//!
//! `address.rs` is where the TPM is, `tpm.rs` the thread that speaks to it, `device.rs` one step at a time in a TPM that has
//! room for three keys, `template.rs` what each key may do. The questions themselves are `endorsement.rs` (the maker's key
//! and certificate, and the credential that only this TPM opens), `attest.rs` (the attestation key and what it states) and
//! `tls_key.rs`; `signer.rs` is the key for TLS as rustls takes one, `service.rs` the talk with the attestation service, `object.rs` the
//! answer to the ACME server. `stored_key.rs` is how a key is kept outside: wrapped
//! by the TPM, so the file is worth nothing elsewhere.
//!
//! It speaks through libtss2, which writes to the standard error when a TPM refuses; `TSS2_LOG=all+NONE` silences it. It
//! leaves to others: whether what the TPM says is true (the attestation service), how messages travel to it and when to ask
//! (the agent).

mod address;
mod attest;
mod device;
mod endorsement;
mod error;
mod object;
mod service;
mod signer;
mod stored_key;
mod template;
mod tls_key;
mod tpm;

pub use address::TpmAddress;
pub use attest::Statement;
pub use endorsement::Endorsement;
pub use error::{Corrupt, Fault, Refusal, TpmError};
pub use object::attestation_object;
pub use service::{Attested, Attesting, Challenge, Evidence, Message, Reply, Transport, attest};
pub use signer::TpmSigner;
pub use stored_key::StoredKey;
pub use tls_key::Signature;
pub use tpm::Tpm;
