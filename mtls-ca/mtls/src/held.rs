//! A client's certificate and roots as they are handed in, for a key that is in no file: one inside a TPM.
//!
//! It is what [`crate::ReloadingClient`] stands on, too, which reads them from files. It leaves when there is another
//! certificate to whoever gets it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use ca_identity::SpiffeId;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};

use crate::config::{Current, client};
use crate::{Identity, MtlsError, Peer, TrustBundle};

/// What a reload did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reload {
    /// Our certificate as it is now.
    pub own: Peer,
    /// Whether the certificate is another than before.
    pub new_certificate: bool,
    /// How many roots are trusted now.
    pub roots: usize,
}

/// A client whose certificate and roots can be replaced while it runs.
#[derive(Debug)]
pub struct HeldClient {
    id: SpiffeId,
    key: Arc<ArcSwap<CertifiedKey>>,
    roots: Arc<ArcSwap<RootCertStore>>,
}

impl HeldClient {
    /// Shows `identity` and trusts `bundle`, until others are handed in.
    #[must_use]
    pub fn new(identity: &Identity, bundle: &TrustBundle) -> Self {
        let key = Arc::new(ArcSwap::new(identity.certified()));
        Self { id: identity.id().clone(), key, roots: Arc::new(ArcSwap::new(bundle.roots())) }
    }

    /// A configuration for speaking to `expected_server`, as [`crate::client_config`] makes it; all of one client's
    /// configurations change together.
    ///
    /// # Errors
    /// [`MtlsError::Config`] when rustls refuses it.
    pub fn config(&self, expected_server: &SpiffeId, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, MtlsError> {
        let shows = Arc::new(Current(Arc::clone(&self.key)));
        client(Arc::clone(&self.roots), expected_server, alpn, |builder| builder.with_client_cert_resolver(shows))
    }

    /// Who we are.
    #[must_use]
    pub const fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// Shows another certificate of the same party, and trusts these roots, from the next handshake on; handshakes under
    /// way end with what they began with.
    ///
    /// # Errors
    /// [`MtlsError::NameChanged`] when it names somebody else; what was in force before stays in force.
    pub fn replace(&self, identity: &Identity, bundle: &TrustBundle) -> Result<Reload, MtlsError> {
        if identity.id() != &self.id {
            let found = Box::new(identity.id().clone());
            return Err(MtlsError::NameChanged { expected: Box::new(self.id.clone()), found });
        }
        self.roots.store(bundle.roots());
        Ok(swap(&self.key, identity, bundle))
    }
}

/// Swaps a certificate in.
pub(crate) fn swap(key: &ArcSwap<CertifiedKey>, identity: &Identity, bundle: &TrustBundle) -> Reload {
    let before = key.swap(identity.certified());
    let new_certificate = before.cert != identity.certified().cert;
    tracing::info!(serial = identity.own().serial, new_certificate, roots = bundle.count(), "certificates reloaded");
    Reload { own: identity.own().clone(), new_certificate, roots: bundle.count() }
}
