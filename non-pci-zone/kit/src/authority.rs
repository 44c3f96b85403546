//! Follows the authority: asks it for the revocation lists and for the trust bundle, and waits there for the next ones. It
//! leaves judging them, and what follows from them, to `ca-mtls`.

use std::sync::Arc;

use ca_identity::{ServiceName, SpiffeId, TrustDomain};
use ca_mtls::{BundleFollower, Follower, IdentityFiles, Lists, MtlsError, NextBundle, ReloadingServer};
use http::{Method, StatusCode};

use crate::client::{Client, Reply};
use crate::clock;
use crate::config::AuthorityConfig;
use crate::problem::Fault;

/// How long the authority keeps a question: less than a client waits for an answer.
const WAIT_S: u32 = 25;

/// Whom to ask, and as whom.
#[derive(Debug, Clone)]
struct Asker {
    authority: AuthorityConfig,
    /// Who we are and whom we trust, read anew for each question.
    files: IdentityFiles,
    domain: TrustDomain,
}

/// What is kept as new as the authority's.
#[derive(Debug)]
pub(crate) struct Followed {
    lists: Follower,
    bundles: BundleFollower,
    asker: Asker,
}

impl Followed {
    /// Follows `authority` for `server`, which is of these files.
    ///
    /// # Errors
    /// [`MtlsError`] when the trust bundle cannot be used.
    pub(crate) fn new(
        server: &Arc<ReloadingServer>,
        authority: AuthorityConfig,
        files: IdentityFiles,
        domain: TrustDomain,
    ) -> Result<Self, MtlsError> {
        let reloaded = Arc::clone(server);
        let reload = move || reloaded.reload().map(drop);
        let bundles = BundleFollower::new(files.bundle.clone(), domain.clone(), reload, clock::now_s)?;
        let lists = Follower::new(Arc::clone(server), authority.revocations.clone(), clock::now_s);
        Ok(Self { lists, bundles, asker: Asker { authority, files, domain } })
    }

    /// The revocation lists.
    pub(crate) const fn lists(&self) -> &Follower {
        &self.lists
    }

    /// The trust bundle.
    pub(crate) const fn bundles(&self) -> &BundleFollower {
        &self.bundles
    }

    /// Follows until dropped.
    pub(crate) async fn follow(self: Arc<Self>) {
        tokio::join!(
            self.lists.run(|tag| next_lists(self.asker.clone(), tag)),
            self.bundles.run(|known| next_bundle(self.asker.clone(), known)),
        );
    }
}

async fn next_lists(asker: Asker, tag: String) -> Result<Lists, Fault> {
    let Some(reply) = asker.next("/v1/revocations", &tag).await? else { return Ok(Lists::Unchanged) };
    let tag = reply.etag().unwrap_or_default().to_owned();
    Ok(Lists::New { tag, pem: reply.body.to_vec() })
}

async fn next_bundle(asker: Asker, known: Option<u64>) -> Result<NextBundle, Fault> {
    let tag = known.map_or_else(String::new, |version| format!("\"{version}\""));
    let Some(reply) = asker.next("/bundle", &tag).await? else { return Ok(NextBundle::Unchanged) };
    String::from_utf8(reply.body.to_vec()).map(NextBundle::New).map_err(|_| fault(&"its trust bundle is no text"))
}

impl Asker {
    /// What comes after what `tag` names; none when nothing did while the authority kept the question. Each question is a
    /// connection of its own, with the certificate and the roots of the moment.
    async fn next(&self, path: &str, tag: &str) -> Result<Option<Reply>, Fault> {
        let (identity, bundle) = self.files.load().map_err(|why| fault(&why))?;
        let server = SpiffeId::service(&self.domain, ServiceName::Authority);
        let client = Client::new(&identity, &bundle, &server, self.authority.address).map_err(|why| fault(&why))?;
        let path = format!("{path}?wait_s={WAIT_S}");
        let asked = client.send(Method::GET, &path, &[("if-none-match", tag)], None).await;
        let reply = asked.map_err(|why| fault(&why))?;
        match reply.status {
            StatusCode::NOT_MODIFIED => Ok(None),
            StatusCode::OK => Ok(Some(reply)),
            other => Err(fault(&format!("it answered {other}"))),
        }
    }
}

fn fault(why: &dyn std::fmt::Display) -> Fault {
    Fault::new(format!("the authority: {why}"), true)
}
