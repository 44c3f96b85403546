//! The steps of a rotation, as they are asked for, kept and carried out.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{GenerationId, Tier};

/// Which way to go from where a rotation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// One step on.
    Next,
    /// One step back.
    Back,
}

/// A step of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The new generation's key and certificate are made; nobody knows them yet.
    Prepare,
    /// It is made known: a root by the next trust bundle, an intermediate by its revocation list.
    Distribute,
    /// What is signed from now on is signed by it.
    Activate,
    /// The old one signs nothing new, and nothing below it may go back to it.
    Taint,
    /// Nothing lives any more below the old one.
    Drain,
    /// The old one is dropped: out of the bundle, its list no longer published, its key may be destroyed.
    Retire,
}

impl Step {
    /// The step's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Distribute => "distribute",
            Self::Activate => "activate",
            Self::Taint => "taint",
            Self::Drain => "drain",
            Self::Retire => "retire",
        }
    }
}

/// One step of one rotation, done or undone. The state of all rotations is the fold of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// What is rotated.
    pub tier: Tier,
    /// Whether the step is done or undone.
    pub direction: Direction,
    /// The step.
    pub step: Step,
    /// The number of the generation that it concerns: the new one up to its activation, then the old one.
    pub generation: u32,
}

impl Act {
    /// The generation it concerns.
    #[must_use]
    pub const fn id(&self) -> GenerationId {
        GenerationId::new(self.tier, self.generation)
    }

    /// Whether it makes an authority or ends one for good.
    #[must_use]
    pub const fn makes_or_retires(&self) -> bool {
        matches!((self.direction, self.step), (Direction::Next, Step::Prepare | Step::Retire))
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let undo = if self.direction == Direction::Back { "undo " } else { "" };
        write!(f, "{undo}{} {}", self.step.as_str(), self.id())
    }
}

/// What is to be done for an act, in this order and before the act counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make this generation's key, and its certificate under that root (itself, for a root).
    Make {
        /// The generation.
        generation: GenerationId,
        /// The number of the root.
        under: u32,
    },
    /// Sign this generation's first revocation list.
    SignList(GenerationId),
    /// Sign the next trust bundle.
    SignBundle {
        /// Its version.
        version: u64,
        /// The numbers of the roots in it.
        roots: Vec<u32>,
        /// The number of the root that signs it, which is in the bundle before it.
        by: u32,
    },
    /// Nothing needs this generation's key any more.
    KeyMayBeDestroyed(GenerationId),
}

#[cfg(test)]
mod tests {
    use super::{Act, Direction, Step};
    use crate::Tier;

    #[test]
    fn an_act_is_written_as_people_say_it() {
        let act = Act { tier: Tier::Device, direction: Direction::Next, step: Step::Prepare, generation: 2 };
        assert_eq!(act.to_string(), "prepare device-2");
        assert_eq!(Act { direction: Direction::Back, ..act }.to_string(), "undo prepare device-2");
    }

    #[test]
    fn making_and_retiring_are_told_from_the_rest() {
        let act = |direction, step| Act { tier: Tier::Root, direction, step, generation: 1 };
        for (step, grave) in [
            (Step::Prepare, true),
            (Step::Distribute, false),
            (Step::Activate, false),
            (Step::Taint, false),
            (Step::Drain, false),
            (Step::Retire, true),
        ] {
            assert_eq!(act(Direction::Next, step).makes_or_retires(), grave, "{step:?}");
            assert!(!act(Direction::Back, step).makes_or_retires(), "{step:?}");
        }
    }
}
