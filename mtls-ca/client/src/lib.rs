//! Door: what everybody who gets certificates from the authority needs, a fridge as well as a service: the way to its ACME
//! server ([`Web`]), what is said there ([`Account`], [`Order`]), when to ask for the next
//! certificate ([`Situation`]), and the roots that are taken along with one ([`next_bundle`]).
//!
//! Whom to trust is in `ca-mtls`; what is ordered, how a challenge is met, and what is done with a certificate, is left to
//! whoever orders it.

mod acme;
mod bundle;
mod hint;
mod order;
mod plan;
mod problem;
mod web;

pub use acme::{Account, Credentials};
pub use bundle::next_bundle;
pub use hint::hint;
pub use order::{Challenge, Identifier, Order};
pub use plan::{Situation, Span};
pub use problem::AcmeError;
pub use web::{Web, WebError};
