//! `larder-acme`: the authority's ACME server and its external account keys. It parses, runs one command, and says in
//! plain words what went wrong; everything else is in the library.

use std::io::Write;
use std::process::ExitCode;

use acme_server::cli::Command;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Certificates over ACME, for the services and fridges of Larder.
#[derive(Parser)]
#[command(name = "larder-acme", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[tokio::main]
async fn main() -> ExitCode {
    let command = Arguments::parse().command;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let now = acme_server::clock::now_unix_s();
    match command.run(now, &mut std::io::stdout(), told_to_end()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "larder-acme: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Ends when the process gets SIGTERM or SIGINT; at once when it cannot listen for them.
async fn told_to_end() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
