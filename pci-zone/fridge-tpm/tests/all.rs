//! Every test of what a fridge asks of its TPM, in one binary: it is linked once, and what they share is compiled
//! once. `cargo nextest` still runs each in a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../../../device-attestation/service/tests/device/mod.rs"]
mod device;
mod fridge;
#[path = "../../../mtls-ca/mtls/tests/pki/mod.rs"]
mod pki;

mod faults;
mod identity;
mod service;
mod tls_key;
