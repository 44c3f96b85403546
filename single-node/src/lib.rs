//! Both zones on one machine: what `./run` hands over to.
//!
//! It makes the tokens and the authority, starts every service as a process of its own, loads a world through their
//! interfaces, and then demonstrates, replays a day, measures, or just stays up. It may know everything; nobody knows
//! it, and no product binary links it.

pub mod acme;
pub mod agents;
pub mod bench;
pub mod books;
pub mod children;
pub mod cli;
pub mod clients;
pub mod config;
pub mod control;
pub mod day;
pub mod demo;
pub mod enrolment;
mod fault;
pub mod hsm;
pub mod issuer;
pub mod layout;
pub mod load;
pub mod ops;
pub mod people;
pub mod ports;
pub mod renewal;
pub mod replay;
pub mod secrets;
pub mod services;
pub mod stack;
pub mod start;
pub mod world;

pub use fault::Fault;
