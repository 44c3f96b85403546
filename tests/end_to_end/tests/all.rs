//! Every end-to-end test, in one binary: it is linked once, and what they share is compiled once. `cargo nextest`
//! still runs each in a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

mod attested;
mod certificates;
mod crashes;
mod days;
mod devices;
mod processor;
mod protocol_access;
mod protocol_cards;
mod protocol_order;
mod protocol_streams;
mod revocation;
mod rotation;
