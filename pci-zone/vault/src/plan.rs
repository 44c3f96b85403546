//! The plan of the HSM's keys, `policies/keys.toml`: which keys there are and what each may do.
//!
//! The plan is read as a specification, not as settings: it spells out attributes that follow from the purpose so that
//! a reader need not know them, and a plan that contradicts its own purposes, or would let a key leave the HSM, is
//! refused. What is in the token is held against it in `keys.rs`; the authority reads its own part by itself.

use std::collections::HashSet;

use pci_contract::SealingKeyId;
use serde::Deserialize;
use thiserror::Error;

/// Years of use that no key of ours needs.
const MAX_CRYPTOPERIOD_DAYS: u32 = 3_653;

/// Why a text is not a plan of keys.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyPlanError {
    /// Not TOML of the right shape.
    #[error("the key plan is not well formed: {0}")]
    Shape(String),
    /// One key's entry contradicts itself or weakens the key.
    #[error("key {label}: {rule}")]
    Key {
        /// The key's label.
        label: String,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// The number of active keys of a purpose is not one.
    #[error("the plan must have exactly one active {0:?} key in the pci zone")]
    Active(Purpose),
}

/// Whose a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyZone {
    /// The vault's.
    Pci,
    /// The certificate authority's.
    Ca,
}

/// What a key is for. It decides kind, mechanism and allowed use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Opens cards that fridges sealed.
    Sealing,
    /// Makes tokens of card numbers.
    Token,
    /// Signs the intermediates.
    Root,
    /// Signs fridges' certificates.
    DeviceIntermediate,
    /// Signs services' and operators' certificates.
    ServiceIntermediate,
    /// The authority's, which vouches for the attestation keys of TPMs.
    AttestationIntermediate,
}

/// What a key is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// A pair on NIST P-256.
    EcP256,
    /// 32 random bytes.
    #[serde(rename = "generic-secret-32")]
    GenericSecret32,
}

/// The PKCS#11 mechanism a key is used with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum KeyMechanism {
    /// ECDH.
    #[serde(rename = "CKM_ECDH1_DERIVE")]
    Ecdh1Derive,
    /// HMAC-SHA-256.
    #[serde(rename = "CKM_SHA256_HMAC")]
    Sha256Hmac,
    /// ECDSA.
    #[serde(rename = "CKM_ECDSA")]
    Ecdsa,
}

/// The one use a key has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyUse {
    /// Agreeing on a secret.
    Derive,
    /// Signatures and keyed hashes.
    Sign,
}

/// Where a key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// Makes new things.
    Active,
    /// Only opens or looks up old ones.
    Previous,
}

/// One key of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedKey {
    /// CKA_LABEL.
    pub label: String,
    /// CKA_ID, and the name others know it by.
    pub id: String,
    /// Whose it is.
    pub zone: KeyZone,
    /// What it is for.
    pub purpose: Purpose,
    /// What it is made of.
    pub kind: KeyKind,
    /// How it is used.
    pub mechanism: KeyMechanism,
    /// Its one use.
    pub allows: Vec<KeyUse>,
    /// Counts the keys of a purpose, from 1.
    pub version: u16,
    /// Where it is in its life.
    pub state: KeyState,
    /// CKA_SENSITIVE; always true.
    pub sensitive: bool,
    /// CKA_EXTRACTABLE; always false.
    pub extractable: bool,
    /// CKA_COPYABLE: whether the key may have session copies for speed.
    pub copyable: bool,
    /// How long it stays active, in days.
    pub cryptoperiod_days: u32,
}

/// A plan without contradictions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPlan {
    keys: Vec<PlannedKey>,
}

impl KeyPlan {
    /// Parses `policies/keys.toml`.
    ///
    /// # Errors
    /// [`KeyPlanError`] for unknown fields, contradictions, keys that could leave the HSM, and unless there is exactly
    /// one active sealing key and one active token key.
    pub fn parse(text: &str) -> Result<Self, KeyPlanError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            key: Vec<PlannedKey>,
        }
        let file: File = toml::from_str(text).map_err(|error| KeyPlanError::Shape(error.message().to_owned()))?;
        let plan = Self { keys: file.key };
        plan.check()?;
        Ok(plan)
    }

    /// All keys of a zone.
    pub fn zone(&self, zone: KeyZone) -> impl Iterator<Item = &PlannedKey> {
        self.keys.iter().filter(move |key| key.zone == zone)
    }

    /// The vault's keys of one purpose, the active one first, then the latest first.
    pub(crate) fn vault_keys(&self, purpose: Purpose) -> Vec<&PlannedKey> {
        let mut keys: Vec<_> = self.zone(KeyZone::Pci).filter(|key| key.purpose == purpose).collect();
        keys.sort_by_key(|key| (key.state != KeyState::Active, std::cmp::Reverse(key.version)));
        keys
    }

    fn check(&self) -> Result<(), KeyPlanError> {
        let (mut labels, mut ids, mut versions) = (HashSet::new(), HashSet::new(), HashSet::new());
        for key in &self.keys {
            let fails = |rule| Err(KeyPlanError::Key { label: key.label.clone(), rule });
            if let Some(rule) = broken_rule(key) {
                return fails(rule);
            }
            if !labels.insert(&key.label) || !ids.insert((key.zone, &key.id)) {
                return fails("its label or id belongs to another key");
            }
            if !versions.insert((key.zone, key.purpose, key.version)) {
                return fails("its version belongs to another key of the purpose");
            }
        }
        for purpose in [Purpose::Sealing, Purpose::Token] {
            let active = |key: &&&PlannedKey| key.state == KeyState::Active;
            if self.vault_keys(purpose).iter().filter(active).count() != 1 {
                return Err(KeyPlanError::Active(purpose));
            }
        }
        Ok(())
    }
}

/// The first rule an entry breaks by itself.
fn broken_rule(key: &PlannedKey) -> Option<&'static str> {
    let (zone, kind, mechanism, allows) = match key.purpose {
        Purpose::Sealing => (KeyZone::Pci, KeyKind::EcP256, KeyMechanism::Ecdh1Derive, KeyUse::Derive),
        Purpose::Token => (KeyZone::Pci, KeyKind::GenericSecret32, KeyMechanism::Sha256Hmac, KeyUse::Sign),
        Purpose::Root
        | Purpose::DeviceIntermediate
        | Purpose::ServiceIntermediate
        | Purpose::AttestationIntermediate => (KeyZone::Ca, KeyKind::EcP256, KeyMechanism::Ecdsa, KeyUse::Sign),
    };
    let rules = [
        (key.sensitive, "a key must be sensitive"),
        (!key.extractable, "a key must not be extractable"),
        (key.zone == zone, "its purpose belongs to another zone"),
        (key.kind == kind, "its purpose takes another kind"),
        (key.mechanism == mechanism, "its purpose takes another mechanism"),
        (key.allows == [allows], "its purpose allows one other use"),
        (key.version > 0, "versions count from 1"),
        ((1..=MAX_CRYPTOPERIOD_DAYS).contains(&key.cryptoperiod_days), "the cryptoperiod is 1 to 3653 days"),
        (SealingKeyId::parse(&key.id).is_ok(), "an id has 1 to 40 characters of a-z 0-9 -"),
        (SealingKeyId::parse(&key.label).is_ok(), "a label has 1 to 40 characters of a-z 0-9 -"),
    ];
    rules.into_iter().find(|(holds, _)| !holds).map(|(_, rule)| rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = include_str!("../../../policies/keys.toml");

    fn refusal(change: impl Fn(&str) -> String) -> KeyPlanError {
        KeyPlan::parse(&change(PLAN)).expect_err("a plan with a fault")
    }

    #[test]
    fn the_committed_plan_parses_and_names_the_active_keys() {
        let plan = KeyPlan::parse(PLAN).expect("a plan");
        assert_eq!(plan.vault_keys(Purpose::Sealing).first().map(|key| key.id.as_str()), Some("seal-1"));
        assert_eq!(plan.vault_keys(Purpose::Token).first().map(|key| key.version), Some(1));
        assert_eq!((plan.zone(KeyZone::Pci).count(), plan.zone(KeyZone::Ca).count()), (2, 4));
    }

    #[test]
    fn a_key_that_could_leave_is_refused() {
        let weak = refusal(|plan| plan.replacen("sensitive = true", "sensitive = false", 1));
        assert!(matches!(weak, KeyPlanError::Key { rule: "a key must be sensitive", .. }), "{weak}");
        let loose = refusal(|plan| plan.replacen("extractable = false", "extractable = true", 1));
        assert!(matches!(loose, KeyPlanError::Key { rule: "a key must not be extractable", .. }), "{loose}");
    }

    #[test]
    fn contradictions_are_refused() {
        for (from, to) in [
            ("zone = \"pci\"", "zone = \"ca\""),
            ("CKM_ECDH1_DERIVE\"\nallows", "CKM_ECDSA\"\nallows"),
            ("allows = [\"derive\"]", "allows = [\"derive\", \"sign\"]"),
            ("allows = [\"derive\"]", "allows = []"),
            ("kind = \"generic-secret-32\"", "kind = \"ec-p256\""),
            ("version = 1", "version = 0"),
            ("cryptoperiod_days = 365\n", "cryptoperiod_days = 0\n"),
            ("id = \"seal-1\"", "id = \"Seal 1\""),
            ("label = \"larder-pci-token-1\"", "label = \"larder-pci-seal-1\""),
        ] {
            assert!(PLAN.contains(from), "{from}");
            let refused = refusal(|plan| plan.replacen(from, to, 1));
            assert!(matches!(refused, KeyPlanError::Key { .. }), "{to}: {refused}");
        }
    }

    #[test]
    fn shapes_that_are_not_ours_are_refused() {
        for (from, to) in [
            ("copyable = true", "copiable = true"),
            ("version = 1", "version = 65536"),
            ("state = \"active\"", "state = \"retired\""),
            ("[[key]]", "[[keys]]"),
        ] {
            let refused = refusal(|plan| plan.replacen(from, to, 1));
            assert!(matches!(refused, KeyPlanError::Shape(_)), "{to}: {refused}");
        }
    }

    #[test]
    fn each_purpose_of_the_vault_has_one_active_key() {
        let none = refusal(|plan| plan.replacen("state = \"active\"", "state = \"previous\"", 1));
        assert_eq!(none, KeyPlanError::Active(Purpose::Sealing));
        let two = refusal(|plan| format!("{plan}{}", second_token_key(plan, "active")));
        assert_eq!(two, KeyPlanError::Active(Purpose::Token));
    }

    #[test]
    fn previous_keys_follow_the_active_one() {
        let text = format!("{PLAN}{}", second_token_key(PLAN, "previous"));
        let plan = KeyPlan::parse(&text).expect("a plan");
        let ids: Vec<_> = plan.vault_keys(Purpose::Token).iter().map(|key| key.id.as_str()).collect();
        assert_eq!(ids, ["token-1", "token-2"]);
    }

    fn second_token_key(plan: &str, state: &str) -> String {
        let entry = plan.split("[[key]]").find(|entry| entry.contains("purpose = \"token\"")).expect("a token key");
        let entry = entry.replace("token-1", "token-2").replace("version = 1", "version = 2");
        format!("[[key]]{}", entry.replace("\"active\"", &format!("\"{state}\"")))
    }
}
