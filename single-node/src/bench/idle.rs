//! `idle`: the memory that purchase-session keeps for a fridge that is connected and says nothing, beside a bare TLS
//! connection whose server waits for a first byte.
//!
//! Memory that was once used stays with a process, so every round has a fresh one on either side.

use std::time::Duration;

use serde_json::json;

use super::clients::Order;
use super::figure::{Bound, Figure, rounded};
use super::fleet::{self, CONNECTIONS, Fleet, Side};
use super::ground::Ground;
use super::statistics::{middle, number};
use super::{Progress, process};
use crate::Fault;

/// Rounds; in each, both sides are measured.
const ROUNDS: usize = 3;
/// Connections that come and go before anything is measured, for what is made once.
const WARM_UP: usize = 200;
/// How long fridges say nothing before it is measured: each has been asked by then whether it lives, and has answered.
const SILENCE: Duration = Duration::from_secs(12);

/// Measures.
///
/// # Errors
/// [`Fault`] when a connection is refused.
pub(super) async fn measure(ground: &Ground, progress: &Progress) -> Result<Figure, Fault> {
    let mut rounds = Vec::with_capacity(ROUNDS);
    for number in 1..=ROUNDS {
        progress.say(&format!("idle: round {number} of {ROUNDS}, {CONNECTIONS} connections on either side"));
        fleet::restart(&ground.stack).await?;
        let mut fleet = Fleet::gather(ground).await?;
        let ours = kib_each(ground, &mut fleet, Side::Ours).await;
        let bare = kib_each(ground, &mut fleet, Side::Bare).await;
        fleet.end().await;
        rounds.push((ours?, bare?));
    }
    Ok(figure(&rounds))
}

async fn kib_each(ground: &Ground, fleet: &mut Fleet, side: Side) -> Result<f64, Fault> {
    let (stack, pid) = (&ground.stack, fleet.pid(side, &ground.stack)?);
    // The monitor, by whom we know the count, has a connection to ours as well.
    let others = fleet.count(side, stack).await?;
    fleet.open(side, WARM_UP).await?;
    fleet.until_open(side, stack, others + WARM_UP).await?;
    fleet.tell(&Order::LetGo).await?;
    fleet.until_open(side, stack, others).await?;
    let before_kib = process::resident_kib(pid)?;
    fleet.open(side, CONNECTIONS).await?;
    tokio::time::sleep(SILENCE).await;
    fleet.until_open(side, stack, others + CONNECTIONS).await?;
    let after_kib = process::resident_kib(pid)?;
    fleet.tell(&Order::LetGo).await?;
    let grown = u32::try_from(after_kib.saturating_sub(before_kib)).map_err(Fault::of("the memory of a process"))?;
    Ok(f64::from(grown) / number(CONNECTIONS))
}

fn figure(rounds: &[(f64, f64)]) -> Figure {
    let (ours, limit) = middle(rounds);
    let worst = rounds.iter().map(|(ours, bare)| ours / bare).fold(0.0, f64::max);
    let each = |at: fn(&(f64, f64)) -> f64| rounds.iter().map(at).map(rounded).collect::<Vec<_>>();
    let details = json!({
        "connections": CONNECTIONS, "worst_ratio": rounded(worst),
        "rounds_kib": { "ours": each(|pair| pair.0), "bare": each(|pair| pair.1) },
    });
    Figure {
        name: "idle",
        ours,
        limit,
        unit: "KiB each",
        bound: Bound::AtMost(2.0),
        details: details.as_object().cloned().unwrap_or_default(),
        notes: vec![
            format!("resident memory of purchase-session for each of {CONNECTIONS} connected fridges that say nothing"),
            format!("each has had an answer, and was asked by the service whether it lives ({SILENCE:?})"),
            "limit: a bare rustls acceptor, a task for each connection that waits for a first byte".to_owned(),
            format!("fresh processes in each of {ROUNDS} rounds; both of the round whose ratio is the median"),
            format!("the worst round's ratio: {worst:.2}"),
        ],
    }
}
