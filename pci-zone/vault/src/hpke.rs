//! HPKE's arithmetic over a Diffie-Hellman secret the HSM gave: RFC 9180, base mode, DHKEM(P-256, HKDF-SHA256) 0x0010,
//! HKDF-SHA256 0x0001, AES-128-GCM 0x0001, receiver's side, one message per encapsulated key.
//!
//! It is written out rather than taken from a crate because crates want the private key, which never leaves the HSM;
//! and over `ring::hmac` because `ring::hkdf` hides the bytes HPKE needs. Everything here is pure: no PKCS#11, no I/O.
//! Agreement with RFC 9180's vectors and with the `hpke` crate is tested. Whether the sender's point lies on the curve
//! is checked here too, before an HSM sees it: a bad point comes back from an HSM as a device error, which would look
//! like a broken HSM.

use p256::PublicKey;
use ring::{aead, hmac};
use thiserror::Error;
use zeroize::Zeroizing;

/// Bytes of an uncompressed P-256 point.
pub const POINT_BYTES: usize = 65;
const HASH_BYTES: usize = 32;
const VERSION: &[u8] = b"HPKE-v1";
const KEM_SUITE: &[u8] = b"KEM\x00\x10";
const HPKE_SUITE: &[u8] = b"HPKE\x00\x10\x00\x01\x00\x01";
const MODE_BASE: u8 = 0;

/// The sealed message does not open: altered, cut, sealed to another key, or for another context. Which, nobody can
/// tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the sealed card does not open")]
pub struct DoesNotOpen;

/// Whether 65 bytes are an uncompressed point on P-256.
#[must_use]
pub fn is_point(bytes: &[u8; POINT_BYTES]) -> bool {
    bytes.first() == Some(&4) && PublicKey::from_sec1_bytes(bytes).is_ok()
}

/// What ECDH gives: the x coordinate of the shared point. Wiped on drop.
pub struct SharedSecret(Zeroizing<Box<[u8]>>);

impl SharedSecret {
    /// Takes the 32 bytes of an x coordinate; `None` for another length.
    #[must_use]
    pub fn from_x_coordinate(bytes: Zeroizing<Box<[u8]>>) -> Option<Self> {
        (bytes.len() == HASH_BYTES).then_some(Self(bytes))
    }

    /// The x coordinate.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// One recipient key and one `info`, with what the key schedule needs of them computed once.
pub struct Recipient {
    public: [u8; POINT_BYTES],
    /// `key_schedule_context` of RFC 9180 section 5.1: mode, hash of the empty PSK id, hash of `info`.
    context: [u8; 1 + 2 * HASH_BYTES],
}

impl Recipient {
    /// A recipient with this public key, for messages sealed with this `info`.
    #[must_use]
    pub fn new(public: [u8; POINT_BYTES], info: &[u8]) -> Self {
        let mut context = [MODE_BASE; 1 + 2 * HASH_BYTES];
        let hashes = [extract(HPKE_SUITE, &[], b"psk_id_hash", &[]), extract(HPKE_SUITE, &[], b"info_hash", info)];
        for (place, byte) in context.iter_mut().skip(1).zip(hashes.iter().flat_map(|hash| hash.iter())) {
            *place = *byte;
        }
        Self { public, context }
    }

    /// The public key.
    #[must_use]
    pub const fn public(&self) -> &[u8; POINT_BYTES] {
        &self.public
    }

    /// Opens the one message of an encapsulated key, given the ECDH of that key with ours.
    ///
    /// # Errors
    /// [`DoesNotOpen`] and no more.
    pub fn open(
        &self,
        shared: &SharedSecret,
        encapsulated_key: &[u8; POINT_BYTES],
        associated_data: &[u8],
        cipher_text: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
        let (key, nonce) = self.key_and_nonce(shared, encapsulated_key);
        let key = aead::UnboundKey::new(&aead::AES_128_GCM, key.as_slice()).map_err(|_| DoesNotOpen)?;
        let mut text = Zeroizing::new(cipher_text.to_vec());
        let opened = aead::LessSafeKey::new(key)
            .open_in_place(aead::Nonce::assume_unique_for_key(*nonce), aead::Aad::from(associated_data), &mut text)
            .map_err(|_| DoesNotOpen)?
            .len();
        text.truncate(opened);
        Ok(text)
    }

    /// `Decap` and `KeySchedule` of RFC 9180 sections 4.1 and 5.1, up to the first message's key and nonce.
    fn key_and_nonce(
        &self,
        shared: &SharedSecret,
        encapsulated_key: &[u8; POINT_BYTES],
    ) -> (Zeroizing<[u8; 16]>, Zeroizing<[u8; 12]>) {
        let eae_prk = hmac_key(extract(KEM_SUITE, &[], b"eae_prk", shared.expose()).as_slice());
        let kem_secret: Zeroizing<[u8; HASH_BYTES]> =
            expand(KEM_SUITE, &eae_prk, b"shared_secret", &[encapsulated_key, &self.public]);
        let secret = hmac_key(extract(HPKE_SUITE, kem_secret.as_slice(), b"secret", &[]).as_slice());
        let key = expand(HPKE_SUITE, &secret, b"key", &[&self.context]);
        let nonce = expand(HPKE_SUITE, &secret, b"base_nonce", &[&self.context]);
        (key, nonce)
    }
}

/// `LabeledExtract` of RFC 9180 section 4.
fn extract(suite: &[u8], salt: &[u8], label: &[u8], input: &[u8]) -> Zeroizing<[u8; HASH_BYTES]> {
    mac(&hmac_key(salt), [VERSION, suite, label, input])
}

/// `LabeledExpand` of RFC 9180 section 4, for at most 32 bytes: a single block of HKDF-Expand.
fn expand<const N: usize>(suite: &[u8], secret: &hmac::Key, label: &[u8], info: &[&[u8]]) -> Zeroizing<[u8; N]> {
    const { assert!(N <= HASH_BYTES) };
    let length = [0, u8::try_from(N).unwrap_or(0)];
    let parts = [&length[..], VERSION, suite, label].into_iter().chain(info.iter().copied()).chain([&[1_u8][..]]);
    let block = mac(secret, parts);
    let mut output = Zeroizing::new([0; N]);
    output.iter_mut().zip(block.iter()).for_each(|(place, byte)| *place = *byte);
    output
}

fn hmac_key(bytes: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, bytes)
}

fn mac<'a>(key: &hmac::Key, parts: impl IntoIterator<Item = &'a [u8]>) -> Zeroizing<[u8; HASH_BYTES]> {
    let mut context = hmac::Context::with_key(key);
    parts.into_iter().for_each(|part| context.update(part));
    let tag = context.sign();
    let mut output = Zeroizing::new([0; HASH_BYTES]);
    output.iter_mut().zip(tag.as_ref()).for_each(|(place, byte)| *place = *byte);
    output
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use p256::{NonZeroScalar, ProjectivePoint, elliptic_curve::point::AffineCoordinates};

    use super::*;

    // RFC 9180 appendix A.3.1: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-128-GCM, base mode.
    const INFO: &str = "4f6465206f6e2061204772656369616e2055726e";
    const PK_EM: &str = "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac98536d7b61a1af4b78e5b7f951c0900be863c403ce65c9bfcb9382657222d18c4";
    const SK_RM: &str = "f3ce7fdae57e1a310d87f1ebbde6f328be0a99cdbcadf4d6589cf29de4b8ffd2";
    const PK_RM: &str = "04fe8c19ce0905191ebc298a9245792531f26f0cece2460639e8bc39cb7f706a826a779b4cf969b8a0e539c7f62fb3d30ad6aa8f80e30f1d128aafd68a2ce72ea0";
    const KEY: &str = "868c066ef58aae6dc589b6cfdd18f97e";
    const BASE_NONCE: &str = "4e0bc5018beba4bf004cca59";
    const PT: &str = "4265617574792069732074727574682c20747275746820626561757479";
    const AAD_0: &str = "436f756e742d30";
    const CT_0: &str = "5ad590bb8baa577f8619db35a36311226a896e7342a6d836d8b7bcd2f20b6c7f9076ac232e3ab2523f39513434";

    fn hex(text: &str) -> Vec<u8> {
        HEXLOWER.decode(text.as_bytes()).expect("hexadecimal")
    }

    fn point(text: &str) -> [u8; POINT_BYTES] {
        hex(text).try_into().expect("65 bytes")
    }

    fn agreed() -> SharedSecret {
        let secret = NonZeroScalar::try_from(hex(SK_RM).as_slice()).expect("a scalar");
        let sender = PublicKey::from_sec1_bytes(&hex(PK_EM)).expect("a point");
        let shared = (ProjectivePoint::from(*sender.as_affine()) * *secret).to_affine();
        SharedSecret::from_x_coordinate(Zeroizing::new(shared.x().as_slice().into())).expect("32 bytes")
    }

    #[test]
    fn rfc_9180_a_3_1_key_and_nonce() {
        let (key, nonce) = Recipient::new(point(PK_RM), &hex(INFO)).key_and_nonce(&agreed(), &point(PK_EM));
        assert_eq!(HEXLOWER.encode(key.as_slice()), KEY);
        assert_eq!(HEXLOWER.encode(nonce.as_slice()), BASE_NONCE);
    }

    #[test]
    fn rfc_9180_a_3_1_first_message() {
        let recipient = Recipient::new(point(PK_RM), &hex(INFO));
        let opened = recipient.open(&agreed(), &point(PK_EM), &hex(AAD_0), &hex(CT_0)).expect("the vector opens");
        assert_eq!(HEXLOWER.encode(&opened), PT);
    }

    #[test]
    fn nothing_else_opens() {
        let recipient = Recipient::new(point(PK_RM), &hex(INFO));
        let opens = |recipient: &Recipient, aad: &[u8], text: &[u8]| {
            recipient.open(&agreed(), &point(PK_EM), aad, text).is_ok()
        };
        assert!(opens(&recipient, &hex(AAD_0), &hex(CT_0)));
        assert!(!opens(&recipient, b"Count-1", &hex(CT_0)));
        assert!(!opens(&Recipient::new(point(PK_RM), b"another use"), &hex(AAD_0), &hex(CT_0)));
        assert!(!opens(&Recipient::new(point(PK_EM), &hex(INFO)), &hex(AAD_0), &hex(CT_0)));
        for cut in 0..hex(CT_0).len() {
            assert!(!opens(&recipient, &hex(AAD_0), &hex(CT_0)[..cut]), "{cut}");
        }
        for bit in 0..hex(CT_0).len() * 8 {
            let mut altered = hex(CT_0);
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(!opens(&recipient, &hex(AAD_0), &altered), "bit {bit}");
        }
    }

    #[test]
    fn points_off_the_curve_are_seen() {
        assert!(is_point(&point(PK_EM)) && is_point(&point(PK_RM)));
        let mut off = point(PK_EM);
        off[64] ^= 1;
        assert!(!is_point(&off));
        assert!(!is_point(&[4; POINT_BYTES]));
        assert!(!is_point(&[0; POINT_BYTES]), "the point at infinity has no such form");
        let mut hybrid = point(PK_EM);
        hybrid[0] = 6;
        assert!(!is_point(&hybrid));
        let mut coordinate_beyond_the_field = [0xff; POINT_BYTES];
        coordinate_beyond_the_field[0] = 4;
        assert!(!is_point(&coordinate_beyond_the_field));
    }

    #[test]
    fn a_shared_secret_is_32_bytes() {
        assert!(SharedSecret::from_x_coordinate(Zeroizing::new(vec![0; 31].into())).is_none());
        assert!(SharedSecret::from_x_coordinate(Zeroizing::new(vec![0; 33].into())).is_none());
    }
}
