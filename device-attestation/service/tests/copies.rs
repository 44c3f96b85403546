//! A copy of a TPM is found, whichever of the two comes first, and both stay in quarantine until a person has looked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::device;

use attest_service::{Attestation, Refusal, Signer, Store, Values};
use attest_verifier::MakerRoots;
use device::*;

#[tokio::test]
async fn a_copied_tpm_is_found_by_its_clock_and_both_are_quarantined() {
    let device = Device::new();
    let house = House::new(&device).await;
    let first = device.tls(0);
    assert_eq!(device.attest(&house, &first, None).await.unwrap().appraisal, "affirming");
    let copy = device.copied();
    let theirs = copy.tls(1);
    assert_eq!(copy.attest(&house, &theirs, Some(&first)).await.unwrap().appraisal, "affirming", "nobody can tell yet");
    let ours = device.tls(1);
    let finished = device.attest(&house, &ours, Some(&first)).await.unwrap();
    assert_eq!(finished.appraisal, "quarantine");
    assert!(finished.reasons[0].starts_with("its TPM went back in time: "), "{:?}", finished.reasons);
    let next = copy.tls(2);
    let theirs = copy.attest(&house, &next, Some(&theirs)).await.unwrap();
    assert_eq!((theirs.appraisal, &theirs.reasons), ("quarantine", &finished.reasons), "the other one, too");
}

#[tokio::test]
async fn a_copied_tpm_is_found_by_its_keys_when_its_clock_is_ahead() {
    let device = Device::new();
    let house = House::new(&device).await;
    let first = device.tls(0);
    device.attest(&house, &first, None).await.unwrap();
    let copy = device.copied();
    copy.attest(&house, &copy.tls(1), Some(&first)).await.unwrap();
    let device = device.restarted().restarted();
    let ours = device.tls(1);
    let finished = device.attest(&house, &ours, Some(&first)).await.unwrap();
    let reason = "its previous key for TLS was followed by another key already: there is a copy of its TPM";
    assert_eq!((finished.appraisal, &finished.reasons[..]), ("quarantine", &[reason.to_owned()][..]));

    // It stays so, and a person lets it out, by a process of his own.
    let store = Store::open(&house.folder.path().join("attestation.db"), NOW).await.unwrap();
    let again = device.attest(&house, &device.tls(2), Some(&first)).await.unwrap();
    assert_eq!(again.appraisal, "quarantine");
    let identifier = house.open(&again).binding.permanent_identifier;
    let identifier = data_encoding::HEXLOWER.encode(&identifier);
    store.release(&identifier, NOW).await.unwrap();
    let ours = device.tls(3);
    assert_eq!(device.attest(&house, &ours, Some(&first)).await.unwrap().appraisal, "affirming");
    // From then on it is held to what it showed.
    assert_eq!(device.attest(&house, &device.tls(4), Some(&ours)).await.unwrap().appraisal, "affirming");
    let unknown = "00".repeat(32);
    assert_eq!(refusal(store.release(&unknown, NOW).await), Refusal::NoSuchDevice(unknown.clone()));
    store.close().await;
}

#[tokio::test]
async fn the_previous_key_signs_and_is_not_left_out() {
    let device = Device::new();
    let house = House::new(&device).await;
    let (first, second) = (device.tls(0), device.tls(1));
    device.attest(&house, &first, None).await.unwrap();
    // Named, but another key signs.
    let begin = device.begin(&second, Some(&first));
    let begun = house.begin(&begin).unwrap();
    let nonce = Device::nonce(&begin, &begun);
    let secret = device.activate(&begun).unwrap();
    let mut evidence = device.evidence(&secret, &nonce, &second, None);
    evidence["previous_signature"] = encode(&device.sign(&second, &nonce)).into();
    assert_eq!(refusal(house.finish(&begun.id, &evidence, NOW).await), Refusal::PreviousKey);
    // Left out.
    let finished = device.attest(&house, &second, None).await.unwrap();
    assert_eq!(finished.reasons, ["it had a key for TLS before and does not show that it still has it"]);
    // Nothing came of either: the chain goes on where it was.
    assert_eq!(device.attest(&house, &second, Some(&first)).await.unwrap().appraisal, "affirming");
    // The answer was lost: the same once more is no copy.
    assert_eq!(device.attest(&house, &second, Some(&first)).await.unwrap().appraisal, "affirming");
    // Years later, after many power cuts.
    let device = device.restarted();
    assert_eq!(device.attest(&house, &device.tls(2), Some(&second)).await.unwrap().appraisal, "affirming");
}

#[tokio::test]
async fn a_key_that_died_with_the_firmware_is_named_and_need_not_sign() {
    let device = Device::new();
    let house = House::new(&device).await;
    let mut both = list(2, &[&BOOT, &NEXT_BOOT]);
    both.as_object_mut().unwrap().remove("tls_key_policies");
    house.replace_values(&both).await.unwrap();
    // No list has to name the policy of a key that is bound to all that is quoted.
    let first = device.bound(0, "0,7");
    assert_eq!(device.attest(&house, &first, None).await.unwrap().appraisal, "affirming");
    let unsigned = async |device: &Device, tls: &Tls, previous: &Tls| {
        let begin = device.begin(tls, Some(previous));
        let begun = house.begin(&begin).unwrap();
        let nonce = Device::nonce(&begin, &begun);
        let evidence = device.evidence(&device.activate(&begun).unwrap(), &nonce, tls, None);
        house.finish(&begun.id, &evidence, NOW).await
    };
    let second = device.bound(1, "0,7");
    assert_eq!(refusal(unsigned(&device, &second, &first).await), Refusal::PreviousKey, "it has not died");
    let copy = device.copied();

    let updated = device.updated();
    let second = updated.bound(4, "0,7");
    assert_eq!(unsigned(&updated, &second, &first).await.unwrap().appraisal, "affirming", "it died with firmware 1");
    let third = updated.bound(2, "0,7");
    assert_eq!(refusal(unsigned(&updated, &third, &second).await), Refusal::PreviousKey);
    assert_eq!(updated.attest(&house, &third, Some(&second)).await.unwrap().appraisal, "affirming");

    // Who has the state of before is found out by it, signed or not.
    let copy = copy.restarted().restarted().restarted();
    let theirs = copy.bound(3, "0,7");
    let finished = unsigned(&copy, &theirs, &first).await;
    assert_eq!(finished.unwrap().appraisal, "quarantine");
}

#[tokio::test]
async fn a_key_that_is_bound_to_less_than_is_quoted_is_one_of_the_list() {
    let device = Device::new();
    let house = House::new(&device).await;
    let why = refusal(device.attest(&house, &device.bound(0, "0"), None).await);
    assert!(why.to_string().contains("not bound to the policy"), "{why}");
}

#[tokio::test]
async fn reference_values_never_go_back() {
    let device = Device::new();
    let house = House::new(&device).await;
    house.replace_values(&list(5, &[&NEXT_BOOT])).await.unwrap();
    house.replace_values(&list(5, &[&NEXT_BOOT])).await.unwrap();
    let differs = refusal(house.replace_values(&list(5, &[&BOOT])).await);
    assert_eq!(differs, Refusal::ValuesDiffer(5));
    let back = refusal(house.replace_values(&list(4, &[&BOOT])).await);
    assert_eq!(back, Refusal::ValuesWentBack { offered: 4, accepted: 5 });
    // What was refused is not in force.
    assert_eq!(device.attest(&house, &device.tls(0), None).await.unwrap().appraisal, "quarantine");
    // Nor after a restart.
    let old = jws(&house.values_key, &header(), &list(4, &[&BOOT]));
    let old = Values::read(old.as_bytes(), &point(&house.values_key)).unwrap();
    let store = Store::open(&house.folder.path().join("attestation.db"), NOW).await.unwrap();
    let roots = MakerRoots::new(&[device.tpm.read("ca/root.der")]).unwrap();
    let pair = rcgen::KeyPair::generate().unwrap();
    let signer = Signer::new(vec![], pair.serialized_der()).unwrap();
    let certifier = std::sync::Arc::clone(&house.certifier) as _;
    let refused = Attestation::new(roots, old, signer, certifier, store, NOW).await.map(drop);
    assert_eq!(refusal(refused), back);
}
