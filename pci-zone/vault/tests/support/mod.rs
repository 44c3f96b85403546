//! What the vault's tests share: a vault on a throw-away token, and a fridge's way of sealing by another's code.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use hpke::{Deserializable, OpModeS, Serializable, aead::AesGcm128, kdf::HkdfSha256, kem::DhP256HkdfSha256};
use pci_contract::{FridgeId, SealedCard, SealingContext, SealingKey, SessionId};
use pci_vault::{KeyPlan, OpenError, OpenedCard, Vault, VaultConfig, VaultHealth};
use test_token::TestToken;
use zeroize::Zeroizing;

pub(crate) const PLAN: &str = include_str!("../../../../policies/keys.toml");
/// 2026-03-02T06:00:00Z.
pub(crate) const NOW_UNIX_S: i64 = 1_772_431_200;
pub(crate) const VISA: &[u8] = b"4242424242424242=2912";
pub(crate) const MASTERCARD: &[u8] = b"5555555555554444=2912";

pub(crate) fn config(token: &TestToken) -> VaultConfig {
    config_with(token, PLAN)
}

pub(crate) fn config_with(token: &TestToken, plan: &str) -> VaultConfig {
    let plan = KeyPlan::parse(plan).expect("a plan");
    let pin = Zeroizing::new(token.pin().to_owned());
    VaultConfig::new(token.module().into(), token.label().to_owned(), pin, plan, token.directory().join("keys.lock"))
}

pub(crate) fn vault(token: &TestToken) -> Vault {
    Vault::start(config(token)).expect("a vault")
}

/// The entry of one purpose with another version, label and id, to be added to a plan.
pub(crate) fn entry(purpose: &str, version: u16, state: &str) -> String {
    let wanted = format!("purpose = \"{purpose}\"");
    let entry = PLAN.split("[[key]]").find(|entry| entry.contains(&wanted)).expect("an entry");
    let entry = entry.replace("-1\"", &format!("-{version}\"")).replace("version = 1", &format!("version = {version}"));
    format!("[[key]]{}", entry.replace("\"active\"", &format!("\"{state}\"")))
}

/// The plan after a rotation: version 2 of a purpose is active, version 1 the previous one.
pub(crate) fn rotated(purpose: &str) -> String {
    let first = entry(purpose, 1, "active");
    assert!(PLAN.contains(&first));
    format!("{}{}", PLAN.replace(&first, &entry(purpose, 1, "previous")), entry(purpose, 2, "active"))
}

pub(crate) fn context(number: u32) -> SealingContext {
    SealingContext {
        fridge: FridgeId::parse("FR-0001").expect("a name"),
        session: SessionId::parse(&format!("0190b3c1-7a2b-7c3d-8e4f-0000{number:08x}")).expect("a UUID"),
    }
}

/// Encapsulated key and cipher text.
pub(crate) fn seal_parts(key: &SealingKey, context: &SealingContext, text: &[u8]) -> (Vec<u8>, Vec<u8>) {
    type Public = <DhP256HkdfSha256 as hpke::Kem>::PublicKey;
    let public = Public::from_bytes(&key.public).expect("a public key");
    let (encapsulated, cipher_text) = hpke::single_shot_seal::<AesGcm128, HkdfSha256, DhP256HkdfSha256>(
        &OpModeS::Base,
        &public,
        SealingContext::INFO,
        text,
        &context.associated_data(),
    )
    .expect("it seals");
    (encapsulated.to_bytes().to_vec(), cipher_text)
}

pub(crate) fn seal(key: &SealingKey, context: &SealingContext, text: &[u8]) -> SealedCard {
    let (encapsulated_key, cipher_text) = seal_parts(key, context, text);
    SealedCard::parse(key.id.as_str(), &encapsulated_key, &cipher_text).expect("a sealed card")
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// Seals a text for a context and opens it in the same.
pub(crate) fn open(vault: &Vault, text: &[u8]) -> Result<OpenedCard, OpenError> {
    let card = seal(&vault.sealing_key(), &context(1), text);
    block_on(vault.open(card, context(1), NOW_UNIX_S))
}

pub(crate) fn token_of(vault: &Vault, text: &[u8]) -> String {
    open(vault, text).expect("it opens").card.token.to_string()
}

pub(crate) async fn until(vault: &Vault, health: VaultHealth) {
    let mut status = vault.watch();
    let reached = status.wait_for(|status| status.health == health);
    tokio::time::timeout(std::time::Duration::from_secs(30), reached).await.expect("in time").expect("the vault lives");
}
