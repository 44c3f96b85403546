//! Door: who someone is, as a parsed name. `spiffe://<trust-domain>/<kind>/<name>`, nothing else.
//!
//! A certificate, a policy and a log line all speak of the same party, so the name is a crate of its own that imports
//! nobody: what judges a name must not need TLS to do it. Parsing is the only way to make a [`SpiffeId`], so whoever
//! holds one need not check it again. The set of services is closed: a service nobody wrote down has no name.
//!
//! It leaves certificates to `ca-mtls`, and what a party may do to `policy-engine` and to each service's own table.

mod role;
mod spiffe;
mod trust_domain;

pub use role::{Name, NameError, Role, ServiceName, UnknownService, Zone};
pub use spiffe::{SpiffeId, SpiffeIdError};
pub use trust_domain::{TrustDomain, TrustDomainError};

/// The trust domain of a system that runs on one machine.
pub const SINGLE_NODE_TRUST_DOMAIN: &str = "larder.internal";
