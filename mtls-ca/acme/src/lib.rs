//! ACME as a pure protocol: RFC 8555 with external account binding, RFC 8738 (addresses), RFC 9773 (renewal information),
//! profiles and device-attest-01. Rows, a request, the time and chance go in; an answer and effects come out. Nothing here waits, reads
//! a file, opens a connection or signs.
//!
//! A request goes through it in three steps: [`Acme::open`] looks at its form and says which rows it needs, the caller
//! loads them, [`Acme::handle`] answers. What else is to be done are [`Effect`]s. A certificate can be signed for an
//! [`ApprovedOrder`] alone, which is made here and nowhere else; so no other way leads from a request to the signer.
//!
//! What an account may have is not its own to say: it is in the external account key ([`EabKey`]) it was made with, one
//! party a key. Of the certificate signing request only the key is believed.
//!
//! It leaves rows, sockets and the signer to the authority, and judging a TPM's statement to the attestation service.

mod account;
mod acme;
mod answer;
mod approved;
mod certificate;
mod chance;
mod csr;
mod grant;
mod handle;
mod host;
mod jwk;
mod jws;
mod nonce;
mod order;
mod problem;
mod request;
mod url;

pub use account::{Account, AccountStatus};
pub use acme::Acme;
pub use answer::{Answer, Body, Effect, ProbeHttp01, Revoke, VerifyDeviceAttestation};
pub use approved::ApprovedOrder;
pub use certificate::{Certificate, Revoked};
pub use chance::Chance;
pub use grant::{EabKey, Grant, MOST_NAMES, Profile};
pub use host::Host;
pub use jwk::Jwk;
pub use order::{Authorization, DeviceProof, Failure, Order, Proof, Stage};
pub use problem::{Kind, Problem};
pub use request::{AccountBy, Context, MOST_BODY_BYTES, Needs, Opened, OrderBy, Request};
pub use url::{Route, Urls};
