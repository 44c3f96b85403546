//! Pulls the authority's revocation lists and puts them in force: at the handshake, and for the connections that are open.
//!
//! The pull waits at the authority until there is something new, so a word of a person there is in force here within the
//! second. The last lists are kept in a file, so that a restart while the authority is away does not forget them. An
//! authority that is away changes nothing: what was revoked stays revoked, everybody else goes on, and the metrics say how
//! long the lists are good for. It leaves judging the lists to `ca-mtls`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ca_mtls::{CheckedCrl, CrlError, ReloadingServer};
use pci_processors::http;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::metrics::Metrics;

/// How long the authority keeps a pull waiting for something new.
const WAIT_S: u32 = 30;
/// How long a pull may take.
const TIMEOUT_MS: u64 = 45_000;
/// The pause after a first failure; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Why a pull brought nothing.
#[derive(Debug, Error)]
enum PullError {
    #[error("the authority does not answer")]
    Unreachable,
    #[error("the authority answered with status {0}")]
    Status(u16),
    #[error(transparent)]
    List(#[from] CrlError),
}

/// Where the lists come from and go to.
#[derive(Clone)]
pub struct Revocations {
    client: Arc<http::Client>,
    server: Arc<ReloadingServer>,
    file: PathBuf,
    metrics: Arc<Metrics>,
    known: Arc<AtomicBool>,
}

impl Revocations {
    /// Pulls by `client` for `server`, keeps the last lists in `file`, and puts those in force that an earlier run kept.
    #[must_use]
    pub fn new(client: Arc<http::Client>, server: Arc<ReloadingServer>, file: PathBuf, metrics: Arc<Metrics>) -> Self {
        let known = Arc::new(AtomicBool::new(false));
        let revocations = Self { client, server, file, metrics, known };
        if let Ok(pem) = std::fs::read(&revocations.file) {
            match revocations.apply(&pem) {
                Ok(()) => {}
                Err(error) => tracing::error!(%error, "the revocation lists of the run before are not believed"),
            }
        }
        revocations
    }

    /// Whether there are lists in force.
    #[must_use]
    pub fn known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }

    /// Pulls until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let (mut tag, mut pause) = (String::new(), FIRST_PAUSE);
        loop {
            let pulled = tokio::select! {
                () = stop.cancelled() => return,
                pulled = self.pull(&tag) => pulled,
            };
            let Err(error) = pulled.map(|new| tag = new) else {
                pause = FIRST_PAUSE;
                continue;
            };
            tracing::warn!(%error, "the last known revocation lists stay in force");
            self.metrics.revocation_failures.inc();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Waits for lists other than those with this tag, and puts them in force; gives their tag.
    async fn pull(&self, tag: &str) -> Result<String, PullError> {
        let request = http::Request::get(format!("/v1/revocations?wait_s={WAIT_S}"))
            .text_header(::http::header::IF_NONE_MATCH, tag)
            .timeout_ms(TIMEOUT_MS);
        let answer = self.client.send(request).await.map_err(|_| PullError::Unreachable)?;
        match answer.status {
            ::http::StatusCode::NOT_MODIFIED => return Ok(tag.to_owned()),
            ::http::StatusCode::OK => {}
            other => return Err(PullError::Status(other.as_u16())),
        }
        self.apply(&answer.body)?;
        if let Err(error) = keep(&self.file, &answer.body) {
            tracing::error!(%error, file = %self.file.display(), "the revocation lists were not kept for the next run");
        }
        let tag = answer.headers.get(::http::header::ETAG).and_then(|tag| tag.to_str().ok());
        Ok(tag.unwrap_or_default().to_owned())
    }

    fn apply(&self, pem: &[u8]) -> Result<(), CrlError> {
        let revocations = self.server.revocations();
        for list in CheckedCrl::check_pem(pem, &self.server.bundle(), clock::now_s())? {
            let applied = revocations.apply(list)?;
            tracing::info!(revoked = applied.revoked, closed = applied.closed, "a revocation list is in force");
        }
        let horizon = revocations.horizon_s();
        self.metrics.revocation_horizon.set(horizon.unwrap_or(0));
        self.known.store(horizon.is_some(), Ordering::Relaxed);
        Ok(())
    }
}

/// Replaces a file in one step.
fn keep(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    std::fs::write(&partial, bytes)?;
    std::fs::rename(&partial, path)
}
