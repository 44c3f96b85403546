//! The whole house under test: every service as a process of its own, on real tokens, certificates and databases.
//!
//! [`in_a_house`] starts it for one test and hands over a [`House`], which knows its fridges and reads its books. What is
//! said to it goes over a [`Line`]: gRPC written out by hand, so that a test can say what no correct client would, and cut
//! a stream wherever it likes. A [`Journal`] numbers what a fridge says, a [`Visit`] is
//! a customer from card to receipt, [`Cases`] runs many named cases and tells all
//! that failed. Real fridge agents are `single_node::agents`.
//!
//! Everything here answers with a `Fault` in words, and every wait has a bound ([`PATIENCE`]).

mod cases;
mod house;
mod journal;
mod line;
mod process;
pub mod strangers;
mod talk;
mod trade;
mod visit;

use std::time::Duration;

pub use cases::Cases;
pub use house::House;
pub use journal::{Journal, new_session, now_us};
pub use line::{End, Line, code};
pub use process::in_a_house;
pub use talk::Talk;
pub use trade::{BARE, BUYER, Customer, OWNER, PRICE_MINOR, Place, STRANGER, STRANGER_TOO};
pub use visit::Visit;

/// How long anything may take on a busy machine. Nothing that works waits for it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A condition of a test, with what to say when it does not hold.
///
/// # Errors
/// The fault in the words of `otherwise`.
pub fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), single_node::Fault> {
    if holds { Ok(()) } else { Err(single_node::Fault::new(otherwise())) }
}
