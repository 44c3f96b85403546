//! Every test of the service, in one binary: it is linked once, and what they share is compiled once. `cargo
//! nextest` still runs each in a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "settle/shop.rs"]
mod shop;
mod support;

mod authorize;
mod opening;
mod process;
mod relay;
mod settle;
