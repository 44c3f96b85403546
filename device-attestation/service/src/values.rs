//! The reference values: which measurements are good, in a list that is signed and has a version.
//!
//! The list is a JWS in compact form (RFC 7515) whose payload is JSON, signed with ES256. It is one file, so it is replaced
//! in one step. Old and new firmware stand in it side by side during a rollout, and what is taken out of it is good no
//! more. It leaves to the store which version was the highest: a list that is older than that is an attack or a mistake.

use std::collections::BTreeSet;

use attest_evidence::{HashAlgorithm, PcrSelection};
use attest_verifier::ReferenceValues;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use ring::digest::{SHA256, digest};
use ring::rand::SecureRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED, EcdsaKeyPair, KeyPair, UnparsedPublicKey};
use serde::Deserialize;

use crate::Refusal;

/// The most bytes of a list.
pub(crate) const MOST_BYTES: usize = 1_024 * 1_024;
/// The most firmwares of a list, and the most events of one.
const MOST_FIRMWARES: usize = 64;
const MOST_EVENTS: usize = 1_024;
/// The most policies of keys for TLS.
const MOST_POLICIES: usize = 16;
/// Registers that a boot extends.
const REGISTERS: std::ops::Range<u8> = 0..24;
/// The one header of a list.
const ALGORITHM: &str = "ES256";
const KIND: &str = "larder-reference-values+jws";

/// A list of reference values whose signature was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values {
    /// Its version; higher ones replace lower ones.
    pub version: u64,
    /// The SHA-256 of the whole list as it was signed.
    pub sha256: [u8; 32],
    /// Registers to quote, of the SHA-256 bank.
    pub(crate) registers: BTreeSet<u8>,
    /// Digests of policies that a key for TLS may be bound to, beside that of the registers as they were quoted.
    pub(crate) tls_key_policies: Vec<Vec<u8>>,
    pub(crate) good: ReferenceValues,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderText<'a> {
    alg: &'a str,
    typ: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListText {
    version: u64,
    registers: BTreeSet<u8>,
    #[serde(default)]
    tls_key_policies: Vec<String>,
    firmware: Vec<FirmwareText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FirmwareText {
    /// For people: what the firmware is called.
    #[serde(rename = "name")]
    _name: String,
    events: Vec<EventText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventText {
    register: u8,
    sha256: String,
}

impl Values {
    /// Reads a list that was signed with the key of this uncompressed point on P-256.
    ///
    /// # Errors
    /// [`Refusal::Values`] when it was not, or is no list.
    pub fn read(jws: &[u8], key: &[u8]) -> Result<Self, Refusal> {
        if jws.len() > MOST_BYTES {
            return Err(Refusal::Values("it is larger than any list may be"));
        }
        let text = std::str::from_utf8(jws).map_err(|_| Refusal::Values("it is no text"))?.trim_end();
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::Values("it is no JWS in compact form"));
        };
        let signed = text.get(..header.len().saturating_add(1).saturating_add(payload.len())).unwrap_or_default();
        let decode = |part: &str| {
            BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| Refusal::Values("a part of it is not base64url"))
        };
        // The signature first: what nobody vouches for is not looked at any closer.
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(signed.as_bytes(), &decode(signature)?).map_err(
            |_| Refusal::Values("it was altered, or was signed with another key than the one in the settings"),
        )?;
        let header = decode(header)?;
        let header: HeaderText<'_> =
            serde_json::from_slice(&header).map_err(|_| Refusal::Values("its header is another"))?;
        if header.alg != ALGORITHM || header.typ != KIND {
            return Err(Refusal::Values("its header says that it is something else"));
        }
        let list: ListText = serde_json::from_slice(&decode(payload)?)
            .map_err(|_| Refusal::Values("its payload is no list of reference values"))?;
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest(&SHA256, signed.as_bytes()).as_ref());
        Self::take(&list, sha256)
    }

    /// Signs a list (JSON), and reads what it signed, so that no list leaves that the service would refuse.
    ///
    /// # Errors
    /// [`Refusal::Values`] when it is no list, or the key does not sign.
    pub fn sign(list: &[u8], key: &EcdsaKeyPair, random: &dyn SecureRandom) -> Result<(String, Self), Refusal> {
        let header = format!("{{\"alg\":\"{ALGORITHM}\",\"typ\":\"{KIND}\"}}");
        let signed = format!("{}.{}", BASE64URL_NOPAD.encode(header.as_bytes()), BASE64URL_NOPAD.encode(list));
        let signature = key.sign(random, signed.as_bytes()).map_err(|_| Refusal::Values("its key does not sign"))?;
        let jws = format!("{signed}.{}", BASE64URL_NOPAD.encode(signature.as_ref()));
        let read = Self::read(jws.as_bytes(), key.public_key().as_ref())?;
        Ok((jws, read))
    }

    fn take(list: &ListText, sha256: [u8; 32]) -> Result<Self, Refusal> {
        let hash = |text: &str| {
            let hash = HEXLOWER.decode(text.as_bytes()).ok().filter(|hash| hash.len() == 32);
            hash.ok_or(Refusal::Values("a hash of it is not 64 digits of lower-case hexadecimal"))
        };
        let in_boot = |register: &u8| REGISTERS.contains(register);
        if list.registers.is_empty() || !list.registers.iter().all(in_boot) {
            return Err(Refusal::Values("it names no registers, or some that a boot does not extend"));
        }
        if list.tls_key_policies.len() > MOST_POLICIES {
            return Err(Refusal::Values("it names too many policies for keys for TLS"));
        }
        let few = list.firmware.iter().all(|firmware| (1..=MOST_EVENTS).contains(&firmware.events.len()));
        if !(1..=MOST_FIRMWARES).contains(&list.firmware.len()) || !few {
            return Err(Refusal::Values("it names no firmware, one without events, or too many"));
        }
        let mut good = ReferenceValues::default();
        for event in list.firmware.iter().flat_map(|firmware| &firmware.events) {
            if !list.registers.contains(&event.register) {
                return Err(Refusal::Values("it has an event of a register that is not quoted"));
            }
            good.add(event.register, &hash(&event.sha256)?);
        }
        let tls_key_policies = list.tls_key_policies.iter().map(|policy| hash(policy)).collect::<Result<_, _>>()?;
        Ok(Self { version: list.version, sha256, registers: list.registers.clone(), tls_key_policies, good })
    }

    /// The registers to quote.
    pub(crate) fn selection(&self) -> PcrSelection {
        PcrSelection::of(HashAlgorithm::Sha256, self.registers.iter().copied())
    }
}
