//! Door: the only way two parties of the house speak. TLS 1.3, both sides show a certificate, and each certificate names
//! exactly one party (`spiffe://…`).
//!
//! One crate holds every rustls configuration, so that no service can make a weaker one by oversight: there is no option
//! here that turns a check off. What is an exception has a type of its own, so that it cannot be taken by mistake:
//! [`EnrolmentServer`] shows its certificate to those who have none yet. The other side of it, for who cannot tell yet whom it
//! speaks to, is [`AnyServer`], which serves for one question. Sessions are never resumed, because a resumed
//! session skips the certificate and so would outlive a replaced trust bundle. Files are re-read on demand and swapped
//! while connections run; a bad file leaves the last good one in force. What the authority revokes is refused at the
//! handshake, and live connections of it are told to close. The roots themselves are replaced by a bundle that a root trusted
//! before has signed.
//!
//! It leaves the names to `ca-identity`, making certificates to `authority`, listening, limits on connections and what a
//! peer may do to each service.

mod accept;
mod alarm;
mod any_server;
mod bundle;
mod bundle_follow;
mod config;
mod crl;
mod enrolment;
mod error;
mod follow;
mod fresh;
mod held;
mod identity;
mod peer;
mod provider;
mod reload;
mod revocation;
mod verify;

pub use accept::{AcceptError, ConnectError, accept, connect};
pub use any_server::AnyServer;
pub use bundle::{BundleDraft, BundleError, SignedBundle};
pub use bundle_follow::{BundleFollower, NextBundle};
pub use config::{client_config, server_config};
pub use crl::{CheckedCrl, CrlError};
pub use enrolment::{EnrolmentClient, EnrolmentServer};
pub use error::MtlsError;
pub use follow::{Follower, Lists};
pub use fresh::Watched;
pub use held::{HeldClient, Reload};
pub use identity::{Identity, TrustBundle};
pub use peer::{Peer, PeerError, peer};
pub use reload::{IdentityFiles, ReloadingClient, ReloadingServer};
pub use revocation::{Applied, End, LiveConnection, Revocations};
