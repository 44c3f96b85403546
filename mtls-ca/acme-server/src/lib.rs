//! The ACME server of the authority: `ca-acme` with rows, sockets and the signer around it.
//!
//! It is a crate and a program of its own, so that the authority, which holds the keys of the house, links no database and
//! listens to no stranger. One function here has certificates signed, in the module `signer`, and it takes an
//! `ApprovedOrder`, which only the protocol can make. Revocations go to the authority, which puts them on its lists.
//!
//! It leaves the protocol to `ca-acme`, HTTP to `ca-http`, signing and its log to `authority`. Whether a
//! TPM's statement can be believed is judged by `attest-statement`, under the authority's own roots.

mod attestation;
mod bars;
mod bundles;
pub mod cli;
pub mod clock;
mod error;
mod load;
mod probe;
mod server;
mod signer;
mod store;

pub use error::AcmeServerError;
pub use probe::Http01;
pub use server::AcmeServer;
pub use store::Store;
