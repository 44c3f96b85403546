//! `single-node`: both zones on one machine. `./run` builds it and hands over to it.

use std::process::ExitCode;

use clap::Parser;
use single_node::cli::Cli;
use single_node::{Fault, start};
use zeroizing_alloc::ZeroAlloc;

/// What is freed is wiped: days of trade name cards.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<std::alloc::System> = ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    match start::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => fail(&fault),
    }
}

#[allow(clippy::print_stderr, reason = "the command's error")]
fn fail(fault: &Fault) -> ExitCode {
    eprintln!("{fault}");
    ExitCode::FAILURE
}
