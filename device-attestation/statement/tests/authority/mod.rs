//! An intermediate that vouches for attestation keys, and its certificates in the form of WebAuthn, or as wrong as a test
//! asks for.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData,
};
use time::OffsetDateTime;

/// tcg-kp-AIKCertificate.
pub const ATTESTS: &[u64] = &[2, 23, 133, 8, 3];
/// tcg-at-tpmManufacturer, -Model and -Version, the last arc of each.
pub const TPM: [(u8, &str); 3] = [(1, "id:49424D00"), (2, "swtpm"), (3, "id:20191023")];

pub fn purpose(arcs: &[u64]) -> ExtendedKeyUsagePurpose {
    ExtendedKeyUsagePurpose::Other(arcs.to_vec())
}

pub fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).ok().filter(|length| *length < 0x80).unwrap();
    [&[tag, length], content].concat()
}

/// A `subjectAltName` with one directory name of these attributes.
pub fn tpm_name(attributes: &[(u8, &str)], critical: bool) -> CustomExtension {
    let one = |(arc, text): &(u8, &str)| {
        let oid = tagged(0x06, &[0x67, 0x81, 0x05, 0x02, *arc]);
        tagged(0x31, &tagged(0x30, &[oid, tagged(0x0c, text.as_bytes())].concat()))
    };
    let name = tagged(0x30, &attributes.iter().flat_map(one).collect::<Vec<_>>());
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], tagged(0x30, &tagged(0xa4, &name)));
    extension.set_criticality(critical);
    extension
}

fn moment(unix_s: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(unix_s).unwrap()
}

/// A public key that is somewhere else.
pub struct Point(pub Vec<u8>);

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// A root of this name.
pub fn root(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// The intermediate, under this root.
pub fn intermediate(root: &CertifiedIssuer<'static, KeyPair>) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2999, 1, 1));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "attestation keys");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages = vec![purpose(ATTESTS)];
    CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), root).unwrap()
}

/// What a right certificate says, made at this time.
pub fn leaf(now: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (moment(now - 600), moment(now + 3_600));
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose(ATTESTS)];
    params.custom_extensions = vec![tpm_name(&TPM, true)];
    params
}

/// A certificate for this point, and the one above it.
pub fn certify(params: &CertificateParams, point: &[u8], by: &CertifiedIssuer<'static, KeyPair>) -> Vec<Vec<u8>> {
    let leaf = params.signed_by(&Point(point.to_vec()), by).unwrap();
    vec![leaf.der().to_vec(), by.der().to_vec()]
}
