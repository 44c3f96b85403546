//! Keys of a TPM, and what makes one fit to attest.

use attest_evidence::{Curve, HashAlgorithm, Public, Scheme};
use ring::digest;

use crate::refusal::{KeyFlaw, Refusal};

/// The name of a key (TPM 2.0 Library, Part 1, section 16): the id of its hash, and that hash of its public area.
#[must_use]
pub fn name(key: &Public<'_>) -> Vec<u8> {
    let mut name = key.name_hash.id().to_be_bytes().to_vec();
    name.extend_from_slice(hash(key.name_hash, key.bytes()).as_ref());
    name
}

/// The digest of `bytes`.
pub(crate) fn hash(hash: HashAlgorithm, bytes: &[u8]) -> digest::Digest {
    digest::digest(algorithm(hash), bytes)
}

pub(crate) fn algorithm(hash: HashAlgorithm) -> &'static digest::Algorithm {
    match hash {
        HashAlgorithm::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        HashAlgorithm::Sha256 => &digest::SHA256,
        HashAlgorithm::Sha384 => &digest::SHA384,
        HashAlgorithm::Sha512 => &digest::SHA512,
    }
}

/// A key whose statements are worth checking. That it is one of a genuine TPM is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationKey {
    name: Vec<u8>,
    point: Vec<u8>,
}

impl AttestationKey {
    /// Accepts the public area (`TPMT_PUBLIC`) of a restricted signing key that lives and was made in one TPM.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] when it cannot be read, [`Refusal::Key`] with what it lacks.
    pub fn accept(public_area: &[u8]) -> Result<Self, Refusal> {
        let key = Public::parse(public_area)?;
        let may = key.attributes;
        let flaw = if !may.is_fixed() {
            Some(KeyFlaw::NotFixed)
        } else if !may.is_made_inside() {
            Some(KeyFlaw::BroughtIn)
        } else if !may.is_restricted() {
            Some(KeyFlaw::NotRestricted)
        } else if !may.signs() || may.decrypts() {
            Some(KeyFlaw::NotForSigning)
        } else if key.name_hash == HashAlgorithm::Sha1 {
            // Two keys can be made whose names are the same.
            Some(KeyFlaw::Algorithm)
        } else if key.key.curve != Curve::P256 || key.scheme != Scheme::Ecdsa(HashAlgorithm::Sha256) {
            Some(KeyFlaw::Algorithm)
        } else {
            None
        };
        match flaw {
            Some(flaw) => Err(flaw.into()),
            None => Ok(Self { name: name(&key), point: key.key.point() }),
        }
    }

    /// Its name, by which a credential is made for it.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Its point, uncompressed.
    #[must_use]
    pub fn point(&self) -> &[u8] {
        &self.point
    }
}
