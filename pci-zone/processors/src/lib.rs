//! The port to card processors, its connectors, and the PCI zone's one HTTP client.
//!
//! The port ([`Processor`]) speaks of holds, captures and refunds; a connector turns that into one processor's shape of
//! HTTP. What matters most is the answer that did not come: [`AskError`] keeps apart what certainly never happened
//! ([`AskError::NotSent`]) from what may have ([`AskError::Unknown`]), because only the first may go to another
//! processor and only the same [`IdempotencyKey`] may repeat the second.
//!
//! A card number passes through once, in [`Processor::store_card`]: from a [`pci_card::Pan`] into one request body that
//! wipes itself. It is in no other type here, and in no error.
//!
//! It leaves to others: when to ask and what to do with an answer (`pci-session`, `purchase-session`), where intents
//! and references are kept (`pci-store`), and which processor to prefer.

mod answer;
mod breaker;
mod config;
mod form;
mod health;
pub mod http;
mod key;
mod port;
mod stripe;

pub use breaker::{Admission, Breaker, BreakerPolicy, Outcome};
pub use config::{ApiKey, ConfigError, ProcessorConfig};
pub use health::HealthCounts;
pub use key::{IdempotencyKey, KeyError, Verb};
pub use port::{
    Ask, AskError, Authorization, AuthorizationRef, Captured, Outlook, Processor, ReferenceError, Standing,
    StandingState, StoredCard,
};
pub use stripe::StripeShaped;
