//! Admin: which fridges there are, what holds for all of them, and what each has sold.
//!
//! Operators write it; the PCI zone pulls fridges and policy from its feeds and tells it of every session. A fridge sells
//! only when it is in service and its life cycle lets it. Every write is in the audit log with its author.
//!
//! It leaves how a fridge is to status, and what is in it to inventory.

mod drive;
mod fridges;
mod policy;
mod sales;
mod serve;

pub use fridges::{Fridge, LifeCycle, Location, NewFridge};
pub use policy::Policy;
pub use serve::serve;
