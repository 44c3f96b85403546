//! An order of a fridge: what its TPM and the attestation service have to say, and what is made of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::world;

use ca_acme::{Effect, Kind, Problem, Profile, Revoked};
use rcgen::KeyPair;
use serde_json::json;
use world::{EK, FRIDGE, Holder, MAC_KEY, NOW, World, b64, binding, body, csr, device, party, refused, url, wanted};

const QUARANTINED: &str = "spiffe://larder.internal/quarantine/f1";

/// A fridge's order whose statement is being looked at, and its challenge.
fn answered(world: &mut World) -> (Holder, String, String) {
    let fridge = world.enrol("device-1");
    let path = world.order(&fridge, "permanent-identifier", &[&data_encoding::HEXLOWER.encode(&EK)]);
    let challenge = path.replace("order/", "challenge/") + "/0";
    assert_eq!(body(&world.post(&fridge, &challenge, ""))["type"], "device-attest-01");
    let answer = world.post(&fridge, &challenge, &json!({"attObj": b64("statement")}).to_string());
    assert_eq!(body(&answer)["status"], "processing");
    (fridge, path, challenge)
}

#[test]
fn a_fridge_gets_its_certificate_for_the_key_that_its_tpm_certified() {
    let mut world = World::new();
    let (fridge, path, challenge) = answered(&mut world);
    let Some(Effect::VerifyDeviceAttestation(asked)) = world.effects.last() else { panic!("{:?}", world.effects) };
    assert_eq!(asked.permanent_identifier, data_encoding::HEXLOWER.encode(&EK));
    assert_eq!((asked.attestation_object.as_slice(), &asked.order_url), (&b"statement"[..], &url(&path)));
    let thumbprint = ca_acme::Jwk::parse(&fridge.signer.jwk()).unwrap().thumbprint();
    let authorization = asked.key_authorization.clone();
    assert_eq!((&asked.account, authorization.split_once('.').unwrap().1), (&thumbprint, thumbprint.as_str()));
    assert_eq!(body(&world.post(&fridge, &challenge, ""))["token"], authorization.split_once('.').unwrap().0);
    let (certified, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let request = csr(&certified, &[], &[FRIDGE]);
    world.tell(&path, 0, Ok(Some(device(&certified, &request, &[]))));
    refused(&world.finalize(&fridge, &path, &csr(&other, &[], &[])), "badCSR", "than the one that the TPM certified");
    assert!(body(&world.post(&fridge, &path, "")).get("quarantine").is_none());
    let answer = world.finalize(&fridge, &path, &request);
    assert_eq!(answer.status, 200, "{answer:?}");
    let approved = world.approved().unwrap();
    assert_eq!((approved.profile(), approved.party(), approved.dns().len()), (Profile::Device, &party(FRIDGE), 0));
}

#[test]
fn a_request_for_the_certified_key_that_the_verdict_is_not_for_is_refused() {
    let mut world = World::new();
    let (fridge, path, _) = answered(&mut world);
    let certified = KeyPair::generate().unwrap();
    let (attested, another) = (csr(&certified, &[], &[FRIDGE]), csr(&certified, &[], &[]));
    world.tell(&path, 0, Ok(Some(device(&certified, &attested, &[]))));
    let words = "another than the one that the attestation service's verdict is for; send that one";
    refused(&world.finalize(&fridge, &path, &another), "badCSR", words);
    assert!(world.approved().is_none());
    assert_eq!(world.finalize(&fridge, &path, &attested).status, 200);
}

#[test]
fn a_fridge_whose_key_no_tpm_certified_gets_none() {
    let mut world = World::new();
    let (fridge, path, _) = answered(&mut world);
    world.tell(&path, 0, Ok(None));
    let answer = world.finalize(&fridge, &path, &csr(&KeyPair::generate().unwrap(), &[], &[]));
    refused(&answer, "badCSR", "than the one that the TPM certified");
}

#[test]
fn a_fridge_that_must_not_sell_is_told_why_and_gets_the_name_of_quarantine() {
    let mut world = World::new();
    let (fridge, path, _) = answered(&mut world);
    let pair = KeyPair::generate().unwrap();
    // The request names the fridge, since nobody knew better when it was made.
    let request = csr(&pair, &[], &[FRIDGE]);
    world.tell(&path, 0, Ok(Some(device(&pair, &request, &["other firmware", "it went back in time"]))));
    let order = world.post(&fridge, &path, "");
    assert_eq!(body(&order)["quarantine"], json!(["other firmware", "it went back in time"]));
    assert_eq!(body(&order)["status"], "ready");
    let answer = world.finalize(&fridge, &path, &request);
    assert_eq!(body(&answer)["quarantine"][0], "other firmware");
    assert_eq!(world.approved().unwrap().party(), &party(QUARANTINED));
}

#[test]
fn a_clock_that_was_wrong_burns_no_challenge() {
    let mut world = World::new();
    let (fridge, path, challenge) = answered(&mut world);
    let id = path.trim_start_matches("order/").to_owned();
    let problem = Problem::new(Kind::BadAttestationStatement, "the verdict is of tomorrow, and the time here is today");
    let order = world.orders.remove(&id).unwrap().undecided(0, &problem);
    world.orders.insert(id, order);
    let shown = world.post(&fridge, &challenge, "");
    assert_eq!(
        (&body(&shown)["status"], &body(&shown)["error"]["detail"]),
        (&json!("pending"), &json!(problem.detail))
    );
    assert_eq!(body(&world.post(&fridge, &path, ""))["status"], "pending");
    let again = world.post(&fridge, &challenge, &json!({"attObj": b64("the same")}).to_string());
    assert_eq!(body(&again)["status"], "processing");
    assert_eq!(world.effects.len(), 2, "it is looked at once more");
    let pair = KeyPair::generate().unwrap();
    let request = csr(&pair, &[], &[]);
    world.tell(&path, 0, Ok(Some(device(&pair, &request, &[]))));
    assert_eq!(world.finalize(&fridge, &path, &request).status, 200);
}

/// At each step at which something is given out, and by a new account.
#[test]
fn a_key_that_led_to_a_stolen_certificate_is_worth_nothing_any_more() {
    let words =
        "a certificate of spiffe://larder.internal/fridge/f1 was revoked at 2027-01-15T08:05:00Z with the reason 1";
    let bar = |world: &mut World| {
        world.eabs.get_mut("device-1").unwrap().barred = Some(Revoked { unix_s: NOW + 300, reason: 1 });
    };
    let identifier = data_encoding::HEXLOWER.encode(&EK);
    let order = wanted("permanent-identifier", &[&identifier]).to_string();

    let mut world = World::new();
    let fridge = world.enrol("device-1");
    let path = world.order(&fridge, "permanent-identifier", &[&identifier]);
    bar(&mut world);
    let answer = world.post(&fridge, "new-order", &order);
    refused(&answer, "unauthorized", words);
    refused(&answer, "unauthorized", "have a new key made (`larder-acme eab new`)");
    let challenge = path.replace("order/", "challenge/") + "/0";
    refused(&world.post(&fridge, &challenge, &json!({"attObj": "AAAA"}).to_string()), "unauthorized", words);
    assert!(world.effects.is_empty());

    let mut world = World::new();
    let (fridge, path, _) = answered(&mut world);
    let pair = KeyPair::generate().unwrap();
    let request = csr(&pair, &[], &[]);
    world.tell(&path, 0, Ok(Some(device(&pair, &request, &[]))));
    bar(&mut world);
    refused(&world.finalize(&fridge, &path, &request), "unauthorized", words);
    assert!(world.approved().is_none());

    let mut world = World::new();
    bar(&mut world);
    let signer = world::Signer::new();
    let bound = binding("device-1", &MAC_KEY, &signer.jwk(), &url("new-account"));
    let answer = world.post_by_key(&signer, "new-account", &json!({ "externalAccountBinding": bound }));
    refused(&answer, "unauthorized", words);
}
