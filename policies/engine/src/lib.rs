//! Door: may this party do this? A typed question in, a [`Permit`] or a [`Denial`] out.
//!
//! The policies in `policies/cedar` are compiled in, checked strictly against their schema when the engine loads, and
//! deny whatever none of them permits. A [`Permit`] cannot be made anywhere else, so a function that asks for one can
//! only be reached by a party that was let in. Cedar stands behind this crate and nowhere else: whoever replaces it
//! has one file to write anew.
//!
//! Who a party is comes from its certificate's SPIFFE id. An operator's role is the part of his name before the first
//! `-`: `operator-ada` and `operator` are operators, `ada-operator` is an "ada" and may do nothing.
//!
//! It leaves proving the identity to `ca-mtls`, and the table inside the PCI service to that service, where a wall test
//! compares the two.

mod engine;
mod question;

pub use engine::{Denial, DenialCause, Engine, EngineError, Permit};
pub use question::{Action, Question, Resource, operator_role};
