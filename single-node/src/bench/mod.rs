//! Measures the machine, each figure beside the raw limit of the same machine in the same run.
//!
//! Machines differ and are shared, so a figure alone says little; what it is a fraction of says something. Both sides
//! take turns, in rounds, and medians are told. It measures and does not judge: that a bound does not hold is told, and
//! is no failure of the command.

mod alarm;
mod bare;
mod bare_enrol;
mod bare_hsm;
mod bare_tls;
mod clients;
mod commit;
mod enrol;
mod enrolling;
mod figure;
mod fleet;
mod fridges;
mod ground;
mod handshakes;
mod hsm;
mod https;
mod idle;
mod many;
mod part;
mod process;
mod revocation;
mod rows;
mod session;
mod sessions;
mod statistics;
mod tokenize;
mod world;

use std::path::Path;

use clap::ValueEnum;

use crate::Fault;
use crate::layout::Layout;
use figure::Figure;
use ground::Ground;
use tokio::time::Instant;

pub use part::{Kind, be};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// Sealed card to token through the vault's queue
    Tokenize,
    /// From the touch of somebody else's meal to the alarm
    Alarm,
    /// Whole card sessions a second
    Sessions,
    /// Handshakes that purchase-session accepts
    Handshakes,
    /// What servers do for an attested enrolment
    Enrol,
    /// Memory of a fridge that is connected and says nothing
    Idle,
    /// From the word of a person to the closed stream of a revoked fridge
    Revocation,
}

impl Name {
    /// What needs the whole machine, in the order in which it is measured: purchase-session is started anew for `idle`,
    /// and after `revocation` half of the fridges have no certificate.
    const ON_GROUND: [Self; 6] =
        [Self::Alarm, Self::Sessions, Self::Handshakes, Self::Enrol, Self::Idle, Self::Revocation];
}

/// Tells whoever waits what is being done.
pub(crate) struct Progress {
    began: Instant,
}

impl Progress {
    #[allow(clippy::print_stderr, reason = "progress for whoever waits")]
    fn say(&self, what: &str) {
        eprintln!("  {:>4} s  {what}", self.began.elapsed().as_secs());
    }
}

/// Measures `name`, or all, with all state in `layout`; the figures as a table, and as JSON in `json` if asked for.
///
/// # Errors
/// [`Fault`] when something could not be measured.
pub async fn bench(layout: Layout, name: Option<Name>, json: Option<&Path>) -> Result<String, Fault> {
    let progress = Progress { began: Instant::now() };
    let wanted = |which| name.is_none_or(|name| name == which);
    let mut figures = Vec::new();
    if wanted(Name::Tokenize) {
        figures.push(tokenize::measure(&layout, &progress).await?);
    }
    let names: Vec<Name> = Name::ON_GROUND.into_iter().filter(|which| wanted(*which)).collect();
    if !names.is_empty() {
        if names.iter().any(|name| matches!(name, Name::Idle | Name::Revocation)) {
            fleet::room()?;
        }
        let meals = if wanted(Name::Sessions) { sessions::MEALS } else { 2 * alarm::PURCHASES };
        let mut ground = Ground::lay(layout, meals, &progress).await?;
        let measured = on_ground(&mut ground, &names, &progress).await;
        progress.say("everything is ended");
        ground.end().await;
        figures.extend(measured?);
    }
    if let Some(path) = json {
        figure::write(&figures, path)?;
    }
    Ok(figure::table(&figures))
}

async fn on_ground(ground: &mut Ground, names: &[Name], progress: &Progress) -> Result<Vec<Figure>, Fault> {
    let mut figures = Vec::with_capacity(names.len());
    for name in names {
        figures.push(match name {
            Name::Alarm => alarm::measure(ground, progress).await?,
            Name::Sessions => {
                let mut hsm = tokenize::part(ground.stack.layout(), "bench-hsm").await?;
                let measured = sessions::measure(ground, &mut hsm, progress).await;
                hsm.end().await;
                measured?
            }
            Name::Handshakes => handshakes::measure(ground, progress).await?,
            Name::Enrol => enrol::measure(ground, progress).await?,
            Name::Idle => idle::measure(ground, progress).await?,
            Name::Revocation => revocation::measure(ground, progress).await?,
            Name::Tokenize => continue,
        });
    }
    Ok(figures)
}
