//! What the tests of crashes, faults and whole days share.
//!
//! `day` makes a world and what people do in it, by chance from a seed. `rules` says what must come of it: a plain
//! second implementation of the rules of a purchase, without time, crashes or a database. `house` starts the whole
//! house and kills parts of it, `fridge` and `process` are the bodies that stand in it, and `books` asks everybody
//! who keeps books whether they agree with the rules.
#![allow(dead_code, unused_imports, reason = "each test uses its part")]

pub(crate) mod books;
pub(crate) mod chance;
pub(crate) mod day;
pub(crate) mod fridge;
pub(crate) mod house;
pub(crate) mod process;
pub(crate) mod rules;
pub(crate) mod stage;
pub(crate) mod visit;
pub(crate) mod world;
