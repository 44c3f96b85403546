//! The key and the chain that verdicts are signed with: those of the service's own certificate.

use attest_verdict::Verdict;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

use crate::Fault;

/// A key on P-256 and its certificate chain.
pub struct Signer {
    chain: Vec<Vec<u8>>,
    key: EcdsaKeyPair,
    random: SystemRandom,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

impl Signer {
    /// A signer with this chain, leaf first, in DER, and this key in PKCS #8. None when it is no key on P-256.
    #[must_use]
    pub fn new(chain: Vec<Vec<u8>>, pkcs8: &[u8]) -> Option<Self> {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random).ok()?;
        Some(Self { chain, key, random })
    }

    /// Seals a verdict.
    pub(crate) fn seal(&self, verdict: &Verdict) -> Result<Vec<u8>, Fault> {
        let sign = |bytes: &[u8]| Some(self.key.sign(&self.random, bytes).ok()?.as_ref().to_vec());
        Ok(verdict.seal(&self.chain, sign)?)
    }
}
