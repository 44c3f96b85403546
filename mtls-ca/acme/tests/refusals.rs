//! What is refused, each with the error type that the RFCs name and a sentence a technician understands. Each case differs
//! in one thing from a request that is granted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::world;

use ca_acme::{Kind, Problem};
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384};
use serde_json::{Value, json};
use world::{
    FRIDGE, HOST, MAC_KEY, OTHER_HOST, SERVICE, Signer, World, b64, binding, binding_with, csr, path_of, refused, url,
    wanted,
};

/// Sends an order whose header was changed.
fn with_header(world: &mut World, change: impl Fn(&mut Value), kind: &str, words: &str) {
    let admin = world::Holder { signer: Signer::new(), kid: String::new() };
    let bound = binding("service-1", &MAC_KEY, &admin.signer.jwk(), &url("new-account"));
    world.eabs.get_mut("service-1").unwrap().account = None;
    let answer = world.post_by_key(&admin.signer, "new-account", &json!({"externalAccountBinding": bound}));
    let kid = world::header(&answer, "location");
    for right in [true, false] {
        let mut header = json!({"alg": "ES256", "kid": kid, "nonce": world.nonce(), "url": url("new-order")});
        if !right {
            change(&mut header);
        }
        let message = admin.signer.message(&header, &wanted("dns", &[HOST]).to_string()).to_string();
        let answer = world.ask("POST", "new-order", &message);
        if right {
            assert_eq!(answer.status, 201, "{answer:?}");
        } else {
            refused(&answer, kind, words);
        }
    }
}

#[test]
fn a_header_that_is_not_as_it_must_be() {
    let mut world = World::new();
    let mut case = |change: &dyn Fn(&mut Value), kind, words| with_header(&mut world, change, kind, words);
    let remove = |name: &'static str| move |header: &mut Value| drop(header.as_object_mut().unwrap().remove(name));
    case(&remove("nonce"), "badNonce", "no nonce");
    case(&|h| h["nonce"] = "AAAA".into(), "badNonce", "not one of this server");
    case(&remove("url"), "malformed", "no url");
    case(&|h| h["url"] = url("new-account").into(), "unauthorized", "signed for");
    case(&|h| h["url"] = "http://ca.larder.internal/acme/new-order".into(), "unauthorized", "signed for");
    case(&remove("alg"), "malformed", "protected header");
    case(&|h| h["alg"] = "RS256".into(), "badSignatureAlgorithm", "RS256");
    case(&|h| h["alg"] = "none".into(), "badSignatureAlgorithm", "none");
    case(&|h| h["alg"] = "HS256".into(), "badSignatureAlgorithm", "HS256");
    case(&remove("kid"), "malformed", "exactly one of jwk and kid");
    case(&|h| h["jwk"] = Signer::new().jwk(), "malformed", "exactly one of jwk and kid");
    case(&|h| h["kid"] = url("account/nobody").into(), "accountDoesNotExist", "does not exist");
    case(&|h| h["kid"] = "https://elsewhere/acme/account/x".into(), "accountDoesNotExist", "not the URL");
    case(&|h| h["crit"] = json!(["b64"]), "malformed", "extension");
    case(&|h| h["b64"] = false.into(), "malformed", "extension");
    case(&|h| h["kid"] = "x".repeat(2000).into(), "malformed", "far too long");
    case(&|h| *h = json!([]), "malformed", "protected header");
}

#[test]
fn a_message_that_was_changed_or_sent_twice() {
    let mut world = World::new();
    let (admin, other) = (world.enrol("service-1"), world.enrol("service-2"));
    let header = json!({"alg": "ES256", "kid": admin.kid, "nonce": world.nonce(), "url": url("new-order")});
    let payload = wanted("dns", &[HOST]).to_string();
    let good = admin.signer.message(&header, &payload);
    let change = |name: &str, to: Value| {
        let mut changed = good.clone();
        changed[name] = to;
        changed.to_string()
    };
    let forged = other.signer.message(&header, &payload).to_string();
    let signature = good["signature"].as_str().unwrap();
    for (message, words) in [
        (forged, "signature"),
        (change("payload", b64(wanted("dns", &[OTHER_HOST]).to_string()).into()), "signature"),
        (change("signature", "".into()), "signature"),
        (change("signature", "A".repeat(86).into()), "signature"),
        (change("signature", signature[..84].into()), "signature"),
        (change("signature", format!("{signature}=").into()), "base64url"),
        (change("payload", "a+/b".into()), "base64url"),
        (change("protected", "e30".into()), "protected header"),
        (change("header", json!({"kid": "x"})), "unprotected"),
        (change("signatures", json!([])), "flattened"),
        (change("protected", Value::Null), "flattened"),
        (String::new(), "flattened"),
        ("[]".into(), "flattened"),
        (format!("{good}{good}"), "flattened"),
    ] {
        refused(&world.ask("POST", "new-order", &message), "malformed", words);
    }
    assert_eq!(world.ask("POST", "new-order", &good.to_string()).status, 201, "nothing of that spent its nonce");
    refused(&world.ask("POST", "new-order", &good.to_string()), "badNonce", "used before");
    assert_eq!(world.orders.len(), 1);
}

#[test]
fn a_request_of_another_form() {
    let mut world = World::new();
    let long = "x".repeat(ca_acme::MOST_BODY_BYTES + 1);
    for (method, path, body, media_type, status) in [
        ("POST", "new-order", "{}", Some("application/json"), 415),
        ("POST", "new-order", "{}", None, 415),
        ("POST", "new-order", long.as_str(), Some("application/jose+json"), 413),
        ("GET", "new-order", "", None, 405),
        ("GET", "order/x", "", None, 405),
        ("PUT", "new-order", "", None, 405),
        ("POST", "directory", "", None, 405),
        ("GET", "nothing", "", None, 404),
    ] {
        let answer = world.ask_as(method, path, body, media_type);
        assert_eq!(answer.status, status, "{method} {path}");
        refused(&answer, "malformed", "");
    }
}

#[test]
fn a_key_that_cannot_be_an_accounts() {
    let mut world = World::new();
    let signer = Signer::new();
    let good = signer.jwk();
    let changed = |name: &str, to: Value| {
        let mut jwk = good.clone();
        jwk[name] = to;
        jwk
    };
    let rsa = |bytes: usize, e: &[u8]| json!({"kty": "RSA", "n": b64(vec![0xC1; bytes]), "e": b64(e)});
    for (jwk, words) in [
        (changed("d", b64([1; 32]).into()), "private key"),
        (changed("crv", "P-384".into()), "not P-256"),
        (changed("x", b64([1; 31]).into()), "32 bytes"),
        (changed("y", Value::Null), "missing"),
        (changed("y", "A+".into()), "base64url"),
        (changed("kty", "oct".into()), "none of EC"),
        (json!({"kty": "OKP", "crv": "X25519", "x": b64([1; 32])}), "none of EC"),
        (json!("key"), "no JSON object"),
        (rsa(255, &[1, 0, 1]), "fewer than 2048"),
        (rsa(513, &[1, 0, 1]), "more than 4096"),
        (rsa(256, &[0, 1, 0, 1]), "RFC 7518"),
        (rsa(256, &[1; 5]), "RFC 7518"),
    ] {
        let header = json!({"alg": "ES256", "jwk": jwk, "nonce": world.nonce(), "url": url("new-account")});
        let message = signer.message(&header, "{}").to_string();
        refused(&world.ask("POST", "new-account", &message), "badPublicKey", words);
    }
    let off_curve = changed("y", b64([1; 32]).into());
    let header = json!({"alg": "ES256", "jwk": off_curve, "nonce": world.nonce(), "url": url("new-account")});
    let message = signer.message(&header, "{}").to_string();
    refused(&world.ask("POST", "new-account", &message), "malformed", "signature");
}

#[test]
fn an_account_without_its_external_account_key() {
    let mut world = World::new();
    let (signer, at) = (Signer::new(), url("new-account"));
    let jwk = signer.jwk();
    let head = |alg: &str, url: &str| json!({"alg": alg, "kid": "service-1", "url": url});
    let mut with_nonce = head("HS256", &at);
    with_nonce["nonce"] = "AAAA".into();
    let mut torn = binding("service-1", &MAC_KEY, &jwk, &at);
    torn["signature"] = "".into();
    for (bound, kind, words) in [
        (Value::Null, "externalAccountRequired", "ask the security team"),
        (binding("service-1", &[8; 32], &jwk, &at), "unauthorized", "not made with its MAC key"),
        (torn, "unauthorized", "not made with its MAC key"),
        (binding("nobody", &MAC_KEY, &jwk, &at), "unauthorized", "not known"),
        (binding("service-1", &MAC_KEY, &Signer::new().jwk(), &at), "unauthorized", "another key"),
        (binding("service-1", &MAC_KEY, &jwk, &url("new-order")), "malformed", "another url"),
        (binding_with(&head("ES256", &at), &MAC_KEY, &jwk), "badSignatureAlgorithm", "HS256"),
        (binding_with(&with_nonce, &MAC_KEY, &jwk), "malformed", "nonce"),
        (binding_with(&json!({"alg": "HS256", "jwk": jwk, "url": at}), &MAC_KEY, &jwk), "malformed", "by a kid"),
        (json!("text"), "malformed", "flattened"),
    ] {
        let answer = world.post_by_key(&signer, "new-account", &json!({"externalAccountBinding": bound}));
        refused(&answer, kind, words);
    }
    world.eabs.get_mut("service-1").unwrap().revoked_unix_s = Some(world.now);
    let bound = json!({"externalAccountBinding": binding("service-1", &MAC_KEY, &jwk, &at)});
    refused(&world.post_by_key(&signer, "new-account", &bound), "unauthorized", "was revoked");
    let existing = json!({"onlyReturnExisting": true});
    refused(&world.post_by_key(&signer, "new-account", &existing), "accountDoesNotExist", "no account has this key");
    assert!(world.accounts.is_empty());
}

#[test]
fn contacts_that_are_none() {
    let mut world = World::new();
    let admin = world.enrol("service-1");
    let five = vec!["mailto:a@b"; 5];
    for (contact, kind) in [
        (json!(["tel:+1"]), "unsupportedContact"),
        (json!(["mailto:nobody"]), "invalidContact"),
        (json!(["mailto:a@b,c@d"]), "invalidContact"),
        (json!(["mailto:a@b?subject=x"]), "invalidContact"),
        (json!([format!("mailto:a@{}", "b".repeat(300))]), "invalidContact"),
        (json!(five), "invalidContact"),
        (json!("mailto:a@b"), "malformed"),
    ] {
        let answer = world.post(&admin, &path_of(&admin.kid), &json!({ "contact": contact }).to_string());
        refused(&answer, kind, "");
    }
    let answer = world.post(&admin, &path_of(&admin.kid), &json!({"status": "revoked"}).to_string());
    refused(&answer, "malformed", "deactivated");
}

#[test]
fn orders_that_an_account_may_not_have() {
    let mut world = World::new();
    let (admin, fridge) = (world.enrol("service-1"), world.enrol("device-1"));
    let many: Vec<String> = (0..17).map(|n| format!("n{n}.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let with = |name: &str, value: &str| {
        let mut order = wanted("dns", &[HOST]);
        order[name] = value.into();
        order
    };
    for (order, kind, words) in [
        (wanted("dns", &["other.example"]), "rejectedIdentifier", "allows admin.larder.internal"),
        (wanted("dns", &[HOST, "other.example"]), "rejectedIdentifier", "other.example"),
        (wanted("dns", &["*.larder.internal"]), "rejectedIdentifier", "*."),
        (wanted("ip", &["127.0.0.1"]), "rejectedIdentifier", "allows admin.larder.internal"),
        (wanted("permanent-identifier", &["e4"]), "unsupportedIdentifier", "of the type \"dns\" or \"ip\""),
        (wanted("IP", &["127.0.0.1"]), "unsupportedIdentifier", "of the type \"dns\" or \"ip\""),
        (wanted("dns", &[]), "malformed", "between 1 and 16"),
        (wanted("dns", &many), "malformed", "between 1 and 16"),
        (with("profile", "device"), "invalidProfile", "\"service\" only"),
        (with("profile", "other"), "invalidProfile", "\"service\" only"),
        (with("notAfter", "2030-01-01T00:00:00Z"), "malformed", "lifetime"),
        (with("replaces", "x"), "malformed", "named by"),
        (json!({}), "malformed", "identifiers"),
        (json!("x"), "malformed", "payload"),
    ] {
        refused(&world.post(&admin, "new-order", &order.to_string()), kind, words);
    }
    assert_eq!(world.post(&admin, "new-order", &with("profile", "service").to_string()).status, 201);
    for (order, kind) in [
        (wanted("dns", &[HOST]), "unsupportedIdentifier"),
        (wanted("ip", &["127.0.0.1"]), "unsupportedIdentifier"),
        (wanted("permanent-identifier", &[&"00".repeat(32)]), "rejectedIdentifier"),
    ] {
        refused(&world.post(&fridge, "new-order", &order.to_string()), kind, "");
    }
    world.eabs.get_mut("service-1").unwrap().revoked_unix_s = Some(world.now);
    refused(&world.post(&admin, "new-order", &wanted("dns", &[HOST]).to_string()), "unauthorized", "was revoked");
}

#[test]
fn more_open_orders_than_the_bound_until_time_has_closed_them() {
    let mut world = World::new();
    let admin = world.enrol("service-1");
    let order = wanted("dns", &[HOST]).to_string();
    for _ in 0..16 {
        assert_eq!(world.post(&admin, "new-order", &order).status, 201);
    }
    refused(&world.post(&admin, "new-order", &order), "rateLimited", "16 open orders");
    world.now += 3601;
    assert_eq!(world.post(&admin, "new-order", &order).status, 201);
}

#[test]
fn what_is_another_accounts_is_not_there() {
    let mut world = World::new();
    let (admin, other) = (world.enrol("service-1"), world.enrol("service-2"));
    let (path, ..) = world.certified(&admin);
    let id = path.trim_start_matches("order/");
    for path in [
        path.clone(),
        format!("authorization/{id}/0"),
        format!("challenge/{id}/0"),
        format!("certificate/{id}"),
        "order/nothing".into(),
    ] {
        let answer = world.post(&other, &path, "");
        refused(&answer, "malformed", "for this account");
        assert_eq!(answer.status, 404, "{path}");
    }
    let answer = world.finalize(&other, &path, &csr(&KeyPair::generate().unwrap(), &[HOST], &[]));
    assert_eq!(answer.status, 404);
    for path in [path_of(&admin.kid), format!("{}/orders", path_of(&admin.kid))] {
        refused(&world.post(&other, &path, ""), "unauthorized", "another account");
    }
    assert_eq!(world.post(&admin, &format!("certificate/{id}"), "").status, 200);
}

#[test]
fn requests_for_a_certificate_that_are_not_what_was_ordered() {
    let mut world = World::new();
    let admin = world.enrol("service-1");
    let path = world.proved(&admin, &[HOST]);
    let pair = KeyPair::generate().unwrap();
    let good = csr(&pair, &[HOST], &[]);
    let der = data_encoding::BASE64URL_NOPAD.decode(good.as_bytes()).unwrap();
    let mut forged = der.clone();
    let at = der.windows(65).position(|window| window == pair.public_key_raw()).unwrap();
    forged[at..at + 65].copy_from_slice(KeyPair::generate().unwrap().public_key_raw());
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let mail = vec![rcgen::SanType::Rfc822Name("ops@larder.example".try_into().unwrap())];
    for (csr, words) in [
        (csr(&pair, &[HOST, OTHER_HOST], &[]), OTHER_HOST),
        (csr(&pair, &[HOST], &[FRIDGE]), FRIDGE),
        (csr(&p384, &[HOST], &[]), "not a P-256 key"),
        (csr(&ed25519, &[HOST], &[]), "not a P-256 key"),
        (b64(forged), "not signed with the key"),
        (b64(&der[..der.len() - 1]), "no PKCS #10"),
        (b64([der.as_slice(), &[0]].concat()), "no PKCS #10"),
        (b64(vec![0x30; 9000]), "far too long"),
        (world::csr_for(&pair, None, mail), "neither a DNS name nor an address nor a URI"),
        (world::csr_for(&pair, Some(OTHER_HOST), Vec::new()), OTHER_HOST),
        (format!("{good}="), "base64url"),
        (String::new(), "no PKCS #10"),
    ] {
        refused(&world.finalize(&admin, &path, &csr), "badCSR", words);
    }
    assert!(world.approved().is_none());
    let answer = world.finalize(&admin, &path, &csr(&pair, &[], &[SERVICE]));
    assert_eq!(answer.status, 200, "names it does not ask for are put in: {answer:?}");
    refused(&world.finalize(&admin, &path, &good), "orderNotReady", "processing");
    world.issue(&path, &pair);
    refused(&world.finalize(&admin, &path, &good), "orderNotReady", "valid");
}

#[test]
fn the_accounts_own_key_is_not_certified() {
    let mut world = World::new();
    let admin = world.enrol("service-1");
    let path = world.proved(&admin, &[HOST]);
    let pair = KeyPair::generate().unwrap();
    let point = pair.public_key_raw();
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": b64(&point[1..33]), "y": b64(&point[33..])});
    let mut order = world.orders.values().next().unwrap().clone();
    order.stage = ca_acme::Stage::Processing { csr: csr(&pair, &[HOST], &[]) };
    let account = world.accounts.values().next().unwrap();
    let eab = &world.eabs["service-1"];
    assert!(ca_acme::ApprovedOrder::approve(&order, account, eab).is_ok());
    let same = ca_acme::Account { key: ca_acme::Jwk::parse(&jwk).unwrap(), ..account.clone() };
    let refusal = ca_acme::ApprovedOrder::approve(&order, &same, eab).unwrap_err();
    assert!(refusal.kind == Kind::BadCsr && refusal.detail.contains("account's own key"), "{refusal:?}");
    let other = ca_acme::Account { id: "x".into(), ..account.clone() };
    assert_eq!(ca_acme::ApprovedOrder::approve(&order, &other, eab).unwrap_err().kind, Kind::Unauthorized);
    let other = &world.eabs["service-2"];
    assert_eq!(ca_acme::ApprovedOrder::approve(&order, account, other).unwrap_err().kind, Kind::Unauthorized);
    let mut shrunk = eab.clone();
    shrunk.grant = ca_acme::Grant::service(world::party(SERVICE), world::hosts(&[OTHER_HOST])).unwrap();
    let refusal = ca_acme::ApprovedOrder::approve(&order, account, &shrunk).unwrap_err();
    assert!(refusal.detail.contains("more than its external account key allows"), "{refusal:?}");
    assert!(path.starts_with("order/"));
}

#[test]
fn an_order_that_is_not_ready_or_over() {
    let mut world = World::new();
    let admin = world.enrol("service-1");
    let good = csr(&KeyPair::generate().unwrap(), &[HOST], &[]);
    let path = world.order(&admin, "dns", &[HOST]);
    refused(&world.finalize(&admin, &path, &good), "orderNotReady", "pending");
    let challenge = path.replace("order/", "challenge/") + "/0";
    let authorization = path.replace("order/", "authorization/") + "/0";
    assert_eq!(world.post(&admin, &(path.replace("order/", "challenge/") + "/1"), "{}").status, 404);
    refused(&world.post(&admin, &path, "{}"), "malformed", "only be looked at");
    world.post(&admin, &challenge, "{}");
    world.tell(&path, 0, Err(Problem::new(Kind::Connection, "nobody listens at port 80")));
    let answer = world.post(&admin, &path, "");
    assert_eq!(world::body(&answer)["status"], "invalid");
    assert_eq!(world::body(&answer)["error"]["detail"], "nobody listens at port 80");
    assert_eq!(world::body(&world.post(&admin, &challenge, ""))["error"]["type"], Kind::Connection.urn());
    assert_eq!(world::body(&world.post(&admin, &authorization, ""))["status"], "invalid");
    refused(&world.finalize(&admin, &path, &good), "orderNotReady", "invalid");
    world.tell(&path, 0, Ok(None));
    assert_eq!(
        world::body(&world.post(&admin, &path, ""))["status"],
        "invalid",
        "an answer that comes late changes nothing"
    );

    let late = world.order(&admin, "dns", &[HOST]);
    let ready = world.proved(&admin, &[HOST]);
    world.now += 3601;
    refused(&world.post(&admin, &(late.replace("order/", "challenge/") + "/0"), "{}"), "malformed", "over");
    refused(&world.finalize(&admin, &ready, &good), "orderNotReady", "invalid");

    let given_up = world.order(&admin, "dns", &[HOST]);
    let authorization = given_up.replace("order/", "authorization/") + "/0";
    let answer = world.post(&admin, &authorization, &json!({"status": "valid"}).to_string());
    refused(&answer, "malformed", "deactivated");
    let answer = world.post(&admin, &authorization, &json!({"status": "deactivated"}).to_string());
    assert_eq!(world::body(&answer)["status"], "deactivated");
    assert_eq!(world::body(&world.post(&admin, &given_up, ""))["status"], "invalid");
}

#[test]
fn an_answer_of_a_device_that_holds_no_statement() {
    let mut world = World::new();
    let fridge = world.enrol("device-1");
    let path = world.order(&fridge, "permanent-identifier", &[&"e4".repeat(32)]);
    let challenge = path.replace("order/", "challenge/") + "/0";
    refused(&world.post(&fridge, &challenge, "{}"), "badAttestationStatement", "no attObj");
    let odd = json!({"attObj": "AA=="}).to_string();
    refused(&world.post(&fridge, &challenge, &odd), "badAttestationStatement", "base64url");
    assert!(world.effects.is_empty());
    assert_eq!(world.post(&fridge, &challenge, &json!({"attObj": "AAAA"}).to_string()).status, 200);
}

#[test]
fn grants_for_one_party_of_the_right_kind_alone() {
    let service = |id: &str, names: &[&str]| ca_acme::Grant::service(world::party(id), world::hosts(names));
    assert!(service(SERVICE, &[HOST]).is_ok() && service(SERVICE, &["192.0.2.7"]).is_ok());
    assert!(service(SERVICE, &[HOST; 16]).is_ok());
    for (id, names) in [(FRIDGE, &[HOST][..]), (FRIDGE, &["192.0.2.7"]), (SERVICE, &[]), (SERVICE, &[HOST; 17])] {
        assert!(service(id, names).is_err(), "{id} {names:?}");
    }
    assert!(ca_acme::Grant::device(world::party(SERVICE), world::EK).is_err());
    let printed = format!("{:?}", world::eab("x", service(SERVICE, &[HOST]).unwrap()));
    assert!(!printed.contains("mac") && !printed.contains("9, 9"), "{printed}");
}
