//! Plays a day of trade through real fridge agents, and reports what came of it.
//!
//! The day is read line by line; at most [`WINDOW`] sessions wait or run at once. Each fridge is an agent with a
//! simulated body, so every session takes the whole way: sealed card, journal, stream, HSM, processor, events.

mod order;
mod play;
mod report;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use pci_contract::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Fault;
use crate::day::{Day, Planned};
use crate::stack::Stack;
use crate::world::World;
use order::Order;
use play::Bodies;
use report::{Booked, Report};

pub use report::Totals;

/// Sessions that wait or run at once.
const WINDOW: usize = 2_048;
/// Sessions asked for at once when reporting.
const PAGE: usize = 100;
/// How long booking and settling may stand still, after the last session.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
/// How often it is looked how far they are.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What to play.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The folder of `sessions.jsonl`.
    pub day: PathBuf,
    /// Where the report goes.
    pub report: PathBuf,
    /// How much faster than life; as fast as possible when absent.
    pub speed: Option<f64>,
    /// Kill purchase-session with SIGKILL this often.
    pub kill_every: Option<Duration>,
}

/// Plays the day of `plan` in a stack whose world is loaded.
///
/// # Errors
/// [`Fault`] when the day cannot be read, a session does not end, or the books do not close.
pub async fn replay(stack: &Stack, world: &World, plan: &Plan) -> Result<Totals, Fault> {
    let sessions = plan.day.join("sessions.jsonl");
    let before = stack.books().await?.sessions;
    let bodies = Arc::new(Bodies::start(stack, world).await?);
    let bar = progress(&sessions)?;
    let killer = plan.kill_every.zip(stack.pid("purchase-session"));
    let killer = killer.map(|(every, pid)| tokio::spawn(kill_again_and_again(pid, every)));
    let played = play_all(&sessions, world, &bodies, plan.speed, &bar).await;
    if let Some(killer) = killer {
        killer.abort();
    }
    bar.finish_and_clear();
    let played = played?;
    bodies.stop().await;
    settled(stack, before + played).await?;
    write_report(stack, world, plan, &sessions).await
}

fn progress(sessions: &std::path::Path) -> Result<ProgressBar, Fault> {
    let bytes = std::fs::metadata(sessions).map_err(Fault::io("read", sessions))?.len();
    let bar = ProgressBar::new(bytes);
    let style = ProgressStyle::with_template("{wide_bar} {percent}%  {msg} sessions  {elapsed_precise}");
    bar.set_style(style.map_err(Fault::of("the progress bar"))?);
    Ok(bar)
}

async fn play_all(
    sessions: &std::path::Path,
    world: &World,
    bodies: &Arc<Bodies>,
    speed: Option<f64>,
    bar: &ProgressBar,
) -> Result<u64, Fault> {
    let mut day = Day::open(sessions)?;
    let mut order = Order::new(world);
    let mut pace = Pace::new(speed);
    let window = Arc::new(Semaphore::new(WINDOW));
    let mut running: JoinSet<Result<(), Fault>> = JoinSet::new();
    let mut played = 0_u64;
    while let Some(planned) = day.next_session()? {
        let place = Arc::clone(&window).acquire_owned().await.map_err(Fault::of("the window"))?;
        while let Some(done) = running.try_join_next() {
            done.map_err(Fault::of("a session's task"))??;
        }
        pace.wait_for(&planned).await;
        let turn = order.turn(&planned);
        let bodies = Arc::clone(bodies);
        played += 1;
        bar.set_message(played.to_string());
        bar.set_position(day.position());
        running.spawn(async move {
            turn.wait().await;
            let result = bodies.play(&planned, speed).await;
            drop(turn);
            drop(place);
            result
        });
    }
    while let Some(done) = running.join_next().await {
        done.map_err(Fault::of("a session's task"))??;
    }
    Ok(played)
}

/// Keeps to the day's times, compressed; or to none.
struct Pace {
    speed: Option<f64>,
    first: Option<(Timestamp, Instant)>,
}

impl Pace {
    const fn new(speed: Option<f64>) -> Self {
        Self { speed, first: None }
    }

    async fn wait_for(&mut self, planned: &Planned) {
        let (Some(speed), Some(at)) = (self.speed, Timestamp::parse_rfc3339(&planned.at)) else { return };
        let (first, began) = *self.first.get_or_insert_with(|| (at, Instant::now()));
        let micros = u64::try_from(at.micros_since(first)).unwrap_or(0);
        tokio::time::sleep_until(began + Duration::from_micros(micros).div_f64(speed)).await;
    }
}

async fn kill_again_and_again(pid: crate::children::Pid, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let id = *pid.borrow();
        if let Some(pid) = id.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Waits until `wanted` sessions are booked, the processor holds nothing open, and every payment is settled.
async fn settled(stack: &Stack, wanted: u64) -> Result<(), Fault> {
    let (mut so_far, mut until) = ((0, 0, 0), Instant::now() + SETTLED_WITHIN);
    loop {
        let standing = stack.books().await?;
        if standing.sessions >= wanted && standing.pending == 0 && standing.open_holds == 0 {
            return Ok(());
        }
        let now = (standing.sessions, standing.pending, standing.open_holds);
        if now != so_far {
            (so_far, until) = (now, Instant::now() + SETTLED_WITHIN);
        }
        if Instant::now() >= until {
            return Err(Fault::new(format!(
                "the books do not close: {} of {wanted} sessions booked, {} settlements pending, {} holds open",
                standing.sessions, standing.pending, standing.open_holds
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn write_report(stack: &Stack, world: &World, plan: &Plan, sessions: &std::path::Path) -> Result<Totals, Fault> {
    let mut report = Report::begin(&plan.report)?;
    let mut day = Day::open(sessions)?;
    let mut ids = Vec::with_capacity(PAGE);
    loop {
        let next = day.next_session()?;
        let ended = next.is_none();
        ids.extend(next.map(|planned| planned.session));
        if ids.len() == PAGE || (ended && !ids.is_empty()) {
            report_page(stack, &mut report, &ids).await?;
            ids.clear();
        }
        if ended {
            break;
        }
    }
    let mut stock: BTreeMap<String, i64> = world.fridges.iter().map(|fridge| (fridge.fridge.clone(), 0)).collect();
    stock.extend(stack.stock().await?);
    report.finish(stock, &stack.ledger().await?)
}

async fn report_page(stack: &Stack, report: &mut Report, ids: &[String]) -> Result<(), Fault> {
    let booked: Vec<Booked> = stack.sessions(ids).await?;
    let mut by_id: BTreeMap<&str, &Booked> = booked.iter().map(|b| (b.session.as_str(), b)).collect();
    for id in ids {
        let booked = by_id.remove(id.as_str()).ok_or_else(|| Fault::new(format!("session {id} was never booked")))?;
        report.add(booked)?;
    }
    Ok(())
}
