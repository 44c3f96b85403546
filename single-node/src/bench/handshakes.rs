//! `handshakes`: full handshakes of mutual TLS that purchase-session's listener accepts, beside a bare rustls acceptor with
//! the same certificates under the same load. On the morning after a power cut every fridge comes at once.
//!
//! The fridges of this measurement take as much of the machine as the server does, which hides half of what a server does
//! more than it must. So the time of the server's own processors is told beside the rate: in life, fridges bring their own.

use serde_json::json;

use super::Progress;
use super::clients::Order;
use super::figure::{Bound, Figure, rounded};
use super::fleet::{Fleet, Side};
use super::ground::Ground;
use super::process;
use super::statistics::{median, middle, number};
use crate::Fault;

/// Rounds; in each, both sides are measured.
const ROUNDS: usize = 15;
/// How long a side is measured in a round, and warmed up, in milliseconds.
const MILLIS: u64 = 1_000;
const WARM_UP_MILLIS: u64 = 500;
/// Handshakes under way at once.
const AT_ONCE: usize = 64;

/// What a side did in a round.
#[derive(Debug, Clone, Copy)]
struct Round {
    /// Handshakes a second.
    rate: f64,
    /// Handshakes a second of the server's CPU time.
    per_cpu_s: f64,
}

/// Measures.
///
/// # Errors
/// [`Fault`] when a handshake fails.
pub(super) async fn measure(ground: &Ground, progress: &Progress) -> Result<Figure, Fault> {
    let mut fleet = Fleet::gather(ground).await?;
    let measured = rounds(ground, &mut fleet, progress).await;
    fleet.end().await;
    let (ours, bare) = measured?;
    Ok(figure(&ours, &bare))
}

async fn rounds(ground: &Ground, fleet: &mut Fleet, progress: &Progress) -> Result<(Vec<Round>, Vec<Round>), Fault> {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for side in [Side::Ours, Side::Bare] {
        round(ground, fleet, side, WARM_UP_MILLIS).await?;
    }
    for number in 1..=ROUNDS {
        progress.say(&format!("handshakes: round {number} of {ROUNDS}"));
        // Neither side is always the first.
        let sides = if number % 2 == 0 { [Side::Ours, Side::Bare] } else { [Side::Bare, Side::Ours] };
        for side in sides {
            let measured = round(ground, fleet, side, MILLIS).await?;
            if side == Side::Ours { ours.push(measured) } else { bare.push(measured) }
        }
    }
    Ok((ours, bare))
}

async fn round(ground: &Ground, fleet: &mut Fleet, side: Side, millis: u64) -> Result<Round, Fault> {
    let (pid, address) = (fleet.pid(side, &ground.stack)?, fleet.address(side));
    let before_ms = process::cpu_ms(pid)?;
    let done = fleet.tell(&Order::Knock { address, millis, at_once: AT_ONCE }).await?;
    let cpu_ms = u32::try_from(process::cpu_ms(pid)?.saturating_sub(before_ms)).unwrap_or(u32::MAX).max(1);
    let count = number(done.count);
    Ok(Round { rate: count / done.seconds, per_cpu_s: count * 1_000.0 / f64::from(cpu_ms) })
}

fn figure(ours: &[Round], bare: &[Round]) -> Figure {
    let pairs = |of: fn(&Round) -> f64| -> Vec<(f64, f64)> { ours.iter().map(of).zip(bare.iter().map(of)).collect() };
    let (rates, per_cpu_s) = (pairs(|round| round.rate), pairs(|round| round.per_cpu_s));
    let worst = rates.iter().map(|(ours, bare)| ours / bare).fold(f64::INFINITY, f64::min);
    let (rate, limit) = middle(&rates);
    let (cpu, bare_cpu) = middle(&per_cpu_s);
    let side = |at: fn(&(f64, f64)) -> f64| median(&rates.iter().map(at).collect::<Vec<_>>());
    let details = json!({
        "rounds": ROUNDS, "at_once": AT_ONCE,
        "median_rates": { "ours": rounded(side(|pair| pair.0)), "bare": rounded(side(|pair| pair.1)) },
        "worst_ratio": rounded(worst),
        "by_server_cpu": { "ours_per_s": rounded(cpu), "bare_per_s": rounded(bare_cpu), "ratio": rounded(cpu / bare_cpu) },
    });
    Figure {
        name: "handshakes",
        ours: rate,
        limit,
        unit: "handshakes/s",
        bound: Bound::AtLeast(0.9),
        details: details.as_object().cloned().unwrap_or_default(),
        notes: vec![
            format!("TLS 1.3, both certificates, nothing resumed, {AT_ONCE} at once, each let in and closed"),
            "limit: a bare rustls acceptor, its own verifier, the same certificates, the same load".to_owned(),
            format!("both of the round whose ratio is the median of {ROUNDS}; the worst round's ratio: {worst:.2}"),
            format!(
                "by the server's own CPU time: {cpu:.0} a second of it, of the bare one {bare_cpu:.0}, ratio {:.2}",
                cpu / bare_cpu
            ),
        ],
    }
}
