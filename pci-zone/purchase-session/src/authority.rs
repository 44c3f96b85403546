//! Asks the authority for the revocation lists and waits there for the next ones, so that a word of a person there is in
//! force here within the second. It leaves judging the lists, and what follows from them, to `ca-mtls`.

use std::sync::Arc;

use ca_mtls::{Follower, Lists};
use http::StatusCode;
use http::header::{ETAG, IF_NONE_MATCH};
use pci_processors::http as client;
use thiserror::Error;

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
}

/// Follows the authority that `authority` speaks to, until dropped.
pub async fn follow(follower: Arc<Follower>, authority: Arc<client::Client>) {
    follower.run(|tag| ask(Arc::clone(&authority), tag)).await;
}

async fn ask(authority: Arc<client::Client>, tag: String) -> Result<Lists, AskError> {
    let request = client::Request::get(format!("/v1/revocations?wait_s={WAIT_S}"))
        .text_header(IF_NONE_MATCH, &tag)
        .timeout_ms(TIMEOUT_MS);
    let answer = authority.send(request).await.map_err(AskError::Unreachable)?;
    match answer.status {
        StatusCode::NOT_MODIFIED => Ok(Lists::Unchanged),
        StatusCode::OK => {
            let tag = answer.headers.get(ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or_default().to_owned();
            Ok(Lists::New { tag, pem: answer.body.to_vec() })
        }
        other => Err(AskError::Status(other.as_u16())),
    }
}
