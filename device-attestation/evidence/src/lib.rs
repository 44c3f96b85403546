//! What a TPM says of itself, in bytes that anybody may have sent: each structure is parsed once into values, with a bound
//! on everything in it and nothing left over at its end.
//!
//! The structures are those of the TPM 2.0 Library, Part 2 (revision 1.59), in the few forms that a fridge's TPM uses: ECC
//! keys on P-256 and P-384, ECDSA, SHA-1 to SHA-512. A form that is not among them is refused by its name rather than
//! half understood. The event log is that of the TCG PC Client Platform Firmware Profile (section 10), crypto-agile form. An
//! attestation object, in which a fridge carries some of them to the ACME server, is WebAuthn's.
//!
//! It leaves to others: whether any of it is true (the verifier: signatures, digests, what was asked for), and how it came
//! here (the service and the agent). It borrows from the bytes it is given, since what a TPM signed is these bytes.

mod attest;
mod attestation_object;
mod cbor;
mod event_log;
mod hash;
mod malformed;
mod pcr;
mod public;
mod reader;
mod signature;

pub use attest::{Attest, Certified, Clock, Quoted, Said};
pub use attestation_object::AttestationObject;
pub use event_log::{Digest, Event, EventLog};
pub use hash::HashAlgorithm;
pub use malformed::{Malformed, Why};
pub use pcr::PcrSelection;
pub use public::{Attributes, Curve, EccPublic, Public, Scheme, Symmetric};
pub use signature::EcdsaSignature;
