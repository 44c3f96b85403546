//! The key for TLS: made in the TPM, under a policy that lets it sign only while certain registers hold what they held
//! when it was made (`TPM2_PolicyPCR`; TPM 2.0 Library, Part 3, section 23.7). With other firmware it signs no more, and
//! nobody needs to revoke it.

use attest_evidence::{Curve, EcdsaSignature, PcrSelection};
use ring::digest::{SHA256, digest};
use tss_esapi::constants::SessionType;
use tss_esapi::constants::tss::{TPM2_RH_NULL, TPM2_ST_HASHCHECK};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::structures::{Digest, HashcheckTicket, SignatureScheme};
use tss_esapi::traits::Marshall;
use tss_esapi::tss2_esys::TPMT_TK_HASHCHECK;

use crate::device::Step;
use crate::error::{PCR_CHANGED, POLICY_FAIL, fault, says};
use crate::{Corrupt, Fault, Refusal, StoredKey, TpmError, attest, template};

const BINDING: &str = "bound the key for TLS to the registers";
const SIGNING: &str = "signed with the key for TLS";

/// A signature of a key for TLS, ECDSA with SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// As the TPM gives it, `TPMT_SIGNATURE`.
    pub tpm: Vec<u8>,
    /// As TLS and certificates have it, `ECDSA-Sig-Value` in DER (RFC 3279, section 2.2.3).
    pub der: Vec<u8>,
}

/// Makes a key for TLS that is bound to what these registers hold now.
pub(crate) fn make(step: &mut Step<'_>, selection: PcrSelection) -> Result<StoredKey, TpmError> {
    let registers = template::registers(&selection)?;
    let (_, policy) = step.session(SessionType::Trial, HashingAlgorithm::Sha256)?;
    // Without a digest of ours the TPM takes the registers' values of this moment.
    let policy = step.ask(BINDING, |context| {
        context.policy_pcr(policy, Digest::default(), registers)?;
        context.policy_get_digest(policy)
    })?;
    attest::make(step, "made the key for TLS", template::tls_key(policy)?, Some(selection))
}

/// Signs a message, which may have any length.
pub(crate) fn sign(step: &mut Step<'_>, key: &StoredKey, message: &[u8]) -> Result<Signature, TpmError> {
    let selection = key.registers().ok_or(Corrupt::Key("it is no key for TLS, since it is bound to no registers"))?;
    let registers = template::registers(&selection)?;
    let handle = step.stored(key)?;
    let (session, policy) = step.session(SessionType::Policy, HashingAlgorithm::Sha256)?;
    step.ask(BINDING, |context| context.policy_pcr(policy, Digest::default(), registers))?;
    let signed = step.raw((session, None), |context| {
        // The digest was not made in the TPM, which a key that is not restricted does not ask for.
        let outside = TPMT_TK_HASHCHECK { tag: TPM2_ST_HASHCHECK, hierarchy: TPM2_RH_NULL, digest: <_>::default() };
        let hash = Digest::try_from(digest(&SHA256, message).as_ref())?;
        context.sign(handle, hash, SignatureScheme::Null, HashcheckTicket::try_from(outside)?)
    });
    let signed = signed.map_err(|error| {
        let changed = [POLICY_FAIL, PCR_CHANGED].iter().any(|code| says(error, *code));
        if changed { Refusal::Registers { registers: told(&selection) }.into() } else { fault(SIGNING)(error) }
    })?;
    let tpm = signed.marshall().map_err(fault(SIGNING))?;
    let numbers = EcdsaSignature::parse(&tpm).ok().and_then(|numbers| numbers.fixed(Curve::P256));
    let der = numbers.as_deref().and_then(der);
    let der = der.ok_or_else(|| Fault::Answer { doing: SIGNING, said: "it is no ECDSA signature".to_owned() })?;
    Ok(Signature { tpm, der })
}

/// Registers as people read them.
fn told(selection: &PcrSelection) -> String {
    selection.registers().map(|register| register.to_string()).collect::<Vec<_>>().join(", ")
}

/// Two numbers of one width, one behind the other, in DER; none when they are too wide for one byte of length.
fn der(numbers: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = numbers.split_at_checked(numbers.len() / 2)?;
    let content = [integer(r)?, integer(s)?].concat();
    tagged(0x30, &content)
}

/// A positive INTEGER: no zeros before it, but for one that keeps it positive.
fn integer(number: &[u8]) -> Option<Vec<u8>> {
    let first = number.iter().position(|byte| *byte != 0)?;
    let number = number.get(first..)?;
    let is_negative = number.first().is_some_and(|byte| byte & 0x80 != 0);
    if is_negative { tagged(0x02, &[&[0], number].concat()) } else { tagged(0x02, number) }
}

fn tagged(tag: u8, content: &[u8]) -> Option<Vec<u8>> {
    let length = u8::try_from(content.len()).ok().filter(|length| *length < 0x80)?;
    Some([&[tag, length], content].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shortest_and_positive_in_der() {
        let number = |first: &[u8]| {
            let mut number = [0; 32];
            number[32 - first.len()..].copy_from_slice(first);
            number
        };
        let pair = |r: &[u8], s: &[u8]| der(&[number(r), number(s)].concat());
        assert_eq!(pair(&[1], &[0x7f]), Some(vec![0x30, 6, 2, 1, 1, 2, 1, 0x7f]));
        assert_eq!(pair(&[0x80], &[0xff, 0]), Some(vec![0x30, 9, 2, 2, 0, 0x80, 2, 3, 0, 0xff, 0]));
        let whole = pair(&[0xff; 32], &[0x7f; 32]).expect("both fit");
        assert_eq!((whole[1], whole[3], whole[4], whole.len()), (69, 33, 0, 71));
        assert_eq!((pair(&[], &[1]), pair(&[1], &[]), der(&[])), (None, None, None), "zero is no signature");
    }
}
