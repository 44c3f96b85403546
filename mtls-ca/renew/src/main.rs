//! `larder-renew CONFIG.toml`: keeps the certificates of a machine's services, until SIGTERM.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use ca_renew::{Config, RenewError, Renewal, Responder, clock};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let Some(path) = std::env::args_os().nth(1).map(PathBuf::from) else {
        let _ = writeln!(std::io::stderr(), "Usage: larder-renew CONFIG.toml");
        return ExitCode::from(2);
    };
    match run(&path).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "larder-renew: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(path: &std::path::Path) -> Result<(), RenewError> {
    let config = Config::load(path)?;
    let (authority, trusts) = config.authority()?;
    let responder = Responder::bind(config.http01_listen).await?;
    let board = responder.board();
    let mut running = JoinSet::new();
    running.spawn(responder.run());
    for wanted in config.wanted.clone() {
        let (config, board) = (config.clone(), board.clone());
        let (authority, trusts) = (authority.clone(), trusts.clone());
        let (now_unix_s, chance) = (clock::now_unix_s as fn() -> i64, clock::chance as fn() -> u64);
        running.spawn(Renewal { config, wanted, authority, trusts, board, now_unix_s, chance }.run());
    }
    let failed = |why: std::io::Error| RenewError::Fault(format!("signals cannot be waited for: {why}"));
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate()).map_err(failed)?, signal(SignalKind::interrupt()).map_err(failed)?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = running.join_next() => return Err(RenewError::Fault("a part of it ended by itself".to_owned())),
    }
    Ok(())
}
