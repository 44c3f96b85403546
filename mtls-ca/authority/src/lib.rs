//! The certificate authority: says who is who, and nothing else.
//!
//! Four keys (the root and the intermediates for devices, services and attestation keys) are made inside a PKCS#11 token and
//! never leave it. What may be signed is an [`Order`] or an [`AttestationKeyOrder`], whose constructor is the whole check of
//! a request; [`Authority::issue`] and [`Authority::issue_attestation_key`] reach the signer and take nothing else. What it signs is then judged again by code that does not
//! know the template (`check`), written to an append-only log, and only then handed out: so there is no certificate that
//! the log does not know, and a mistake in the template stays inside.
//!
//! Time is an argument. It leaves names to `ca-identity`, using certificates to `ca-mtls`, and proof that a fridge is
//! what it says to the attestation service.

mod acknowledged;
mod acts;
mod approval;
mod attestation_key;
mod authority;
mod bundles;
mod chain;
mod check;
pub mod cli;
mod clock;
mod config;
mod crl;
mod error;
mod files;
mod journal;
mod key;
mod log;
mod order;
mod publish;
mod publish_bundle;
mod revoke;
mod rotate;
mod serve;
mod signer;
mod template;
mod token;
mod vouch;

pub use acts::Decision;
pub use approval::{Approval, Approver};
pub use attestation_key::{AttestationKeyOrder, TpmModel};
pub use authority::{Authority, Renewed};
pub use bundles::PublishedBundle;
pub use chain::IssuedChain;
pub use clock::now_unix_s;
pub use config::{AuthorityConfig, Pin};
pub use crl::Reason;
pub use error::{AuthorityError, Corrupt, Fault, Refusal};
pub use files::IssuedFiles;
pub use journal::Head;
pub use key::{KeyPairPem, SubjectKey};
pub use log::{Entry, EntryState, Kind, read_log};
pub use order::{Names, Order, Profile};
pub use publish_bundle::{PATH as BUNDLE_PATH, hand_out};
pub use revoke::{SignedList, Taken, Which, revoked_serials};
pub use rotate::{Proposal, Standing};
pub use serve::{Listen, serve};
