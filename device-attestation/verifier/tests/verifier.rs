//! Evidence that is true is believed, and every way to forge it is refused with its own reason.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::support;

use attest_evidence::{Curve, HashAlgorithm, PcrSelection, Why};
use attest_verifier::{
    Appraisal, AttestationKey, CertifiedKey, CheckedQuote, KeyFlaw, ReferenceValues, Refusal, ReplayedQuote, Signed,
    UnknownEvent,
};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use support::*;

const BOOT: [(u32, u32, [u8; 32]); 4] =
    [(0, 8, [1; 32]), (7, 0x8000_0001, [2; 32]), (7, 3, [9; 32]), (7, SEPARATOR, [3; 32])];

fn asked() -> PcrSelection {
    PcrSelection::of(HashAlgorithm::Sha256, ASKED)
}

fn accepted(key: &Key) -> AttestationKey {
    AttestationKey::accept(&key.area(ATTESTS, &[])).unwrap()
}

fn good() -> ReferenceValues {
    let mut good = ReferenceValues::default();
    good.add(0, &[1; 32]);
    good.add(7, &[2; 32]);
    good.add(7, &[3; 32]);
    good
}

/// All of the way, as a service goes it.
fn appraise(key: &Key, quote: &[u8], signature: &[u8], log: &[u8]) -> Result<Appraisal, Refusal> {
    let statement = Signed::check(&accepted(key), quote, signature, NONCE)?;
    let replayed = ReplayedQuote::of(CheckedQuote::of(&statement, asked())?, log)?;
    Ok(Appraisal::of(&replayed, &good()))
}

fn boot(events: &[(u32, u32, [u8; 32])]) -> Result<Appraisal, Refusal> {
    let key = Key::new();
    let quote = quote(NONCE, &ASKED, &values_after(events));
    appraise(&key, &quote, &key.sign(&quote), &log(events))
}

#[test]
fn a_good_boot_is_good() {
    assert_eq!(boot(&BOOT), Ok(Appraisal::Good));
}

#[test]
fn what_a_real_tpm_said_is_believed() {
    let ak = &include_bytes!("../../evidence/tests/vectors/ak.pub")[2..];
    let key = AttestationKey::accept(ak).unwrap();
    let nonce = [0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
    let quote = include_bytes!("../../evidence/tests/vectors/quote.attest");
    let signature = include_bytes!("../../evidence/tests/vectors/quote.sig");
    let statement = Signed::check(&key, quote, signature, &nonce).unwrap();
    let asked = PcrSelection::of(HashAlgorithm::Sha256, [0, 1, 2, 3, 4, 7]);
    let quote = CheckedQuote::of(&statement, asked).unwrap();
    assert_eq!((quote.clock().resets, quote.clock().millis), (3, 744));
    let told = log(&[(4, 8, sha256(b"a"))]);
    let replayed = ReplayedQuote::of(quote.clone(), &told).unwrap();
    // Only register 4 was measured into.
    let mut good = ReferenceValues::default();
    good.add(4, &sha256(b"a"));
    assert_eq!(Appraisal::of(&replayed, &good), Appraisal::NothingMeasured(0));
    assert_eq!(ReplayedQuote::of(quote, &log(&[(4, 8, sha256(b"b"))])), Err(Refusal::Log));

    let certification = include_bytes!("../../evidence/tests/vectors/certify.attest");
    let signature = include_bytes!("../../evidence/tests/vectors/certify.sig");
    let statement = Signed::check(&key, certification, signature, &[0, 0xff, 0x55, 0xaa]).unwrap();
    let tls = &include_bytes!("../../evidence/tests/vectors/tls.pub")[2..];
    assert_eq!(CertifiedKey::of(&statement, tls, &POLICY), Err(KeyFlaw::Policy.into()), "it was bound to none");
}

#[test]
fn firmware_that_is_not_known_is_named_event_by_event() {
    let mut events = BOOT;
    events[1].2 = [0xbb; 32];
    let unknown = UnknownEvent { at: 1, register: 7, digest: vec![0xbb; 32] };
    assert_eq!(boot(&events), Ok(Appraisal::Unknown(vec![unknown])));
    // A digest that is good in one register is not so in another.
    assert!(matches!(boot(&[(0, 8, [2; 32]), (7, SEPARATOR, [3; 32])]), Ok(Appraisal::Unknown(_))));
}

#[test]
fn a_register_that_nothing_was_measured_into_is_no_good_boot() {
    assert_eq!(boot(&[(0, 8, [1; 32])]), Ok(Appraisal::NothingMeasured(7)));
    // Something that was only told extends nothing.
    assert_eq!(boot(&[(0, 8, [1; 32]), (7, 3, [2; 32])]), Ok(Appraisal::NothingMeasured(7)));
}

#[test]
fn a_log_that_was_made_nicer_is_found_out() {
    let key = Key::new();
    let mut changed = BOOT;
    changed[0].2 = [0xee; 32];
    let quote = quote(NONCE, &ASKED, &values_after(&changed));
    let signature = key.sign(&quote);
    assert_eq!(appraise(&key, &quote, &signature, &log(&BOOT)), Err(Refusal::Log), "a digest");
    assert_eq!(appraise(&key, &quote, &signature, &log(&changed[..3])), Err(Refusal::Log), "the last event left out");
    let mut order = changed;
    order.swap(1, 3);
    assert_eq!(appraise(&key, &quote, &signature, &log(&order)), Err(Refusal::Log), "another order");
    assert!(matches!(appraise(&key, &quote, &signature, &log(&changed)), Ok(Appraisal::Unknown(_))));
    let other_bank = log(&changed).iter().map(|byte| if *byte == 0x0b { 0x12 } else { *byte }).collect::<Vec<_>>();
    assert_eq!(appraise(&key, &quote, &signature, &other_bank), Err(Refusal::Log), "no digest of the bank");
    let cut = &log(&changed)[..100];
    assert!(
        matches!(appraise(&key, &quote, &signature, cut), Err(Refusal::Malformed(error)) if error.why == Why::Short)
    );
}

#[test]
fn a_log_may_speak_of_no_register_that_a_boot_does_not_extend() {
    let mut events = BOOT.to_vec();
    events.push((24, 8, [1; 32]));
    let key = Key::new();
    let quote = quote(NONCE, &ASKED, &values_after(&BOOT));
    assert_eq!(appraise(&key, &quote, &key.sign(&quote), &log(&events)), Err(Refusal::Log));
}

#[test]
fn an_old_nonce_is_refused() {
    let key = Key::new();
    for nonce in [&b"what was asked before"[..], b"", b"what was aske", b"what was asked "] {
        let quote = quote(nonce, &ASKED, &values_after(&BOOT));
        assert_eq!(appraise(&key, &quote, &key.sign(&quote), &log(&BOOT)), Err(Refusal::Nonce));
    }
}

#[test]
fn a_signature_is_the_keys_over_this_statement() {
    let (key, other) = (Key::new(), Key::new());
    let quote = quote(NONCE, &ASKED, &values_after(&BOOT));
    let signature = key.sign(&quote);
    assert_eq!(appraise(&other, &quote, &signature, &log(&BOOT)), Err(Refusal::Signature));
    assert_eq!(appraise(&key, &quote, &other.sign(&quote), &log(&BOOT)), Err(Refusal::Signature));
    for bit in 0..quote.len() * 8 {
        let mut altered = quote.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(appraise(&key, &altered, &signature, &log(&BOOT)), Err(Refusal::Signature), "bit {bit}");
    }
    for bit in 0..signature.len() * 8 {
        let mut altered = signature.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let refused = appraise(&key, &quote, &altered, &log(&BOOT));
        assert!(matches!(refused, Err(Refusal::Signature | Refusal::Malformed(_))), "bit {bit}: {refused:?}");
    }
}

#[test]
fn other_registers_than_those_asked_for_are_refused() {
    let key = Key::new();
    for registers in [&[0][..], &[0, 7, 8], &[1, 7], &[]] {
        let quote = quote(NONCE, registers, &values_after(&BOOT));
        assert_eq!(appraise(&key, &quote, &key.sign(&quote), &log(&BOOT)), Err(Refusal::Selection), "{registers:?}");
    }
}

#[test]
fn one_kind_of_statement_is_no_other() {
    let (key, tls) = (Key::new(), Key::new());
    let area = tls.area(SERVES, &POLICY);
    let (quote, certification) = (quote(NONCE, &ASKED, &values_after(&BOOT)), certification(NONCE, &area));
    let signed = |statement| Signed::check(&accepted(&key), statement, &key.sign(statement), NONCE).unwrap();
    assert_eq!(CheckedQuote::of(&signed(&certification), asked()), Err(Refusal::NotA("quote of registers")));
    let refused = CertifiedKey::of(&signed(&quote), &area, &POLICY);
    assert_eq!(refused, Err(Refusal::NotA("certification of a key")));
}

#[test]
fn an_attestation_key_that_proves_nothing_is_refused() {
    let key = Key::new();
    let flaw = |attributes| AttestationKey::accept(&key.area(attributes, &[])).unwrap_err();
    assert_eq!(flaw(ATTESTS & !(1 << 1)), KeyFlaw::NotFixed.into());
    assert_eq!(flaw(ATTESTS & !(1 << 4)), KeyFlaw::NotFixed.into());
    assert_eq!(flaw(ATTESTS & !INSIDE), KeyFlaw::BroughtIn.into());
    assert_eq!(flaw(ATTESTS & !RESTRICTED), KeyFlaw::NotRestricted.into());
    assert_eq!(flaw(ATTESTS & !SIGNS), KeyFlaw::NotForSigning.into());
    assert_eq!(flaw(ATTESTS | DECRYPTS), KeyFlaw::NotForSigning.into());
    let sha1 = AttestationKey::accept(&key.area_with(ATTESTS, &[], 0x0004));
    assert_eq!(sha1, Err(KeyFlaw::Algorithm.into()));
    assert_eq!(AttestationKey::accept(&named_by_sha1(&key.area(ATTESTS, &[]))), Err(KeyFlaw::Algorithm.into()));
    assert_eq!(accepted(&key).name(), name(&key.area(ATTESTS, &[])));
}

/// The same key, named by a hash of which two keys can have the same.
fn named_by_sha1(area: &[u8]) -> Vec<u8> {
    [&area[..2], &[0x00, 0x04], &area[4..]].concat()
}

#[test]
fn a_certified_key_is_the_one_presented_and_bound_to_the_policy() {
    let (key, tls, other) = (Key::new(), Key::new(), Key::new());
    let certify = |certified: &[u8], presented: &[u8], policy: &[u8]| {
        let statement = certification(NONCE, certified);
        let signature = key.sign(&statement);
        let statement = Signed::check(&accepted(&key), &statement, &signature, NONCE)?;
        CertifiedKey::of(&statement, presented, policy)
    };
    let area = tls.area(SERVES, &POLICY);
    let certified = certify(&area, &area, &POLICY).unwrap();
    assert_eq!((certified.curve(), certified.point().len(), certified.point()[0]), (Curve::P256, 65, 4));
    assert_eq!(certify(&area, &other.area(SERVES, &POLICY), &POLICY), Err(Refusal::AnotherKey));
    let sha1 = named_by_sha1(&area);
    let sha1_name = [&[0x00, 0x04][..], digest(&SHA1_FOR_LEGACY_USE_ONLY, &sha1).as_ref()].concat();
    let statement = certification_of(NONCE, &sha1_name);
    let signed = Signed::check(&accepted(&key), &statement, &key.sign(&statement), NONCE).unwrap();
    assert_eq!(CertifiedKey::of(&signed, &sha1, &POLICY), Err(KeyFlaw::Algorithm.into()));
    // The same key with other attributes is another key.
    assert_eq!(certify(&tls.area(SIGNS, &POLICY), &area, &POLICY), Err(Refusal::AnotherKey));
    let flaw = |attributes: u32, bound_to: &[u8], policy: &[u8]| {
        let area = tls.area(attributes, bound_to);
        certify(&area, &area, policy).unwrap_err()
    };
    assert_eq!(flaw(SERVES & !(1 << 1), &POLICY, &POLICY), KeyFlaw::NotFixed.into());
    assert_eq!(flaw(SERVES & !INSIDE, &POLICY, &POLICY), KeyFlaw::BroughtIn.into());
    assert_eq!(flaw(SERVES | DECRYPTS, &POLICY, &POLICY), KeyFlaw::NotForSigning.into());
    assert_eq!(flaw(SERVES, &[8; 32], &POLICY), KeyFlaw::Policy.into());
    assert_eq!(flaw(SERVES, &[], &[]), KeyFlaw::Policy.into(), "no policy is none");
    assert_eq!(flaw(SERVES | WITH_AUTH, &POLICY, &POLICY), KeyFlaw::Policy.into(), "an empty password would do");
}

#[test]
fn reasons_are_for_people() {
    let told = Refusal::Log.to_string();
    assert_eq!(told, "the boot log does not lead to the quoted registers: it was altered, cut, or is of another boot");
}
