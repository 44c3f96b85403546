//! A credential is opened by the TPM of its endorsement key, for the key that it was made for, and by nobody else. The TPM
//! here is one of software, by the specification's formulas turned round; that real ones open it is tried elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::support;

use aes::cipher::{AsyncStreamCipher, KeyIvInit};
use attest_verifier::{AttestationKey, EndorsementKey, KeyFlaw, Refusal};
use p256::elliptic_curve::point::AffineCoordinates;
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{NonZeroScalar, ProjectivePoint, PublicKey};
use ring::hmac;
use ring::rand::SystemRandom;
use support::*;

/// What an endorsement key has.
const ENDORSES: u32 = FIXED | INSIDE | RESTRICTED | DECRYPTS;
const SECRET: &[u8] = b"a secret of thirty-two bytes !!!";

/// An endorsement key with its private half.
struct Ek(NonZeroScalar);

impl Ek {
    fn new(private: u8) -> Self {
        Self(NonZeroScalar::try_from(&[private; 32][..]).unwrap())
    }

    fn point(&self) -> Vec<u8> {
        PublicKey::from_secret_scalar(&self.0).to_sec1_point(false).as_bytes().to_vec()
    }

    fn area_with(&self, attributes: u32, symmetric: &[u8]) -> Vec<u8> {
        let point = self.point();
        let mut area = vec![0x00, 0x23, 0x00, 0x0b];
        area.extend(attributes.to_be_bytes());
        area.extend(sized(&[7; 32]));
        area.extend(symmetric);
        area.extend([0x00, 0x10, 0x00, 0x03, 0x00, 0x10]);
        area.extend(sized(&point[1..33]));
        area.extend(sized(&point[33..]));
        area
    }

    fn area(&self) -> Vec<u8> {
        self.area_with(ENDORSES, &[0x00, 0x06, 0x00, 128, 0x00, 0x43])
    }

    /// `TPM2_ActivateCredential`.
    fn activate(&self, blob: &[u8], secret: &[u8], for_key: &[u8]) -> Option<Vec<u8>> {
        let (x, y) = (&secret[4..36], &secret[38..70]);
        let sender = PublicKey::from_sec1_bytes(&[&[4][..], x, y].concat()).ok()?;
        let shared = (ProjectivePoint::from(*sender.as_affine()) * *self.0).to_affine();
        let ours = &self.point()[1..33];
        let seed = sha256(&[&[0, 0, 0, 1][..], shared.x().as_slice(), b"IDENTITY\0", x, ours].concat());
        let kdfa = |label: &[u8], context: &[u8], bits: u32| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &seed);
            hmac::sign(&key, &[&[0, 0, 0, 1][..], label, context, &bits.to_be_bytes()].concat()).as_ref().to_vec()
        };
        let (integrity, sealed) = blob[4..].split_at(32);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &kdfa(b"INTEGRITY\0", &[], 256));
        hmac::verify(&key, &[sealed, for_key].concat(), integrity).ok()?;
        let mut opened = sealed.to_vec();
        let storage = kdfa(b"STORAGE\0", for_key, 128);
        cfb_mode::Decryptor::<aes::Aes128>::new_from_slices(&storage[..16], &[0; 16]).unwrap().decrypt(&mut opened);
        let length = usize::from(u16::from_be_bytes([opened[0], opened[1]]));
        Some(opened[2..2 + length].to_vec())
    }
}

fn attestation_key() -> AttestationKey {
    AttestationKey::accept(&Key::new().area(ATTESTS, &[])).unwrap()
}

#[test]
fn the_tpm_of_the_endorsement_key_opens_it_for_that_key_alone() {
    let (ek, stranger) = (Ek::new(9), Ek::new(10));
    let (ak, other) = (attestation_key(), attestation_key());
    let accepted = EndorsementKey::accept(&ek.area(), &ek.point()).unwrap();
    for length in [1, 16, 32] {
        let made = accepted.credential(&ak, &SECRET[..length], &SystemRandom::new()).unwrap();
        assert_eq!(ek.activate(&made.blob, &made.secret, ak.name()).as_deref(), Some(&SECRET[..length]));
        assert_eq!(ek.activate(&made.blob, &made.secret, other.name()), None, "for another key");
        assert_eq!(stranger.activate(&made.blob, &made.secret, ak.name()), None, "by another TPM");
        for at in 4..made.blob.len() {
            let mut altered = made.blob.clone();
            altered[at] ^= 1;
            assert_eq!(ek.activate(&altered, &made.secret, ak.name()), None, "altered at {at}");
        }
        let sizes = |bytes: &[u8]| usize::from(u16::from_be_bytes([bytes[0], bytes[1]])) + 2 == bytes.len();
        assert!(sizes(&made.blob) && sizes(&made.secret));
    }
}

#[test]
fn no_two_credentials_are_alike() {
    let (ek, ak) = (Ek::new(9), attestation_key());
    let accepted = EndorsementKey::accept(&ek.area(), &ek.point()).unwrap();
    let make = || accepted.credential(&ak, SECRET, &SystemRandom::new()).unwrap();
    let (one, two) = (make(), make());
    assert!(one.blob != two.blob && one.secret != two.secret);
}

#[test]
fn a_secret_has_1_to_32_bytes() {
    let (ek, ak) = (Ek::new(9), attestation_key());
    let accepted = EndorsementKey::accept(&ek.area(), &ek.point()).unwrap();
    for length in [0, 33] {
        assert_eq!(accepted.credential(&ak, &[1; 64][..length], &SystemRandom::new()), Err(Refusal::Secret));
    }
}

#[test]
fn an_endorsement_key_is_the_certificates_and_one_indeed() {
    let ek = Ek::new(9);
    let accept = |attributes: u32, symmetric: &[u8]| {
        EndorsementKey::accept(&ek.area_with(attributes, symmetric), &ek.point()).map(drop)
    };
    let aes = [0x00, 0x06, 0x00, 128, 0x00, 0x43];
    assert_eq!(accept(ENDORSES, &aes), Ok(()));
    assert_eq!(accept(ENDORSES & !2, &aes), Err(KeyFlaw::NotFixed.into()));
    assert_eq!(accept(ENDORSES | SIGNS, &aes), Err(KeyFlaw::NotForStorage.into()));
    assert_eq!(accept(ENDORSES & !DECRYPTS, &aes), Err(KeyFlaw::NotForStorage.into()));
    assert_eq!(accept(ENDORSES & !RESTRICTED, &aes), Err(KeyFlaw::NotForStorage.into()));
    assert_eq!(accept(ENDORSES, &[0x00, 0x10]), Err(KeyFlaw::Algorithm.into()), "no cipher");
    let of_another = EndorsementKey::accept(&ek.area(), &Ek::new(10).point());
    assert_eq!(of_another, Err(Refusal::AnotherKey));
    let off_the_curve = {
        let mut area = ek.area();
        let last = area.len() - 1;
        area[last] ^= 1;
        let mut point = ek.point();
        point[64] ^= 1;
        EndorsementKey::accept(&area, &point).unwrap()
    };
    let refused = off_the_curve.credential(&attestation_key(), SECRET, &SystemRandom::new());
    assert_eq!(refused, Err(KeyFlaw::Algorithm.into()));
}

#[test]
fn credentials_are_made_for_real_endorsement_keys_of_both_curves() {
    let keys: [(&[u8], usize, usize); 2] = [
        (include_bytes!("../../evidence/tests/vectors/ek.pub"), 32, 32),
        (include_bytes!("../../evidence/tests/vectors/ek384.pub"), 48, 48),
    ];
    for (public, hash, coordinate) in keys {
        let area = &public[2..];
        let point = attest_evidence::Public::parse(area).unwrap().key.point();
        let ek = EndorsementKey::accept(area, &point).unwrap();
        let made = ek.credential(&attestation_key(), SECRET, &SystemRandom::new()).unwrap();
        // The whole, the integrity value, and the secret with its length.
        assert_eq!(made.blob.len(), 2 + 2 + hash + 2 + SECRET.len());
        assert_eq!(made.secret.len(), 2 + 2 * (2 + coordinate));
        assert!(!made.blob.windows(SECRET.len()).any(|window| window == SECRET), "it is not in the open");
    }
}

#[test]
fn a_public_area_that_cannot_be_read_is_no_endorsement_key() {
    let ek = Ek::new(9);
    let area = ek.area();
    for cut in [0, 1, 10, area.len() - 1] {
        let refused = EndorsementKey::accept(&area[..cut], &ek.point());
        assert!(matches!(refused, Err(Refusal::Malformed(_))), "{cut}: {refused:?}");
    }
    for point in [&[][..], &ek.point()[1..], &[&ek.point()[..], &[0]].concat()] {
        assert_eq!(EndorsementKey::accept(&area, point), Err(Refusal::AnotherKey), "the certificate has another point");
    }
    let reasons = [Refusal::AnotherKey, KeyFlaw::NotForStorage.into(), Refusal::Secret].map(|why| why.to_string());
    assert_eq!(
        reasons,
        [
            "the key that is vouched for is another than the one presented",
            "the endorsement key must open what is sealed to it and do nothing else",
            "a credential's secret has 1 to 32 bytes, and chance must be had to seal it",
        ]
    );
}
