//! Every parser of what strangers send, against inputs at random. It must answer each: with a value or with a reason, never
//! with a panic, and what it answers must hold together.
//!
//! Inputs are mutations of a small committed corpus (`corpus/<target>/`). There is no instrumentation, which would need a
//! compiler of its own and code that it cannot vouch for: what guides the search is the parsers' own precision. An input
//! whose answer was never heard before (another reason, at another place) joins the corpus of the run. A run is told by its
//! seed, so whatever is found is found again. A panic ends the process with the input's seed and place in the run.
//!
//! `random.rs` is chance, `mutate.rs` what it does to an input, `targets.rs` and `messages.rs` the parsers, `answer.rs` what
//! they say, `run.rs` the search. It leaves the clock and the command line to the binary.

mod answer;
mod messages;
mod mutate;
mod random;
mod run;
mod targets;

pub use run::{Finding, Report, run};
pub use targets::{Target, targets};
