//! What right clients do, from the directory to the certificate and beyond.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::world;

use ca_acme::{Body, Effect, Profile};
use rcgen::{KeyPair, PublicKeyData};
use serde_json::json;
use world::{HOST, OTHER_HOST, SERVICE, Signer, World, b64, binding, body, csr, header, party, path_of, refused, url};

#[test]
fn the_directory_says_what_there_is() {
    let mut world = World::new();
    let answer = world.ask("GET", "directory", "");
    let directory = body(&answer);
    for (name, path) in [
        ("newNonce", "new-nonce"),
        ("newAccount", "new-account"),
        ("newOrder", "new-order"),
        ("revokeCert", "revoke-cert"),
        ("keyChange", "key-change"),
        ("renewalInfo", "renewal-info"),
    ] {
        assert_eq!(directory[name], url(path));
    }
    assert_eq!(directory["meta"]["externalAccountRequired"], true);
    assert!(
        directory["meta"]["profiles"]["service"].is_string() && directory["meta"]["profiles"]["device"].is_string()
    );
    for (method, status) in [("HEAD", 200), ("GET", 204)] {
        let answer = world.ask(method, "new-nonce", "");
        assert_eq!((answer.status, header(&answer, "cache-control").as_str()), (status, "no-store"));
        assert_eq!(header(&answer, "link"), format!("<{}>;rel=\"index\"", url("directory")));
    }
}

#[test]
fn a_service_gets_its_certificate() {
    let mut world = World::new();
    let admin = world.enrol("service-1");
    let path = world.order(&admin, "dns", &[OTHER_HOST, &HOST.to_uppercase(), HOST]);
    let answer = world.post(&admin, &path, "");
    let order = body(&answer).clone();
    assert_eq!((&order["status"], &order["profile"]), (&json!("pending"), &json!("service")));
    assert_eq!(order["identifiers"].as_array().unwrap().len(), 2, "each name once");
    for place in 0..2 {
        let authorization = path_of(order["authorizations"][place].as_str().unwrap());
        let answer = world.post(&admin, &authorization, "");
        let shown = body(&answer).clone();
        assert_eq!((&shown["status"], &shown["identifier"]), (&json!("pending"), &order["identifiers"][place]));
        let challenge = &shown["challenges"][0];
        assert_eq!((&challenge["type"], &challenge["status"]), (&json!("http-01"), &json!("pending")));
        let at = path_of(challenge["url"].as_str().unwrap());
        let answer = world.post(&admin, &at, "{}");
        assert_eq!(body(&answer)["status"], "processing");
        assert!(answer.headers.contains(&("link", format!("<{}>;rel=\"up\"", url(&authorization)))));
        let Some(Effect::ProbeHttp01(probe)) = world.effects.last() else { panic!("{:?}", world.effects) };
        assert_eq!((probe.place, json!(probe.host.to_string())), (place, shown["identifier"]["value"].clone()));
        assert_eq!(json!(probe.token), challenge["token"]);
        assert!(probe.key_authorization.starts_with(&format!("{}.", probe.token)));
        let before = world.effects.len();
        assert_eq!(body(&world.post(&admin, &at, "{}"))["status"], "processing");
        assert_eq!(world.effects.len(), before, "nothing is begun twice");
        world.tell(&path, place, Ok(None));
        assert_eq!(body(&world.post(&admin, &at, ""))["status"], "valid");
        assert_eq!(body(&world.post(&admin, &authorization, ""))["status"], "valid");
    }
    assert_eq!(body(&world.post(&admin, &path, ""))["status"], "ready");
    let pair = KeyPair::generate().unwrap();
    let answer = world.finalize(&admin, &path, &csr(&pair, &[HOST, OTHER_HOST], &[]));
    assert_eq!(body(&answer)["status"], "processing");
    assert_eq!((header(&answer, "retry-after").as_str(), header(&answer, "location")), ("1", url(&path)));
    let approved = world.approved().unwrap();
    assert_eq!((approved.profile(), approved.party()), (Profile::Service, &party(SERVICE)));
    assert_eq!(approved.dns(), [OTHER_HOST, HOST]);
    assert_eq!(approved.point().as_slice(), pair.der_bytes());
    let certificate = world.issue(&path, &pair);
    let answer = world.post(&admin, &path, "");
    let at = path_of(body(&answer)["certificate"].as_str().unwrap());
    assert_eq!(world.post(&admin, &at, "").body, Body::Chain(certificate.chain_pem));
    let answer = world.post(&admin, &format!("{}/orders", path_of(&admin.kid)), "");
    assert_eq!(body(&answer)["orders"], json!([url(&path)]));
}

#[test]
fn an_account_is_shown_changed_and_given_up() {
    let mut world = World::new();
    let admin = world.enrol("service-1");
    let path = path_of(&admin.kid);
    assert_eq!(body(&world.post(&admin, &path, ""))["status"], "valid");
    let answer = world.post(&admin, &path, &json!({"contact": ["mailto:ops@larder.example"]}).to_string());
    assert_eq!(body(&answer)["contact"], json!(["mailto:ops@larder.example"]));
    let answer = world.post_by_key(&admin.signer, "new-account", &json!({"onlyReturnExisting": true}));
    assert_eq!((answer.status, header(&answer, "location")), (200, admin.kid.clone()));
    let answer = world.post(&admin, &path, &json!({"status": "deactivated"}).to_string());
    assert_eq!(body(&answer)["status"], "deactivated");
    let answer = world.post(&admin, &path, "");
    refused(&answer, "unauthorized", "deactivated");
    assert_eq!(answer.status, 401);
}

#[test]
fn an_account_gets_another_key_and_the_old_one_is_nothing_any_more() {
    let mut world = World::new();
    let admin = world.enrol("service-1");
    let other = world.enrol("service-2");
    let change = |account: &str, old: &Signer, new: &Signer, at: &str| {
        let inner = json!({"alg": new.algorithm(), "jwk": new.jwk(), "url": url(at)});
        new.message(&inner, &json!({"account": account, "oldKey": old.jwk()}).to_string()).to_string()
    };
    let next = Signer::ed25519();
    let wrong = [
        (change(&other.kid, &admin.signer, &next, "key-change"), "does not name this account"),
        (change(&admin.kid, &other.signer, &next, "key-change"), "does not name this account"),
        (change(&admin.kid, &admin.signer, &next, "new-order"), "another url"),
        (change(&admin.kid, &admin.signer, &other.signer, "key-change"), "an account's already"),
    ];
    for (payload, why) in wrong {
        refused(&world.post(&admin, "key-change", &payload), "malformed", why);
    }
    let answer = world.post(&admin, "key-change", &change(&admin.kid, &admin.signer, &next, "key-change"));
    assert_eq!(answer.status, 200, "{answer:?}");
    refused(&world.post(&admin, &path_of(&admin.kid), ""), "badSignatureAlgorithm", "not this key's");
    let changed = world::Holder { signer: next, kid: admin.kid };
    assert_eq!(world.post(&changed, &path_of(&changed.kid), "").status, 200);
}

#[test]
fn a_certificate_is_renewed_in_its_window_and_replaced_once() {
    let mut world = World::new();
    let admin = world.enrol("service-1");
    let (_, certificate, _) = world.certified(&admin);
    let info = format!("renewal-info/{}", certificate.renewal_id);
    let answer = world.ask("GET", &info, "");
    assert_eq!(header(&answer, "retry-after"), "900");
    assert_eq!(body(&answer)["suggestedWindow"]["start"], "2027-01-15T17:36:00Z", "40 % of a day after 08:00");
    assert_eq!(body(&answer)["suggestedWindow"]["end"], "2027-01-15T22:24:00Z");
    let mut renewal = world::wanted("dns", &[HOST]);
    renewal["replaces"] = certificate.renewal_id.clone().into();
    let answer = world.post(&admin, "new-order", &renewal.to_string());
    assert_eq!(body(&answer)["replaces"], certificate.renewal_id);
    assert_eq!(
        world.post(&admin, "new-order", &renewal.to_string()).status,
        201,
        "an order that came to nothing bars none"
    );
    let id = path_of(&header(&answer, "location")).replace("order/", "");
    let next = world.orders[&id].clone().issued(certificate.clone());
    world.orders.insert(id, next);
    let answer = world.post(&admin, "new-order", &renewal.to_string());
    refused(&answer, "alreadyReplaced", "without `replaces`");
    assert_eq!(answer.status, 409);
    let other = world.enrol("service-2");
    refused(&world.post(&other, "new-order", &renewal.to_string()), "malformed", "not this account's");
    let mut elsewhere = world::wanted("dns", &[OTHER_HOST]);
    elsewhere["replaces"] = certificate.renewal_id.into();
    refused(&world.post(&admin, "new-order", &elsewhere.to_string()), "malformed", "no identifier in common");
    assert_eq!(world.ask("GET", "renewal-info/AAAA.AAAA", "").status, 404);
    assert_eq!(world.ask("GET", "renewal-info/AAAA", "").status, 400);
}

#[test]
fn a_certificate_is_revoked_by_its_account_or_its_own_key_and_by_nobody_else() {
    for by_own_key in [false, true] {
        let mut world = World::new();
        let (admin, other) = (world.enrol("service-1"), world.enrol("service-2"));
        let (_, certificate, pair) = world.certified(&admin);
        let pem = certificate.chain_pem.lines().filter(|line| !line.starts_with('-')).collect::<String>();
        let der = data_encoding::BASE64.decode(pem.as_bytes()).unwrap();
        let payload = json!({"certificate": b64(&der), "reason": 1});
        refused(
            &world.post(&other, "revoke-cert", &payload.to_string()),
            "unauthorized",
            "by the account that ordered",
        );
        refused(&world.post_by_key(&Signer::new(), "revoke-cert", &payload), "unauthorized", "with its own key");
        refused(&world.post_by_key(&admin.signer, "revoke-cert", &payload), "unauthorized", "with its own key");
        let unknown = json!({"certificate": b64(&der[1..])}).to_string();
        assert_eq!(world.post(&admin, "revoke-cert", &unknown).status, 404);
        let odd = json!({"certificate": b64(&der), "reason": 2}).to_string();
        refused(&world.post(&admin, "revoke-cert", &odd), "badRevocationReason", "0, 1, 4 or 5");
        let own = |world: &mut World| {
            if by_own_key {
                let document = pair.serialize_der();
                let random = ring::rand::SystemRandom::new();
                let algorithm = &ring::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair = ring::signature::EcdsaKeyPair::from_pkcs8(algorithm, &document, &random).unwrap();
                world.post_by_key(&Signer::P256(pair), "revoke-cert", &payload)
            } else {
                world.post(&admin, "revoke-cert", &payload.to_string())
            }
        };
        assert_eq!(own(&mut world).status, 200);
        let Some(Effect::Revoke(revoke)) = world.effects.last() else { panic!("{:?}", world.effects) };
        assert_eq!((revoke.serial.as_str(), revoke.reason), (certificate.serial.as_str(), 1));
        refused(&own(&mut world), "alreadyRevoked", "already");
        let answer = world.ask("GET", &format!("renewal-info/{}", certificate.renewal_id), "");
        let end = body(&answer)["suggestedWindow"]["end"].as_str().unwrap();
        assert!(end < "2027-01-15T08:00:00Z", "in the past, so now: {end}");
    }
}

#[test]
fn a_binding_key_makes_one_account() {
    let mut world = World::new();
    let admin = world.enrol("service-1");
    let (again, at) = (Signer::new(), url("new-account"));
    let bound = json!({"externalAccountBinding": binding("service-1", &world::MAC_KEY, &again.jwk(), &at)});
    refused(&world.post_by_key(&again, "new-account", &bound), "unauthorized", "makes one only");
    let same = json!({"externalAccountBinding": binding("service-1", &world::MAC_KEY, &admin.signer.jwk(), &at)});
    let answer = world.post_by_key(&admin.signer, "new-account", &same);
    assert_eq!((answer.status, header(&answer, "location")), (200, admin.kid), "asking again is no second account");
}
