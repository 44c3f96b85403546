//! The commands of `larder-attest`. Each does one thing, says what it did, and what to do next.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use tokio::signal::unix::{SignalKind, signal};

use crate::{Config, ServeError, Service, Store, Values, config};

/// What `larder-attest` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until SIGTERM
    Serve(Serve),
    /// Let a device out of quarantine, after somebody has looked at it
    Release(Release),
    /// Sign a list of reference values
    SignValues(SignValues),
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// The settings (TOML)
    #[arg(long)]
    config: PathBuf,
}

/// Arguments of `release`.
#[derive(Debug, Args)]
pub struct Release {
    /// The settings (TOML)
    #[arg(long)]
    config: PathBuf,
    /// The device's permanent identifier: 64 digits of hexadecimal
    device: String,
}

/// Arguments of `sign-values`.
#[derive(Debug, Args)]
pub struct SignValues {
    /// The list (JSON)
    #[arg(long)]
    values: PathBuf,
    /// The key (P-256, PKCS #8 in PEM)
    #[arg(long)]
    key: PathBuf,
    /// Where the signed list goes
    #[arg(long)]
    out: PathBuf,
}

impl Command {
    /// Runs the command and writes what it did to `out`.
    ///
    /// # Errors
    /// [`ServeError`], whose text says what happened and what to do.
    pub async fn run(self, now_unix_s: fn() -> i64, out: &mut (dyn Write + Send)) -> Result<(), ServeError> {
        match self {
            Self::Serve(arguments) => serve(&arguments.config, now_unix_s).await,
            Self::Release(arguments) => release(&arguments, now_unix_s(), out).await,
            Self::SignValues(arguments) => sign_values(&arguments, out),
        }
    }
}

async fn serve(config: &Path, now_unix_s: fn() -> i64) -> Result<(), ServeError> {
    let config = Config::load(config)?;
    let ready_file = config.ready_file.clone();
    let service = Service::open(config, now_unix_s).await?;
    if let Some(path) = &ready_file {
        let address = format!("{}\n", service.address()?);
        std::fs::write(path, address).map_err(|error| ServeError::file(path, &error.to_string()))?;
    }
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tracing::info!(address = %service.address()?, "the attestation service listens");
    service
        .run(async move {
            tokio::select! { _ = terminate.recv() => (), _ = interrupt.recv() => () }
        })
        .await;
    Ok(())
}

async fn release(arguments: &Release, now_unix_s: i64, out: &mut (dyn Write + Send)) -> Result<(), ServeError> {
    let store = Store::open(&Config::load(&arguments.config)?.database, now_unix_s).await?;
    let released = store.release(&arguments.device, now_unix_s).await;
    store.close().await;
    released?;
    writeln!(out, "Released {}.", arguments.device)?;
    writeln!(
        out,
        "Next: have it attested again; what it shows then is believed once, and held against it from then on."
    )?;
    Ok(())
}

fn sign_values(arguments: &SignValues, out: &mut (dyn Write + Send)) -> Result<(), ServeError> {
    let no_key = || ServeError::file(&arguments.key, "it is no key on P-256 in PKCS #8");
    let pem = zeroize::Zeroizing::new(config::read(&arguments.key)?);
    let pkcs8 = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| no_key())?;
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.secret_pkcs8_der(), &random);
    let key = key.map_err(|_| no_key())?;
    // What was signed is read back, so that no list leaves that the service would refuse.
    let (jws, values) = Values::sign(&config::read(&arguments.values)?, &key, &random)
        .map_err(|why| ServeError::file(&arguments.values, &why.to_string()))?;
    std::fs::write(&arguments.out, jws).map_err(|error| ServeError::file(&arguments.out, &error.to_string()))?;
    writeln!(out, "Signed version {} of the reference values.", values.version)?;
    writeln!(out, "  list  {}", arguments.out.display())?;
    writeln!(out, "Next: put it where the service's settings say; it is read again within a minute.")?;
    Ok(())
}
