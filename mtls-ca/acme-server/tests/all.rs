//! Every test of the ACME server, in one binary: it is linked once, and what they share is compiled once. `cargo
//! nextest` still runs each in a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod fleet;
mod house;
#[path = "../../authority/tests/judges/mod.rs"]
mod judges;
mod served;
#[path = "../../acme/tests/world/mod.rs"]
mod world;

mod bundles;
mod certbot;
mod commands;
mod devices;
mod instant_acme;
mod lego;
mod probe;
mod refusing;
mod scanned;
mod serving;
