//! `larder-attest`: the attestation service's command line. It parses, runs one command, and says in plain words what went
//! wrong; everything else is in the library.

use std::io::Write;
use std::process::ExitCode;

use attest_service::{Command, now_unix_s};
use clap::Parser;
use tracing_subscriber::EnvFilter;

/// The attestation service of Larder.
#[derive(Parser)]
#[command(name = "larder-attest", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    let filter = EnvFilter::try_from_env("LARDER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    let mut out = std::io::stdout();
    let outcome = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(command.run(now_unix_s, &mut out)),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "larder-attest: {error}");
            ExitCode::FAILURE
        }
    }
}
