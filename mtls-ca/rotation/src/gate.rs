//! The gates: what must be shown before a step is taken, so that nobody is shut out and nothing comes back that was given
//! up.
//!
//! | step | is taken only when |
//! |---|---|
//! | activate a root | every follower has acknowledged the bundle with it, and no carrier holds an older one |
//! | taint a root | everything in use or about to be used stands under the new one |
//! | drain | nothing lives below the old one; below a root, no intermediate is left either |
//! | retire | nothing needs its revocation list any more |
//! | undo activate of a root | no intermediate stands under it |
//! | undo activate of an intermediate | the one before does not stand under a tainted root |
//! | undo distribute | nothing lives below the new one |

use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::{Act, Direction, Effect, Evidence, GenerationId, Phase, Rotation, Step, Tier};

/// Why a step is not taken now. The texts say what to do; times are seconds since the Unix epoch, and dates in the texts.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// No rotation is under way.
    #[error("no rotation of the {0} is under way, so there is nothing to undo; what was retired does not come back")]
    NothingToUndo(Tier),
    /// A number too many.
    #[error("the {0} has no more numbers for generations")]
    NoMoreNumbers(Tier),
    /// Followers that do not have the bundle yet.
    #[error(
        "{} not acknowledged bundle {version}; see that each runs and reaches the authority, or let its certificate run out",
        have(behind)
    )]
    NotAcknowledged {
        /// The version that is needed.
        version: u64,
        /// Who lacks it, and the version that each has, if it ever said.
        behind: Vec<(String, Option<u64>)>,
    },
    /// Carriers that took an older bundle along.
    #[error(
        "{} of fridges or operators older than bundle {version} live until {}; wait until then, or renew them",
        certificates(*count),
        moment(*until_unix_s)
    )]
    OlderCarriers {
        /// The version that is needed.
        version: u64,
        /// How many certificates.
        count: usize,
        /// The last second of the last of them.
        until_unix_s: i64,
    },
    /// Certificates that live below a generation.
    #[error(
        "{} under {generation} live until {}; wait until then, or have their holders renew and wait less",
        certificates(*count),
        moment(*until_unix_s)
    )]
    LiveLeaves {
        /// The generation.
        generation: GenerationId,
        /// How many certificates.
        count: usize,
        /// The last second of the last of them.
        until_unix_s: i64,
    },
    /// A list that still has to be published.
    #[error("the revocation list of {generation} is needed until {}; wait until then", moment(*until_unix_s))]
    ListNeeded {
        /// The generation.
        generation: GenerationId,
        /// The last second that it is needed.
        until_unix_s: i64,
    },
    /// Intermediates that stand under a root that they should not, or not yet, stand under.
    #[error(
        "{} under {root}; rotate {} first (`larder-ca rotate {} {way}`)",
        stand(generations),
        them(generations),
        first(generations)
    )]
    StandsUnder {
        /// The intermediates.
        generations: Vec<GenerationId>,
        /// The root.
        root: GenerationId,
        /// Which way the intermediates have to go: `next` or `back`.
        way: &'static str,
    },
    /// The generation to go back to stands under a root that was given up.
    #[error("{generation} stands under {root}, which is tainted; take that back first (`larder-ca rotate root back`)")]
    UnderTainted {
        /// The generation to go back to.
        generation: GenerationId,
        /// Its root.
        root: GenerationId,
    },
}

impl Refusal {
    /// From when on the step would be taken, seconds since the Unix epoch, if only time has to pass.
    #[must_use]
    pub const fn possible_from_unix_s(&self) -> Option<i64> {
        match self {
            Self::OlderCarriers { until_unix_s, .. }
            | Self::LiveLeaves { until_unix_s, .. }
            | Self::ListNeeded { until_unix_s, .. } => Some(until_unix_s.saturating_add(1)),
            _ => None,
        }
    }

    /// A stable code for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NothingToUndo(_) => "nothing_to_undo",
            Self::NoMoreNumbers(_) => "no_more_numbers",
            Self::NotAcknowledged { .. } => "not_acknowledged",
            Self::OlderCarriers { .. } => "older_carriers",
            Self::LiveLeaves { .. } => "live_leaves",
            Self::ListNeeded { .. } => "list_needed",
            Self::StandsUnder { .. } => "stands_under",
            Self::UnderTainted { .. } => "under_tainted",
        }
    }
}

/// A step that may be taken now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The step.
    pub act: Act,
    /// What is to be done before it counts.
    pub effects: Vec<Effect>,
}

impl Rotation {
    /// The one step in a direction, if the evidence lets it through.
    ///
    /// # Errors
    /// [`Refusal`] says why not, and from when on if only time has to pass.
    pub fn plan(&self, tier: Tier, direction: Direction, evidence: &Evidence) -> Result<Planned, Refusal> {
        let act = self.follows(tier, direction).ok_or(match direction {
            Direction::Next => Refusal::NoMoreNumbers(tier),
            Direction::Back => Refusal::NothingToUndo(tier),
        })?;
        match (direction, act.step, tier) {
            (Direction::Next, Step::Activate, Tier::Root) => self.all_have_the_bundle(evidence)?,
            (Direction::Next, Step::Taint, Tier::Root) => self.nothing_in_use_under(act.generation)?,
            (Direction::Next, Step::Drain, Tier::Root) => self.nothing_under(act.generation, "next")?,
            (Direction::Next, Step::Drain, _) => nothing_lives(act.id(), evidence)?,
            (Direction::Next, Step::Retire, _) => nothing_needs_its_list(act.id(), evidence)?,
            (Direction::Back, Step::Activate, Tier::Root) => self.nothing_under(act.generation, "back")?,
            (Direction::Back, Step::Activate, _) => self.not_under_a_tainted_root(tier)?,
            (Direction::Back, Step::Distribute, _) => nothing_lives(act.id(), evidence)?,
            _ => {}
        }
        Ok(Planned { act, effects: self.effects(&act) })
    }

    fn effects(&self, act: &Act) -> Vec<Effect> {
        let by = self.line(Tier::Root).active.number;
        let bundle = self.roots_after(act).map(|roots| Effect::SignBundle {
            version: self.bundle().version.saturating_add(1),
            roots,
            by,
        });
        let generation = act.id();
        let own = match (act.direction, act.step, act.tier) {
            (Direction::Next, Step::Prepare, Tier::Root) => Some(Effect::Make { generation, under: act.generation }),
            (Direction::Next, Step::Prepare, _) => Some(Effect::Make { generation, under: by }),
            (Direction::Next, Step::Distribute, Tier::Device | Tier::Service) => Some(Effect::SignList(generation)),
            (Direction::Next, Step::Retire, _) | (Direction::Back, Step::Prepare, _) => {
                Some(Effect::KeyMayBeDestroyed(generation))
            }
            _ => None,
        };
        bundle.into_iter().chain(own).collect()
    }

    fn all_have_the_bundle(&self, evidence: &Evidence) -> Result<(), Refusal> {
        let version = self.bundle().version;
        let behind = evidence.behind(version);
        if !behind.is_empty() {
            return Err(Refusal::NotAcknowledged { version, behind });
        }
        match evidence.carried_before(self.bundle().published_unix_s) {
            Some((count, until_unix_s)) => Err(Refusal::OlderCarriers { version, count, until_unix_s }),
            None => Ok(()),
        }
    }

    /// Nothing that is used or will be used stands under this root.
    fn nothing_in_use_under(&self, root: u32) -> Result<(), Refusal> {
        let will_be_used = |tier| {
            let line = self.line(tier);
            let next =
                line.other().filter(|_| matches!(line.phase, Phase::Prepared { .. } | Phase::Distributed { .. }));
            std::iter::once(line.active).chain(next).map(move |generation| (tier, generation))
        };
        self.none(Tier::ALL.into_iter().flat_map(will_be_used), root, "next")
    }

    /// No intermediate stands under this root.
    fn nothing_under(&self, root: u32, way: &'static str) -> Result<(), Refusal> {
        self.none(self.generations(), root, way)
    }

    fn none(
        &self,
        among: impl Iterator<Item = (Tier, crate::Generation)>,
        root: u32,
        way: &'static str,
    ) -> Result<(), Refusal> {
        let standing = among.filter(|(tier, generation)| *tier != Tier::Root && generation.root == root);
        let generations: Vec<_> = standing.map(|(tier, it)| GenerationId::new(tier, it.number)).collect();
        let root = GenerationId::new(Tier::Root, root);
        if generations.is_empty() { Ok(()) } else { Err(Refusal::StandsUnder { generations, root, way }) }
    }

    fn not_under_a_tainted_root(&self, tier: Tier) -> Result<(), Refusal> {
        let (Phase::Tainted { old: given_up } | Phase::Drained { old: given_up }) = self.line(Tier::Root).phase else {
            return Ok(());
        };
        match self.line(tier).other() {
            Some(before) if before.root == given_up.number => Err(Refusal::UnderTainted {
                generation: GenerationId::new(tier, before.number),
                root: GenerationId::new(Tier::Root, given_up.number),
            }),
            _ => Ok(()),
        }
    }
}

fn nothing_lives(generation: GenerationId, evidence: &Evidence) -> Result<(), Refusal> {
    match evidence.live_below(generation) {
        Some((count, until_unix_s)) => Err(Refusal::LiveLeaves { generation, count, until_unix_s }),
        None => Ok(()),
    }
}

fn nothing_needs_its_list(generation: GenerationId, evidence: &Evidence) -> Result<(), Refusal> {
    nothing_lives(generation, evidence)?;
    match evidence.list_needed_until(generation) {
        Some(until_unix_s) => Err(Refusal::ListNeeded { generation, until_unix_s }),
        None => Ok(()),
    }
}

/// A moment as people read it (RFC 3339), UTC, to the second; `unix_s` is in seconds since the Unix epoch.
#[must_use]
pub fn moment(unix_s: i64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(unix_s).ok().and_then(|at| at.format(&Rfc3339).ok());
    moment.unwrap_or_else(|| format!("{unix_s} s since the Unix epoch"))
}

fn certificates(count: usize) -> String {
    if count == 1 { "1 certificate".to_owned() } else { format!("{count} certificates") }
}

fn have(behind: &[(String, Option<u64>)]) -> String {
    let one = |(name, said): &(String, Option<u64>)| match said {
        Some(version) => format!("{name} (has {version})"),
        None => format!("{name} (never heard)"),
    };
    let names: Vec<String> = behind.iter().map(one).collect();
    format!("{} {}", names.join(", "), if behind.len() == 1 { "has" } else { "have" })
}

fn stand(generations: &[GenerationId]) -> String {
    let names: Vec<String> = generations.iter().map(ToString::to_string).collect();
    format!("{} {}", names.join(", "), if generations.len() == 1 { "stands" } else { "stand" })
}

fn them(generations: &[GenerationId]) -> &'static str {
    if generations.len() == 1 { "it" } else { "each" }
}

fn first(generations: &[GenerationId]) -> &'static str {
    generations.first().map_or("device", |generation| generation.tier.as_str())
}
