//! Status: how each fridge is, whether it is locked for food safety, and what became of each session.
//!
//! Fridges report their own health and nobody else's; one in quarantine does, too, and is seen to be. Operators set and
//! release locks, which the PCI zone pulls. Every event of the PCI zone is booked into a projection of sessions, so that
//! whoever asks what happened has one place to ask.
//!
//! It leaves which fridges there are to admin, meals to inventory, and the money itself to the PCI zone.

mod drive;
mod fridges;
mod locks;
mod quarantine;
mod reports;
mod serve;
mod sessions;
mod settings;
mod snapshots;

pub use serve::serve;
pub use settings::Settings;
