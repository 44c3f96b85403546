//! `larder-fuzz`: tries every parser, or one, with so many inputs, and says how many a second.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use larder_fuzz::{Target, run, targets};

mod clock;
mod corpus;

/// Tries the parsers of what strangers send with inputs at random.
#[derive(Parser)]
#[command(name = "larder-fuzz", version, about)]
struct Arguments {
    /// Inputs for each parser
    #[arg(long, default_value_t = 10_000_000)]
    executions: u64,
    /// One parser alone, by its name
    #[arg(long)]
    target: Option<String>,
    /// What tells a run from another
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The corpus
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus"))]
    corpus: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = targets(|target, name| corpus::file(&arguments.corpus, target, name)).and_then(|all| {
        let wanted = |target: &&Target| arguments.target.as_deref().is_none_or(|name| name == target.name);
        let outcomes: Vec<bool> =
            all.iter().filter(wanted).map(|target| one(target, &arguments)).collect::<Result<_, String>>()?;
        if outcomes.is_empty() { Err("no parser has this name".to_owned()) } else { Ok(outcomes.iter().all(|ok| *ok)) }
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "larder-fuzz: {why}");
            ExitCode::FAILURE
        }
    }
}

fn one(target: &Target, arguments: &Arguments) -> Result<bool, String> {
    let (inputs, begun) = (corpus::of(&arguments.corpus, target.name)?, clock::Stopwatch::start());
    let report = run(target, &inputs, arguments.executions, arguments.seed);
    let (name, tried, answers, s) = (target.name, report.executions, report.answers, begun.seconds());
    let found = report
        .finding
        .as_ref()
        .map_or("nothing found".to_owned(), |finding| format!("FOUND: {} with {:02x?}", finding.what, finding.input));
    writeln!(std::io::stdout(), "{name:<12} {tried:>10} executions  {answers:>5} answers  {s:>7.1} s  {found}")
        .map_err(|error| error.to_string())?;
    Ok(report.finding.is_none())
}
