//! Rotation of the authority's keys, as a pure state machine: state, direction and evidence in; an act and its effects out,
//! or a refusal that says why not, and when.
//!
//! A key is never replaced in one moment. A new generation is prepared, made known, and only then used; the old one signs
//! nothing new, is waited for, and only then dropped. Each step is behind a gate that asks for evidence that nobody is shut
//! out: what each gateway has acknowledged, and which certificates live. One step can be undone at a time, until the old
//! generation is dropped.
//!
//! There is no I/O, clock or key here. It leaves collecting evidence, asking people, carrying out effects and keeping acts
//! to `authority`, whose state is the fold of its acts.

mod act;
mod evidence;
mod gate;
mod state;
mod tier;

pub use act::{Act, Direction, Effect, Step};
pub use evidence::{Evidence, Heard, Holder, Leaf};
pub use gate::{Planned, Refusal, moment};
pub use state::{Bundle, Generation, Line, Misplaced, Phase, Rotation};
pub use tier::{GenerationId, Tier, UnknownGeneration};
