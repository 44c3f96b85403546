//! Judges the certificate a peer shows during a handshake: first the whole chain, then the one name in it.
//!
//! The chain (signatures, times, basic constraints, name constraints, extended key usage) is webpki's to judge, with the
//! time rustls passes in. That it was not taken back is `revocation`'s. What is ours: exactly one URI names the party, it is of our trust domain, the extended key
//! usage is *present* (webpki accepts its absence), and the intermediate may vouch for a party of that kind. The last
//! closes a gap: name constraints cannot bound URIs, so without it whoever holds the device intermediate could name a
//! service. An intermediate for clients only vouches for fridges, one for servers too for services and operators.
//!
//! It leaves the choice of roots and their replacement to `reload`.

use std::sync::Arc;

use arc_swap::ArcSwap;
use ca_identity::{Role, SpiffeId, TrustDomain};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::certificate::X509Certificate;

use crate::Revocations;
use crate::peer::{PeerError, name_of, parse, peer};

/// The most intermediates looked at; our chains have one.
const MAX_INTERMEDIATES: usize = 4;

/// The side of a connection a certificate is shown for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// Judges clients: any party of the trust domain. What it may do is asked later, per request.
#[derive(Debug)]
pub(crate) struct ClientJudge {
    chain: Arc<ArcSwap<ClientChain>>,
    revocations: Arc<Revocations>,
    trust_domain: TrustDomain,
    provider: Arc<CryptoProvider>,
}

/// The chain verifier of the moment, held in a struct because a bare trait object cannot be swapped.
#[derive(Debug)]
pub(crate) struct ClientChain(pub(crate) Arc<dyn ClientCertVerifier>);

impl ClientJudge {
    pub(crate) fn new(
        chain: Arc<ArcSwap<ClientChain>>,
        revocations: Arc<Revocations>,
        trust_domain: TrustDomain,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        Self { chain, revocations, trust_domain, provider }
    }
}

impl ClientCertVerifier for ClientJudge {
    /// No hints: they would have to be borrowed from roots that can be swapped, and our clients have one certificate.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let shown = read_leaf(end_entity, &self.trust_domain, Side::Client)?;
        let vouching = vouching_for(shown.role(), intermediates);
        let verified = self.chain.load().0.verify_client_cert(end_entity, &vouching, now)?;
        // Last, so that only what the chain vouches for is looked up.
        let shown = peer(std::slice::from_ref(end_entity)).map_err(refuse)?;
        self.revocations.check(&shown.issuer, &shown.serial).map_err(refuse)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(never_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Judges servers: exactly the one party the connection is for.
#[derive(Debug)]
pub(crate) struct ServerJudge {
    roots: Arc<ArcSwap<RootCertStore>>,
    expected: SpiffeId,
    provider: Arc<CryptoProvider>,
}

impl ServerJudge {
    pub(crate) fn new(roots: Arc<ArcSwap<RootCertStore>>, expected: SpiffeId, provider: Arc<CryptoProvider>) -> Self {
        Self { roots, expected, provider }
    }
}

impl ServerCertVerifier for ServerJudge {
    /// The host name plays no part: the party's name does.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = read_leaf(end_entity, self.expected.trust_domain(), Side::Server)?;
        if shown != self.expected {
            let expected = Box::new(self.expected.clone());
            return Err(refuse(PeerError::Unexpected { expected, found: Box::new(shown) }));
        }
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots.load(),
            &vouching_for(shown.role(), intermediates),
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(never_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Reads the party a leaf names, and refuses a leaf that is not one for this side. The chain is judged by the caller.
fn read_leaf(leaf: &CertificateDer<'_>, trust_domain: &TrustDomain, side: Side) -> Result<SpiffeId, Error> {
    let leaf = parse(leaf).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    if leaf.is_ca() {
        return Err(refuse(PeerError::Authority));
    }
    let name = name_of(&leaf).map_err(refuse)?;
    if name.trust_domain() != trust_domain {
        return Err(refuse(PeerError::TrustDomain(Box::new(name))));
    }
    let allowed = match (usage(&leaf), side) {
        (Usage::Stated { client, .. }, Side::Client) => client,
        (Usage::Stated { server, .. }, Side::Server) => server,
        (Usage::Any, _) => false,
    };
    if allowed { Ok(name) } else { Err(refuse(PeerError::Purpose)) }
}

/// The intermediates that may vouch for a party of this role; a chain through any other one finds no way to a root.
fn vouching_for<'a>(role: &Role, intermediates: &'a [CertificateDer<'a>]) -> Vec<CertificateDer<'a>> {
    let may_vouch = |der: &CertificateDer<'_>| {
        parse(der).is_ok_and(|certificate| match usage(&certificate) {
            Usage::Any => true,
            Usage::Stated { server, .. } => server != matches!(role, Role::Fridge(_) | Role::Quarantined(_)),
        })
    };
    let shown = intermediates.iter().take(MAX_INTERMEDIATES);
    shown.filter(|der| may_vouch(der)).map(|der| CertificateDer::from(der.as_ref())).collect()
}

/// What a certificate's extended key usage allows.
enum Usage {
    /// There is no such extension: anything.
    Any,
    /// What it states, and nothing when it cannot be read.
    Stated { client: bool, server: bool },
}

fn usage(certificate: &X509Certificate<'_>) -> Usage {
    match certificate.extended_key_usage() {
        Ok(None) => Usage::Any,
        Ok(Some(usage)) => Usage::Stated { client: usage.value.client_auth, server: usage.value.server_auth },
        Err(_) => Usage::Stated { client: false, server: false },
    }
}

fn refuse(why: PeerError) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
}

/// The configurations offer TLS 1.3 alone; should that ever change by mistake, this still refuses.
pub(crate) fn never_tls12() -> Error {
    Error::General("TLS 1.2 is never spoken here".to_owned())
}
