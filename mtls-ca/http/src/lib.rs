//! Door: a small HTTP/1.1 server for the two servers of the identity side, the authority and the attestation service.
//!
//! They answer few kinds of requests, from strangers, with keys at hand that the whole house trusts: so there is no
//! framework and no router here, and a bound on everything a caller may take ([`Limits`]). A handler gets a whole
//! [`Request`] and gives a whole [`Response`]. Who asks stands in the request: a name when the listener demands a
//! certificate ([`Tls::Mutual`]), nobody when it is the listener for enrolment ([`Tls::Enrolment`]).
//!
//! It leaves TLS and the handshake to `ca-mtls`, what is answered to the handler, and HTTP APIs to the non-PCI zone's kit.

mod exchange;
mod limits;
mod problem;
mod request;
mod response;
mod server;

pub use limits::Limits;
pub use problem::Problem;
pub use request::Request;
pub use response::Response;
pub use server::{Server, Tls};
