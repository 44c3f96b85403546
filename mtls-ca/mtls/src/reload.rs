//! Certificates and roots that are replaced while connections run.
//!
//! Leaves live a day, so every process replaces its own many times between restarts. The rustls configuration stays the
//! same object; what it points to is swapped in one step, and only after the new files were read, parsed and checked as a
//! whole. A bad or half-written file therefore changes nothing: the last good one stays in force and the caller is told,
//! so that it can alarm. A file that names another party is refused, because nobody changes who he is while running.
//!
//! It leaves when to read to `fresh` and the caller ([`ReloadingServer::reload`] reads when it is called), and closing
//! connections whose certificate ran out to the servers, by [`crate::Peer::check_alive`].

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ca_identity::{SpiffeId, TrustDomain};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::server;

use crate::config::{client_chain, server};
use crate::held::swap;
use crate::verify::ClientChain;
use crate::{
    AcceptError, HeldClient, Identity, LiveConnection, MtlsError, Reload, Revocations, TrustBundle, Watched, accept,
};

/// Where a process finds what it is and whom it trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFiles {
    /// The certificate chain, leaf first, PEM.
    pub certificate: PathBuf,
    /// The private key, PEM, readable by its owner alone.
    pub key: PathBuf,
    /// The authority's roots, PEM.
    pub bundle: PathBuf,
}

impl IdentityFiles {
    /// Reads all three files.
    ///
    /// # Errors
    /// [`MtlsError`] says which file is at fault and what to do.
    pub fn load(&self) -> Result<(Identity, TrustBundle), MtlsError> {
        Ok((Identity::load(&self.certificate, &self.key)?, TrustBundle::load(&self.bundle)?))
    }

    /// These files, to be watched; to be asked before they are read for the first time.
    #[must_use]
    pub fn watched(&self) -> Watched {
        Watched::new(vec![self.certificate.clone(), self.key.clone(), self.bundle.clone()])
    }

    /// Reads all three files for a process that already runs as `expected`.
    fn load_as(&self, expected: &SpiffeId) -> Result<(Identity, TrustBundle), MtlsError> {
        let (identity, bundle) = self.load()?;
        if identity.id() != expected {
            let found = Box::new(identity.id().clone());
            return Err(MtlsError::NameChanged { expected: Box::new(expected.clone()), found });
        }
        Ok((identity, bundle))
    }
}

/// A server's configuration whose certificate and roots can be replaced while it runs.
#[derive(Debug)]
pub struct ReloadingServer {
    files: IdentityFiles,
    id: SpiffeId,
    key: Arc<ArcSwap<CertifiedKey>>,
    chain: Arc<ArcSwap<ClientChain>>,
    bundle: ArcSwap<TrustBundle>,
    revocations: Arc<Revocations>,
    config: Arc<ServerConfig>,
}

impl ReloadingServer {
    /// Loads the files and makes a configuration as [`crate::server_config`] does.
    ///
    /// # Errors
    /// [`MtlsError`] says which file is at fault and what to do.
    pub fn new(files: IdentityFiles, trust_domain: &TrustDomain, alpn: &[&[u8]]) -> Result<Self, MtlsError> {
        let (identity, bundle) = files.load()?;
        let key = Arc::new(ArcSwap::new(identity.certified()));
        let chain = Arc::new(ArcSwap::from_pointee(client_chain(&bundle)?));
        let revocations = Arc::<Revocations>::default();
        let config = server(Arc::clone(&key), Arc::clone(&chain), Arc::clone(&revocations), trust_domain, alpn)?;
        let bundle = ArcSwap::from_pointee(bundle);
        Ok(Self { files, id: identity.id().clone(), key, chain, bundle, revocations, config })
    }

    /// The configuration; the same object before and after any reload.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Who we are.
    #[must_use]
    pub const fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// Does a handshake as [`crate::accept`] does, and enters the connection into the index of those that are open.
    ///
    /// # Errors
    /// [`AcceptError`]; the stream is closed.
    pub async fn accept<S>(
        &self,
        stream: S,
        limit: Duration,
    ) -> Result<(server::TlsStream<S>, LiveConnection), AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (stream, peer) = accept(self.config(), stream, limit).await?;
        Ok((stream, self.revocations.enter(Arc::new(peer))?))
    }

    /// What is revoked, and the connections that are open; the same object before and after any reload.
    #[must_use]
    pub fn revocations(&self) -> Arc<Revocations> {
        Arc::clone(&self.revocations)
    }

    /// Whom we trust now.
    #[must_use]
    pub fn bundle(&self) -> Arc<TrustBundle> {
        self.bundle.load_full()
    }

    /// Reads the files again and swaps in what they hold; handshakes under way end with what they began with.
    ///
    /// # Errors
    /// [`MtlsError`]; what was in force before stays in force.
    pub fn reload(&self) -> Result<Reload, MtlsError> {
        let (identity, bundle) = self.files.load_as(&self.id)?;
        self.chain.store(Arc::new(client_chain(&bundle)?));
        self.bundle.store(Arc::new(bundle.clone()));
        Ok(swap(&self.key, &identity, &bundle))
    }
}

/// A client's configuration whose certificate and roots are read from files again while it runs.
#[derive(Debug)]
pub struct ReloadingClient {
    files: IdentityFiles,
    watched: Watched,
    held: HeldClient,
}

impl ReloadingClient {
    /// Loads the files.
    ///
    /// # Errors
    /// [`MtlsError`] says which file is at fault and what to do.
    pub fn new(files: IdentityFiles) -> Result<Self, MtlsError> {
        let watched = files.watched();
        let (identity, bundle) = files.load()?;
        Ok(Self { files, watched, held: HeldClient::new(&identity, &bundle) })
    }

    /// A configuration for speaking to `expected_server`, as [`crate::client_config`] makes it; all of one client's
    /// configurations are reloaded together.
    ///
    /// # Errors
    /// [`MtlsError::Config`] when rustls refuses it.
    pub fn config(&self, expected_server: &SpiffeId, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, MtlsError> {
        self.held.config(expected_server, alpn)
    }

    /// Who we are.
    #[must_use]
    pub const fn id(&self) -> &SpiffeId {
        self.held.id()
    }

    /// The files, watched since before they were read for the first time.
    #[must_use]
    pub fn watched(&self) -> Watched {
        self.watched.clone()
    }

    /// Reads the files again and swaps in what they hold; handshakes under way end with what they began with.
    ///
    /// # Errors
    /// [`MtlsError`]; what was in force before stays in force.
    pub fn reload(&self) -> Result<Reload, MtlsError> {
        let (identity, bundle) = self.files.load()?;
        self.held.replace(&identity, &bundle)
    }
}
