//! Puts the service together from its configuration, runs it until SIGTERM, and takes it apart in order: no new
//! streams, streams end, events and payments that remain wait on disk for the next run.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ca_identity::{ServiceName, SpiffeId, TrustDomain};
use ca_mtls::{IdentityFiles, MtlsError, ReloadingClient, ReloadingServer, Watched};
use pci_processors::{ApiKey, BreakerPolicy, ProcessorConfig, StripeShaped, http};
use pci_store::Store;
use pci_vault::{KeyCheck, KeyPlan, Vault, VaultConfig, VaultHealth};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::authority::Followed;
use crate::config::{Config, ConfigError};
use crate::drive::{Drive, Parts};
use crate::feeds::{Source, Unknown};
use crate::guarded::Guarded;
use crate::metrics::Metrics;
use crate::otlp::OtlpClient;
use crate::relay::Relay;
use crate::rpc::Rpc;
use crate::serve::Server;
use crate::{clock, harden, open_files, prune, telemetry};

/// Why the service did not start or could not go on.
#[derive(Debug, Error)]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file that the configuration names.
    #[error("cannot use {path}: {what}")]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong and what to do.
        what: String,
    },
    /// A part that would not start.
    #[error("{part}: {why}")]
    Part {
        /// Which part.
        part: &'static str,
        /// Why.
        why: String,
    },
}

fn part<E: std::fmt::Display>(part: &'static str) -> impl FnOnce(E) -> StartError {
    move |why| StartError::Part { part, why: why.to_string() }
}

/// Runs the service of the configuration file at `path` until SIGTERM.
///
/// # Errors
/// [`StartError`] names the part that is at fault.
pub fn run(path: &Path) -> Result<(), StartError> {
    let config = Config::load(path)?;
    harden::harden().map_err(part("process hardening"))?;
    let too_few = open_files::make_room(config.limits.connections).map_err(part("limit of open files"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(part("runtime"))?;
    runtime.block_on(serve(config, too_few))
}

async fn serve(config: Config, too_few_files: Option<String>) -> Result<(), StartError> {
    let identity = Identity::load(&config)?;
    let collector = match &config.collector {
        Some(address) => {
            let client = identity.client(ServiceName::Monitor, address)?;
            Some(OtlpClient::new(client, tokio::runtime::Handle::current()))
        }
        None => None,
    };
    let telemetry = telemetry::start(&config.log, collector).map_err(part("telemetry"))?;
    if let Some(why) = too_few_files {
        tracing::warn!("{why}");
    }
    let stop = CancellationToken::new();
    let metrics = Arc::new(Metrics::default());
    let store = Arc::new(Store::open(&config.database, clock::now()).await.map_err(part("database"))?);
    let vault = vault(&config, &store).await?;
    let processor = StripeShaped::new(processor(&config)?).map_err(part("processor"))?;
    let parts = Parts {
        store: Arc::clone(&store),
        vault: Arc::clone(&vault),
        processor: Arc::new(Guarded::new(processor, BreakerPolicy::default())),
        limits: config.limits.clone(),
        open_budget: Duration::from_millis(config.processor.open_budget_ms),
        metrics: Arc::clone(&metrics),
    };
    let drive = Drive::start(parts, stop.clone()).await.map_err(part("database"))?;
    let mut tasks = JoinSet::new();
    let unknown = neighbours(&config, &identity, &store, &metrics, &stop, &mut tasks).await?;
    let followed = follow_authority(&config, &identity, &mut tasks)?;
    tasks.spawn(prune::run(Arc::clone(&store), stop.clone()));
    let fresh = identity.clone();
    tasks.spawn(identity.watched.clone().keep_fresh(move || fresh.reload()));
    let listener = TcpListener::bind(config.listen).await.map_err(part("listen"))?;
    announce(&config, &listener)?;
    let following = followed.clone();
    let server = Server {
        tls: identity.server,
        limits: config.limits,
        rpc: Rpc::new(drive),
        metrics,
        followed,
        lacks: Arc::new(move || lacks(&vault, &unknown, following.as_deref())),
    };
    let serving = tokio::spawn(server.run(listener, stop.clone()));
    terminated().await?;
    tracing::info!("asked to end");
    stop.cancel();
    let _ = serving.await;
    tasks.shutdown().await;
    store.close().await;
    telemetry.shut_down();
    Ok(())
}

/// Who we are, to callers and to those we call.
#[derive(Clone)]
struct Identity {
    server: Arc<ReloadingServer>,
    client: Arc<ReloadingClient>,
    trust_domain: TrustDomain,
    bundle: PathBuf,
    /// The files of it all.
    watched: Watched,
}

impl Identity {
    fn load(config: &Config) -> Result<Self, StartError> {
        let trust_domain = TrustDomain::parse(&config.identity.trust_domain).map_err(part("identity.trust_domain"))?;
        let files = IdentityFiles {
            certificate: config.identity.certificate.clone(),
            key: config.identity.key.clone(),
            bundle: config.identity.trust_bundle.clone(),
        };
        let (watched, bundle) = (files.watched(), files.bundle.clone());
        let server =
            ReloadingServer::new(files.clone(), &trust_domain, &[b"h2", b"http/1.1"]).map_err(part("identity"))?;
        let client = ReloadingClient::new(files).map_err(part("identity"))?;
        Ok(Self { server: Arc::new(server), client: Arc::new(client), trust_domain, bundle, watched })
    }

    /// A client of `service` at `address`.
    fn client(&self, service: ServiceName, address: &str) -> Result<Arc<http::Client>, StartError> {
        let expected = SpiffeId::service(&self.trust_domain, service);
        let tls = self.client.config(&expected, &[b"http/1.1"]).map_err(part("identity"))?;
        let endpoint = http::Endpoint::parse(&format!("https://{address}")).map_err(part("address of a neighbour"))?;
        Ok(Arc::new(http::Client::new(http::ClientConfig {
            max_body_bytes: 8 << 20,
            max_connections: 8,
            ..http::ClientConfig::new(tls, endpoint)
        })))
    }

    /// Reads the certificate files again; a bad file leaves the last good ones in force.
    fn reload(&self) -> Result<(), MtlsError> {
        self.server.reload().and_then(|_| self.client.reload()).map(drop)
    }
}

/// Starts a relay for each subscriber and a task for each feed. A subscriber is known before it has booked anything, so
/// that nothing is pruned before it.
async fn neighbours(
    config: &Config,
    identity: &Identity,
    store: &Arc<Store>,
    metrics: &Arc<Metrics>,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Result<Arc<Unknown>, StartError> {
    let unknown = Arc::new(Unknown::default());
    for subscriber in &config.subscribers {
        let service = ServiceName::parse(&subscriber.name).map_err(part("subscribers.name"))?;
        store.save_cursor(&subscriber.name, 0).await.map_err(part("database"))?;
        let relay = Relay {
            subscriber: subscriber.name.clone(),
            client: identity.client(service, &subscriber.address)?,
            store: Arc::clone(store),
            metrics: Arc::clone(metrics),
        };
        tasks.spawn(relay.run(stop.clone()));
    }
    for feed in &config.feeds {
        let service = ServiceName::parse(&feed.name).map_err(part("feeds.name"))?;
        let source = Source {
            client: identity.client(service, &feed.address)?,
            store: Arc::clone(store),
            metrics: Arc::clone(metrics),
            unknown: Arc::clone(&unknown),
            stop: stop.clone(),
        };
        for name in &feed.feeds {
            source.start(name, tasks).await.map_err(part("feeds.feeds"))?;
        }
    }
    Ok(unknown)
}

/// Follows who tells which certificates were revoked and which roots are trusted, if anybody does.
fn follow_authority(
    config: &Config,
    identity: &Identity,
    tasks: &mut JoinSet<()>,
) -> Result<Option<Arc<Followed>>, StartError> {
    let Some(section) = &config.authority else { return Ok(None) };
    let authority = identity.client(ServiceName::Authority, &section.address)?;
    let (server, reloaded) = (Arc::clone(&identity.server), identity.clone());
    let bundle = (identity.bundle.clone(), identity.trust_domain.clone());
    let followed = Followed::new(server, section.revocations.clone(), bundle, move || reloaded.reload());
    let followed = Arc::new(followed.map_err(part("identity.trust_bundle"))?);
    tasks.spawn(Arc::clone(&followed).follow(authority));
    Ok(Some(followed))
}

/// What the service lacks to do its work.
fn lacks(vault: &Vault, unknown: &Unknown, followed: Option<&Followed>) -> Option<String> {
    if vault.health() != VaultHealth::Ready {
        return Some("recovering: the HSM is not there".to_owned());
    }
    if followed.is_some_and(|followed| !followed.lists().knows()) {
        return Some("waiting for the authority's first revocation lists".to_owned());
    }
    let names = unknown.names();
    (!names.is_empty()).then(|| format!("waiting for the first rows of: {}", names.join(", ")))
}

/// Opens the HSM, and holds its keys against those that this database was used with before. Opening blocks, so it is
/// done aside.
async fn vault(config: &Config, store: &Store) -> Result<Arc<Vault>, StartError> {
    let hsm = &config.hsm;
    let plan = std::fs::read_to_string(&hsm.keys).map_err(|why| file(&hsm.keys, why))?;
    let plan = KeyPlan::parse(&plan).map_err(|why| file(&hsm.keys, why))?;
    let lock_file = config.database.with_extension("keys.lock");
    let known = store.key_checks().await.map_err(part("database"))?;
    let settings = VaultConfig {
        known: known.into_iter().map(|(label, value)| KeyCheck { label, value }).collect(),
        threads: hsm.threads,
        queue: hsm.queue,
        recycle_after: hsm.recycle_after,
        ..VaultConfig::new(hsm.module.clone(), hsm.token_label.clone(), secret(&hsm.pin_file)?, plan, lock_file)
    };
    let vault = tokio::task::spawn_blocking(move || Vault::start(settings)).await.map_err(part("hsm"))?;
    let vault = vault.map_err(part("hsm"))?;
    let checks = vault.key_checks().iter().map(|check| (check.label.clone(), check.value.clone())).collect();
    store.keep_key_checks(checks).await.map_err(part("database"))?;
    Ok(Arc::new(vault))
}

fn processor(config: &Config) -> Result<ProcessorConfig, StartError> {
    let section = &config.processor;
    let roots = std::fs::read_to_string(&section.pinned_roots).map_err(|why| file(&section.pinned_roots, why))?;
    Ok(ProcessorConfig {
        timeout_ms: section.timeout_ms,
        ..ProcessorConfig::new(&section.base_url, ApiKey::new(secret(&section.api_key_file)?), roots)
    })
}

fn file<E: std::fmt::Display>(path: &Path, why: E) -> StartError {
    StartError::File { path: path.to_owned(), what: why.to_string() }
}

/// Reads a secret from a file that only its owner may read.
fn secret(path: &Path) -> Result<Zeroizing<String>, StartError> {
    let mode = std::fs::metadata(path).map_err(|why| file(path, why))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(file(path, "others may read it; run chmod 600 on it"));
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|why| file(path, why))?);
    Ok(Zeroizing::new(text.trim_end().to_owned()))
}

/// Writes the address listened on where the configuration says, in one step.
fn announce(config: &Config, listener: &TcpListener) -> Result<(), StartError> {
    let address = listener.local_addr().map_err(part("listen"))?;
    tracing::info!(%address, "ready");
    let Some(path) = &config.ready_file else { return Ok(()) };
    let partial = path.with_extension("partial");
    std::fs::write(&partial, format!("{address}\n")).map_err(|why| file(&partial, why))?;
    std::fs::rename(&partial, path).map_err(|why| file(path, why))
}

async fn terminated() -> Result<(), StartError> {
    let mut term = signal(SignalKind::terminate()).map_err(part("signals"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(part("signals"))?;
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
