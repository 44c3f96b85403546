//! A fridge's certificate: how it gets one by showing its hardware and firmware, keeps it over restarts, replaces it in
//! the middle of its life, and comes back by itself after months without power.
//!
//! A certificate must mean "this hardware, this firmware, now". So every one is got in the same way, the first as the
//! hundredth, with a certificate in hand or without: an order (ACME, RFC 8555), a new key in the TPM, a statement of the
//! TPM about it and about what was booted, the verdict of the attestation service, the authority's signature (`enrol`). A
//! certificate that ran out is nothing to be repaired: the next one needs none before it.
//!
//! When to do so is decided by `ca-client`, which knows neither clock nor network there. What is held is in one file that
//! is replaced whole (`store`), and a new certificate is only held once a handshake with it has worked. With each comes the
//! authority's trust bundle, if there is another. The [`Keeper`] ties the parts together and tells what the fridge is now
//! to the [`Certified`] that an agent holds, and to the status service (`report`): a fridge that may not sell is not silent.
//! It leaves selling to the agent, and what the TPM is asked to `fridge-tpm`.

mod certified;
mod enrol;
mod error;
mod keeper;
mod report;
mod settings;
mod store;

pub use certified::Certified;
pub use error::EnrolError;
pub use keeper::{Event, Keeper};
pub use settings::{Settings, SettingsError, TpmSettings};
