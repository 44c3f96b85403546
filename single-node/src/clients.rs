//! The identities that this program itself uses, for as long as it runs: each certificate that replaces another is shown
//! from then on, and who reads metrics follows the authority's trust bundle as every service does.

use std::sync::Arc;

use authority::now_unix_s;
use ca_identity::{ServiceName, SpiffeId};
use ca_mtls::{BundleFollower, IdentityFiles, NextBundle, ReloadingClient};
use tokio::task::JoinSet;

use crate::Fault;
use crate::issuer::{Issuer, Party};
use crate::ops::Ops;

/// How long the authority keeps a question for the next trust bundle, in seconds.
const WAIT_S: u32 = 25;

/// One party, whose files are read again when they were replaced.
pub struct Own {
    client: Arc<ReloadingClient>,
    files: IdentityFiles,
}

impl Own {
    /// Uses the identity of `party`, which must have been issued.
    ///
    /// # Errors
    /// [`Fault`] when it was not.
    pub fn of(issuer: &Issuer, party: &Party, tasks: &mut JoinSet<()>) -> Result<Self, Fault> {
        let (certificate, key, bundle) = issuer.files(party);
        let files = IdentityFiles { certificate, key, bundle };
        let client = ReloadingClient::new(files.clone()).map_err(Fault::of("an identity"))?;
        let client = Arc::new(client);
        let reloaded = Arc::clone(&client);
        tasks.spawn(client.watched().keep_fresh(move || reloaded.reload().map(drop)));
        Ok(Self { client, files })
    }

    /// Speaks to `service` at `address`.
    ///
    /// # Errors
    /// [`Fault`] when the address is none.
    pub fn speaks_to(&self, service: ServiceName, address: &str) -> Result<Ops, Fault> {
        let expected = SpiffeId::service(self.client.id().trust_domain(), service);
        let tls = self.client.config(&expected, &[b"http/1.1"]).map_err(Fault::of("an identity"))?;
        Ops::speaking(service, address, tls)
    }

    /// Follows the trust bundle of the authority at `address`.
    ///
    /// # Errors
    /// [`Fault`] when its roots cannot be used.
    pub fn follows(&self, address: &str, tasks: &mut JoinSet<()>) -> Result<(), Fault> {
        let (reloaded, domain) = (Arc::clone(&self.client), self.client.id().trust_domain().clone());
        let reload = move || reloaded.reload().map(drop);
        let bundles = BundleFollower::new(self.files.bundle.clone(), domain, reload, now_unix_s);
        let bundles = bundles.map_err(Fault::of("the trust bundle"))?;
        let authority = self.speaks_to(ServiceName::Authority, address)?;
        tasks.spawn(async move {
            let asked = |known: Option<u64>| {
                let (authority, tag) = (authority.clone(), known.map(|version| format!("\"{version}\"")));
                async move {
                    let next = authority.next(&format!("/bundle?wait_s={WAIT_S}"), tag.as_deref()).await?;
                    Ok::<_, Fault>(next.map_or(NextBundle::Unchanged, NextBundle::New))
                }
            };
            bundles.run(asked).await;
        });
        Ok(())
    }
}
