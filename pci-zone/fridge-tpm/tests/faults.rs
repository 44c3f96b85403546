//! What a technician is told when a TPM cannot do what it was asked, and that a guesser elsewhere does not stop a fridge.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod fridge;

use attest_evidence::{HashAlgorithm, PcrSelection};
use fridge::swtpm::Swtpm;
use fridge::*;
use fridge_tpm::{Corrupt, Fault, Refusal, StoredKey, Tpm, TpmError};

#[test]
fn where_no_tpm_is_the_address_is_told() {
    for address in ["swtpm:host=127.64.0.1,port=9", "device:/dev/there-is-no-tpm"] {
        let why = failed(Tpm::open(&address.parse().unwrap()));
        assert!(matches!(why, TpmError::Fault(Fault::NotThere { .. })), "{why}");
        assert!(why.to_string().starts_with(&format!("no TPM answers at {address} (0xa")), "{why}");
    }
}

#[test]
fn a_tpm_that_ends_is_lost_and_found_when_it_is_back() {
    let tpm = Swtpm::new();
    let (asked, key) = (open(&tpm), attestation_key(&tpm));
    asked.quote(&key, registers(&[0]), NONCE).unwrap();
    let tpm = tpm.stopped();
    // It was asked once more, by a new way, and that one could not be opened.
    for _ in 0..2 {
        let why = failed(asked.quote(&key, registers(&[0]), NONCE));
        assert!(matches!(why, TpmError::Fault(Fault::NotThere { .. })), "{why}");
    }
    let tpm = tpm.started();
    asked.quote(&key, registers(&[0]), NONCE).unwrap();
    assert_empty(&tpm);
}

#[test]
fn a_tpm_without_a_certificate_is_told() {
    let tpm = Swtpm::new();
    let why = failed(open(&tpm).endorsement());
    assert!(matches!(why, TpmError::Fault(Fault::NoEndorsementCertificate)), "{why}");
}

#[test]
fn a_full_tpm_is_told_and_works_when_there_is_room() {
    let tpm = Swtpm::new();
    let (asked, key) = (open(&tpm), attestation_key(&tpm));
    for _ in 0..3 {
        tpm.run("tpm2_createprimary -C o -G ecc -c left.ctx");
    }
    let why = failed(asked.quote(&key, registers(&[0]), NONCE));
    assert!(matches!(why, TpmError::Fault(Fault::Memory { code: 0x902, .. })), "{why}");
    assert!(why.to_string().contains("/dev/tpmrm0"), "{why}");
    tpm.flush();
    asked.quote(&key, registers(&[0]), NONCE).unwrap();
    assert_empty(&tpm);
}

#[test]
fn a_guesser_locks_himself_out_and_not_the_fridge() {
    let tpm = Swtpm::manufactured();
    tpm.run("tpm2_dictionarylockout -s -n 1 -t 1000 -l 1000");
    tpm.step("tpm2_createprimary -C o -G ecc -c root.ctx");
    tpm.step("tpm2_create -C root.ctx -G ecc -p right -u his.pub -r his.priv");
    tpm.step("tpm2_load -C root.ctx -u his.pub -r his.priv -c his.ctx");
    tpm.write("message", b"anything");
    for _ in 0..2 {
        assert!(!tpm.attempt("tpm2_sign -c his.ctx -p wrong -o signature message").status.success());
        tpm.flush();
    }
    let locked = tpm.attempt("tpm2_sign -c his.ctx -p right -o signature message");
    assert!(String::from_utf8_lossy(&locked.stderr).contains("0x921"), "he is not locked out: {locked:?}");
    tpm.flush();
    let (asked, key) = (open(&tpm), attestation_key(&tpm));
    let endorsement = asked.endorsement().unwrap();
    let made = certified_by_its_maker(&tpm, &endorsement).key(None).unwrap();
    let made = made.credential(&accepted(&key), SECRET, &ring::rand::SystemRandom::new()).unwrap();
    assert_eq!(asked.activate(&endorsement, &key, &made.blob, &made.secret).unwrap().as_slice(), SECRET);
    asked.quote(&key, registers(&[0]), NONCE).unwrap();
}

#[test]
fn a_tpm_that_somebody_took_ownership_of_is_told() {
    let tpm = Swtpm::new();
    tpm.run("tpm2_changeauth -c o password");
    let why = failed(open(&tpm).attestation_key(&tpm.path("attestation.key")));
    assert!(matches!(why, TpmError::Fault(Fault::Password { .. })), "{why}");
    assert!(!tpm.path("attestation.key").exists());
}

#[test]
fn what_no_tpm_takes_is_refused_before_it_is_asked() {
    let tpm = Swtpm::new();
    let (asked, key) = (open(&tpm), attestation_key(&tpm));
    for selection in [PcrSelection::of(HashAlgorithm::Sha384, [0]), registers(&[]), registers(&[24])] {
        let why = failed(asked.quote(&key, selection, NONCE));
        assert!(matches!(why, TpmError::Refused(Refusal::Selection)), "{why}");
    }
    let why = failed(asked.quote(&key, registers(&[0]), &[7; 35]));
    assert!(matches!(why, TpmError::Refused(Refusal::Nonce { bytes: 35, most: 34 })), "{why}");
}

#[test]
fn a_key_file_is_kept_whole_or_found_damaged() {
    let tpm = Swtpm::new();
    let (asked, file) = (open(&tpm), tpm.path("attestation.key"));
    let key = asked.attestation_key(&file).unwrap();
    assert_eq!(asked.attestation_key(&file).unwrap(), key);
    let bytes = tpm.read("attestation.key");
    assert_eq!(bytes, key.to_bytes());
    assert_eq!(StoredKey::from_bytes(&bytes).as_ref(), Ok(&key));
    for end in 0..bytes.len() {
        assert!(matches!(StoredKey::from_bytes(&bytes[..end]), Err(Corrupt::Key(_))), "{end} bytes");
    }
    assert!(matches!(StoredKey::from_bytes(&[&bytes[..], &[0]].concat()), Err(Corrupt::Key(_))));
    // A damaged file is not replaced by itself: a new key would have to be attested anew.
    tpm.write("attestation.key", &bytes[..bytes.len() / 2]);
    let why = failed(asked.attestation_key(&file));
    assert!(matches!(why, TpmError::Corrupt(Corrupt::Key(_))), "{why}");
    assert_eq!(tpm.read("attestation.key").len(), bytes.len() / 2);
    let why = failed(asked.attestation_key(&tpm.path("no/such/folder/key")));
    assert!(why.to_string().contains("could not be written"), "{why}");
}
