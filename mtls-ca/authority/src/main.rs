//! `larder-ca`: the command line of the authority. It parses, runs one command, and says in plain words what happened and
//! what to do next; everything else is in the library.

use std::io::Write;
use std::process::ExitCode;

use authority::cli::Command;
use clap::Parser;

/// The certificate authority of Larder.
#[derive(Parser)]
#[command(name = "larder-ca", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    match command.run(authority::now_unix_s(), &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "larder-ca: {error}");
            ExitCode::FAILURE
        }
    }
}
