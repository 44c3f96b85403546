//! `processor-sandbox`: the sandbox as a program of its own. It says where it is in a ready file, and ends on SIGTERM
//! or SIGINT.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use processor_sandbox::{Sandbox, SandboxConfig, SandboxError};
use tokio::signal::unix::{SignalKind, signal};

/// A little card processor in Stripe's shape, for tests.
#[derive(Parser)]
struct Flags {
    /// Where the processor's API listens (TLS).
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where the control API listens (loopback, in clear).
    #[arg(long, default_value = "127.0.0.1:0")]
    control: SocketAddr,
    /// Where to write the addresses once both listen; the root to pin is written beside it.
    #[arg(long)]
    ready: PathBuf,
    /// Where to keep the books, so that they outlive a kill.
    #[arg(long)]
    books: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Flags::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[allow(clippy::print_stderr, reason = "a program says why it ends")]
            {
                eprintln!("processor-sandbox: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: Flags) -> Result<(), SandboxError> {
    let Flags { listen, control, ready, books } = flags;
    let sandbox = Sandbox::start(SandboxConfig { listen, control, books, ..SandboxConfig::default() }).await?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    sandbox.write_ready_file(&ready)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
