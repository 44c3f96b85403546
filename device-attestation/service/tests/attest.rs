//! A fridge with a real (software) TPM is attested, one with changed firmware is put into quarantine, and whoever exchanges
//! anything between the two steps is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::device;

use attest_service::{LIFE_S, Refusal};
use attest_verdict::{Appraised, VerdictRefusal};
use device::*;
use serde_json::json;

#[tokio::test]
async fn a_genuine_fridge_is_attested_and_the_verdict_says_for_what() {
    let device = Device::new();
    let house = House::new(&device).await;
    let tls = device.tls(0);
    let finished = device.attest(&house, &tls, None).await.unwrap();
    assert_eq!((finished.appraisal, finished.reasons.len()), ("affirming", 0));
    let verdict = house.open(&finished);
    assert_eq!((verdict.appraised.clone(), verdict.reference_values), (Appraised::Affirming, 1));
    device.tpm.run(&format!("tpm2_readpublic -c {} -f der -o tls.der", tls.handle));
    assert_eq!(verdict.binding.tls_key_sha256, sha256(&device.tpm.read("tls.der")));
    assert_eq!((verdict.binding.account.as_str(), verdict.binding.order.as_str()), (ACCOUNT, ORDER));
    assert_eq!(verdict.binding.csr_sha256, sha256(b"a request"));
    let mut other = verdict.binding.clone();
    other.order = "https://ca.larder.internal/acme/order/8".into();
    assert_eq!(verdict.answers(&other), Err(VerdictRefusal::Another("order")));
}

#[tokio::test]
async fn the_attestation_key_is_certified_for_this_tpm() {
    let device = Device::new();
    let house = House::new(&device).await;
    let finished = device.attest(&house, &device.tls(0), None).await.unwrap();
    let [leaf, above] = finished.attestation_key_certificate.as_slice() else { panic!("{finished:?}") };
    assert_eq!(decode(above), house.certifier.issuer.der().to_vec());
    device.tpm.run(&format!("tpm2_readpublic -c {} -f der -o ak.der", device.attestation_key));
    let spki = device.tpm.read("ak.der");
    assert!(decode(leaf).windows(spki.len()).any(|part| part == spki));
    let asked = house.certifier.asked.lock().unwrap().clone();
    let [request] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(request.permanent_identifier, house.open(&finished).binding.permanent_identifier);
    assert!(spki.ends_with(&request.point));
    // What swtpm's maker writes into its endorsement certificates.
    assert_eq!((request.tpm.manufacturer.as_str(), request.tpm.model.as_str()), ("id:00001014", "swtpm"));
}

/// The very first time a device comes, when nothing is known that it could show instead.
#[tokio::test]
async fn an_authority_that_is_away_burns_nothing() {
    let device = Device::new();
    let house = House::new(&device).await;
    let (tls, away) = (device.tls(0), &house.certifier.away);
    let begin = device.begin(&tls, None);
    let begun = house.begin(&begin).unwrap();
    let nonce = Device::nonce(&begin, &begun);
    let evidence = device.evidence(&device.activate(&begun).unwrap(), &nonce, &tls, None);
    away.store(true, std::sync::atomic::Ordering::Relaxed);
    for _ in 0..3 {
        let why = house.finish(&begun.id, &evidence, NOW).await.unwrap_err();
        assert!(matches!(why, attest_service::AttestError::Fault(_)), "{why}");
        assert!(why.to_string().contains("Nothing was lost: the device sends the same evidence again"), "{why}");
    }
    away.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(house.finish(&begun.id, &evidence, NOW).await.unwrap().appraisal, "affirming");
    assert_eq!(refusal(house.finish(&begun.id, &evidence, NOW).await), Refusal::Used);
    // Whose answer was lost at the first time begins anew with the same key, and is no copy.
    assert_eq!(device.attest(&house, &tls, None).await.unwrap().appraisal, "affirming");
}

#[tokio::test]
async fn changed_firmware_is_in_quarantine_with_its_reason_and_a_rollout_lets_it_out() {
    let device = Device::new();
    let house = House::new(&device).await;
    let first = device.tls(0);
    device.attest(&house, &first, None).await.unwrap();
    // The device starts with other firmware, which its log admits.
    let device = Device { tpm: device.tpm.restarted(), ..device }.boot(&NEXT_BOOT);
    let second = device.tls(1);
    let finished = device.attest(&house, &second, Some(&first)).await.unwrap();
    assert_eq!(finished.appraisal, "quarantine");
    assert!(finished.reasons[0].starts_with("event 0 extended register 0 with "), "{:?}", finished.reasons);
    let Appraised::Quarantine(reasons) = house.open(&finished).appraised else { panic!("not in quarantine") };
    assert_eq!(reasons, finished.reasons);
    // Old and new are good while one replaces the other.
    house.replace_values(&list(2, &[&BOOT, &NEXT_BOOT])).await.unwrap();
    let third = device.tls(2);
    let finished = device.attest(&house, &third, Some(&second)).await.unwrap();
    assert_eq!((finished.appraisal, house.open(&finished).reference_values), ("affirming", 2));
    // A log that hides what was measured leads elsewhere.
    let lying = Device { booted: BOOT.to_vec(), ..device };
    let why = refusal(lying.attest(&house, &lying.tls(3), Some(&third)).await);
    assert!(matches!(why, Refusal::Evidence { what: "the boot log", why: attest_verifier::Refusal::Log }), "{why}");
}

#[tokio::test]
async fn an_attestation_is_used_once_in_time_and_by_its_own_device() {
    let (device, other) = (Device::new(), Device::new());
    let house = House::new(&device).await;
    let tls = device.tls(0);
    let begin = device.begin(&tls, None);
    let begun = house.begin(&begin).unwrap();
    let nonce = Device::nonce(&begin, &begun);
    let secret = device.activate(&begun).unwrap();
    let evidence = device.evidence(&secret, &nonce, &tls, None);
    let unknown = "00112233445566778899aabbccddeeff";
    assert_eq!(refusal(house.finish(unknown, &evidence, NOW).await), Refusal::Unknown);
    assert_eq!(refusal(house.finish("nonsense", &evidence, NOW).await), Refusal::Unknown);
    let late = refusal(house.finish(&begun.id, &evidence, NOW + LIFE_S + 1).await);
    let (expires_at_unix_s, now_unix_s) = (NOW + LIFE_S, NOW + LIFE_S + 1);
    assert_eq!(late, Refusal::Expired { expires_at_unix_s, now_unix_s });
    assert!(
        late.to_string().contains("until 2100-01-01T00:05:00Z, and the time here is 2100-01-01T00:05:01Z"),
        "{late}"
    );
    // A clock that was wrong burnt nothing.
    assert_eq!(house.finish(&begun.id, &evidence, NOW + LIFE_S).await.unwrap().appraisal, "affirming");
    assert_eq!(refusal(house.finish(&begun.id, &evidence, NOW).await), Refusal::Used);

    // Another device's id: its TPM opens nothing, and what it opened before is another secret.
    let begin = device.begin(&device.tls(1), Some(&tls));
    let theirs = house.begin(&begin).unwrap();
    assert_eq!(other.activate(&theirs), None);
    assert_eq!(refusal(house.finish(&theirs.id, &evidence, NOW).await), Refusal::Secret);
    assert_eq!(refusal(house.finish(&theirs.id, &evidence, NOW).await), Refusal::Used, "a guess is one guess");
    // The maker of the other is not known here.
    let why = refusal(house.begin(&other.begin(&tls, None)));
    assert!(matches!(&why, Refusal::Certificate(_)) && why.code() == "endorsement_certificate", "{why}");
}

#[tokio::test]
async fn nothing_can_be_exchanged_between_the_steps() {
    let mut device = Device::new();
    let house = House::new(&device).await;
    let (tls, stranger) = (device.tls(0), device.tls(1));
    let begin = device.begin(&tls, None);
    // What an earlier conversation signed.
    let begun = house.begin(&begin).unwrap();
    let old = Device::nonce(&begin, &begun);
    let secret_and_id = || {
        let begun = house.begin(&begin).unwrap();
        (device.activate(&begun).unwrap(), Device::nonce(&begin, &begun), begun)
    };
    let of = |what| move |why| Refusal::Evidence { what, why };
    let (quote, certification) = (of("the quote of the registers"), of("the certification of the key for TLS"));
    let (secret, _, begun) = secret_and_id();
    let evidence = device.evidence(&secret, &old, &tls, None);
    let why = refusal(house.finish(&begun.id, &evidence, NOW).await);
    assert_eq!(why, quote(attest_verifier::Refusal::Nonce));
    // A nonce over another request, another account, another order.
    for (field, value) in [
        ("csr_sha256", encode(&sha256(b"another request"))),
        ("acme_account", ACCOUNT.replace('N', "M")),
        ("acme_order", ORDER.replace('7', "8")),
    ] {
        let (secret, _, begun) = secret_and_id();
        let mut other = begin.clone();
        other[field] = json!(value);
        let evidence = device.evidence(&secret, &Device::nonce(&other, &begun), &tls, None);
        let why = refusal(house.finish(&begun.id, &evidence, NOW).await);
        assert_eq!(why, quote(attest_verifier::Refusal::Nonce), "{field}");
    }
    // Another key for TLS is certified than was agreed on.
    let (secret, nonce, begun) = secret_and_id();
    let evidence = device.evidence(&secret, &nonce, &stranger, None);
    let why = refusal(house.finish(&begun.id, &evidence, NOW).await);
    assert_eq!(why, certification(attest_verifier::Refusal::AnotherKey));
    // The attestation key is exchanged for another one of the same TPM.
    let (secret, nonce, begun) = secret_and_id();
    device.tpm.step("tpm2_createak -C 0x81010016 -c other.ctx -G ecc -g sha256 -s ecdsa -u other.pub -f tss");
    device.tpm.step("tpm2_evictcontrol -C o -c other.ctx 0x81010003");
    device.attestation_key = "0x81010003";
    let evidence = device.evidence(&secret, &nonce, &tls, None);
    let why = refusal(house.finish(&begun.id, &evidence, NOW).await);
    assert_eq!(why, quote(attest_verifier::Refusal::Signature));
    // A key that the policy does not bind.
    let list_without = {
        let mut list = list(2, &[&BOOT]);
        list["tls_key_policies"] = json!(["00".repeat(32)]);
        list
    };
    house.replace_values(&list_without).await.unwrap();
    let why = refusal(device.attest(&house, &tls, None).await);
    assert_eq!(why, certification(attest_verifier::KeyFlaw::Policy.into()));
}

#[tokio::test]
async fn an_attestation_key_of_another_tpm_cannot_be_passed_off() {
    let (device, other) = (Device::new(), Device::new());
    let house = House::new(&device).await;
    let tls = other.tls(0);
    let mut begin = device.begin(&tls, None);
    begin["ak_public"] = other.begin(&tls, None)["ak_public"].clone();
    let begun = house.begin(&begin).unwrap();
    assert_eq!(device.activate(&begun), None, "the TPM of the endorsement key does not have the attestation key");
    assert_eq!(other.activate(&begun), None, "the TPM of the attestation key does not have the endorsement key");
    let evidence = other.evidence(&[0; 32], &Device::nonce(&begin, &begun), &tls, None);
    let why = refusal(house.finish(&begun.id, &evidence, NOW).await);
    assert_eq!((why.code(), why), ("secret", Refusal::Secret));
}
