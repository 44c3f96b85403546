//! `larder-renew CONFIG.toml`: keeps the certificates of a machine's services, until SIGTERM; with SIGHUP it replaces all of
//! them now.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use ca_renew::{Config, RenewError, Renewal, Responder, clock};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
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
    let heard = |kind| signal(kind).map_err(|why| RenewError::Fault(format!("signals cannot be waited for: {why}")));
    let (mut terminate, mut interrupt) = (heard(SignalKind::terminate())?, heard(SignalKind::interrupt())?);
    let mut hang_up = heard(SignalKind::hangup())?; // before all else: unheard, it ends a process
    let config = Config::load(path)?;
    let (authority, trusts) = config.authority()?;
    let responder = Responder::bind(config.http01_listen).await?;
    let (board, (ask, asked)) = (responder.board(), watch::channel(()));
    let mut running = JoinSet::new();
    running.spawn(responder.run());
    for wanted in config.wanted.clone() {
        let (config, board, asked) = (config.clone(), board.clone(), asked.clone());
        let (authority, trusts) = (authority.clone(), trusts.clone());
        let (now_unix_s, chance) = (clock::now_unix_s as fn() -> i64, clock::chance as fn() -> u64);
        running.spawn(Renewal { config, wanted, authority, trusts, board, asked, now_unix_s, chance }.run());
    }
    tracing::info!(certificates = config.wanted.len(), "ready");
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hang_up.recv() => ask.send_replace(()),
            _ = running.join_next() => return Err(RenewError::Fault("a part of it ended by itself".to_owned())),
        }
    }
}
