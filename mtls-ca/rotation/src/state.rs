//! Where each rotation stands. There is one active generation of each tier by construction, and at most one other that is
//! not yet used or not used any more; so at most one rotation of a tier is under way.
//!
//! [`Rotation::apply`] folds an act that was allowed once; it asks for no evidence, so that the state can be read back from
//! the acts at any time. Whether an act is allowed is the gates' business.

use thiserror::Error;

use crate::{Act, Direction, GenerationId, Step, Tier};

/// A generation and the root it stands under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    /// Its number, from one.
    pub number: u32,
    /// The number of its root; its own for a root.
    pub root: u32,
}

/// How far the rotation of a tier is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// There is one generation, and it is in use.
    Steady,
    /// The next one is made.
    Prepared {
        /// The one that will be used.
        next: Generation,
    },
    /// The next one is known.
    Distributed {
        /// The one that will be used.
        next: Generation,
    },
    /// The new one is in use, and one could go back.
    Activated {
        /// The one that was in use.
        old: Generation,
    },
    /// The old one signs nothing new.
    Tainted {
        /// The one that was in use.
        old: Generation,
    },
    /// Nothing lives below the old one.
    Drained {
        /// The one that was in use.
        old: Generation,
    },
}

/// One tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// What signs new certificates.
    pub active: Generation,
    /// How far its rotation is.
    pub phase: Phase,
    /// The highest number ever given; it is not given again, even when a generation was given up.
    pub last_number: u32,
}

impl Line {
    /// The generation beside the active one.
    #[must_use]
    pub const fn other(&self) -> Option<Generation> {
        match self.phase {
            Phase::Steady => None,
            Phase::Prepared { next } | Phase::Distributed { next } => Some(next),
            Phase::Activated { old } | Phase::Tainted { old } | Phase::Drained { old } => Some(old),
        }
    }

    /// The generations whose revocation lists are published: those known, until they are dropped.
    pub fn known(&self) -> impl Iterator<Item = Generation> {
        let other = self.other().filter(|_| !matches!(self.phase, Phase::Prepared { .. }));
        std::iter::once(self.active).chain(other)
    }
}

/// The trust bundle in force at the authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Its version, from one; each is greater than the one before.
    pub version: u64,
    /// When it was published, seconds since the Unix epoch.
    pub published_unix_s: i64,
    /// The numbers of the roots in it, ascending.
    pub roots: Vec<u32>,
}

/// An act that does not fit the state before it; it was never allowed there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the act \"{0}\" does not follow from the acts before it")]
pub struct Misplaced(pub Act);

/// Where all rotations stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    lines: [Line; 4],
    bundle: Bundle,
}

impl Rotation {
    /// What an authority is made as: one generation of each tier, and a bundle of the one root.
    #[must_use]
    pub fn first(made_unix_s: i64) -> Self {
        let line = Line { active: Generation { number: 1, root: 1 }, phase: Phase::Steady, last_number: 1 };
        Self { lines: [line; 4], bundle: Bundle { version: 1, published_unix_s: made_unix_s, roots: vec![1] } }
    }

    /// How a tier stands.
    #[must_use]
    pub const fn line(&self, tier: Tier) -> &Line {
        let [root, device, service, attestation] = &self.lines;
        match tier {
            Tier::Root => root,
            Tier::Device => device,
            Tier::Service => service,
            Tier::Attestation => attestation,
        }
    }

    /// The bundle in force.
    #[must_use]
    pub const fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// What signs new certificates of a tier.
    #[must_use]
    pub const fn active(&self, tier: Tier) -> GenerationId {
        GenerationId::new(tier, self.line(tier).active.number)
    }

    /// Every generation that is not dropped, the active one of each tier first.
    pub fn generations(&self) -> impl Iterator<Item = (Tier, Generation)> {
        Tier::ALL.into_iter().flat_map(|tier| {
            let line = self.line(tier);
            std::iter::once(line.active).chain(line.other()).map(move |generation| (tier, generation))
        })
    }

    /// The step that comes next, or that would be undone; none when there is nothing to undo.
    #[must_use]
    pub fn follows(&self, tier: Tier, direction: Direction) -> Option<Act> {
        let line = self.line(tier);
        let (step, generation) = match (direction, line.phase) {
            (Direction::Next, Phase::Steady) => (Step::Prepare, line.last_number.checked_add(1)?),
            (Direction::Next, Phase::Prepared { next }) => (Step::Distribute, next.number),
            (Direction::Next, Phase::Distributed { next }) => (Step::Activate, next.number),
            (Direction::Next, Phase::Activated { old }) => (Step::Taint, old.number),
            (Direction::Next, Phase::Tainted { old }) => (Step::Drain, old.number),
            (Direction::Next, Phase::Drained { old }) => (Step::Retire, old.number),
            (Direction::Back, Phase::Steady) => return None,
            (Direction::Back, Phase::Prepared { next }) => (Step::Prepare, next.number),
            (Direction::Back, Phase::Distributed { next }) => (Step::Distribute, next.number),
            (Direction::Back, Phase::Activated { .. }) => (Step::Activate, line.active.number),
            (Direction::Back, Phase::Tainted { old }) => (Step::Taint, old.number),
            (Direction::Back, Phase::Drained { old }) => (Step::Drain, old.number),
        };
        Some(Act { tier, direction, step, generation })
    }

    /// The state after an act done at this time.
    ///
    /// # Errors
    /// [`Misplaced`] when it is not the step that follows here.
    pub fn apply(&self, act: &Act, at_unix_s: i64) -> Result<Self, Misplaced> {
        if self.follows(act.tier, act.direction) != Some(*act) {
            return Err(Misplaced(*act));
        }
        let mut after = self.clone();
        let before = *self.line(act.tier);
        let root = match act.tier {
            Tier::Root => act.generation,
            _ => self.line(Tier::Root).active.number,
        };
        *after.line_mut(act.tier) = moved(before, act, root).ok_or(Misplaced(*act))?;
        if let Some(roots) = self.roots_after(act) {
            let version = self.bundle.version.checked_add(1).ok_or(Misplaced(*act))?;
            after.bundle = Bundle { version, published_unix_s: at_unix_s, roots };
        }
        Ok(after)
    }

    /// The roots of the bundle that an act brings; none when it brings none.
    pub(crate) fn roots_after(&self, act: &Act) -> Option<Vec<u32>> {
        let others = self.bundle.roots.iter().copied().filter(|root| *root != act.generation);
        match (act.tier, act.direction, act.step) {
            (Tier::Root, Direction::Next, Step::Distribute) => Some(others.chain([act.generation]).collect()),
            (Tier::Root, Direction::Back, Step::Distribute) | (Tier::Root, Direction::Next, Step::Retire) => {
                Some(others.collect())
            }
            _ => None,
        }
    }

    const fn line_mut(&mut self, tier: Tier) -> &mut Line {
        let [root, device, service, attestation] = &mut self.lines;
        match tier {
            Tier::Root => root,
            Tier::Device => device,
            Tier::Service => service,
            Tier::Attestation => attestation,
        }
    }
}

/// The line after an act that follows from it. `root` is the root a new generation would stand under.
fn moved(line: Line, act: &Act, root: u32) -> Option<Line> {
    let phase = match (act.direction, act.step, line.phase) {
        (Direction::Next, Step::Prepare, Phase::Steady) => {
            let next = Generation { number: act.generation, root };
            return Some(Line { phase: Phase::Prepared { next }, last_number: act.generation, ..line });
        }
        (Direction::Next, Step::Activate, Phase::Distributed { next }) => {
            return Some(Line { active: next, phase: Phase::Activated { old: line.active }, ..line });
        }
        (Direction::Back, Step::Activate, Phase::Activated { old }) => {
            return Some(Line { active: old, phase: Phase::Distributed { next: line.active }, ..line });
        }
        (Direction::Next, Step::Distribute, Phase::Prepared { next }) => Phase::Distributed { next },
        (Direction::Next, Step::Taint, Phase::Activated { old }) => Phase::Tainted { old },
        (Direction::Next, Step::Drain, Phase::Tainted { old }) => Phase::Drained { old },
        (Direction::Next, Step::Retire, Phase::Drained { .. }) => Phase::Steady,
        (Direction::Back, Step::Prepare, Phase::Prepared { .. }) => Phase::Steady,
        (Direction::Back, Step::Distribute, Phase::Distributed { next }) => Phase::Prepared { next },
        (Direction::Back, Step::Taint, Phase::Tainted { old }) => Phase::Activated { old },
        (Direction::Back, Step::Drain, Phase::Drained { old }) => Phase::Tainted { old },
        _ => return None,
    };
    Some(Line { phase, ..line })
}
