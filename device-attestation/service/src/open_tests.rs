//! Ids are given out once and taken once, and nobody can fill the place or lock another out of it.

use attest_evidence::HashAlgorithm;
use attest_verifier::{EndorsementCertificate, MakerRoots};

use super::*;

const NOW: i64 = 1_795_737_600;

fn devices() -> [PermanentIdentifier; 2] {
    let read = |name: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../verifier/tests/vectors");
        std::fs::read(format!("{folder}/{name}")).unwrap()
    };
    let roots = MakerRoots::new(&[read("root.der")]).unwrap();
    ["ek-p256.der", "ek-p384.der"].map(|name| {
        let certificate = EndorsementCertificate::accept(&read(name), &[read("issuer.der")], &roots, NOW);
        certificate.unwrap().permanent_identifier()
    })
}

fn open(device: PermanentIdentifier, begun_at_unix_s: i64) -> Open {
    let ak = &include_bytes!("../../evidence/tests/vectors/ak.pub")[2..];
    Open {
        permanent_identifier: device,
        tpm: TpmModel { manufacturer: "id:1".into(), model: "2".into(), version: "id:3".into() },
        attestation_key: AttestationKey::accept(ak).unwrap(),
        tls_area: vec![],
        tls_name: vec![1; 34],
        previous: None,
        csr_sha256: [2; 32],
        account: "account".into(),
        order: "order".into(),
        secret: Zeroizing::new([3; 32]),
        challenge: [4; 32],
        selection: PcrSelection::of(HashAlgorithm::Sha256, [0]),
        expires_at_unix_s: begun_at_unix_s + LIFE_S,
    }
}

fn id(number: usize) -> Id {
    let mut id = [0; ID_BYTES];
    id[..8].copy_from_slice(&number.to_be_bytes());
    id
}

#[test]
fn one_is_taken_once_and_in_time() {
    let [device, _] = devices();
    let mut all = OpenAttestations::default();
    all.insert(id(1), open(device, NOW), NOW).unwrap();
    assert_eq!(all.take(&id(2), NOW).map(drop), Err(Refusal::Unknown));
    let (expires_at_unix_s, now_unix_s) = (NOW + LIFE_S, NOW + LIFE_S + 1);
    assert_eq!(all.take(&id(1), now_unix_s).map(drop), Err(Refusal::Expired { expires_at_unix_s, now_unix_s }));
    assert_eq!(all.take(&id(1), NOW + LIFE_S).unwrap().order, "order");
    assert_eq!(all.take(&id(1), NOW).map(drop), Err(Refusal::Used));
}

#[test]
fn what_was_put_back_is_taken_once_more_and_no_longer_than_before() {
    let [device, _] = devices();
    let mut all = OpenAttestations::default();
    all.insert(id(1), open(device, NOW), NOW).unwrap();
    let taken = all.take(&id(1), NOW).unwrap();
    all.put_back(&id(1), taken);
    assert!(matches!(all.take(&id(1), NOW + LIFE_S + 1), Err(Refusal::Expired { .. })));
    let taken = all.take(&id(1), NOW + LIFE_S).unwrap();
    assert_eq!(all.take(&id(1), NOW).map(drop), Err(Refusal::Used));
    // One that nobody knows any more does not come back by it.
    all.put_back(&id(2), taken);
    assert_eq!(all.take(&id(2), NOW).map(drop), Err(Refusal::Unknown));
}

#[test]
fn the_oldest_of_a_device_makes_room_and_others_keep_theirs() {
    let [device, other] = devices();
    let mut all = OpenAttestations::default();
    all.insert(id(100), open(other, NOW), NOW).unwrap();
    for number in 0..9 {
        let now = NOW + i64::try_from(number).unwrap();
        all.insert(id(number), open(device, now), now).unwrap();
    }
    assert_eq!(all.take(&id(0), NOW).map(drop), Err(Refusal::Unknown));
    for number in [1, 8, 100] {
        all.take(&id(number), NOW).unwrap();
    }
}

#[test]
fn there_is_a_bound_and_what_ended_long_ago_makes_room() {
    let [device, other] = devices();
    let mut all = OpenAttestations::default();
    for number in 0..MOST {
        let entry = Entry { device: other, expires_at_unix_s: NOW + LIFE_S, open: None };
        all.0.insert(id(number), entry);
    }
    let refused = all.insert(id(MOST), open(device, NOW), NOW);
    assert_eq!(refused, Err(Refusal::Busy { wait_s: LIFE_S }));
    assert_eq!(all.insert(id(MOST), open(device, NOW), NOW + 2 * LIFE_S + 1), Ok(()));
    assert_eq!(all.0.len(), 1);
}
