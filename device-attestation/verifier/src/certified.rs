//! A key of which the same TPM says that it holds it.

use attest_evidence::{Curve, HashAlgorithm, Public, Said};

use crate::spki::spki;
use crate::{KeyFlaw, Refusal, Signed, key::name};

/// A key that lives in the TPM of the attestation key which certified it, was made there, and signs only under a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifiedKey {
    curve: Curve,
    point: Vec<u8>,
}

impl CertifiedKey {
    /// Takes the key from a statement; `public_area` is its `TPMT_PUBLIC`, and `policy` the digest of the policy that it
    /// must be bound to: without one, it would go on signing after the firmware was replaced.
    ///
    /// # Errors
    /// [`Refusal::NotA`] when the statement certifies nothing, [`Refusal::AnotherKey`] when it certifies another key,
    /// [`Refusal::Malformed`] and [`Refusal::Key`] when the key is not fit.
    pub fn of(statement: &Signed<'_>, public_area: &[u8], policy: &[u8]) -> Result<Self, Refusal> {
        let Said::Certify(certified) = statement.said() else { return Err(Refusal::NotA("certification of a key")) };
        let key = Public::parse(public_area)?;
        if certified.name != name(&key) {
            return Err(Refusal::AnotherKey);
        }
        let may = key.attributes;
        if !may.is_fixed() {
            return Err(KeyFlaw::NotFixed.into());
        }
        if !may.is_made_inside() {
            return Err(KeyFlaw::BroughtIn.into());
        }
        if !may.signs() || may.decrypts() {
            return Err(KeyFlaw::NotForSigning.into());
        }
        if key.name_hash == HashAlgorithm::Sha1 {
            return Err(KeyFlaw::Algorithm.into());
        }
        if policy.is_empty() || key.policy != policy || may.is_usable_without_policy() {
            return Err(KeyFlaw::Policy.into());
        }
        Ok(Self { curve: key.key.curve, point: key.key.point() })
    }

    /// Its curve.
    #[must_use]
    pub const fn curve(&self) -> Curve {
        self.curve
    }

    /// Its SubjectPublicKeyInfo in DER: what a certificate of it must hold, byte for byte.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        spki(self.curve, &self.point)
    }

    /// Its point, uncompressed: what a certificate request must be for.
    #[must_use]
    pub fn point(&self) -> &[u8] {
        &self.point
    }
}
