//! The frame of a service's `main`: one argument, JSON logs to standard error, an orderly end on SIGTERM.
//!
//! It is here so that a `main.rs` only says which service it is.

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::Config;
use crate::problem::Fault;

/// Runs a service from its command line: `ops-x --config FILE`. Logs go to standard error as JSON, filtered by
/// `LARDER_LOG` (default `info`). The token is cancelled on SIGTERM and SIGINT.
pub fn run<E, S, F>(service: S) -> ExitCode
where
    E: DeserializeOwned + Default,
    S: FnOnce(Config<E>, CancellationToken) -> F,
    F: Future<Output = Result<(), Fault>>,
{
    let filter = EnvFilter::try_from_env("LARDER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    let Some(path) = config_path(std::env::args().skip(1)) else {
        tracing::error!("usage: --config FILE");
        return ExitCode::from(2);
    };
    match Config::load(&path).and_then(|config| run_with(config, service)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            tracing::error!(%fault, "the service cannot run");
            ExitCode::FAILURE
        }
    }
}

fn run_with<E, S, F>(config: Config<E>, service: S) -> Result<(), Fault>
where
    S: FnOnce(Config<E>, CancellationToken) -> F,
    F: Future<Output = Result<(), Fault>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::new(format!("runtime: {error}"), true))?;
    runtime.block_on(async {
        let ending = CancellationToken::new();
        let signals = |kind| signal(kind).map_err(|error| Fault::new(format!("signals: {error}"), false));
        let (mut terminate, mut interrupt) = (signals(SignalKind::terminate())?, signals(SignalKind::interrupt())?);
        let told = ending.clone();
        tokio::spawn(async move {
            tokio::select! { _ = terminate.recv() => (), _ = interrupt.recv() => () }
            told.cancel();
        });
        service(config, ending).await
    })
}

fn config_path(mut arguments: impl Iterator<Item = String>) -> Option<PathBuf> {
    match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (Some("--config"), Some(path), None) => Some(path.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::config_path;

    #[test]
    fn the_command_line_is_one_option() {
        let read = |words: &[&str]| config_path(words.iter().map(|word| (*word).to_owned()));
        assert_eq!(read(&["--config", "x.toml"]), Some("x.toml".into()));
        for bad in [&["x.toml"][..], &["--config"], &["--config", "x", "y"], &[]] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
