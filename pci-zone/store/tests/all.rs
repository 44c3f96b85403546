//! Every test of the store, in one binary: it is linked once, and what they share is compiled once. `cargo nextest`
//! still runs each in a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

mod crash;
mod group_commit;
mod key_checks;
mod outbox;
mod overlay;
mod reference;
mod together;
