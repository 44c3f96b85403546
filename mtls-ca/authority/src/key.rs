//! The public key a certificate is for. Only P-256, and only a key whose point lies on the curve.
//!
//! A request (CSR) is asked for its key and the proof that its maker holds it; whatever else it wishes for is not read.

use rcgen::{CertificateSigningRequestParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::rand::SystemRandom;
use zeroize::Zeroizing;

use crate::Refusal;

/// Bytes of an uncompressed P-256 point: `04 ‖ x ‖ y`.
const POINT_BYTES: usize = 65;

/// A new private key as PKCS #8 PEM, wiped on drop.
pub struct KeyPairPem(Zeroizing<String>);

impl KeyPairPem {
    /// The PEM text; to be written to a file only its owner may read, or handed to TLS.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for KeyPairPem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyPairPem(…)")
    }
}

/// A P-256 public key.
#[derive(Clone, PartialEq, Eq)]
pub struct SubjectKey([u8; POINT_BYTES]);

impl SubjectKey {
    /// Makes a key pair in this process, for parties that have no hardware of their own.
    ///
    /// # Errors
    /// [`Refusal::Key`] when the system gives no randomness.
    pub fn generate() -> Result<(Self, KeyPairPem), Refusal> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|why| Refusal::Key(why.to_string()))?;
        let pem = Zeroizing::new(pair.serialize_pem());
        Ok((Self::from_point(pair.public_key_raw())?, KeyPairPem(pem)))
    }

    /// Takes the key of a PKCS #10 request in PEM, after checking that the request is signed with it.
    ///
    /// # Errors
    /// [`Refusal::Key`] when it is no request, its signature is wrong, or the key is not P-256.
    pub fn from_csr_pem(pem: &str) -> Result<Self, Refusal> {
        let request = CertificateSigningRequestParams::from_pem(pem).map_err(|why| Refusal::Key(why.to_string()))?;
        if request.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(Refusal::Key("it is not a P-256 key".to_owned()));
        }
        Self::from_point(request.public_key.der_bytes())
    }

    /// Takes a key whose holder has proved it in another way (a TPM's certified key), as an uncompressed point.
    ///
    /// # Errors
    /// [`Refusal::Key`] when the bytes are no point of the curve.
    pub fn from_point(point: &[u8]) -> Result<Self, Refusal> {
        let key: [u8; POINT_BYTES] =
            point.try_into().map_err(|_| Refusal::Key("it is not an uncompressed P-256 point".to_owned()))?;
        if !on_curve(&key) {
            return Err(Refusal::Key("its point is not on the curve".to_owned()));
        }
        Ok(Self(key))
    }

    /// The uncompressed point.
    #[must_use]
    pub const fn point(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SubjectKey({})", data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl PublicKeyData for SubjectKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// ring checks a peer's point before it agrees on anything; the agreement itself is thrown away.
fn on_curve(point: &[u8; POINT_BYTES]) -> bool {
    EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new())
        .and_then(|own| agree_ephemeral(own, &UnparsedPublicKey::new(&ECDH_P256, point), |_| ()))
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::SubjectKey;
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PublicKeyData};

    fn request(pair: &KeyPair) -> String {
        CertificateParams::new(vec!["wish.example".into()]).unwrap().serialize_request(pair).unwrap().pem().unwrap()
    }

    #[test]
    fn a_request_gives_its_key() {
        let pair = KeyPair::generate().unwrap();
        let key = SubjectKey::from_csr_pem(&request(&pair)).unwrap();
        assert_eq!(key.point(), pair.public_key_raw());
        assert_eq!(key.subject_public_key_info(), pair.subject_public_key_info());
    }

    #[test]
    fn a_request_signed_by_another_key_is_refused() {
        let (one, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let der = CertificateParams::default().serialize_request(&one).unwrap().der().to_vec();
        let at = der.windows(65).position(|window| window == one.public_key_raw()).unwrap();
        let mut forged = der;
        forged[at..at + 65].copy_from_slice(other.public_key_raw());
        let pem = format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
            data_encoding::BASE64.encode(&forged)
        );
        assert!(SubjectKey::from_csr_pem(&pem).is_err());
    }

    #[test]
    fn other_curves_and_rubbish_are_refused() {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        assert!(SubjectKey::from_csr_pem(&request(&pair)).is_err());
        assert!(SubjectKey::from_csr_pem("").is_err());
        assert!(SubjectKey::from_csr_pem("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n").is_err());
    }

    #[test]
    fn a_point_off_the_curve_is_refused() {
        let good = SubjectKey::generate().unwrap().0;
        assert!(SubjectKey::from_point(good.point()).is_ok());
        let mut off: [u8; 65] = good.point().try_into().unwrap();
        off[64] ^= 1;
        assert!(SubjectKey::from_point(&off).is_err());
        assert!(SubjectKey::from_point(&[4; 64]).is_err());
        assert!(SubjectKey::from_point(&[]).is_err());
    }

    #[test]
    fn a_private_key_is_not_printed() {
        let (key, pem) = SubjectKey::generate().unwrap();
        assert_eq!(format!("{pem:?}"), "KeyPairPem(…)");
        assert!(pem.expose().starts_with("-----BEGIN PRIVATE KEY-----"));
        assert!(format!("{key:?}").starts_with("SubjectKey(04"));
    }
}
