//! What is withdrawn while it is being used: a binding key, an account, a process that dies between two steps.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::world;

use ca_acme::{ApprovedOrder, Certificate, Effect, Kind, Order, Revoked, Stage};
use rcgen::KeyPair;
use serde_json::json;
use world::{EK, HOST, Holder, OTHER_HOST, World, b64, body, csr, device, path_of, refused, wanted};

fn good_csr() -> String {
    csr(&KeyPair::generate().unwrap(), &[HOST], &[])
}

#[test]
fn a_binding_key_that_is_revoked_stops_its_account_at_every_step() {
    let mut world = World::new();
    let admin = world.enrol("service-1");
    let (_, certificate, _) = world.certified(&admin);
    let (open, ready) = (world.order(&admin, "dns", &[HOST]), world.proved(&admin, &[HOST]));
    world.effects.clear();
    world.eabs.get_mut("service-1").unwrap().revoked_unix_s = Some(world.now);
    let challenge = open.replace("order/", "challenge/") + "/0";
    let payload = wanted("dns", &[HOST]).to_string();
    for answer in [
        world.post(&admin, "new-order", &payload),
        world.post(&admin, &challenge, "{}"),
        world.finalize(&admin, &ready, &good_csr()),
    ] {
        refused(&answer, "unauthorized", "\"service-1\" was revoked");
    }
    assert!(world.effects.is_empty());
    assert_eq!(body(&world.post(&admin, &challenge, ""))["status"], "pending", "what is there can still be looked at");
    let other = world.enrol("service-2");
    assert_eq!(world.post(&other, "new-order", &payload).status, 201, "others go on");
    let der = der_of(&certificate);
    let revocation = json!({ "certificate": b64(der) }).to_string();
    assert_eq!(world.post(&admin, "revoke-cert", &revocation).status, 200, "and a certificate can still be revoked");
}

fn der_of(certificate: &Certificate) -> Vec<u8> {
    let pem: String = certificate.chain_pem.lines().filter(|line| !line.starts_with('-')).collect();
    data_encoding::BASE64.decode(pem.as_bytes()).unwrap()
}

#[test]
fn a_binding_key_that_is_gone_is_not_a_binding_key_that_allows() {
    let mut world = World::new();
    let admin = world.enrol("service-1");
    let ready = world.proved(&admin, &[HOST]);
    world.eabs.clear();
    let payload = wanted("dns", &[HOST]).to_string();
    refused(&world.post(&admin, "new-order", &payload), "unauthorized", "not known any more");
    refused(&world.finalize(&admin, &ready, &good_csr()), "unauthorized", "not known any more");
}

#[test]
fn a_binding_key_that_allows_less_than_before_counts_as_it_is_now() {
    let mut world = World::new();
    let admin = world.enrol("service-1");
    let ready = world.proved(&admin, &[HOST]);
    let less = ca_acme::Grant::service(world::party(world::SERVICE), world::hosts(&[OTHER_HOST])).unwrap();
    world.eabs.get_mut("service-1").unwrap().grant = less;
    let answer = world.finalize(&admin, &ready, &good_csr());
    refused(&answer, "unauthorized", "more than its external account key allows");
}

#[test]
fn an_account_that_was_given_up_can_do_nothing_any_more() {
    let mut world = World::new();
    let admin = world.enrol("service-1");
    let (path, certificate, _) = world.certified(&admin);
    let id = path.trim_start_matches("order/");
    let own = path_of(&admin.kid);
    world.post(&admin, &own, &json!({"status": "deactivated"}).to_string());
    let before = format!("{:?}", world.orders);
    let revocation = json!({"certificate": b64(der_of(&certificate))}).to_string();
    for (path, payload) in [
        (own.clone(), String::new()),
        (own, json!({"status": "valid"}).to_string()),
        ("new-order".into(), wanted("dns", &[HOST]).to_string()),
        (path.clone(), String::new()),
        (format!("{path}/finalize"), json!({"csr": good_csr()}).to_string()),
        (format!("authorization/{id}/0"), String::new()),
        (format!("challenge/{id}/0"), "{}".into()),
        (format!("certificate/{id}"), String::new()),
        ("revoke-cert".into(), revocation),
    ] {
        refused(&world.post(&admin, &path, &payload), "unauthorized", "deactivated");
    }
    let answer = world.post_by_key(&admin.signer, "new-account", &json!({"onlyReturnExisting": true}));
    refused(&answer, "unauthorized", "deactivated");
    assert_eq!(format!("{:?}", world.orders), before);
}

/// What is stored when an order is being processed is enough to approve it again, and to the same.
#[test]
fn an_order_is_approved_again_from_what_was_stored() {
    let mut world = World::new();
    let admin = world.enrol("service-1");
    let path = world.proved(&admin, &[HOST]);
    assert_eq!(world.finalize(&admin, &path, &good_csr()).status, 200);
    let first = world.approved().unwrap().clone();
    let stored = serde_json::to_string(&world.orders[first.order()]).unwrap();
    let order: Order = serde_json::from_str(&stored).unwrap();
    let account = world.accounts.values().next().unwrap();
    assert_eq!(ApprovedOrder::approve(&order, account, &world.eabs["service-1"]), Ok(first));
    let mut torn = order.clone();
    torn.stage = Stage::Processing { csr: "AAAA".into() };
    assert_eq!(ApprovedOrder::approve(&torn, account, &world.eabs["service-1"]).unwrap_err().kind, Kind::BadCsr);
    for stage in [Stage::Open, order.clone().failed(&ca_acme::Problem::malformed("x")).stage] {
        let other = Order { stage, ..order.clone() };
        let refusal = ApprovedOrder::approve(&other, account, &world.eabs["service-1"]).unwrap_err();
        assert_eq!(refusal.kind, Kind::OrderNotReady, "only what is being processed is signed");
    }
    let unproved = Order { authorizations: vec![], ..order };
    let refusal = ApprovedOrder::approve(&unproved, account, &world.eabs["service-1"]).unwrap_err();
    assert_eq!(refusal.kind, Kind::OrderNotReady);
}

/// A fridge's order that was proved, with the request that wishes for these names.
fn attested(world: &mut World, dns: &[&str], uris: &[&str]) -> (Holder, String, String) {
    let fridge = world.enrol("device-1");
    let path = world.order(&fridge, "permanent-identifier", &[&data_encoding::HEXLOWER.encode(&EK)]);
    let statement = json!({"attObj": b64("statement")}).to_string();
    world.post(&fridge, &(path.replace("order/", "challenge/") + "/0"), &statement);
    let pair = KeyPair::generate().unwrap();
    let request = csr(&pair, dns, uris);
    world.tell(&path, 0, Ok(Some(device(&pair, &request, &[]))));
    (fridge, path, request)
}

#[test]
fn a_fridge_may_not_name_a_host_nor_another_fridge() {
    let other = "spiffe://larder.internal/fridge/f2";
    for (dns, uris, named) in [
        (&[HOST][..], &[][..], HOST),
        (&[], &[other], other),
        (&[], &[world::SERVICE], world::SERVICE),
        (&[], &["spiffe://larder.internal/quarantine/f1"], "quarantine"),
    ] {
        let mut world = World::new();
        let (fridge, path, request) = attested(&mut world, dns, uris);
        refused(&world.finalize(&fridge, &path, &request), "badCSR", named);
    }
    let mut world = World::new();
    let (fridge, path, request) = attested(&mut world, &[], &[]);
    assert_eq!(world.finalize(&fridge, &path, &request).status, 200);
}

#[test]
fn what_was_proved_for_one_order_does_not_serve_another() {
    let mut world = World::new();
    let (fridge, _, request) = attested(&mut world, &[], &[]);
    let again = world.order(&fridge, "permanent-identifier", &[&data_encoding::HEXLOWER.encode(&EK)]);
    refused(&world.finalize(&fridge, &again, &request), "orderNotReady", "pending");
    let tokens: std::collections::BTreeSet<_> =
        world.orders.values().map(|order| order.authorizations[0].token.clone()).collect();
    assert_eq!(tokens.len(), 2, "each with a token of its own");
}

#[test]
fn a_revocation_without_a_reason_has_none_and_is_kept_with_its_time() {
    let mut world = World::new();
    let admin = world.enrol("service-1");
    let (path, certificate, _) = world.certified(&admin);
    world.now += 77;
    let revocation = json!({"certificate": b64(der_of(&certificate))}).to_string();
    assert_eq!(world.post(&admin, "revoke-cert", &revocation).status, 200);
    let kept = world.orders[path.trim_start_matches("order/")].certificate().unwrap();
    assert_eq!(kept.revoked, Some(Revoked { unix_s: world.now, reason: 0 }));
    let Some(Effect::Revoke(revoke)) = world.effects.last() else { panic!("{:?}", world.effects) };
    assert_eq!(revoke.reason, 0);
}
