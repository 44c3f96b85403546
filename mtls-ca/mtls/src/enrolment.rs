//! The one exception of the house: a server that shows its certificate and asks for none.
//!
//! Who comes to enrol has no certificate yet, or one that has run out: he proves who he is inside the conversation, with
//! the key of his account (ACME) or with his TPM (attestation). So exactly two servers may listen like this, the
//! authority's ACME endpoint and the attestation service's. Whoever else would, lets strangers in.
//!
//! Therefore it is a type of its own and not a `ServerConfig`: [`crate::accept`] does not take it, no listener made for
//! parties with names can be given it by mistake, and what it accepts has no [`crate::Peer`]. All else is as everywhere:
//! ring, TLS 1.3 alone, no tickets, no stored sessions, no early data, and a key that is swapped while it runs.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ca_identity::SpiffeId;
use rustls::server::NoServerSessionStorage;
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, server};

use crate::config::{Current, client};
use crate::provider::provider;
use crate::{AcceptError, Identity, MtlsError, TrustBundle};

/// The side of those who have no certificate, or show none: the roots that they trust, which may be replaced.
#[derive(Debug, Clone)]
pub struct EnrolmentClient {
    roots: Arc<ArcSwap<RootCertStore>>,
}

impl EnrolmentClient {
    /// Trusts these roots, until others are handed in.
    #[must_use]
    pub fn new(bundle: &TrustBundle) -> Self {
        Self { roots: Arc::new(ArcSwap::new(bundle.roots())) }
    }

    /// The configuration for speaking to one of those servers, `expected_server`: it judges the server as every client of
    /// the house does, and shows nothing. All of one client's configurations change together.
    ///
    /// # Errors
    /// [`MtlsError::Config`] when rustls refuses it.
    pub fn config(&self, expected_server: &SpiffeId, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, MtlsError> {
        client(Arc::clone(&self.roots), expected_server, alpn, |builder| builder.with_no_client_auth())
    }

    /// Trusts these roots from the next handshake on.
    pub fn trust(&self, bundle: &TrustBundle) {
        self.roots.store(bundle.roots());
    }
}

/// A server for those who have no certificate yet; for ACME and attestation alone.
#[derive(Debug)]
pub struct EnrolmentServer {
    id: SpiffeId,
    key: Arc<ArcSwap<CertifiedKey>>,
    config: Arc<ServerConfig>,
}

impl EnrolmentServer {
    /// Makes the server's side, showing `identity`.
    ///
    /// # Errors
    /// [`MtlsError::Config`] when rustls refuses it.
    pub fn new(identity: &Identity, alpn: &[&[u8]]) -> Result<Self, MtlsError> {
        let key = Arc::new(ArcSwap::new(identity.certified()));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|why| MtlsError::Config(why.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Current(Arc::clone(&key))));
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        Ok(Self { id: identity.id().clone(), key, config: Arc::new(config) })
    }

    /// Who we are.
    #[must_use]
    pub const fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// Shows another certificate of the same party from the next handshake on.
    ///
    /// # Errors
    /// [`MtlsError::NameChanged`] when it names somebody else; the one before stays in force.
    pub fn replace(&self, identity: &Identity) -> Result<(), MtlsError> {
        if identity.id() != &self.id {
            let found = Box::new(identity.id().clone());
            return Err(MtlsError::NameChanged { expected: Box::new(self.id.clone()), found });
        }
        self.key.store(identity.certified());
        Ok(())
    }

    /// Does the server's side of a handshake within `limit`. Nothing is known of who is on the other side.
    ///
    /// # Errors
    /// [`AcceptError`]; the stream is closed.
    pub async fn accept<S>(&self, stream: S, limit: Duration) -> Result<server::TlsStream<S>, AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = TlsAcceptor::from(Arc::clone(&self.config)).accept(stream);
        let tls = tokio::time::timeout(limit, handshake).await.map_err(|_| AcceptError::TimedOut(limit))?;
        tls.map_err(AcceptError::Handshake)
    }
}
