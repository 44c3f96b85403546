//! Admin: which fridges there are, what holds for all of them, and what each has sold.
//!
//! Operators write it; the PCI zone pulls fridges and policy from its feeds and tells it of purchases. Every write is in
//! the audit log with its author.
//!
//! It leaves how a fridge is to status, and what is in it to inventory.

mod drive;
mod fridges;
mod policy;
mod sales;
mod serve;

pub use fridges::{Fridge, LifeCycle, Location};
pub use serve::serve;
