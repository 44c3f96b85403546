//! The test's own hands, outside the walls: it starts the house, stands before a fridge, calls the services as fridges,
//! operators and monitors do, and collects what is exported.

pub mod caller;
pub mod careless;
pub mod collector;
pub mod fridge;
pub mod house;
pub mod wallets;
pub mod world;
