//! Follows the authority: asks it for the revocation lists and for the trust bundle, and waits there for the next ones, so
//! that a word of a person there is in force here within the second. It leaves judging them, and what follows from them, to
//! `ca-mtls`.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;

use ca_identity::TrustDomain;
use ca_mtls::{BundleFollower, Follower, Lists, MtlsError, NextBundle, ReloadingServer};
use http::StatusCode;
use http::header::{ETAG, IF_NONE_MATCH};
use pci_processors::http as client;
use thiserror::Error;

use crate::clock;

/// How long the authority keeps a question waiting for something new.
const WAIT_S: u32 = 25;
/// How long a question may take.
const TIMEOUT_MS: u64 = 45_000;

/// Why there is no answer.
#[derive(Debug, Error)]
enum AskError {
    #[error("the authority does not answer: {0}")]
    Unreachable(client::HttpError),
    #[error("the authority answered with status {0}")]
    Status(u16),
    #[error("the authority's trust bundle is no text")]
    NoText,
}

/// What is kept as new as the authority's.
#[derive(Debug)]
pub struct Followed {
    lists: Follower,
    bundles: BundleFollower,
}

impl Followed {
    /// Follows for `server`: keeps the last lists in the file `lists`, and the roots in the file `bundle`; `reload` puts
    /// those in force.
    ///
    /// # Errors
    /// [`MtlsError`] when the bundle's file cannot be used.
    pub fn new(
        server: Arc<ReloadingServer>,
        lists: PathBuf,
        (bundle, domain): (PathBuf, TrustDomain),
        reload: impl Fn() -> Result<(), MtlsError> + Send + Sync + 'static,
    ) -> Result<Self, MtlsError> {
        let bundles = BundleFollower::new(bundle, domain, reload, clock::now_s)?;
        Ok(Self { lists: Follower::new(server, lists, clock::now_s), bundles })
    }

    /// The revocation lists.
    #[must_use]
    pub const fn lists(&self) -> &Follower {
        &self.lists
    }

    /// The trust bundle.
    #[must_use]
    pub const fn bundles(&self) -> &BundleFollower {
        &self.bundles
    }

    /// Follows the authority that `authority` speaks to, until dropped.
    pub async fn follow(self: Arc<Self>, authority: Arc<client::Client>) {
        tokio::join!(
            self.lists.run(|tag| next_lists(Arc::clone(&authority), tag)),
            self.bundles.run(|known| next_bundle(Arc::clone(&authority), known)),
        );
    }
}

async fn next_lists(authority: Arc<client::Client>, tag: String) -> Result<Lists, AskError> {
    let Some(answer) = next(&authority, "/v1/revocations", tag).await? else { return Ok(Lists::Unchanged) };
    let tag = answer.headers.get(ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or_default().to_owned();
    Ok(Lists::New { tag, pem: answer.body.to_vec() })
}

async fn next_bundle(authority: Arc<client::Client>, known: Option<u64>) -> Result<NextBundle, AskError> {
    let tag = known.map_or_else(String::new, |version| format!("\"{version}\""));
    let Some(answer) = next(&authority, "/bundle", tag).await? else { return Ok(NextBundle::Unchanged) };
    String::from_utf8(answer.body.to_vec()).map(NextBundle::New).map_err(|_| AskError::NoText)
}

/// What comes after what `tag` names; none when nothing did while the authority kept the question.
async fn next(
    authority: &client::Client,
    path: impl Display,
    tag: String,
) -> Result<Option<client::Response>, AskError> {
    let request =
        client::Request::get(format!("{path}?wait_s={WAIT_S}")).text_header(IF_NONE_MATCH, &tag).timeout_ms(TIMEOUT_MS);
    let answer = authority.send(request).await.map_err(AskError::Unreachable)?;
    match answer.status {
        StatusCode::NOT_MODIFIED => Ok(None),
        StatusCode::OK => Ok(Some(answer)),
        other => Err(AskError::Status(other.as_u16())),
    }
}
