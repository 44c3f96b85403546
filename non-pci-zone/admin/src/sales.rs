//! What was sold where and when: sums that the inbox adds to and the API shows.
//!
//! They are sums by fridge and day rather than a list of sessions, so that a year of trade stays small. `book` writes,
//! `sum` reads, and the handlers in `api` answer. It leaves which event adds what to `drive`.

mod api;
mod book;
mod sum;

pub(crate) use api::{by_day, by_fridge, by_meal_type, of_fridge};
pub(crate) use book::{add, add_meal, add_refusal};
pub(crate) use sum::Sums;
