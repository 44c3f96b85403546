//! A small authority that certifies services, and whoever plays them.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use attest_verdict::{Appraised, Binding, Issuer, Verdict};
use ca_identity::TrustDomain;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

pub const SERVICE: &str = "spiffe://larder.internal/service/attestation";
/// 2026-11-27, 00:00 UTC.
pub const NOW: i64 = 1_795_737_600;
pub const CLIENT: ExtendedKeyUsagePurpose = ExtendedKeyUsagePurpose::ClientAuth;
pub const SERVER: ExtendedKeyUsagePurpose = ExtendedKeyUsagePurpose::ServerAuth;

pub fn domain() -> TrustDomain {
    TrustDomain::parse("larder.internal").unwrap()
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2090, 1, 1));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(name: &str, usages: &[ExtendedKeyUsagePurpose]) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages = usages.to_vec();
    params
}

pub struct World {
    pub root: CertifiedIssuer<'static, KeyPair>,
    pub services: CertifiedIssuer<'static, KeyPair>,
    pub devices: CertifiedIssuer<'static, KeyPair>,
}

/// A party with a chain and a key.
pub struct Party {
    pub chain: Vec<Vec<u8>>,
    key: EcdsaKeyPair,
}

/// What a leaf says.
pub fn leaf(uris: &[&str], usages: &[ExtendedKeyUsagePurpose]) -> CertificateParams {
    let mut params = params("");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = usages.to_vec();
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    params
}

impl World {
    pub fn new() -> Self {
        let root = CertifiedIssuer::self_signed(authority("root", &[]), KeyPair::generate().unwrap()).unwrap();
        let below = |name: &str, usages: &[ExtendedKeyUsagePurpose]| {
            CertifiedIssuer::signed_by(authority(name, usages), KeyPair::generate().unwrap(), &root).unwrap()
        };
        let (services, devices) = (below("services", &[CLIENT, SERVER]), below("devices", &[CLIENT]));
        Self { root, services, devices }
    }

    pub fn issuer(&self) -> Issuer {
        Issuer::new(&[self.root.der()], &domain()).unwrap()
    }

    pub fn party(&self, params: &CertificateParams, by: &CertifiedIssuer<'static, KeyPair>) -> Party {
        let pair = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&pair, by).unwrap();
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.serialized_der(), &random).unwrap();
        Party { chain: vec![certificate.der().to_vec(), by.der().to_vec()], key }
    }

    pub fn service(&self) -> Party {
        self.party(&leaf(&[SERVICE], &[CLIENT, SERVER]), &self.services)
    }
}

impl Party {
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.key.sign(&SystemRandom::new(), bytes).unwrap().as_ref().to_vec()
    }

    pub fn seal(&self, verdict: &Verdict) -> Vec<u8> {
        verdict.seal(&self.chain, |bytes| Some(self.sign(bytes))).unwrap()
    }
}

pub fn binding() -> Binding {
    Binding {
        permanent_identifier: [1; 32],
        tls_key_sha256: [2; 32],
        csr_sha256: [3; 32],
        account: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs".into(),
        order: "https://ca.larder.internal/acme/order/7".into(),
    }
}

pub fn verdict() -> Verdict {
    Verdict {
        binding: binding(),
        nonce: [4; 32],
        attestation_key: [&[0, 0x0b][..], &[5; 32]].concat(),
        appraised: Appraised::Affirming,
        reference_values: 7,
        issued_at_unix_s: NOW,
    }
}
