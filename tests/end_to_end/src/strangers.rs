//! Those who should get no word in: clients of another authority, without a certificate, with older TLS or with none.

use std::sync::Arc;
use std::time::Duration;

use ca_identity::{ServiceName, SpiffeId, TrustDomain};
use ca_mtls::{Identity, TrustBundle};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use single_node::Fault;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::PATIENCE;

/// A client that knows the service and shows no certificate of its own.
///
/// # Errors
/// [`Fault`] when the bundle cannot be used.
pub fn without_a_certificate(bundle_pem: &[u8]) -> Result<Arc<ClientConfig>, Fault> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(bundle_pem) {
        let root = root.map_err(|why| Fault::new(format!("a trust bundle: {why}")))?;
        roots.add(root).map_err(Fault::of("a root"))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(Fault::of("TLS"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// An authority that nobody here trusts, which makes whatever certificate is wanted.
pub struct ForeignAuthority {
    root: CertifiedIssuer<'static, KeyPair>,
    devices: CertifiedIssuer<'static, KeyPair>,
}

impl ForeignAuthority {
    /// Makes one.
    ///
    /// # Errors
    /// [`Fault`] when there are no keys.
    pub fn new() -> Result<Self, Fault> {
        let own = |what: &'static str| Fault::of(what);
        let key = || KeyPair::generate().map_err(own("a key"));
        let root = CertifiedIssuer::self_signed(authority("another root"), key()?).map_err(own("a root"))?;
        let devices =
            CertifiedIssuer::signed_by(authority("its devices"), key()?, &root).map_err(own("an intermediate"))?;
        Ok(Self { root, devices })
    }

    /// The client configuration of a fridge called `id`, for the service of `trust_domain` under `bundle`.
    ///
    /// # Errors
    /// [`Fault`] when the certificate cannot be made.
    pub fn fridge(
        &self,
        id: &str,
        bundle: &TrustBundle,
        trust_domain: &TrustDomain,
    ) -> Result<Arc<ClientConfig>, Fault> {
        let mut params = params();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let uri = id.try_into().map_err(|why: rcgen::Error| Fault::new(format!("{id}: {why}")))?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        let key = KeyPair::generate().map_err(Fault::of("a key"))?;
        let leaf = params.signed_by(&key, &self.devices).map_err(Fault::of("a leaf"))?;
        let chain = format!("{}{}{}", leaf.pem(), self.devices.pem(), self.root.pem());
        let identity = Identity::from_pem(chain.as_bytes(), key.serialize_pem().as_bytes());
        let expected = SpiffeId::service(trust_domain, ServiceName::PurchaseSession);
        ca_mtls::client_config(&identity.map_err(Fault::of("an identity"))?, bundle, &expected, &[b"h2"])
            .map_err(Fault::of("TLS"))
    }
}

fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2090, 1, 1);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = params();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Shakes hands as a client with this configuration and listens, without saying a word: what the server says to a client
/// it does not want. In TLS 1.3 that comes after the client's own handshake has ended well; and a client that already
/// speaks may lose it to the connection's end.
///
/// # Errors
/// [`Fault`] when the server says nothing against it within a second of the handshake's end, or something else.
pub async fn told_at_the_door(address: &str, tls: &Arc<ClientConfig>) -> Result<String, Fault> {
    let name = rustls_pki_types::ServerName::try_from("localhost").map_err(Fault::of("a name"))?;
    let tcp = TcpStream::connect(address).await.map_err(Fault::of("no connection"))?;
    let mut stream = match ca_mtls::connect(Arc::clone(tls), name, tcp, PATIENCE).await {
        Ok((stream, _)) => stream,
        Err(refused) => return Ok(refused.to_string()),
    };
    let mut byte = [0];
    match tokio::time::timeout(Duration::from_secs(1), stream.read(&mut byte)).await {
        Ok(Err(refused)) => Ok(refused.to_string()),
        Ok(Ok(_)) | Err(_) => Err(Fault::new("the server lets the stranger in".to_owned())),
    }
}

/// Sends `words` to the address as they are, and everything that is answered until the connection ends. A connection that
/// is broken off has ended too.
///
/// # Errors
/// [`Fault`] when it does not end in time.
pub async fn plainly(address: &str, words: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut tcp = TcpStream::connect(address).await.map_err(Fault::of("no connection"))?;
    tcp.write_all(words).await.map_err(Fault::of("nothing can be said"))?;
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, tcp.read_to_end(&mut answer)).await;
    ended.map_err(|_| Fault::new("the connection stays open".to_owned())).map(|_| answer)
}

/// What a client says that speaks TLS 1.2 and nothing newer (RFC 5246 section 7.4.1.2): two suites, one curve, one kind
/// of signature, and no `supported_versions`.
#[must_use]
pub fn tls12_hello() -> Vec<u8> {
    let extensions: [&[u8]; 3] = [
        &[0x00, 0x0a, 0x00, 0x04, 0x00, 0x02, 0x00, 0x17],
        &[0x00, 0x0b, 0x00, 0x02, 0x01, 0x00],
        &[0x00, 0x0d, 0x00, 0x04, 0x00, 0x02, 0x04, 0x03],
    ];
    let extensions = extensions.concat();
    let mut hello = vec![0x03, 0x03];
    hello.extend([0x5a; 32]);
    hello.extend([0x00, 0x00, 0x04, 0xc0, 0x2b, 0xc0, 0x2f, 0x01, 0x00]);
    hello.extend(length16(&extensions));
    hello.extend(extensions);
    let mut handshake = vec![0x01, 0x00];
    handshake.extend(length16(&hello));
    handshake.extend(hello);
    let mut record = vec![0x16, 0x03, 0x01];
    record.extend(length16(&handshake));
    record.extend(handshake);
    record
}

fn length16(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes()
}
