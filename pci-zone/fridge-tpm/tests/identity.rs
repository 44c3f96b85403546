//! Who a TPM is: its maker's certificate, its attestation key and its quotes are believed by the verifier, the credential
//! that the verifier makes is opened here and nowhere else, and all of it is the same after a power cut.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod fridge;

use attest_evidence::{Curve, Public};
use attest_verifier::{Appraisal, EndorsementKey, MakerRoots};
use fridge::swtpm::Swtpm;
use fridge::*;
use fridge_tpm::{Corrupt, Endorsement, Refusal, StoredKey, TpmError};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SubjectPublicKeyInfo,
};
use ring::rand::SystemRandom;

#[test]
fn a_tpm_as_its_maker_ships_it_is_believed() {
    let tpm = Swtpm::manufactured();
    boot(&tpm);
    let asked = open(&tpm);
    let endorsement = asked.endorsement().unwrap();
    assert_eq!(endorsement.curve, Curve::P384);
    let certificate = certified_by_its_maker(&tpm, &endorsement);
    assert_eq!(certificate.key(None), certificate.key(Some(&endorsement.public_area)), "it is made by the template");
    let key = attestation_key(&tpm);
    let credential = certificate.key(None).unwrap().credential(&accepted(&key), SECRET, &SystemRandom::new()).unwrap();
    let opened = asked.activate(&endorsement, &key, &credential.blob, &credential.secret).unwrap();
    assert_eq!(opened.as_slice(), SECRET);
    let quote = asked.quote(&key, registers(&[0, 7]), NONCE).unwrap();
    assert_eq!(appraise(&key, &quote, NONCE).unwrap().0, Appraisal::Good);
    assert_eq!(appraise(&key, &quote, SECRET), Err(attest_verifier::Refusal::Nonce));
    let other = asked.quote(&key, registers(&[0]), NONCE).unwrap();
    assert_eq!(appraise(&key, &other, NONCE), Err(attest_verifier::Refusal::Selection));
    measure(&tpm, 7, b"something more");
    let quote = asked.quote(&key, registers(&[0, 7]), NONCE).unwrap();
    assert_eq!(appraise(&key, &quote, NONCE), Err(attest_verifier::Refusal::Log));
    assert_empty(&tpm);
}

/// A certificate for the endorsement key that this TPM makes on P-256, by a maker who has no other.
fn put_certificate_on_p256(tpm: &Swtpm, whose: &Swtpm) -> Vec<u8> {
    whose.step("tpm2_createek -G ecc -c ek.ctx -u ek.pub -f tss");
    whose.step("tpm2_readpublic -c ek.ctx -f der -o ek.der");
    let years = |mut params: CertificateParams| {
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(3000, 1, 1));
        params
    };
    let mut root = years(CertificateParams::default());
    root.distinguished_name.push(DnType::CommonName, "a maker");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
    let mut leaf = years(CertificateParams::default());
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 1])];
    let key = SubjectPublicKeyInfo::from_der(&whose.read("ek.der")).unwrap();
    let leaf = leaf.signed_by(&key, &root).unwrap();
    // Some makers leave the place larger than the certificate.
    let filled = [leaf.der(), &[0xff; 64][..]].concat();
    tpm.write("certificate", &filled);
    let may = "ownerread|authread|ppread|ownerwrite|no_da";
    tpm.run(&format!("tpm2_nvdefine 0x1c0000a -C o -s {} -a {may}", filled.len()));
    tpm.run("tpm2_nvwrite 0x1c0000a -C o -i certificate");
    root.der().to_vec()
}

#[test]
fn a_tpm_with_a_certificate_on_p256_alone_is_believed() {
    let tpm = Swtpm::new();
    let root = put_certificate_on_p256(&tpm, &tpm);
    let asked = open(&tpm);
    let endorsement = asked.endorsement().unwrap();
    assert_eq!(endorsement.curve, Curve::P256);
    let roots = MakerRoots::new(&[root]).unwrap();
    let none: [Vec<u8>; 0] = [];
    let certificate =
        attest_verifier::EndorsementCertificate::accept(&endorsement.certificate, &none, &roots, NOW_UNIX_S).unwrap();
    assert_eq!(certificate.key(None), certificate.key(Some(&endorsement.public_area)), "it is made by the template");
    let key = attestation_key(&tpm);
    for length in [1, 16, 32] {
        let secret = &SECRET[..length];
        let made = certificate.key(None).unwrap().credential(&accepted(&key), secret, &SystemRandom::new()).unwrap();
        assert_eq!(asked.activate(&endorsement, &key, &made.blob, &made.secret).unwrap().as_slice(), secret);
    }
    assert_empty(&tpm);
}

/// A credential by the verifier for these two keys.
fn credential(endorsement: &Endorsement, key: &StoredKey) -> (Vec<u8>, Vec<u8>) {
    let point = Public::parse(&endorsement.public_area).unwrap().key.point();
    let endorsement = EndorsementKey::accept(&endorsement.public_area, &point).unwrap();
    let made = endorsement.credential(&accepted(key), SECRET, &SystemRandom::new()).unwrap();
    (made.blob, made.secret)
}

#[test]
fn a_credential_of_another_tpm_or_key_and_an_altered_one_are_refused_in_words() {
    let (tpm, other) = (Swtpm::manufactured(), Swtpm::manufactured());
    let (asked, others) = (open(&tpm), open(&other));
    let (endorsement, other_endorsement) = (asked.endorsement().unwrap(), others.endorsement().unwrap());
    let (key, other_key) = (attestation_key(&tpm), attestation_key(&other));
    let second_key = asked.attestation_key(&tpm.path("second.key")).unwrap();
    assert_ne!(key.name(), second_key.name());
    let refused = |(blob, secret): &(Vec<u8>, Vec<u8>)| {
        let why = failed(asked.activate(&endorsement, &key, blob, secret));
        assert!(matches!(why, TpmError::Refused(Refusal::Credential)), "{why}");
    };
    let good = credential(&endorsement, &key);
    for (endorsement, key) in [
        (&other_endorsement, &key),
        (&endorsement, &other_key),
        (&endorsement, &second_key),
        (&other_endorsement, &other_key),
    ] {
        refused(&credential(endorsement, key));
    }
    let flipped = |bytes: &[u8], at: usize| {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 1;
        flipped
    };
    for at in (0..good.0.len()).step_by(7) {
        refused(&(flipped(&good.0, at), good.1.clone()));
    }
    for at in (0..good.1.len()).step_by(13) {
        refused(&(good.0.clone(), flipped(&good.1, at)));
    }
    refused(&(vec![], good.1.clone()));
    refused(&(good.0.clone(), vec![0; 500]));
    assert_eq!(asked.activate(&endorsement, &key, &good.0, &good.1).unwrap().as_slice(), SECRET);
    assert_empty(&tpm);
}

#[test]
fn after_a_power_cut_all_is_the_same_and_the_clock_went_on() {
    let tpm = Swtpm::manufactured();
    boot(&tpm);
    let asked = open(&tpm);
    let before = (asked.endorsement().unwrap(), attestation_key(&tpm));
    let quote = asked.quote(&before.1, registers(&[0, 7]), NONCE).unwrap();
    let (_, clock) = appraise(&before.1, &quote, NONCE).unwrap();

    tpm.run("tpm2_shutdown -c");
    let tpm = tpm.restarted();
    boot(&tpm);
    // Who had it open before finds it again by himself, and so does a new process.
    for asked in [asked.clone(), open(&tpm)] {
        let after = (asked.endorsement().unwrap(), asked.attestation_key(&tpm.path("attestation.key")).unwrap());
        assert_eq!(before, after);
        let quote = asked.quote(&after.1, registers(&[0, 7]), NONCE).unwrap();
        let (appraisal, later) = appraise(&before.1, &quote, NONCE).unwrap();
        assert_eq!((appraisal, later.resets), (Appraisal::Good, clock.resets + 1));
        assert!(later.millis > clock.millis, "{later:?} is not after {clock:?}");
    }
    // When the power goes without a word, the clock may repeat a little and says so; the resets are counted all the same.
    let tpm = tpm.restarted();
    boot(&tpm);
    let quote = asked.quote(&before.1, registers(&[0, 7]), NONCE).unwrap();
    let (appraisal, later) = appraise(&before.1, &quote, NONCE).unwrap();
    assert_eq!((appraisal, later.resets, later.safe), (Appraisal::Good, clock.resets + 2, false));
}

#[test]
fn a_key_of_another_tpm_or_an_altered_one_is_found() {
    let (tpm, other) = (Swtpm::new(), Swtpm::new());
    let asked = open(&tpm);
    let key = attestation_key(&other);
    let why = failed(asked.quote(&key, registers(&[0]), NONCE));
    assert!(matches!(why, TpmError::Corrupt(Corrupt::AnotherTpm)), "{why}");
    let good = attestation_key(&tpm).to_bytes();
    let mut altered = good.clone();
    *altered.last_mut().unwrap() ^= 1;
    let altered = StoredKey::from_bytes(&altered).unwrap();
    let why = failed(asked.quote(&altered, registers(&[0]), NONCE));
    assert!(matches!(why, TpmError::Corrupt(Corrupt::AnotherTpm)), "{why}");
    // The owner's keys go when the TPM is cleared.
    tpm.run("tpm2_clear -c p");
    let why = failed(open(&tpm).quote(&StoredKey::from_bytes(&good).unwrap(), registers(&[0]), NONCE));
    assert!(why.to_string().contains("the TPM was cleared"), "{why}");
    assert_empty(&tpm);
}

#[test]
fn a_certificate_of_another_endorsement_key_is_found() {
    let (tpm, other) = (Swtpm::new(), Swtpm::new());
    put_certificate_on_p256(&tpm, &other);
    let why = failed(open(&tpm).endorsement());
    assert!(why.to_string().contains("is not that of its endorsement key"), "{why}");
}
