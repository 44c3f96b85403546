//! Whole days of trade around the pure purchase machine, from one seed, with everything failing that may fail.
//!
//! Two fridges with a journal each, a service that stores before it acts, a processor with idempotency keys, and a
//! clock that jumps from one happening to the next. The machine under test is `pci-session` itself; the service here
//! is a second driver of it, next to the real one, and does what the machine's documentation asks of a driver.
//!
//! **What goes wrong on purpose.** Streams are cut; messages come late, twice, and in another order; fridges reboot,
//! with their journal or without; the service dies before a commit, after it, and between any two effects; questions
//! to the processor and its answers are lost, late or doubled; it declines, grants less, refuses raises, and now and
//! then fails a capture or a void for good.
//!
//! **What counts as failure** (see `judge`):
//! - a session without exactly one ending, or that never comes to rest once the failures stop;
//! - a charge doubled: the processor captures twice, beyond its hold, or under two keys;
//! - a charge lost: captured, unpaid and credit do not make up the prices of the meals that really left;
//! - somebody owes what his card was never refused;
//! - money held for a session that is over;
//! - an event missing, doubled, or that says other than what happened: meals, alarms, thefts, amounts owed;
//! - credit spent twice by two sessions of one customer;
//! - a fridge told that its session is over while its door is open, told to unlock after it had reported the door
//!   shut, told another end than the world was, or told nothing when it comes back;
//! - a step refused by the machine, since here every peer is correct.
//!
//! **What does not.** A session whose fridge lost its journal is charged for what the service had counted by then, and
//! what happened unseen is the inventory's to find. A customer may be refused because the processor did not answer in
//! time. A capture that fails for good is owed. An alarm may sound late or not at all while the stream is down.
//!
//! **What it leaves to others**: SQL, leases and fences (the store's tests), TLS and gRPC, real processors (the
//! connector's tests), a fridge that lies. Bytes of a dead fridge's old connection do not arrive after it has rebooted
//! without its journal.

mod chance;
mod fridge;
mod judge;
mod outcome;
mod processor;
mod run;
mod service;
mod store;
mod world;

pub use outcome::{Failure, Plan, Report};
pub use run::run;
