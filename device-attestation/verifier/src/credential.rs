//! A secret that only one TPM can open, and only for one of its keys: `TPM2_MakeCredential`, done outside of any TPM (TPM
//! 2.0 Library, Part 1, sections 24 and 11.4.10; Part 3, section 12.6).
//!
//! Who gives the secret back has shown that the attestation key and the endorsement key are in the same TPM: the TPM opens
//! it for a key with just this name, and for no other. Only for endorsement keys on elliptic curves.

use aes::cipher::{AsyncStreamCipher, KeyIvInit};
use attest_evidence::{Curve, HashAlgorithm, Public, Symmetric};
use ring::agreement::{ECDH_P256, ECDH_P384, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::rand::SecureRandom;
use ring::{digest, hmac};
use zeroize::Zeroizing;

use crate::{AttestationKey, KeyFlaw, Refusal};

/// A credential, in the two parts that `TPM2_ActivateCredential` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// `TPM2B_ID_OBJECT`: the secret, sealed.
    pub blob: Vec<u8>,
    /// `TPM2B_ENCRYPTED_SECRET`: what the endorsement key needs to open it.
    pub secret: Vec<u8>,
}

/// An endorsement key that a credential can be made for. That it is one of a genuine TPM is what its certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndorsementKey {
    curve: Curve,
    point: Vec<u8>,
    hash: HashAlgorithm,
    key_bits: u16,
}

impl EndorsementKey {
    /// Accepts the public area of an endorsement key, which must be the key of the certificate: `point` is the one there,
    /// uncompressed.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] when it cannot be read, [`Refusal::AnotherKey`] when it is not the certificate's,
    /// [`Refusal::Key`] when it is not fit.
    pub fn accept(public_area: &[u8], point: &[u8]) -> Result<Self, Refusal> {
        let key = Public::parse(public_area)?;
        if key.key.point() != point {
            return Err(Refusal::AnotherKey);
        }
        let may = key.attributes;
        if !may.is_fixed() {
            return Err(KeyFlaw::NotFixed.into());
        }
        if !may.decrypts() || may.signs() || !may.is_restricted() {
            return Err(KeyFlaw::NotForStorage.into());
        }
        let Symmetric::AesCfb(key_bits @ (128 | 256)) = key.symmetric else { return Err(KeyFlaw::Algorithm.into()) };
        if !matches!(key.name_hash, HashAlgorithm::Sha256 | HashAlgorithm::Sha384) {
            return Err(KeyFlaw::Algorithm.into());
        }
        Ok(Self { curve: key.key.curve, point: point.to_vec(), hash: key.name_hash, key_bits })
    }

    /// The key that the TCG's template makes of a point (EK Credential Profile 2.5, templates L-2 and H-3).
    pub(crate) fn of_template(curve: Curve, point: &[u8]) -> Self {
        let (hash, key_bits) = match curve {
            Curve::P256 => (HashAlgorithm::Sha256, 128),
            Curve::P384 => (HashAlgorithm::Sha384, 256),
        };
        Self { curve, point: point.to_vec(), hash, key_bits }
    }

    /// Makes a credential of `secret`, 1 to 32 bytes, which this key's TPM gives out only if `for_key` is in it as well.
    ///
    /// # Errors
    /// [`Refusal::Key`] when the endorsement key's point is on no curve, [`Refusal::Secret`] for another length, or when
    /// there is no chance to be had from `random`.
    pub fn credential(
        &self,
        for_key: &AttestationKey,
        secret: &[u8],
        random: &dyn SecureRandom,
    ) -> Result<Credential, Refusal> {
        let length = u16::try_from(secret.len()).ok().filter(|length| (1..=32).contains(length));
        let length = length.ok_or(Refusal::Secret)?;
        let (seed, sender) = self.agree(random)?;
        let name = for_key.name();
        let mut identity = Zeroizing::new([&length.to_be_bytes()[..], secret].concat());
        let storage = kdfa(self.hash, &seed, b"STORAGE\0", name, self.key_bits);
        match self.key_bits {
            128 => encrypt::<aes::Aes128>(&storage, &mut identity)?,
            _ => encrypt::<aes::Aes256>(&storage, &mut identity)?,
        }
        let integrity = kdfa(self.hash, &seed, b"INTEGRITY\0", &[], bits(self.hash));
        let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac_of(self.hash), &integrity));
        mac.update(&identity);
        mac.update(name);
        let blob = [&sized(mac.sign().as_ref())[..], &identity].concat();
        let width = self.curve.bytes();
        let (x, y) = sender.get(1..).and_then(|point| point.split_at_checked(width)).ok_or(Refusal::Secret)?;
        Ok(Credential { blob: sized(&blob), secret: sized(&[sized(x), sized(y)].concat()) })
    }

    /// A seed that the endorsement key's TPM can find from the sender's point.
    fn agree(&self, random: &dyn SecureRandom) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), Refusal> {
        let algorithm = match self.curve {
            Curve::P256 => &ECDH_P256,
            Curve::P384 => &ECDH_P384,
        };
        let ephemeral = EphemeralPrivateKey::generate(algorithm, random).map_err(|_| Refusal::Secret)?;
        let sender = ephemeral.compute_public_key().map_err(|_| Refusal::Secret)?.as_ref().to_vec();
        let x = |point: &[u8]| point.get(1..=self.curve.bytes()).map(<[u8]>::to_vec).unwrap_or_default();
        let (ours, theirs) = (x(&sender), x(&self.point));
        let receiver = UnparsedPublicKey::new(algorithm, &self.point);
        let seed = agree_ephemeral(ephemeral, &receiver, |shared| kdfe(self.hash, shared, &ours, &theirs));
        Ok((seed.map_err(|_| KeyFlaw::Algorithm)?, sender))
    }
}

/// `KDFe` (Part 1, section 11.4.10.3), of as many bits as the hash has: one round.
fn kdfe(hash: HashAlgorithm, shared: &[u8], sender: &[u8], receiver: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut context = digest::Context::new(crate::key::algorithm(hash));
    for part in [&1_u32.to_be_bytes()[..], shared, b"IDENTITY\0", sender, receiver] {
        context.update(part);
    }
    Zeroizing::new(context.finish().as_ref().to_vec())
}

/// `KDFa` (Part 1, section 11.4.10.2), of at most as many bits as the hash has: one round.
fn kdfa(hash: HashAlgorithm, key: &[u8], label: &[u8], context: &[u8], bits: u16) -> Zeroizing<Vec<u8>> {
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac_of(hash), key));
    for part in [&1_u32.to_be_bytes()[..], label, context, &u32::from(bits).to_be_bytes()] {
        mac.update(part);
    }
    let mut derived = Zeroizing::new(mac.sign().as_ref().to_vec());
    derived.truncate(usize::from(bits) / 8);
    derived
}

fn encrypt<C>(key: &[u8], text: &mut [u8]) -> Result<(), Refusal>
where
    cfb_mode::Encryptor<C>: KeyIvInit + AsyncStreamCipher + cfb_mode::cipher::BlockEncryptMut,
    C: cfb_mode::cipher::BlockEncryptMut + cfb_mode::cipher::BlockCipher,
{
    // The key is of this one credential, so nothing else is ever encrypted from this beginning.
    let cipher = cfb_mode::Encryptor::<C>::new_from_slices(key, &[0; 16]).map_err(|_| Refusal::Secret)?;
    cipher.encrypt(text);
    Ok(())
}

fn bits(hash: HashAlgorithm) -> u16 {
    u16::try_from(hash.bytes() * 8).unwrap_or(0)
}

fn hmac_of(hash: HashAlgorithm) -> hmac::Algorithm {
    match hash {
        HashAlgorithm::Sha384 => hmac::HMAC_SHA384,
        // No others are accepted.
        _ => hmac::HMAC_SHA256,
    }
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}
