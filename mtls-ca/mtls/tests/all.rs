//! Every test of the door, in one binary: it is linked once, and what they share is compiled once. `cargo nextest`
//! still runs each in a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod log;
mod pki;

mod alarms;
mod bundle;
mod chains;
mod enrolment;
mod files;
mod follow;
mod handshake;
mod held;
mod revocation;
