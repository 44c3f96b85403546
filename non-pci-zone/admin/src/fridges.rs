//! Fridges as operators keep them. The record and its SQL are in `record`, the API in `api`.
//!
//! A fridge that was deleted keeps its id: its sales and sessions still name it, so the id is never used again.

mod api;
mod record;

pub(crate) use api::{batch_create, create, delete, list, patch, read};
pub use record::{Fridge, LifeCycle, Location, NewFridge};
pub(crate) use record::{Known, find};
