//! An authority over a throw-away token, and orders for it.
#![allow(dead_code, unreachable_pub)]

use std::path::{Path, PathBuf};

use authority::{
    Approver, AttestationKeyOrder, Authority, AuthorityConfig, IssuedChain, KeyPairPem, Names, Order, Pin, Profile,
    SubjectKey, TpmModel,
};
use ca_identity::{ServiceName, SpiffeId, TrustDomain};
use rcgen::KeyPair;
use test_token::TestToken;
use zeroize::Zeroizing;

pub const FRIDGE: &str = "spiffe://larder.internal/fridge/f1";
pub const QUARANTINED: &str = "spiffe://larder.internal/quarantine/f1";
pub const SESSION: &str = "spiffe://larder.internal/service/purchase-session";
pub const ADA: &str = "spiffe://larder.internal/operator/ada";
pub const HOST: &str = "purchase-session.larder.internal";

pub fn domain() -> TrustDomain {
    TrustDomain::parse("larder.internal").unwrap()
}

pub fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

pub fn config(token: &TestToken) -> AuthorityConfig {
    AuthorityConfig {
        dir: dir(token),
        module: token.module().to_owned(),
        token_label: token.label().to_owned(),
        pin: Pin::Text(Zeroizing::new(token.pin().to_owned())),
        trust_domain: domain(),
    }
}

pub fn dir(token: &TestToken) -> PathBuf {
    token.directory().join("ca")
}

/// An order for this party with the profile that is its own, and the key made for it.
pub fn order(name: &str, lifetime_s: u32) -> (Order, KeyPairPem) {
    let (profile, names) = match name.split('/').nth(3) {
        Some("fridge" | "quarantine") => (Profile::Device, Names::default()),
        Some("operator") => (Profile::Operator, Names::default()),
        _ => (Profile::Service, Names { dns: vec![HOST.into()], ip: vec!["127.0.0.1".parse().unwrap()] }),
    };
    let (key, pair) = SubjectKey::generate().unwrap();
    (Order::new(profile, &id(name), names, key, lifetime_s).unwrap(), pair)
}

pub fn issue(authority: &Authority, name: &str, now_unix_s: i64) -> (IssuedChain, KeyPairPem) {
    let (order, pair) = order(name, 24 * 3600);
    (authority.issue(&order, now_unix_s).unwrap(), pair)
}

/// An order for the certificate of an attestation key, and the key itself, which stands here for one inside a TPM.
pub fn attestation_key() -> (AttestationKeyOrder, KeyPairPem) {
    let (key, pair) = SubjectKey::generate().unwrap();
    let tpm =
        TpmModel { manufacturer: "id:53544D20".into(), model: "ST33HTPHAHD4".into(), version: "id:00010002".into() };
    (AttestationKeyOrder::new([0xAB; 32], key, tpm).unwrap(), pair)
}

/// Approvers of these names, and the key of each.
pub fn people<const N: usize>(names: [&str; N]) -> [(Approver, KeyPair); N] {
    names.map(|name| {
        let key = KeyPair::generate().unwrap();
        (Approver::from_pem(name, &key.public_key_pem()).unwrap(), key)
    })
}

/// Has a service have said that it has this bundle in force, as the authority's server notes it.
pub fn acknowledge(token: &TestToken, service: ServiceName, version: u64, at_unix_s: i64) {
    let path = dir(token).join("acknowledged.json");
    let mut kept: serde_json::Map<String, serde_json::Value> = std::fs::read_to_string(&path)
        .map_or_else(|_| serde_json::Map::new(), |text| serde_json::from_str(&text).unwrap());
    kept.insert(service.as_str().to_owned(), serde_json::json!({ "version": version, "at_unix_s": at_unix_s }));
    std::fs::write(&path, serde_json::to_vec(&kept).unwrap()).unwrap();
}

/// Writes `text` to a file of this name in the token's folder.
pub fn file(token: &TestToken, name: &str, text: &str) -> PathBuf {
    let path = token.directory().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

pub fn log_lines(dir: &Path) -> Vec<String> {
    std::fs::read_to_string(dir.join("issued.jsonl")).unwrap().lines().map(str::to_owned).collect()
}
