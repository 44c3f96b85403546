//! Meals: each one single thing with a barcode, a place, a state, and perhaps an owner.
//!
//! Here are the record and its SQL; `meals::…` handlers answer the API. It leaves what a purchase does to a meal to
//! `drive`.

mod api;
mod record;

pub(crate) use api::{batch_create, create, list, patch, read};
pub use record::{Meal, MealState, NewMeal};
pub(crate) use record::{find, save};
