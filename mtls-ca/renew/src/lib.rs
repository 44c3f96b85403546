//! `larder-renew`: gets the certificates of a machine's services from the authority (ACME, http-01) and replaces them in
//! the middle of their lives.
//!
//! It is a program of its own, so that no service carries an ACME client: what takes card data least of all. A service
//! reads its files again by itself and takes them as a whole or not at all, so this writes files and tells nobody. Each
//! certificate has a new key; a try that breaks leaves the files as they were. SIGHUP has all of them replaced now.
//!
//! `config` is what it is told, `responder` answers the authority's questions for names and addresses, `order` gets one certificate,
//! `files` keeps it, `keep` ties them together for one service. When to renew is `ca-client`'s.

pub mod clock;
mod config;
mod error;
mod files;
mod keep;
mod order;
mod responder;

pub use config::{Config, Wanted};
pub use error::RenewError;
pub use keep::{Renewal, renew};
pub use responder::{Board, Responder};
