//! The two rustls configurations between parties, one a side. There are no options that weaken them; the server for those
//! who have no certificate yet is another type, in `enrolment`.
//!
//! Ring is given explicitly, so that no process default decides; TLS 1.3 only; no tickets, no session storage, no early
//! data: every connection shows and judges both certificates. The parts that can be replaced while running are handed in
//! by `reload`, and a fixed configuration is simply one that nobody reloads.

use std::sync::Arc;

use arc_swap::ArcSwap;
use ca_identity::{SpiffeId, TrustDomain};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ResolvesClientCert, Resumption, WantsClientCert};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig, SignatureScheme};

use crate::provider::provider;
use crate::verify::{ClientChain, ClientJudge, ServerJudge};
use crate::{Identity, MtlsError, Revocations, TrustBundle};

/// The configuration of a server that admits any party of `trust_domain` and nobody else.
///
/// # Errors
/// [`MtlsError::Config`] when rustls refuses it.
pub fn server_config(
    identity: &Identity,
    bundle: &TrustBundle,
    trust_domain: &TrustDomain,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, MtlsError> {
    let key = Arc::new(ArcSwap::new(identity.certified()));
    let chain = Arc::new(ArcSwap::from_pointee(client_chain(bundle)?));
    server(key, chain, Arc::default(), trust_domain, alpn)
}

/// The configuration of a client that speaks to `expected_server` and to nobody else.
///
/// # Errors
/// [`MtlsError::Config`] when rustls refuses it.
pub fn client_config(
    identity: &Identity,
    bundle: &TrustBundle,
    expected_server: &SpiffeId,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, MtlsError> {
    let key = Arc::new(ArcSwap::new(identity.certified()));
    let roots = Arc::new(ArcSwap::new(bundle.roots()));
    client(roots, expected_server, alpn, |builder| builder.with_client_cert_resolver(Arc::new(Current(key))))
}

/// The chain verifier for clients under these roots.
pub(crate) fn client_chain(bundle: &TrustBundle) -> Result<ClientChain, MtlsError> {
    WebPkiClientVerifier::builder_with_provider(bundle.roots(), provider())
        .build()
        .map(ClientChain)
        .map_err(|why| MtlsError::Config(why.to_string()))
}

/// A server's configuration over parts that may be swapped while it runs.
pub(crate) fn server(
    key: Arc<ArcSwap<CertifiedKey>>,
    chain: Arc<ArcSwap<ClientChain>>,
    revocations: Arc<Revocations>,
    trust_domain: &TrustDomain,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, MtlsError> {
    let judge = ClientJudge::new(chain, revocations, trust_domain.clone(), provider());
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|why| MtlsError::Config(why.to_string()))?
        .with_client_cert_verifier(Arc::new(judge))
        .with_cert_resolver(Arc::new(Current(key)));
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// A client's configuration over roots that may be swapped while it runs; `shows` says what the client shows of itself.
pub(crate) fn client(
    roots: Arc<ArcSwap<RootCertStore>>,
    expected_server: &SpiffeId,
    alpn: &[&[u8]],
    shows: impl FnOnce(ConfigBuilder<ClientConfig, WantsClientCert>) -> ClientConfig,
) -> Result<Arc<ClientConfig>, MtlsError> {
    // It judges the whole chain and then more.
    judged_by(Arc::new(ServerJudge::new(roots, expected_server.clone(), provider())), alpn, shows)
}

/// A client's configuration in which `judge` judges the server.
pub(crate) fn judged_by(
    judge: Arc<dyn ServerCertVerifier>,
    alpn: &[&[u8]],
    shows: impl FnOnce(ConfigBuilder<ClientConfig, WantsClientCert>) -> ClientConfig,
) -> Result<Arc<ClientConfig>, MtlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|why| MtlsError::Config(why.to_string()))?
        // Rustls' word for "a verifier of your own". There are two: `ServerJudge`, which judges the chain and the party's
        // name, and that of `AnyServer`, for the one question whose answer is signed by itself.
        .dangerous()
        .with_custom_certificate_verifier(judge);
    let mut config = shows(builder);
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(Arc::new(config))
}

/// The certificate and key of the moment, for either side.
#[derive(Debug)]
pub(crate) struct Current(pub(crate) Arc<ArcSwap<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl ResolvesClientCert for Current {
    fn resolve(&self, _root_hint_subjects: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
