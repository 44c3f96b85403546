//! `fridge-agent CONFIG.toml`: runs one agent on simulated hardware that a Unix socket drives, until SIGTERM.
//!
//! Every freed byte is wiped by the allocator: card data that some library copied does not outlive its use. Real
//! hardware is another implementation of the port and another binary.

use std::path::PathBuf;
use std::process::ExitCode;

use fridge_agent::config::{ConfigError, FileConfig};
use fridge_agent::{SimulatedFridge, control, sell};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static WIPING: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1).map(PathBuf::from) else { return ExitCode::from(2) };
    let config = match FileConfig::load(&path) {
        Ok(config) => config,
        Err(why) => return fail(&why),
    };
    tracing_subscriber::fmt().json().with_writer(std::io::stderr).with_env_filter(&config.log).init();
    match run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => fail(why.as_ref()),
    }
}

fn fail(why: &dyn std::error::Error) -> ExitCode {
    // Without a configuration there is no log filter yet; the default one still says what is wrong.
    let _ = tracing_subscriber::fmt().json().with_writer(std::io::stderr).try_init();
    tracing::error!(%why, "the agent does not run");
    ExitCode::FAILURE
}

#[tokio::main]
async fn run(config: &FileConfig) -> Result<(), Box<dyn std::error::Error>> {
    let why = |why| ConfigError::Path { path: config.control_socket.clone(), why };
    let listener = control::bind(&config.control_socket).map_err(why)?;
    let (hardware, controls) = SimulatedFridge::new();
    let mut term = signal(SignalKind::terminate())?;
    let control = tokio::spawn(control::serve(listener, controls));
    let sold = sell(config, hardware, async move {
        let _ = term.recv().await;
    })
    .await;
    control.abort();
    Ok(sold?)
}
