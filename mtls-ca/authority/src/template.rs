//! What goes into each certificate, and the key that signs it. Pure but for the signature itself.
//!
//! Leaves: empty subject, CA:FALSE, digitalSignature, exactly the uses of the profile, one URI. The device intermediate
//! excludes every DNS name and every address and is for clients only, because those are the bounds that verifiers keep;
//! that it names nothing but fridges is kept by `ca-mtls`. The attestation intermediate and what it signs have a purpose that
//! is none of TLS. It leaves judging the result to `check`.

use std::cell::RefCell;

use ca_identity::TrustDomain;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, SanType, SerialNumber, SignatureAlgorithm, SigningKey,
};
use ring::digest::{SHA256, digest};
use time::OffsetDateTime;

use crate::attestation_key::AIK_PURPOSE;
use crate::log::Kind;
use crate::token::{KeyName, Token};
use crate::{AttestationKeyOrder, AuthorityError, Fault, Order, Profile, Refusal};

/// id-ce-subjectAltName (RFC 5280, section 4.2.1.6).
const SUBJECT_ALTERNATIVE_NAME: [u64; 4] = [2, 5, 29, 17];

/// A key of the authority with which certificates can be signed; the private half stays in the token.
pub(crate) struct TokenKey<'a> {
    token: &'a Token,
    name: KeyName,
    point: &'a [u8],
    /// Why the token did not sign; the signing trait has no room for it.
    failure: RefCell<Option<AuthorityError>>,
}

impl<'a> TokenKey<'a> {
    pub(crate) fn new(token: &'a Token, name: KeyName, point: &'a [u8]) -> Self {
        Self { token, name, point, failure: RefCell::new(None) }
    }

    /// The cause behind an error of the certificate library: the token's own, if it was that.
    pub(crate) fn cause(&self, error: &rcgen::Error) -> AuthorityError {
        self.failure.take().unwrap_or_else(|| Fault::Encoding(error.to_string()).into())
    }
}

impl PublicKeyData for TokenKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for TokenKey<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signed = self.token.sign(self.name, digest(&SHA256, message).as_ref());
        let raw = signed.map_err(|why| {
            self.failure.replace(Some(why));
            rcgen::Error::RemoteKeyError
        })?;
        signature_der(&raw).ok_or(rcgen::Error::RemoteKeyError)
    }
}

/// The serial number and the life of a certificate, in seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) serial: [u8; 16],
    pub(crate) not_before_unix_s: i64,
    pub(crate) not_after_unix_s: i64,
}

/// The name an authority's certificate bears.
pub(crate) fn authority_name(kind: Kind, trust_domain: &TrustDomain) -> String {
    format!("{trust_domain} {} 1", kind.as_str())
}

/// The template of the root or of an intermediate.
pub(crate) fn authority(kind: Kind, trust_domain: &TrustDomain, life: &Life) -> Result<CertificateParams, Refusal> {
    let mut params = base(life)?;
    params.distinguished_name.push(DnType::CommonName, authority_name(kind, trust_domain));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let below = match kind {
        Kind::Root => 1,
        _ => 0,
    };
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.use_authority_key_identifier_extension = kind != Kind::Root;
    match kind {
        Kind::DeviceIntermediate => {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: Vec::new(),
                excluded_subtrees: vec![
                    GeneralSubtree::DnsName(String::new()),
                    GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
                    GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
                ],
            });
        }
        Kind::ServiceIntermediate => {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        }
        Kind::AttestationIntermediate => params.extended_key_usages = vec![aik_purpose()],
        _ => {}
    }
    Ok(params)
}

/// The template of a leaf.
pub(crate) fn leaf(order: &Order, life: &Life) -> Result<CertificateParams, AuthorityError> {
    let mut params = base(life)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if order.profile().serves() {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    let text = |text: &str| text.try_into().map_err(|why: rcgen::Error| Fault::Encoding(why.to_string()));
    params.subject_alt_names.push(SanType::URI(text(order.id().as_str())?));
    for dns in &order.names().dns {
        params.subject_alt_names.push(SanType::DnsName(text(dns)?));
    }
    params.subject_alt_names.extend(order.names().ip.iter().copied().map(SanType::IpAddress));
    Ok(params)
}

/// The template of the certificate of an attestation key (Web Authentication level 3, section 8.3.1).
pub(crate) fn attestation_key(order: &AttestationKeyOrder, life: &Life) -> Result<CertificateParams, Refusal> {
    let mut params = base(life)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![aik_purpose()];
    let mut name = CustomExtension::from_oid_content(&SUBJECT_ALTERNATIVE_NAME, order.name_der());
    name.set_criticality(true); // because the subject is empty (RFC 5280, section 4.2.1.6)
    params.custom_extensions.push(name);
    Ok(params)
}

fn aik_purpose() -> ExtendedKeyUsagePurpose {
    ExtendedKeyUsagePurpose::Other(AIK_PURPOSE.to_vec())
}

/// The log's word for a leaf of this profile.
pub(crate) const fn kind_of(profile: Profile) -> Kind {
    match profile {
        Profile::Device => Kind::Device,
        Profile::Service => Kind::Service,
        Profile::Operator => Kind::Operator,
    }
}

fn base(life: &Life) -> Result<CertificateParams, Refusal> {
    let time = |unix_s| OffsetDateTime::from_unix_timestamp(unix_s).map_err(|_| Refusal::Time(unix_s));
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(SerialNumber::from_slice(&life.serial));
    params.not_before = time(life.not_before_unix_s)?;
    params.not_after = time(life.not_after_unix_s)?;
    Ok(params)
}

/// An ECDSA signature r ‖ s as the SEQUENCE of two INTEGERs that X.509 wants; `None` unless it is 64 bytes.
fn signature_der(raw: &[u8]) -> Option<Vec<u8>> {
    if raw.len() != 64 {
        return None;
    }
    let (r, s) = raw.split_at(32);
    let body = [integer_der(r)?, integer_der(s)?].concat();
    let mut der = vec![0x30, u8::try_from(body.len()).ok()?];
    der.extend(body);
    Some(der)
}

/// A positive INTEGER of up to 32 bytes: no leading zeros, but one where the first bit would read as a sign.
fn integer_der(bytes: &[u8]) -> Option<Vec<u8>> {
    let first = bytes.iter().position(|byte| *byte != 0)?;
    let digits = bytes.get(first..)?;
    let signed = digits.first().is_some_and(|byte| byte & 0x80 != 0);
    let length = u8::try_from(digits.len()).ok()?.checked_add(u8::from(signed))?;
    let mut der = vec![0x02, length];
    if signed {
        der.push(0);
    }
    der.extend_from_slice(digits);
    Some(der)
}

#[cfg(test)]
mod tests {
    use ca_identity::{SpiffeId, TrustDomain};
    use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, SanType};

    use super::{Life, authority, integer_der, kind_of, leaf, signature_der};
    use crate::log::Kind;
    use crate::{Names, Order, Profile, SubjectKey};
    use ring::rand::SystemRandom;
    use ring::signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
    };

    #[test]
    fn an_integer_is_as_short_as_it_can_be_and_never_negative() {
        let padded = |tail: &[u8]| [vec![0; 32 - tail.len()], tail.to_vec()].concat();
        assert_eq!(integer_der(&padded(&[0x7F])).unwrap(), [2, 1, 0x7F]);
        assert_eq!(integer_der(&padded(&[0x80])).unwrap(), [2, 2, 0, 0x80]);
        assert_eq!(integer_der(&padded(&[1, 0])).unwrap(), [2, 2, 1, 0]);
        assert_eq!(integer_der(&[0xFF; 32]).unwrap().len(), 35);
        assert_eq!(integer_der(&[0; 32]), None, "no signature has a zero in it");
    }

    #[test]
    fn what_is_no_signature_is_none() {
        assert_eq!(signature_der(&[1; 63]), None);
        assert_eq!(signature_der(&[1; 65]), None);
        assert_eq!(signature_der(&[0; 64]), None);
    }

    /// Half of all r and s have their first bit set, and one in 256 begins with a zero byte: 600 signatures meet all.
    #[test]
    fn every_raw_signature_verifies_in_its_new_form() {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, pair.public_key().as_ref());
        for n in 0..600_u32 {
            let raw = pair.sign(&random, &n.to_be_bytes()).unwrap();
            public.verify(&n.to_be_bytes(), &signature_der(raw.as_ref()).unwrap()).unwrap();
        }
    }

    fn life() -> Life {
        Life { serial: [0x40; 16], not_before_unix_s: 1_800_000_000, not_after_unix_s: 1_800_086_400 }
    }

    #[test]
    fn a_leaf_is_nobody_but_its_one_uri() {
        for (profile, path, uses) in [
            (Profile::Device, "fridge/f1", 1),
            (Profile::Operator, "operator/ada", 1),
            (Profile::Service, "service/admin", 2),
        ] {
            let id = SpiffeId::parse_path_in(&TrustDomain::parse("larder.internal").unwrap(), path).unwrap();
            let order = Order::new(profile, &id, Names::default(), SubjectKey::generate().unwrap().0, 3600).unwrap();
            let params = leaf(&order, &life()).unwrap();
            assert_eq!(params.subject_alt_names, [SanType::URI(id.as_str().try_into().unwrap())]);
            assert_eq!(params.distinguished_name.iter().count(), 0);
            assert_eq!(params.is_ca, IsCa::ExplicitNoCa);
            assert_eq!(params.extended_key_usages.len(), uses);
            assert_eq!(params.extended_key_usages[0], ExtendedKeyUsagePurpose::ClientAuth);
            assert_eq!(kind_of(profile).as_str(), profile.as_str());
        }
    }

    #[test]
    fn only_the_root_signs_authorities_and_only_devices_are_fenced() {
        let domain = TrustDomain::parse("larder.internal").unwrap();
        for (kind, below, fenced) in
            [(Kind::Root, 1, false), (Kind::DeviceIntermediate, 0, true), (Kind::ServiceIntermediate, 0, false)]
        {
            let params = authority(kind, &domain, &life()).unwrap();
            assert_eq!(params.is_ca, IsCa::Ca(BasicConstraints::Constrained(below)), "{kind:?}");
            assert_eq!(params.name_constraints.is_some(), fenced, "{kind:?}");
            assert_eq!(params.use_authority_key_identifier_extension, kind != Kind::Root);
        }
    }
}
