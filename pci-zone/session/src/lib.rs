//! The rules of one purchase, as a machine without I/O: inputs go in, the next state and its effects come out.
//!
//! A driver admits ([`admit_fridge`], [`admit_shown`]), begins a [`Session`], feeds it what the fridge, the processor
//! and its own timers say, stores the returned state **before** it acts on the returned [`Effect`]s, and gives the
//! answers of the processor back as inputs. The service and the simulator are two drivers of this one machine.
//!
//! Why pure: a purchase must end exactly once whatever dies meanwhile. A function of (state, input, time) can be cut
//! at any point and taken up again from its stored state, and its whole state × input matrix can be a table in a test.
//!
//! One rule for what arrives at the wrong time: what could have been right a moment ago (a repeated answer, a timer
//! that had already fired, a message from a fridge whose session is over) changes nothing; what no correct driver or
//! processor says is a [`StepError`], and the session is handed back as it was.
//!
//! It leaves to others: who is asking and what the reference tables say (`pci-store`), the card itself (it knows only
//! the token), idempotency keys and retries (`pci-processors` and the driver), prices on displays (the rpc layer).

#![allow(
    clippy::result_large_err,
    reason = "a refused step hands the session back by value; both arms of the result weigh the same"
)]

mod admission;
mod basket;
mod effect;
mod error;
mod hold;
mod input;
mod session;
mod settlement;
mod stage;
mod state;
mod terms;

pub use admission::{
    Admitted, CustomerFacts, FridgeAdmitted, FridgeFacts, Policy, Refusal, Shown, Standing, admit_fridge, admit_shown,
};
pub use basket::{Basket, MAX_CODES};
pub use effect::{AlarmKind, Display, Effect, Effects, Notice, Receipt, ReceiptLine};
pub use error::{CorruptSession, StepError};
pub use hold::{Held, Limit};
pub use input::{FridgeInput, Input, InputKind, MealFacts, Numbered, Touch, TouchKind};
pub use session::{OPEN_WITHIN_S, Received, STAYED_SHUT_AFTER_S, Session, UNHEARD_AFTER_S};
pub use settlement::{Charge, Settlement};
pub use stage::Stage;
pub use state::{Authorizing, Closing, Ended, Leaving, Open, Refused, Release, State, Unlocked, refuse};
pub use terms::{Bearer, Known};
