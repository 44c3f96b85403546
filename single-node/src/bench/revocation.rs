//! `revocation`: from the start of `larder-ca revoke` to the end of the revoked fridge's stream, with thousands of other
//! connections open. What it is held against is no raw limit but what is promised.
//!
//! All of it is as in life: the command is a process of its own, the authority's server sees what it did, purchase-session
//! hears of it there, and the fridge stands with its door open.

use std::process::Stdio;
use std::time::Duration;

use fridge_agent::proto::{DoorOpened, fridge_message};
use serde_json::json;
use tokio::process::Command;
use tokio::time::Instant;

use super::clients::Order;
use super::figure::{Bound, Figure, rounded};
use super::fleet::{self, CONNECTIONS, Fleet, Side};
use super::fridges;
use super::ground::Ground;
use super::session::{Line, Purchase};
use super::statistics::percentile;
use super::{Progress, world};
use crate::{Fault, layout};

/// Fridges that are revoked, one after another; each has a stream of its own.
const REVOKED: usize = 100;
/// What is promised, in milliseconds.
const PROMISED_MS: f64 = 2_000.0;
/// How long a stream may live on before the measurement is given up.
const WITHIN: Duration = Duration::from_secs(30);
/// How many of the first and of the last are told by themselves: lists grow.
const ENDS: usize = 20;

/// Milliseconds since the command was started.
#[derive(Debug, Clone, Copy)]
struct Took {
    /// Until the command had ended: the list is signed and in force at the authority.
    command: f64,
    /// Until the stream had ended.
    stream: f64,
}

/// Measures. The first fridges of the ground have no certificates any more then.
///
/// # Errors
/// [`Fault`] when a stream does not end, or somebody else's connection does.
pub(super) async fn measure(ground: &Ground, progress: &Progress) -> Result<Figure, Fault> {
    let mut fleet = Fleet::gather(ground).await?;
    let measured = revoke_all(ground, &mut fleet, progress).await;
    fleet.end().await;
    Ok(figure(&measured?))
}

async fn revoke_all(ground: &Ground, fleet: &mut Fleet, progress: &Progress) -> Result<Vec<Took>, Fault> {
    progress.say(&format!("revocation: {} connections besides those of {REVOKED} fridges", CONNECTIONS - REVOKED));
    let stack = &ground.stack;
    let first = ground.ours.first().ok_or_else(|| Fault::new("there is no fridge".to_owned()))?;
    let key = fridges::sealing_key(first).await?;
    fleet.open(Side::Ours, CONNECTIONS - REVOKED).await?;
    let closed = fleet::metric(stack, "larder_purchase_revoked_connections_total").await?;
    let mut took = Vec::with_capacity(REVOKED);
    for (number, (fridge, client)) in ground.fridges.iter().zip(&ground.ours).take(REVOKED).enumerate() {
        if number % ENDS == 0 {
            progress.say(&format!("revocation: {number} of {REVOKED}"));
        }
        // Its door stands open: this was acknowledged, so the stream is alive.
        let purchase = Purchase::seal(fridge, 0, &key)?;
        let (mut line, _) = Line::open(client, purchase.session, purchase.shown).await?;
        line.tell(fridge_message::Body::DoorOpened(DoorOpened {})).await?;
        took.push(revoke(ground, number, &mut line).await?);
    }
    let closed = fleet::metric(stack, "larder_purchase_revoked_connections_total").await?.saturating_sub(closed);
    let others = fleet.tell(&Order::Ask).await?.count;
    if (closed, others) != (REVOKED, CONNECTIONS - REVOKED) {
        let what =
            format!("{closed} connections were closed for {REVOKED} revocations, {others} of the others are left");
        return Err(Fault::new(what));
    }
    Ok(took)
}

async fn revoke(ground: &Ground, fridge: usize, line: &mut Line) -> Result<Took, Fault> {
    let (binary, party) = (layout::binary("larder-ca")?, format!("fridge/{}", world::fridge(fridge)));
    let mut command = Command::new(binary);
    command.arg("revoke").arg("--dir").arg(ground.stack.layout().authority());
    command.args(["--party", &party, "--reason", "key-compromise", "--yes"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let began = Instant::now();
    let running = command.spawn().map_err(Fault::of("larder-ca cannot be started"))?;
    let ms = || began.elapsed().as_secs_f64() * 1_000.0;
    let ended = async { (running.wait_with_output().await, ms()) };
    let closed = async { (tokio::time::timeout(WITHIN, line.ended()).await, ms()) };
    let ((said, command), (in_time, stream)) = tokio::join!(ended, closed);
    let said = said.map_err(Fault::of("larder-ca"))?;
    if !said.status.success() {
        return Err(Fault::new(String::from_utf8_lossy(&said.stderr).into_owned()));
    }
    in_time.map_err(|_| Fault::new(format!("the stream of {party} did not end within {WITHIN:?}")))?;
    Ok(Took { command, stream })
}

fn figure(took: &[Took]) -> Figure {
    let streams: Vec<f64> = took.iter().map(|took| took.stream).collect();
    let commands: Vec<f64> = took.iter().map(|took| took.command).collect();
    let [p50, p99, most] = [50.0, 99.0, 100.0].map(|percent| percentile(&streams, percent));
    let command_p50 = percentile(&commands, 50.0);
    let first = percentile(streams.get(..ENDS).unwrap_or_default(), 50.0);
    let last = percentile(streams.get(streams.len().saturating_sub(ENDS)..).unwrap_or_default(), 50.0);
    let details = json!({
        "revocations": took.len(), "connections": CONNECTIONS,
        "p50_ms": rounded(p50), "most_ms": rounded(most), "command_p50_ms": rounded(command_p50),
        "first_p50_ms": rounded(first), "last_p50_ms": rounded(last),
    });
    Figure {
        name: "revocation",
        ours: p99,
        limit: PROMISED_MS,
        unit: "ms (p99)",
        bound: Bound::AtMost(1.0),
        details: details.as_object().cloned().unwrap_or_default(),
        notes: vec![
            format!("from the start of `larder-ca revoke` to the end of the fridge's stream, {} times", took.len()),
            format!("{CONNECTIONS} connections open; none but the revoked ones was closed"),
            "limit: what is promised".to_owned(),
            format!("p50 {p50:.0} ms, most {most:.0} ms; until the command itself had ended: p50 {command_p50:.0} ms"),
            format!("p50 of the first {ENDS}: {first:.0} ms, of the last {ENDS}: {last:.0} ms"),
        ],
    }
}
