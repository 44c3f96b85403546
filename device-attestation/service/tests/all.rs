//! Every test of the attestation service, in one binary: it is linked once, and what they share is compiled once.
//! `cargo nextest` still runs each in a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod device;
#[path = "../../../mtls-ca/mtls/tests/log/mod.rs"]
mod log;

mod attest;
mod copies;
mod forms;
mod serve;
