//! The rules of a purchase, held against the machine: who is admitted, the five stories, every state against every
//! input, the named cases from the field, what is stored, and properties over random purchases.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod admission;
mod basket;
mod cases;
mod holds;
mod matrix;
mod properties;
mod stored;
mod stories;
mod world;
