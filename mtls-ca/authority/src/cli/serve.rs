//! `serve`: the authority as a server, until it is told to end.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::shared::{CliError, Place};
use crate::{AuthorityError, Fault, Listen, Names, clock, serve};

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    place: Place,
    /// Address and port for the services of the house, behind mutual TLS; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:7450")]
    services: SocketAddr,
    /// Host name by which services reach it; may be given several times
    #[arg(long)]
    dns: Vec<String>,
    /// Address by which services reach it; may be given several times
    #[arg(long)]
    ip: Vec<IpAddr>,
    /// File to write the address into, once it serves
    #[arg(long)]
    ready_file: Option<PathBuf>,
}

pub(super) fn run(arguments: &Serve, out: &mut dyn Write) -> Result<(), CliError> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let authority = Arc::new(arguments.place.open()?);
    writeln!(out, "Serving the revocation lists of {} to its services.", authority.trust_domain())?;
    writeln!(out, "Next: larder-ca revoke --dir {}; end this with Ctrl-C.", authority.dir().display())?;
    let listen = Listen {
        services: arguments.services,
        names: Names { dns: arguments.dns.clone(), ip: arguments.ip.clone() },
        ready_file: arguments.ready_file.clone(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|why| AuthorityError::from(Fault::Serve(why.to_string())))?;
    runtime.block_on(async {
        let signals = |why: std::io::Error| AuthorityError::from(Fault::Serve(why.to_string()));
        let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
        let told = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        serve(authority, listen, clock::now_unix_s, told).await
    })?;
    Ok(())
}
