//! A statement that an attestation key signed, in answer to this question and no other.

use attest_evidence::{Attest, Clock, Curve, EcdsaSignature, HashAlgorithm, Said};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

use crate::{AttestationKey, Refusal};

/// A statement whose signature and nonce were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed<'a>(Attest<'a>);

impl<'a> Signed<'a> {
    /// Checks a statement (`TPMS_ATTEST`) and its signature (`TPMT_SIGNATURE`) by `key`. `nonce` is what the TPM was to put
    /// into it.
    ///
    /// # Errors
    /// [`Refusal::Malformed`], [`Refusal::Signature`] or [`Refusal::Nonce`].
    pub fn check(key: &AttestationKey, statement: &'a [u8], signature: &[u8], nonce: &[u8]) -> Result<Self, Refusal> {
        let signature = EcdsaSignature::parse(signature)?;
        // The signature first: what nobody vouches for is not looked at any closer.
        let numbers = signature.fixed(Curve::P256).filter(|_| signature.hash == HashAlgorithm::Sha256);
        let numbers = numbers.ok_or(Refusal::Signature)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.point())
            .verify(statement, &numbers)
            .map_err(|_| Refusal::Signature)?;
        let attest = Attest::parse(statement)?;
        if attest.extra_data == nonce { Ok(Self(attest)) } else { Err(Refusal::Nonce) }
    }

    /// How far the TPM's clock and counters had come.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.0.clock
    }

    /// The version of the TPM's own firmware.
    #[must_use]
    pub const fn firmware(&self) -> u64 {
        self.0.firmware
    }

    pub(crate) const fn said(&self) -> &Said<'a> {
        &self.0.said
    }
}
