//! What runs on a fridge: it reads cards and ID tokens, seals cards at once, asks the purchase-session service whether
//! the door may open, and reports every touch until the service says that the session is final.
//!
//! Three rules shape it. A card leaves the reader's buffer only sealed, so nothing here can store, send or log a card
//! number ([`seal`]). Every message is durable in a journal *before* it is sent, so that a power cut on either side is
//! healed by sending the journal again (`journal`). And what to do is decided by a pure machine that knows neither
//! disk, network, clock nor hardware ([`core`]); the driver (`agent`) carries its effects out, in order.
//!
//! The rules of a purchase (who may open, what is charged) are the service's; the fridge obeys. The hardware is behind
//! a port ([`hardware`]) with one simulated implementation ([`simulated`]).

pub mod agent;
mod backoff;
pub mod clock;
pub mod config;
pub mod control;
pub mod core;
pub mod disk;
mod enroll;
pub mod hardware;
pub mod journal;
mod keys;
mod link;
pub mod proto;
mod sealing;
mod sell;
mod service;
mod shared;
pub mod simulated;
mod tamper;
mod wire;
mod words;

pub use agent::{Agent, AgentHandle};
pub use config::{AgentConfig, ConfigError, Limits};
pub use enroll::{EnrollError, Enrolled};
pub use sealing::{SealError, seal};
pub use sell::{SellError, sell};
pub use simulated::{Controls, Seen, SimulatedFridge, SimulatedHardware};
