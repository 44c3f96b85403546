//! A small authority for tests: one root, an intermediate for services and one for devices, and leaves as right or as
//! wrong as a test asks for. Its validity is in fixed years, so no test reads a clock.
#![allow(dead_code, unreachable_pub)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ca_identity::{SpiffeId, TrustDomain};
use ca_mtls::{Identity, IdentityFiles, Peer, TrustBundle};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree,
    IsCa, KeyPair, KeyUsagePurpose, NameConstraints, SanType,
};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub const CLIENT: ExtendedKeyUsagePurpose = ExtendedKeyUsagePurpose::ClientAuth;
pub const SERVER: ExtendedKeyUsagePurpose = ExtendedKeyUsagePurpose::ServerAuth;
pub const FRIDGE: &str = "spiffe://larder.internal/fridge/f1";
pub const SESSION: &str = "spiffe://larder.internal/service/purchase-session";
pub const ADMIN: &str = "spiffe://larder.internal/service/admin";
pub const ADA: &str = "spiffe://larder.internal/operator/ada";
pub const LIMIT: Duration = Duration::from_secs(20);

pub type Issuer = CertifiedIssuer<'static, KeyPair>;

pub struct Pki {
    pub root: Issuer,
    pub service: Issuer,
    pub device: Issuer,
}

pub struct Leaf {
    pub chain_pem: String,
    pub key_pem: String,
}

/// What a leaf says; [`Ask::for_id`] is a right one.
#[derive(Clone)]
pub struct Ask {
    pub uris: Vec<String>,
    pub dns: Vec<String>,
    pub usages: Vec<ExtendedKeyUsagePurpose>,
    pub years: (i32, i32),
    pub is_ca: IsCa,
}

impl Ask {
    pub fn for_id(id: &str) -> Self {
        let usages = if id.contains("/service/") { vec![CLIENT, SERVER] } else { vec![CLIENT] };
        Self { uris: vec![id.into()], dns: vec![], usages, years: (2020, 2090), is_ca: IsCa::ExplicitNoCa }
    }
}

fn params(years: (i32, i32)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
}

fn authority(name: &str, usages: &[ExtendedKeyUsagePurpose]) -> CertificateParams {
    let mut params = params((2020, 2090));
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = usages.to_vec();
    params
}

impl Pki {
    pub fn new(name: &str) -> Self {
        let root = Issuer::self_signed(authority(name, &[]), KeyPair::generate().unwrap()).unwrap();
        let service = authority(&format!("{name} service"), &[CLIENT, SERVER]);
        let service = Issuer::signed_by(service, KeyPair::generate().unwrap(), &root).unwrap();
        let mut device = authority(&format!("{name} device"), &[CLIENT]);
        device.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![],
            excluded_subtrees: vec![
                GeneralSubtree::DnsName(String::new()),
                GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
                GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
            ],
        });
        let device = Issuer::signed_by(device, KeyPair::generate().unwrap(), &root).unwrap();
        Self { root, service, device }
    }

    /// Another intermediate under the root, for these uses and years.
    pub fn intermediate(&self, name: &str, usages: &[ExtendedKeyUsagePurpose], years: (i32, i32)) -> Issuer {
        let mut wanted = authority(name, usages);
        (wanted.not_before, wanted.not_after) = (params(years).not_before, params(years).not_after);
        Issuer::signed_by(wanted, KeyPair::generate().unwrap(), &self.root).unwrap()
    }

    /// A right leaf for this id, by the intermediate that may vouch for it.
    pub fn leaf(&self, id: &str) -> Leaf {
        let issuer = if id.contains("/fridge/") { &self.device } else { &self.service };
        make(issuer, &Ask::for_id(id))
    }

    pub fn bundle_pem(&self) -> String {
        self.root.pem()
    }

    pub fn bundle(&self) -> TrustBundle {
        TrustBundle::from_pem(self.bundle_pem().as_bytes()).unwrap()
    }
}

pub fn make(issuer: &Issuer, ask: &Ask) -> Leaf {
    let mut params = params(ask.years);
    params.is_ca = ask.is_ca;
    params.extended_key_usages = ask.usages.clone();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.subject_alt_names = ask.uris.iter().map(|uri| SanType::URI(uri.as_str().try_into().unwrap())).collect();
    params.subject_alt_names.extend(ask.dns.iter().map(|dns| SanType::DnsName(dns.as_str().try_into().unwrap())));
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, issuer).unwrap();
    Leaf { chain_pem: format!("{}{}", leaf.pem(), issuer.pem()), key_pem: key.serialize_pem() }
}

impl Leaf {
    pub fn identity(&self) -> Identity {
        Identity::from_pem(self.chain_pem.as_bytes(), self.key_pem.as_bytes()).unwrap()
    }

    /// The pair as rustls takes it, past all of our checks: for playing a peer who does wrong.
    pub fn certified(&self) -> Arc<CertifiedKey> {
        let chain = CertificateDer::pem_slice_iter(self.chain_pem.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).unwrap();
        Arc::new(CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider()).unwrap())
    }

    /// Writes the pair and a bundle as a service would find them; each file is replaced in one step.
    pub fn write(&self, dir: &Path, bundle_pem: &str) -> IdentityFiles {
        let files = IdentityFiles {
            certificate: dir.join("cert.pem"),
            key: dir.join("key.pem"),
            bundle: dir.join("bundle.pem"),
        };
        replace(&files.certificate, &self.chain_pem, 0o644);
        replace(&files.key, &self.key_pem, 0o600);
        replace(&files.bundle, bundle_pem, 0o644);
        files
    }
}

pub fn replace(path: &Path, text: &str, mode: u32) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(mode)).unwrap();
    fs::rename(&new, path).unwrap();
}

pub fn domain() -> TrustDomain {
    TrustDomain::parse("larder.internal").unwrap()
}

pub fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

/// One handshake and one byte each way over memory: whom the server saw, and whom the client saw.
pub async fn meet(
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
) -> (Result<Peer, String>, Result<Peer, String>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from("larder.internal").unwrap();
    let serving = async {
        let (mut tls, peer) = ca_mtls::accept(server, far, LIMIT).await.map_err(|e| e.to_string())?;
        let mut byte = [0];
        tls.read_exact(&mut byte).await.map_err(|e| e.to_string())?;
        tls.write_all(&byte).await.map_err(|e| e.to_string())?;
        tls.shutdown().await.map_err(|e| e.to_string())?;
        Ok(peer)
    };
    let asking = async {
        let (mut tls, peer) = ca_mtls::connect(client, name, near, LIMIT).await.map_err(|e| e.to_string())?;
        tls.write_all(b"x").await.map_err(|e| e.to_string())?;
        let mut byte = [0];
        tls.read_exact(&mut byte).await.map_err(|e| e.to_string())?;
        Ok(peer)
    };
    tokio::join!(serving, asking)
}
