//! Asks the authority for the revocation lists and waits there for the next ones. It leaves judging the lists, and what
//! follows from them, to `ca-mtls`.

use std::sync::Arc;

use ca_identity::{ServiceName, SpiffeId, TrustDomain};
use ca_mtls::{Follower, IdentityFiles, Lists};
use http::{Method, StatusCode};

use crate::client::Client;
use crate::config::AuthorityConfig;
use crate::problem::Fault;

/// Where to ask: less than a client waits for an answer.
const PATH: &str = "/v1/revocations?wait_s=25";

/// Whom to ask, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    /// The authority.
    pub(crate) authority: AuthorityConfig,
    /// Who we are and whom we trust, read anew for each question.
    pub(crate) files: IdentityFiles,
    /// Whose authority it must be.
    pub(crate) domain: TrustDomain,
}

/// Follows the authority until dropped.
pub(crate) async fn follow(follower: Arc<Follower>, asker: Asker) {
    follower.run(|tag| ask(asker.clone(), tag)).await;
}

/// Each question is a connection of its own, with the certificate of the moment.
async fn ask(asker: Asker, tag: String) -> Result<Lists, Fault> {
    let fault = |why: &dyn std::fmt::Display| Fault::new(format!("the authority: {why}"), true);
    let (identity, bundle) = asker.files.load().map_err(|why| fault(&why))?;
    let server = SpiffeId::service(&asker.domain, ServiceName::Authority);
    let client = Client::new(&identity, &bundle, &server, asker.authority.address).map_err(|why| fault(&why))?;
    let asked = client.send(Method::GET, PATH, &[("if-none-match", &tag)], None).await;
    let reply = asked.map_err(|why| fault(&why))?;
    match reply.status {
        StatusCode::NOT_MODIFIED => Ok(Lists::Unchanged),
        StatusCode::OK => {
            let tag = reply.etag().unwrap_or_default().to_owned();
            Ok(Lists::New { tag, pem: reply.body.to_vec() })
        }
        other => Err(fault(&format!("it answered {other}"))),
    }
}
