//! An endorsement certificate is believed when a known maker gave it for such a key and it is its time; otherwise it is
//! refused with a reason that tells a technician what to do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use attest_verifier::{
    AttestationKey, CertificateRefusal, EndorsementCertificate, MakerRoots, PermanentIdentifier, Refusal, RootsFlaw,
};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SignatureAlgorithm,
};
use ring::rand::SystemRandom;

const P384: &[u8] = include_bytes!("vectors/ek-p384.der");
const P256: &[u8] = include_bytes!("vectors/ek-p256.der");
const RSA: &[u8] = include_bytes!("vectors/ek-rsa.der");
const ISSUER: &[u8] = include_bytes!("vectors/issuer.der");
const ROOT: &[u8] = include_bytes!("vectors/root.der");
const OTHER_ROOT: &[u8] = include_bytes!("vectors/other-root.der");
const P384_AREA: &[u8] = include_bytes!("vectors/ek-p384.area");
const P256_AREA: &[u8] = include_bytes!("vectors/ek-p256.area");
/// 2026-11-27, 00:00 UTC.
const NOW: i64 = 1_795_737_600;
const DAY: i64 = 86_400;

fn roots() -> MakerRoots {
    MakerRoots::new(&[ROOT]).unwrap()
}

fn accept(der: &[u8]) -> Result<EndorsementCertificate, CertificateRefusal> {
    EndorsementCertificate::accept(der, &[ISSUER], &roots(), NOW)
}

fn refused(der: &[u8]) -> CertificateRefusal {
    accept(der).unwrap_err()
}

/// A maker of TPMs: a root and an issuer below it.
struct Maker {
    root: CertifiedIssuer<'static, KeyPair>,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

fn params(years: (i32, i32), name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (rcgen::date_time_ymd(years.0, 1, 1), rcgen::date_time_ymd(years.1, 1, 1));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(years: (i32, i32), name: &str) -> CertificateParams {
    let mut params = params(years, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn endorsement() -> CertificateParams {
    let mut params = params((2020, 2090), "a TPM");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 1])];
    params
}

impl Maker {
    fn new(name: &str) -> Self {
        Self::with_issuer(authority((2020, 2090), &format!("{name} issuer")), name)
    }

    fn with_issuer(issuer: CertificateParams, name: &str) -> Self {
        let root = authority((2020, 2090), name);
        let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
        let issuer = CertifiedIssuer::signed_by(issuer, KeyPair::generate().unwrap(), &root).unwrap();
        Self { root, issuer }
    }

    fn certify_with(&self, params: &CertificateParams, algorithm: &'static SignatureAlgorithm) -> Vec<u8> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        params.signed_by(&key, &self.issuer).unwrap().der().to_vec()
    }

    fn certify(&self, params: &CertificateParams) -> Vec<u8> {
        self.certify_with(params, &PKCS_ECDSA_P256_SHA256)
    }

    fn judge(&self, der: &[u8], now_unix_s: i64) -> Result<EndorsementCertificate, CertificateRefusal> {
        let roots = MakerRoots::new(&[self.root.der()]).unwrap();
        EndorsementCertificate::accept(der, &[self.issuer.der()], &roots, now_unix_s)
    }
}

#[test]
fn a_makers_certificates_are_believed_for_their_own_keys() {
    for (certificate, area, identifier) in [
        (P384, P384_AREA, "546b7409430fa90268fd66fc5743ad995feb2af4d4ffa118fd69d805de5950d2"),
        (P256, P256_AREA, "645bacca0c49a2fb0d30557d587237fac2da8fbdaf23ccb0b81ed9c9768984e2"),
    ] {
        let accepted = accept(certificate).unwrap();
        // What openssl says of the same key: see the documentation of the type.
        assert_eq!(accepted.permanent_identifier().to_string(), identifier);
        assert_eq!(accepted.permanent_identifier().as_bytes()[0], if certificate == P384 { 0x54 } else { 0x64 });
        // Both ways lead to the same key: its area, or the template that it was made by.
        assert_eq!(accepted.key(Some(area)), accepted.key(None));
        let ak = &include_bytes!("../../evidence/tests/vectors/ak.pub")[2..];
        let ak = AttestationKey::accept(ak).unwrap();
        accepted.key(None).unwrap().credential(&ak, b"secret", &SystemRandom::new()).unwrap();
    }
}

#[test]
fn another_key_than_the_certificates_is_refused() {
    let accepted = accept(P384).unwrap();
    assert_eq!(accepted.key(Some(P256_AREA)), Err(Refusal::AnotherKey));
    let mut other = P384_AREA.to_vec();
    *other.last_mut().unwrap() ^= 1;
    assert_eq!(accepted.key(Some(&other)), Err(Refusal::AnotherKey));
    assert!(matches!(accepted.key(Some(&P384_AREA[1..])), Err(Refusal::Malformed(_))));
    // The right point under other attributes: a key that would sign as well.
    let mut signs = P384_AREA.to_vec();
    signs[5] |= 0b100;
    assert!(matches!(accepted.key(Some(&signs)), Err(Refusal::Key(_))));
}

#[test]
fn an_unknown_root_is_refused_and_the_issuer_is_named() {
    let stranger = MakerRoots::new(&[Maker::new("Stranger").root.der()]).unwrap();
    let why = EndorsementCertificate::accept(P384, &[ISSUER], &stranger, NOW).unwrap_err();
    assert_eq!(why, CertificateRefusal::UnknownRoot { issuer: "CN=swtpm-localca".into() });
    assert!(
        why.to_string().contains("issued by \"CN=swtpm-localca\": send the certificates in between along"),
        "{why}"
    );
    // The way to the root has a gap.
    let none: [&[u8]; 0] = [];
    let why = EndorsementCertificate::accept(P384, &none, &roots(), NOW).unwrap_err();
    assert!(matches!(why, CertificateRefusal::UnknownRoot { .. }), "{why}");
    // A root does not vouch for what only has its name.
    let namesake = MakerRoots::new(&[OTHER_ROOT]).unwrap();
    let why = EndorsementCertificate::accept(P384, &[ISSUER], &namesake, NOW).unwrap_err();
    assert_eq!(why, CertificateRefusal::Forged);
    // Nor does a certificate that a device brings along become a root.
    let why = EndorsementCertificate::accept(P384, &[ISSUER, ROOT], &stranger, NOW).unwrap_err();
    assert!(matches!(why, CertificateRefusal::UnknownRoot { .. }), "{why}");
    let both = MakerRoots::new(&[OTHER_ROOT, ROOT]).unwrap();
    EndorsementCertificate::accept(P384, &[ISSUER], &both, NOW).unwrap();
}

#[test]
fn a_wrong_clock_is_told_with_both_times() {
    let maker = Maker::new("Maker");
    let mut short = endorsement();
    (short.not_before, short.not_after) = (rcgen::date_time_ymd(2026, 11, 26), rcgen::date_time_ymd(2026, 11, 28));
    let der = maker.certify(&short);
    let at = |now_unix_s| maker.judge(&der, now_unix_s);
    for good in [NOW, NOW - DAY, NOW + DAY] {
        at(good).unwrap();
    }
    let early = at(NOW - DAY - 1).unwrap_err();
    let (not_before_unix_s, now_unix_s) = (NOW - DAY, NOW - DAY - 1);
    assert_eq!(early, CertificateRefusal::NotYetValid { not_before_unix_s, now_unix_s });
    let told = "valid from 2026-11-26T00:00:00Z, and the time here is 2026-11-25T23:59:59Z";
    assert!(early.to_string().contains(told), "{early}");
    let late = at(NOW + DAY + 1).unwrap_err();
    assert_eq!(late, CertificateRefusal::Expired { not_after_unix_s: NOW + DAY, now_unix_s: NOW + DAY + 1 });
    let told = "expired at 2026-11-28T00:00:00Z, and the time here is 2026-11-28T00:00:01Z";
    assert!(late.to_string().contains(told), "{late}");
    for nonsense in [-1, i64::MIN] {
        assert!(
            matches!(at(nonsense), Err(CertificateRefusal::NotYetValid { now_unix_s, .. }) if now_unix_s == nonsense)
        );
    }
    assert!(matches!(at(i64::MAX), Err(CertificateRefusal::Expired { .. })));
}

#[test]
fn those_above_it_must_be_valid_too() {
    let ended = Maker::with_issuer(authority((2020, 2025), "issuer"), "Maker");
    let why = ended.judge(&ended.certify(&endorsement()), NOW).unwrap_err();
    assert!(matches!(why, CertificateRefusal::Expired { .. }), "{why}");
    // An issuer that is no authority.
    let not_one = Maker::with_issuer(endorsement(), "Maker");
    let why = not_one.judge(&not_one.certify(&endorsement()), NOW).unwrap_err();
    assert!(matches!(why, CertificateRefusal::Chain(_)), "{why}");
}

#[test]
fn a_certificate_for_something_else_is_refused() {
    let maker = Maker::new("Maker");
    let refused = |change: fn(&mut CertificateParams)| {
        let mut params = endorsement();
        change(&mut params);
        maker.judge(&maker.certify(&params), NOW).map(drop)
    };
    assert_eq!(refused(|_| ()), Ok(()));
    let not_for = Err(CertificateRefusal::NotForEndorsement);
    assert_eq!(refused(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]), not_for);
    // A platform certificate, 2.23.133.8.2, by the same maker.
    let platform = |p: &mut CertificateParams| {
        p.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 2])];
    };
    assert_eq!(refused(platform), not_for);
    assert_eq!(refused(|p| p.extended_key_usages.clear()), not_for, "it states nothing");
    assert_eq!(refused(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]), not_for, "anything");
    assert_eq!(refused(|p| p.key_usages = vec![KeyUsagePurpose::DigitalSignature]), not_for, "it signs");
    assert_eq!(refused(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), not_for, "an authority");
    assert_eq!(refused(|p| p.key_usages.clear()), Ok(()), "an old one that does not say what the key does");
    let critical = |p: &mut CertificateParams| {
        let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
        unknown.set_criticality(true);
        p.custom_extensions = vec![unknown];
    };
    assert!(
        matches!(refused(critical), Err(CertificateRefusal::Chain(_))),
        "something critical that nobody understands"
    );
}

#[test]
fn a_key_that_no_credential_can_be_made_for_is_refused() {
    let maker = Maker::new("Maker");
    maker.judge(&maker.certify_with(&endorsement(), &PKCS_ECDSA_P384_SHA384), NOW).unwrap();
    let edwards = maker.judge(&maker.certify_with(&endorsement(), &PKCS_ED25519), NOW);
    assert_eq!(edwards, Err(CertificateRefusal::Algorithm));
    assert_eq!(refused(RSA), CertificateRefusal::Algorithm);
    assert!(CertificateRefusal::Algorithm.to_string().contains("show the TPM's ECC endorsement key"));
}

#[test]
fn no_bit_of_a_certificate_can_be_altered() {
    let identifier = accept(P256).unwrap().permanent_identifier();
    for bit in 0..P256.len() * 8 {
        let mut altered = P256.to_vec();
        altered[bit / 8] ^= 1 << (bit % 8);
        let outcome = accept(&altered).map(|accepted| accepted.permanent_identifier());
        assert!(outcome.is_err(), "bit {bit} of {identifier}");
    }
    for bit in (0..ISSUER.len() * 8).step_by(7) {
        let mut altered = ISSUER.to_vec();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(EndorsementCertificate::accept(P256, &[&altered], &roots(), NOW).is_err(), "bit {bit} of the issuer");
    }
}

#[test]
fn what_is_cut_or_goes_on_or_is_too_large_is_refused() {
    for cut in 0..P256.len() {
        assert_eq!(refused(&P256[..cut]), CertificateRefusal::Unreadable, "{cut}");
    }
    assert_eq!(refused(&[P256, &[0]].concat()), CertificateRefusal::Unreadable);
    assert!(matches!(refused(&vec![0x30; 8 * 1_024 + 1]), CertificateRefusal::TooLarge { .. }));
    let judge = |intermediates: &[&[u8]]| EndorsementCertificate::accept(P256, intermediates, &roots(), NOW);
    judge(&[ISSUER; 8]).unwrap();
    assert!(matches!(judge(&[ISSUER; 9]), Err(CertificateRefusal::TooLarge { most: 8, .. })));
    assert!(matches!(judge(&[ISSUER, &[0; 8 * 1_024 + 1]]), Err(CertificateRefusal::TooLarge { .. })));
}

#[test]
fn an_issuers_name_cannot_forge_a_line_of_a_log() {
    let long = format!("a\nb{}", "x".repeat(1_000));
    let maker = Maker::with_issuer(authority((2020, 2090), &long), "Maker");
    let why = EndorsementCertificate::accept(&maker.certify(&endorsement()), &[ISSUER], &roots(), NOW).unwrap_err();
    let text = why.to_string();
    assert!(text.contains("CN=a\\n") || text.contains("CN=a\\\\"), "{text}");
    assert!(!text.contains('\n') && text.len() < 500, "{text}");
}

#[test]
fn a_list_of_roots_is_whole_or_none() {
    let none: [&[u8]; 0] = [];
    assert_eq!(MakerRoots::new(&none).map(drop), Err(RootsFlaw::Count { found: 0, most: 256 }));
    assert_eq!(MakerRoots::new(&[ROOT; 257]).map(drop), Err(RootsFlaw::Count { found: 257, most: 256 }));
    assert_eq!(MakerRoots::new(&[ROOT, P384]).map(drop), Err(RootsFlaw::NoRoot { number: 2 }));
    assert_eq!(MakerRoots::new(&[&ROOT[1..]]).map(drop), Err(RootsFlaw::NoRoot { number: 1 }));
}

proptest! {
    #[test]
    fn whatever_comes_is_read_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..1_500),
        at in any::<prop::sample::Index>(),
        run in proptest::collection::vec(any::<u8>(), 1..8),
    ) {
        prop_assert!(accept(&bytes).is_err());
        let mut altered = P384.to_vec();
        let at = at.index(altered.len() - run.len());
        altered[at..at + run.len()].copy_from_slice(&run);
        prop_assert!(altered == P384 || accept(&altered).is_err());
    }
}

#[test]
fn identifiers_of_different_keys_differ() {
    let all: Vec<PermanentIdentifier> =
        [P256, P384].iter().map(|der| accept(der).unwrap().permanent_identifier()).collect();
    assert_ne!(all[0], all[1]);
}
