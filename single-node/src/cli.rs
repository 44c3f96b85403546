//! The commands: what they take, and what they print.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::layout::Layout;
use crate::replay::Plan;
use crate::stack::Stack;
use crate::world::World;
use crate::{Fault, bench};

/// Larder on one machine.
#[derive(Debug, Parser)]
#[command(name = "run", about, version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The five stories of a purchase and the refusals, told as they happen
    Demo(DemoArgs),
    /// Everything, in the foreground, until SIGTERM
    Stack(StackArgs),
    /// Plays a day of trade through real fridge agents and reports what came of it
    Replay(ReplayArgs),
    /// Measures, each figure beside the raw limit of the same machine in the same run
    Bench(BenchArgs),
    #[command(hide = true)]
    BenchPart(BenchPartArgs),
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// End after the stories instead of staying up
    #[arg(long)]
    once: bool,
    /// Keep all state here instead of in a temporary folder
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct StackArgs {
    /// The folder for all state; endpoints.json appears in it once all are ready
    #[arg(long)]
    dir: PathBuf,
    /// A world.json to load instead of the demo world
    #[arg(long)]
    world: Option<PathBuf>,
    #[command(flatten)]
    fleet: FleetArgs,
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// The folder of world.json and sessions.jsonl
    day: PathBuf,
    /// The folder for outcomes.jsonl, totals.json and ledger.json
    #[arg(long)]
    report: PathBuf,
    /// How much faster than life; as fast as possible when absent
    #[arg(long)]
    speed: Option<f64>,
    /// Kill purchase-session with SIGKILL every so many seconds
    #[arg(long)]
    kill_every: Option<f64>,
    /// Keep all state here instead of in a temporary folder
    #[arg(long)]
    dir: Option<PathBuf>,
    #[command(flatten)]
    fleet: FleetArgs,
}

#[derive(Debug, Args)]
struct BenchArgs {
    /// What to measure; all of it when absent
    name: Option<bench::Name>,
    /// Write the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keep all state here instead of in a temporary folder
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// A part of a measurement, started by it.
#[derive(Debug, Args)]
struct BenchPartArgs {
    kind: bench::Kind,
    #[arg(long)]
    dir: PathBuf,
}

#[derive(Debug, Args)]
struct FleetArgs {
    /// PostgreSQL instead of SQLite
    #[arg(long, value_name = "URL_PREFIX")]
    database: Option<String>,
    /// NATS JetStream instead of direct delivery
    #[arg(long, value_name = "URL")]
    events: Option<String>,
}

impl FleetArgs {
    /// One machine keeps SQLite files and delivers events itself; the fleet's engines are not built in.
    fn check(&self) -> Result<(), Fault> {
        let asked = [("--database", &self.database), ("--events", &self.events)];
        match asked.into_iter().find(|(_, value)| value.is_some()) {
            None => Ok(()),
            Some((flag, _)) => Err(Fault::new(format!(
                "{flag} is for fleets, and this version runs on one machine only: leave it out to use SQLite and direct delivery"
            ))),
        }
    }
}

impl Cli {
    /// Where this command keeps its state; a temporary folder when it names none.
    #[must_use]
    pub fn folder(&self) -> Option<&PathBuf> {
        match &self.command {
            Command::Demo(args) => args.dir.as_ref(),
            Command::Stack(args) => Some(&args.dir),
            Command::Replay(args) => args.dir.as_ref(),
            Command::Bench(args) => args.dir.as_ref(),
            Command::BenchPart(args) => Some(&args.dir),
        }
    }

    /// Runs the command with its state in `layout`.
    ///
    /// # Errors
    /// [`Fault`] says what happened and what to do.
    pub async fn run(self, layout: Layout) -> Result<(), Fault> {
        match self.command {
            Command::Demo(args) => demo(&args, layout).await,
            Command::Stack(args) => stack(args, layout).await,
            Command::Replay(args) => replay(args, layout).await,
            Command::Bench(args) => measure(&args, layout).await,
            Command::BenchPart(args) => bench::be(args.kind, &layout).await,
        }
    }
}

#[allow(clippy::print_stderr, reason = "progress for whoever waits")]
fn told(what: &str) {
    eprintln!("  · {what}");
}

#[allow(clippy::print_stdout, reason = "the command's result")]
fn say(what: &str) {
    println!("{what}");
}

async fn demo(args: &DemoArgs, layout: Layout) -> Result<(), Fault> {
    let mut end = End::new()?;
    let stack = tokio::select! {
        told = crate::demo::demo(layout, true) => told?,
        () = end.asked() => return Ok(()),
    };
    crate::demo::farewell(&stack, !args.once);
    if !args.once {
        end.asked().await;
    }
    stack.end().await;
    Ok(())
}

/// The signals that ask a command to end.
struct End {
    term: Signal,
    interrupt: Signal,
}

impl End {
    fn new() -> Result<Self, Fault> {
        let term = signal(SignalKind::terminate()).map_err(Fault::of("signals"))?;
        let interrupt = signal(SignalKind::interrupt()).map_err(Fault::of("signals"))?;
        Ok(Self { term, interrupt })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn stack(args: StackArgs, layout: Layout) -> Result<(), Fault> {
    args.fleet.check()?;
    let world = match &args.world {
        Some(path) => World::load(path)?,
        None => World::demo()?,
    };
    let mut end = End::new()?;
    let starting = async {
        let mut stack = Stack::start(layout, &told).await?;
        stack.start_enrolment(&told).await?;
        crate::load::load_once(&stack, &world, &told).await?;
        Ok::<Stack, Fault>(stack)
    };
    let stack = tokio::select! {
        started = starting => started?,
        () = end.asked() => return Ok(()),
    };
    let fridges: Vec<String> = world.fridges.iter().map(|fridge| fridge.fridge.clone()).collect();
    // The world names cards, which the services do not know any more by now; neither may we while everything is up.
    drop(world);
    let endpoints = stack.write_endpoints(&fridges)?;
    say(&format!("ready: {}", endpoints.display()));
    end.asked().await;
    stack.end().await;
    Ok(())
}

async fn replay(args: ReplayArgs, layout: Layout) -> Result<(), Fault> {
    args.fleet.check()?;
    let seconds = |flag: &str, value: f64| {
        let duration = Duration::try_from_secs_f64(value).ok().filter(|duration| !duration.is_zero());
        duration.ok_or_else(|| Fault::new(format!("{flag} must be a positive number")))
    };
    let kill_every = args.kill_every.map(|every| seconds("--kill-every", every)).transpose()?;
    let speed = args.speed.map(|speed| seconds("--speed", speed).map(|_| speed)).transpose()?;
    let world = World::load(&args.day.join("world.json"))?;
    let mut end = End::new()?;
    let stack = tokio::select! {
        started = Stack::start(layout, &told) => started?,
        () = end.asked() => return Err(Fault::new("ended before the day was played".to_owned())),
    };
    let plan = Plan { day: args.day, report: args.report, speed, kill_every };
    let played = async {
        crate::load::load_once(&stack, &world, &told).await?;
        told("the day");
        crate::replay::replay(&stack, &world, &plan).await
    };
    let result = tokio::select! {
        played = played => played,
        () = end.asked() => Err(Fault::new("ended before the day was over; there is no report".to_owned())),
    };
    if result.is_err() {
        told(&format!("the logs are in {}", stack.layout().root().join("log").display()));
    }
    stack.end().await;
    let totals = result?;
    say(&totals.summary());
    say(&format!("report: {}", plan.report.display()));
    Ok(())
}

async fn measure(args: &BenchArgs, layout: Layout) -> Result<(), Fault> {
    let mut end = End::new()?;
    let table = tokio::select! {
        measured = bench::bench(layout, args.name, args.json.as_deref()) => measured?,
        () = end.asked() => return Err(Fault::new("ended before everything was measured; there are no figures".to_owned())),
    };
    say(&table);
    match &args.json {
        Some(path) => say(&format!("figures: {}", path.display())),
        None => say("To keep the figures as JSON:  ./run bench --json FILE"),
    }
    say("Machines are shared: compare ratios and not figures, and measure again when nothing else runs.");
    Ok(())
}
