//! The attestation service: who says with evidence what he is gets a signed verdict that the authority believes (RFC 9334:
//! the verifier). It is open to whoever comes, since who comes may have no certificate; the TPM proves who it is.
//!
//! An attestation has two steps. `begin` takes the endorsement certificate and the keys and gives a credential that only
//! this TPM opens, for this attestation key. `finish` takes what was in it, and the evidence; all of both steps is one hash,
//! which the TPM has signed, so nothing can be exchanged in between. A verdict always comes of evidence that is believed:
//! firmware that is not known, or a TPM that seems to be copied, gives a quarantine with its reasons, not silence.
//!
//! `wire.rs` is what goes over the wire, `open.rs` what is under way, `evidence.rs` asks the verifier, `history.rs` finds
//! copies, `values.rs` are the reference values, `store.rs` is the database, `signer.rs` the key for verdicts,
//! `authority.rs` asks for the attestation key's certificate, and `drive.rs` puts them together. Around it stand `routes.rs` (HTTP), `serve.rs` (files and the listener), `config.rs` and
//! `cli.rs`. It leaves signing certificates to the authority, and HTTP and TLS to `ca-http` and `ca-mtls`.

mod authority;
mod cli;
mod clock;
mod config;
mod drive;
mod error;
mod evidence;
mod history;
mod open;
mod routes;
mod serve;
mod serve_error;
mod signer;
mod store;
mod text;
mod values;
mod wire;

pub use authority::{AttestationKeyRequest, AuthorityClient, Certifier};
pub use cli::Command;
pub use clock::now_unix_s;
pub use config::{AuthorityConfig, Config};
pub use drive::Attestation;
pub use error::{AttestError, Corrupt, Fault, Refusal};
pub use open::LIFE_S;
pub use serve::Service;
pub use serve_error::ServeError;
pub use signer::Signer;
pub use store::Store;
pub use values::Values;
pub use wire::{Begin, Begun, Finish, Finished};
