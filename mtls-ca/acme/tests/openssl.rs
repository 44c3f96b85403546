//! Keys, signatures and requests that OpenSSL makes, since our own test client could share a mistake with the server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::world;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use world::{HOST, MAC_KEY, World, b64, binding, header, refused, url};

fn openssl(dir: &Path, arguments: &str) -> Vec<u8> {
    let output =
        Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output().expect("openssl is there");
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The public key of an RSA key as a JWK: the exponent is OpenSSL's own, 65537.
fn rsa_jwk(dir: &Path) -> Value {
    let text = String::from_utf8(openssl(dir, "rsa -in key.pem -noout -modulus")).unwrap();
    let modulus = text.trim().strip_prefix("Modulus=").unwrap();
    let modulus = data_encoding::HEXUPPER.decode(modulus.as_bytes()).unwrap();
    json!({"kty": "RSA", "n": b64(modulus), "e": "AQAB"})
}

fn signed(dir: &Path, header: &Value, payload: &Value) -> String {
    let (protected, payload) = (b64(header.to_string()), b64(payload.to_string()));
    fs::write(dir.join("input"), format!("{protected}.{payload}")).unwrap();
    let signature = openssl(dir, "dgst -sha256 -sign key.pem input");
    json!({"protected": protected, "payload": payload, "signature": b64(signature)}).to_string()
}

#[test]
fn an_rsa_account_is_made_from_2048_bits_on() {
    for (bits, good) in [(2048, true), (1024, false), (4096, true)] {
        let dir = tempfile::tempdir().unwrap();
        openssl(dir.path(), &format!("genrsa -out key.pem {bits}"));
        let mut world = World::new();
        let jwk = rsa_jwk(dir.path());
        let bound = binding("service-1", &MAC_KEY, &jwk, &url("new-account"));
        let head = json!({"alg": "RS256", "jwk": jwk, "nonce": world.nonce(), "url": url("new-account")});
        let message = signed(dir.path(), &head, &json!({ "externalAccountBinding": bound }));
        let answer = world.ask("POST", "new-account", &message);
        if !good {
            refused(&answer, "badPublicKey", "fewer than 2048");
            continue;
        }
        assert_eq!(answer.status, 201, "{answer:?}");
        let kid = header(&answer, "location");
        let head = json!({"alg": "RS256", "kid": kid, "nonce": world.nonce(), "url": url("new-order")});
        let wanted = world::wanted("dns", &[HOST]);
        let message = signed(dir.path(), &head, &wanted);
        let forged = message.replace(&b64(wanted.to_string()), &b64(world::wanted("dns", &[]).to_string()));
        refused(&world.ask("POST", "new-order", &forged), "malformed", "signature");
        assert_eq!(world.ask("POST", "new-order", &message).status, 201);
    }
}

#[test]
fn requests_by_openssl_are_read() {
    let dir = tempfile::tempdir().unwrap();
    openssl(dir.path(), "ecparam -name prime256v1 -genkey -noout -out key.pem");
    let request = |more: &str| b64(openssl(dir.path(), &format!("req -new -key key.pem -outform DER {more}")));
    let san = |names: &str| format!("-subj / -addext subjectAltName={names}");
    let mut world = World::new();
    let admin = world.enrol("service-1");
    let path = world.proved(&admin, &[HOST]);
    for (csr, words) in [
        (request("-subj /CN=elsewhere.example"), "elsewhere.example"),
        (request(&san("DNS:elsewhere.example")), "elsewhere.example"),
        (request(&san(&format!("DNS:{HOST},DNS:*.{HOST}"))), "*."),
        (request(&san("email:a@b.example")), "neither a DNS name nor an address"),
        (request(&san("IP:127.0.0.1")), "127.0.0.1"),
        (request(&san(&format!("DNS:{HOST},IP:2001:db8::7"))), "2001:db8::7"),
        (request(&san("otherName:1.3.6.1.4.1.1;UTF8:x")), "neither a DNS name nor an address"),
        (request("-subj / -sha384"), "ECDSA and SHA-256"),
    ] {
        refused(&world.finalize(&admin, &path, &csr), "badCSR", words);
    }
    for curve in ["secp384r1", "secp256k1"] {
        openssl(dir.path(), &format!("ecparam -name {curve} -genkey -noout -out other.pem"));
        let csr = b64(openssl(dir.path(), "req -new -key other.pem -outform DER -subj / -sha256"));
        refused(&world.finalize(&admin, &path, &csr), "badCSR", "not a P-256 key");
    }
    openssl(dir.path(), "genrsa -out other.pem 2048");
    let csr = b64(openssl(dir.path(), "req -new -key other.pem -outform DER -subj /"));
    refused(&world.finalize(&admin, &path, &csr), "badCSR", "not a P-256 key");
    let upper = san(&format!("DNS:{}", HOST.to_uppercase()));
    assert_eq!(world.finalize(&admin, &path, &request(&upper)).status, 200, "names do not depend on case");
    let path = world.proved(&admin, &[HOST]);
    let csr = request(&format!("-subj /CN={HOST}/O=Larder"));
    assert_eq!(world.finalize(&admin, &path, &csr).status, 200, "what else it says is not read");
}

#[test]
fn a_request_by_openssl_for_addresses_is_read_as_what_was_ordered() {
    let dir = tempfile::tempdir().unwrap();
    openssl(dir.path(), "ecparam -name prime256v1 -genkey -noout -out key.pem");
    let request = |names: &str| {
        let made =
            openssl(dir.path(), &format!("req -new -key key.pem -outform DER -subj / -addext subjectAltName={names}"));
        b64(made)
    };
    let mut world = World::new();
    let grant = ca_acme::Grant::service(world::party(world::SERVICE), world::hosts(&["192.0.2.7", "2001:db8::7"]));
    world.eabs.insert("addresses".into(), world::eab("addresses", grant.unwrap()));
    let admin = world.enrol("addresses");
    let path = world.order(&admin, "ip", &["192.0.2.7", "2001:db8::7"]);
    for place in 0..2 {
        world.post(&admin, &(path.replace("order/", "challenge/") + &format!("/{place}")), "{}");
        world.tell(&path, place, Ok(None));
    }
    refused(&world.finalize(&admin, &path, &request("IP:192.0.2.7,IP:192.0.2.8")), "badCSR", "192.0.2.8");
    refused(&world.finalize(&admin, &path, &request("DNS:192.0.2.7")), "badCSR", "192.0.2.7");
    assert_eq!(world.finalize(&admin, &path, &request("IP:192.0.2.7,IP:2001:DB8:0::7")).status, 200);
    assert_eq!(world.approved().unwrap().ip().len(), 2);
}
