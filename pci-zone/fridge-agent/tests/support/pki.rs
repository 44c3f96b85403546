//! A small authority: a root, one intermediate for services and one for devices, and right leaves only.

use ca_mtls::{Identity, TrustBundle};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

type Issuer = CertifiedIssuer<'static, KeyPair>;

const CLIENT: ExtendedKeyUsagePurpose = ExtendedKeyUsagePurpose::ClientAuth;
const SERVER: ExtendedKeyUsagePurpose = ExtendedKeyUsagePurpose::ServerAuth;

pub struct Pki {
    root: Issuer,
    service: Issuer,
    device: Issuer,
}

impl Pki {
    pub fn new() -> Self {
        let root = Issuer::self_signed(authority("root", &[]), KeyPair::generate().unwrap()).unwrap();
        let under = |name, usages: &[ExtendedKeyUsagePurpose]| {
            Issuer::signed_by(authority(name, usages), KeyPair::generate().unwrap(), &root).unwrap()
        };
        let (service, device) = (under("service", &[CLIENT, SERVER]), under("device", &[CLIENT]));
        Self { root, service, device }
    }

    pub fn bundle_pem(&self) -> String {
        self.root.pem()
    }

    pub fn bundle(&self) -> TrustBundle {
        TrustBundle::from_pem(self.bundle_pem().as_bytes()).unwrap()
    }

    pub fn identity(&self, id: &str) -> Identity {
        let (chain, key) = self.leaf(id);
        Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()
    }

    /// Chain and key, both PEM.
    pub fn leaf(&self, id: &str) -> (String, String) {
        let is_service = id.contains("/service/");
        let issuer = if is_service { &self.service } else { &self.device };
        let mut params = params();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = if is_service { vec![CLIENT, SERVER] } else { vec![CLIENT] };
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, issuer).unwrap();
        (format!("{}{}", leaf.pem(), issuer.pem()), key.serialize_pem())
    }
}

fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2090, 1, 1);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
}

fn authority(name: &str, usages: &[ExtendedKeyUsagePurpose]) -> CertificateParams {
    let mut params = params();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = usages.to_vec();
    params
}
