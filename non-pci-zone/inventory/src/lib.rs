//! Inventory: which meal is where, whose it is, what it costs, and what became of it.
//!
//! Operators write it, the PCI zone pulls meal types and meals from its feeds and tells it with every finalized purchase
//! which meals are gone. A sold meal keeps its feed row, because a barcode once ours must stay known; only withdrawn
//! meals are marked removed there.
//!
//! It leaves fridges to admin, owners to customers, and what a meal costs in a session to the PCI zone, which freezes
//! the price.

mod drive;
mod meal_types;
mod meals;
mod reviews;
mod serve;
mod stock;

pub use meal_types::MealType;
pub use meals::{Meal, MealState, NewMeal};
pub use serve::serve;
