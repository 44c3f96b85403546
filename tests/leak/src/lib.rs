//! Looks for card numbers where none may be.
//!
//! The test `leak` starts the real house (`single-node stack`, a `fridge-agent`, every service a process), buys and
//! fails to buy with cards whose numbers it knows, and then searches everything the house wrote, said or still holds:
//! databases with their write-ahead logs, logs at their most talkative, metrics, spans, events, a fridge's journal,
//! bodies and trailers of errors, and the memory of every process, two seconds after the last session ended. A number
//! is looked for in every form of [`forms::Form`], also inside gzip.
//!
//! A search that finds nothing proves nothing unless it can find. So a copy of each card in each form is planted in
//! each place first ([`planted`]), and the same search must find it there; and marks that must be there (session ids,
//! the trust domain) show that it looked at the right files and the right memory.
//!
//! **Inside the walls**: the services, `single-node`, fridge agents. **Outside**: the processor's sandbox, whose files
//! are left out, and the test itself, which must know the cards.
//!
//! **To run it**: build the product, then `cargo nextest run --release -p larder-leak`. It needs root (or
//! `CAP_SYS_PTRACE`), because the processes do not let others read their memory; without it the test fails.
//!
//! **When it fails**, each line names a card by its part in the story, the form, the place and the position. The first
//! question is not how to hide the number from this search but how it got there.
//!
//! **What it cannot see**: kernel buffers, swap, a form nobody thought of, and a copy that was gone before it looked.
//!
//! - [`canary`], [`forms`]: the cards and how they may be written; [`hunt`]: the search in bytes
//! - [`places`]: files, databases, memory; [`planted`]: copies to be found
//! - [`driver`]: the house, a fridge, its callers, a collector of spans

pub mod canary;
pub mod driver;
pub mod forms;
pub mod hunt;
pub mod places;
pub mod planted;
