//! Every test of the protocol, in one binary: it is linked once, and what they share is compiled once. `cargo
//! nextest` still runs each in a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod world;

mod addresses;
mod devices;
mod flows;
mod moves;
mod openssl;
mod refusals;
mod rude;
mod withdrawn;
