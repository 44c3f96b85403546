//! Every test of the authority's interface, in one binary: it is linked once, and what they share is compiled once.
//! `cargo nextest` still runs each in a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod judges;
mod world;

mod command_line;
mod keeping;
mod linted;
mod live;
mod operating;
mod revoking;
mod rotating;
mod serving;
mod verifiers;
