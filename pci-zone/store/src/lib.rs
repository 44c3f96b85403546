//! The purchase database: the only crate of the PCI zone with SQL.
//!
//! It keeps sessions, touches, payment intents, the outbox, the reference copies that were pulled from the feeds, and
//! the processor's references of cards; never a card number. Three ideas carry it:
//!
//! - **One writer.** All writes go through one task that writes what waits as one group ([`Store::commit`]): a flush of
//!   the disk serves many sessions, and one bad batch sinks nobody else.
//! - **Every part of a write is keyed**, so what was lost on the way may be sent again, and the outbox numbers events
//!   1, 2, 3 … without gaps.
//! - **Read your own writes.** [`Reference`] answers from memory with what the zone's own events say counted in, before
//!   the services outside have booked them.
//!
//! It leaves what a purchase means to `pci-session`, and who may write to the driver that holds the fridge's lease.

mod batch;
mod dialect;
mod error;
mod feeds;
mod group;
mod key_checks;
mod migrations;
mod outbox;
mod prepared;
mod read;
mod reference;
mod session_facts;
mod shape;
mod statements;
mod store;
mod together;
mod writer;

pub use batch::{Batch, Enrollment, IntentOutcome, IntentWrite, NewEvent, SessionWrite, StoredCard, TouchRecord, Verb};
pub use error::{CommitError, Contradiction, Corrupt, Fault, FeedError, StoreError};
pub use outbox::{EVENT_SOURCE, EventText};
pub use pci_session::TouchKind;
pub use read::{Intent, PendingIntent, StoredSession};
pub use reference::{FridgeKnown, Reference, ReferenceRow};
pub use store::Store;
