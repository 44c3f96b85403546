//! An authority over a throw-away token, and orders for it.
#![allow(dead_code, unreachable_pub)]

use std::path::{Path, PathBuf};

use authority::{
    AttestationKeyOrder, Authority, AuthorityConfig, IssuedChain, KeyPairPem, Names, Order, Pin, Profile, SubjectKey,
    TpmModel,
};
use ca_identity::{SpiffeId, TrustDomain};
use test_token::TestToken;
use zeroize::Zeroizing;

pub const FRIDGE: &str = "spiffe://larder.internal/fridge/f1";
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
        Some("fridge") => (Profile::Device, Names::default()),
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

/// Writes `text` to a file of this name in the token's folder.
pub fn file(token: &TestToken, name: &str, text: &str) -> PathBuf {
    let path = token.directory().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

pub fn log_lines(dir: &Path) -> Vec<String> {
    std::fs::read_to_string(dir.join("issued.jsonl")).unwrap().lines().map(str::to_owned).collect()
}
