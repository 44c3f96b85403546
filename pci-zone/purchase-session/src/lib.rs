//! The purchase-session service: the one program of the house that takes card data.
//!
//! A fridge speaks to it over one mutual-TLS port. [`serve`] listens, [`authorize`] permits, [`rpc`] parses, [`drive`]
//! carries out what the pure machine of `pci-session` decides, with the vault, the processor and the store. [`relay`]
//! tells the other zone in events, [`feeds`] pulls what must be known from it, [`revocations`] what the authority took
//! back; nothing else crosses the wall.

pub mod authority;
pub mod authorize;
pub mod clock;
pub mod config;
pub mod drive;
pub mod feeds;
pub mod guarded;
pub mod harden;
pub mod message;
pub mod metrics;
pub mod open_files;
pub mod otlp;
mod prune;
pub mod relay;
pub mod rpc;
pub mod serve;
mod start;
pub mod telemetry;

pub use start::{StartError, run};
