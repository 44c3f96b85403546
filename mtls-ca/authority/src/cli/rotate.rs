//! `status` and `rotate`: where the authority's keys stand, and one step of their rotation. Without `--yes` a step is only
//! shown, and the act that two people have to sign is written to a file for them.

use std::io::{self, Write};
use std::path::PathBuf;

use ca_rotation::{Direction, Effect, GenerationId, Phase, Rotation, Tier, moment};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::people::{approvals, write_act};
use super::shared::{CliError, Place};
use crate::{AuthorityError, Decision, Proposal, Refusal, Standing};

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    place: Place,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Arguments of `rotate`.
#[derive(Debug, Args)]
pub struct Rotate {
    /// What to rotate
    tier: TierArgument,
    /// One step on, or one step back
    direction: DirectionArgument,
    #[command(flatten)]
    place: Place,
    /// Do it; without this, it is only shown
    #[arg(long)]
    yes: bool,
    /// What an approver wrote with `larder-ca approve`; given once for each
    #[arg(long)]
    approval: Vec<PathBuf>,
    /// Where to write the act that has to be signed; act.json in the authority's folder when left out
    #[arg(long)]
    act: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum TierArgument {
    Root,
    Device,
    Service,
    Attestation,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DirectionArgument {
    Next,
    Back,
}

impl From<TierArgument> for Tier {
    fn from(argument: TierArgument) -> Self {
        match argument {
            TierArgument::Root => Self::Root,
            TierArgument::Device => Self::Device,
            TierArgument::Service => Self::Service,
            TierArgument::Attestation => Self::Attestation,
        }
    }
}

/// What `status --json` writes.
#[derive(Serialize)]
struct Told {
    generations: Vec<OneGeneration>,
    bundle: OneBundle,
    followers: Vec<OneFollower>,
    next: Vec<OneNext>,
    approvers: Vec<String>,
    acts_head: String,
    log_head: String,
}

#[derive(Serialize)]
struct OneGeneration {
    generation: String,
    stage: &'static str,
    under: String,
    key: String,
    not_after_unix_s: i64,
    live_leaves: usize,
    last_leaf_not_after_unix_s: Option<i64>,
}

#[derive(Serialize)]
struct OneBundle {
    version: u64,
    published_unix_s: i64,
    roots: Vec<String>,
}

#[derive(Serialize)]
struct OneFollower {
    service: String,
    has_version: Option<u64>,
    heard_unix_s: Option<i64>,
    behind: bool,
}

#[derive(Serialize)]
struct OneNext {
    tier: &'static str,
    step: Option<String>,
    refused: Option<String>,
    possible_from_unix_s: Option<i64>,
}

pub(super) fn status(arguments: &Status, now_unix_s: i64, out: &mut dyn Write) -> Result<(), CliError> {
    let authority = arguments.place.open()?;
    let told = told(&authority.standing(now_unix_s)?);
    if arguments.json {
        return Ok(writeln!(out, "{}", serde_json::to_string(&told).map_err(io::Error::other)?)?);
    }
    tables(&told, out)?;
    let dir = authority.dir().display();
    writeln!(out, "Next: larder-ca rotate <root|device|service|attestation> next --dir {dir} shows one step.")?;
    Ok(())
}

fn told(standing: &Standing) -> Told {
    let Standing { rotation, evidence, approvers, ends, acts, log } = standing;
    let generations = rotation.generations().map(|(tier, generation)| {
        let id = GenerationId::new(tier, generation.number);
        let live = evidence.live_below(id);
        OneGeneration {
            generation: id.to_string(),
            stage: stage(rotation, id),
            under: GenerationId::new(Tier::Root, generation.root).to_string(),
            key: crate::token::label(id),
            not_after_unix_s: ends.iter().find(|(own, _)| *own == id).map_or(0, |(_, ends)| *ends),
            live_leaves: live.map_or(0, |(count, _)| count),
            last_leaf_not_after_unix_s: live.map(|(_, last)| last),
        }
    });
    let bundle = rotation.bundle();
    // Whoever is behind a version that nobody can have is everybody who follows.
    let behind = evidence.behind(bundle.version);
    let followers = evidence.behind(u64::MAX).into_iter().map(|(service, has_version)| OneFollower {
        behind: behind.iter().any(|(name, _)| *name == service),
        heard_unix_s: evidence.heard.get(&service).map(|heard| heard.at_unix_s),
        service,
        has_version,
    });
    let next = Tier::ALL.map(|tier| match rotation.plan(tier, Direction::Next, evidence) {
        Ok(planned) => {
            let step = Some(planned.act.to_string());
            OneNext { tier: tier.as_str(), step, refused: None, possible_from_unix_s: None }
        }
        Err(why) => {
            let step = rotation.follows(tier, Direction::Next).map(|act| act.to_string());
            let possible_from_unix_s = why.possible_from_unix_s();
            OneNext { tier: tier.as_str(), step, refused: Some(why.to_string()), possible_from_unix_s }
        }
    });
    Told {
        generations: generations.collect(),
        bundle: OneBundle {
            version: bundle.version,
            published_unix_s: bundle.published_unix_s,
            roots: bundle.roots.iter().map(|root| GenerationId::new(Tier::Root, *root).to_string()).collect(),
        },
        followers: followers.collect(),
        next: next.into(),
        approvers: approvers.iter().map(|approver| approver.name.clone()).collect(),
        acts_head: acts.hash.clone(),
        log_head: log.hash.clone(),
    }
}

fn stage(rotation: &Rotation, id: GenerationId) -> &'static str {
    let line = rotation.line(id.tier);
    match line.phase {
        _ if line.active.number == id.number => "in use",
        Phase::Prepared { .. } => "prepared",
        Phase::Distributed { .. } => "distributed",
        Phase::Activated { .. } => "before",
        Phase::Tainted { .. } => "tainted",
        Phase::Drained { .. } => "drained",
        Phase::Steady => "unknown",
    }
}

fn tables(told: &Told, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{:<16}  {:<11}  {:<8}  {:<26}  {:<20}  {:>6}",
        "GENERATION", "STAGE", "UNDER", "KEY", "ENDS", "LEAVES"
    )?;
    for one in &told.generations {
        let OneGeneration { generation, stage, under, key, live_leaves, .. } = one;
        let ends = moment(one.not_after_unix_s);
        writeln!(out, "{generation:<16}  {stage:<11}  {under:<8}  {key:<26}  {ends:<20}  {live_leaves:>6}")?;
    }
    let OneBundle { version, published_unix_s, roots } = &told.bundle;
    writeln!(out, "\nTrust bundle {version}: {}, published {}.", roots.join(", "), moment(*published_unix_s))?;
    for one in &told.followers {
        let has = match (one.has_version, one.heard_unix_s) {
            (Some(version), Some(at)) => format!("has {version}, heard {}", moment(at)),
            _ => "was never heard".to_owned(),
        };
        writeln!(out, "  {:<20}  {has}{}", one.service, if one.behind { "   NOT ACKNOWLEDGED" } else { "" })?;
    }
    writeln!(out, "\n{:<12}  {:<22}  MAY BE TAKEN", "ROTATION", "NEXT STEP")?;
    for one in &told.next {
        let may = match (&one.refused, one.possible_from_unix_s) {
            (None, _) => "now".to_owned(),
            (Some(_), Some(from)) => format!("from {}: {}", moment(from), one.refused.as_deref().unwrap_or_default()),
            (Some(why), None) => format!("not yet: {why}"),
        };
        writeln!(out, "{:<12}  {:<22}  {may}", one.tier, one.step.as_deref().unwrap_or("none"))?;
    }
    let people = if told.approvers.is_empty() { "nobody".to_owned() } else { told.approvers.join(", ") };
    writeln!(out, "\nApprovers: {people}. Head of the acts {}, of the log {}.", told.acts_head, told.log_head)
}

/// What `rotate --json` writes.
#[derive(Serialize)]
struct Step<'a> {
    done: bool,
    act: String,
    needs_approval: bool,
    act_sha256: Option<String>,
    act_file: Option<&'a std::path::Path>,
}

pub(super) fn rotate(arguments: &Rotate, now_unix_s: i64, out: &mut dyn Write) -> Result<(), CliError> {
    let authority = arguments.place.open()?;
    let direction = match arguments.direction {
        DirectionArgument::Next => Direction::Next,
        DirectionArgument::Back => Direction::Back,
    };
    let tier = arguments.tier.into();
    let proposal = authority.propose(tier, direction, now_unix_s).or_else(|error| when(error, out))?;
    let act_file = arguments.act.clone().unwrap_or_else(|| authority.dir().join("act.json"));
    let written = match &proposal.to_sign {
        Some(act) if !arguments.yes => Some(write_act(&act_file, act)?),
        _ => None,
    };
    if arguments.yes {
        authority.rotate(tier, direction, &approvals(&arguments.approval)?, now_unix_s)?;
    }
    let Decision::Rotate(act) = &proposal.decision else { return Ok(()) };
    if arguments.json {
        let step = Step {
            done: arguments.yes,
            act: act.to_string(),
            needs_approval: proposal.to_sign.is_some(),
            act_sha256: proposal.sha256(),
            act_file: written.as_deref(),
        };
        return Ok(writeln!(out, "{}", serde_json::to_string(&step).map_err(io::Error::other)?)?);
    }
    shown(&proposal, &act.to_string(), arguments.yes, out)?;
    match (&written, arguments.yes) {
        (Some(file), _) => writeln!(
            out,
            "  to sign     {} (SHA-256 {})\nNext: two approvers run larder-ca approve --act {} --key FILE; then the same \
             command with --yes and an --approval for each.",
            file.display(),
            proposal.sha256().unwrap_or_default(),
            file.display()
        )?,
        (None, false) => writeln!(out, "Next: the same command with --yes.")?,
        (None, true) => writeln!(out, "Next: larder-ca status --dir {}.", authority.dir().display())?,
    }
    Ok(())
}

/// Tells people the moment from which on a step will be taken, beside the reason why it is not.
fn when(error: AuthorityError, out: &mut dyn Write) -> Result<Proposal, CliError> {
    if let AuthorityError::Refused(Refusal::Rotation(why)) = &error
        && let Some(from) = why.possible_from_unix_s()
    {
        writeln!(out, "Nothing was done. The step may be taken from {} on.", moment(from))?;
    }
    Err(error.into())
}

fn shown(proposal: &Proposal, act: &str, done: bool, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: {act}.", if done { "Done" } else { "Nothing was done; this is the step" })?;
    for effect in &proposal.effects {
        let what = match effect {
            Effect::Make { generation, under } if generation.tier == Tier::Root => {
                format!("a key inside the token and a certificate that it signs itself: {generation} ({under})")
            }
            Effect::Make { generation, under } => {
                format!("a key inside the token, certified by root-{under}: {generation}")
            }
            Effect::SignList(generation) => format!("the first revocation list of {generation}"),
            Effect::SignBundle { version, roots, by } => {
                let roots: Vec<String> = roots.iter().map(|root| format!("root-{root}")).collect();
                format!("trust bundle {version} with {}, signed by root-{by}", roots.join(", "))
            }
            Effect::KeyMayBeDestroyed(generation) => {
                format!("nothing; the key {} may be destroyed in the token", crate::token::label(*generation))
            }
        };
        writeln!(out, "  {:<10}  {what}", if done { "made" } else { "makes" })?;
    }
    Ok(())
}
