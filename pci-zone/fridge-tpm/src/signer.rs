//! A key for TLS as rustls and certificate requests take one: they hand over what is to be signed, and the TPM signs it.
//!
//! Rustls signs within its handshake and waits, so a handshake takes as long as the TPM does.

use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{CertificateParams, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SignatureAlgorithm as RcgenAlgorithm};
use rustls::pki_types::{SubjectPublicKeyInfoDer, alg_id};
use rustls::sign::{Signer, SigningKey, public_key_to_spki};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};

use crate::{Fault, Refusal, StoredKey, Tpm, TpmError};

/// The one way in which it signs.
const SCHEME: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;

/// A key for TLS and the TPM that it is in.
#[derive(Debug, Clone)]
pub struct TpmSigner {
    tpm: Tpm,
    key: Arc<StoredKey>,
}

impl TpmSigner {
    /// Signs with this key of this TPM.
    #[must_use]
    pub fn new(tpm: Tpm, key: StoredKey) -> Self {
        Self { tpm, key: Arc::new(key) }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &StoredKey {
        &self.key
    }

    /// A certificate request (PKCS #10, RFC 2986) for this key and one name, a URI; the subject is empty. DER.
    ///
    /// # Errors
    /// [`Refusal::Name`] when the name is no URI, [`Refusal::Registers`] when the key signs no more, and what any
    /// question to a TPM may meet.
    pub fn certificate_request(&self, uri: &str) -> Result<Vec<u8>, TpmError> {
        let name = uri.try_into().map_err(|_| Refusal::Name(uri.chars().take(256).collect()))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(name)];
        let request = Request { signer: self, failed: Mutex::new(None) };
        let made = params.serialize_request(&request);
        // Rcgen says only that it was not signed; why is what the TPM said.
        if let Some(why) = request.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(why);
        }
        let made = made.map_err(|why| Fault::Request(why.to_string()))?;
        Ok(made.der().to_vec())
    }
}

impl SigningKey for TpmSigner {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SCHEME).then(|| -> Box<dyn Signer> { Box::new(self.clone()) })
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(public_key_to_spki(&alg_id::ECDSA_P256, self.key.point()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for TpmSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.tpm.sign(&self.key, message).map(|signature| signature.der).map_err(|why| Error::General(why.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        SCHEME
    }
}

/// A request that is being made, and why the TPM did not sign it.
struct Request<'a> {
    signer: &'a TpmSigner,
    failed: Mutex<Option<TpmError>>,
}

impl PublicKeyData for Request<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.signer.key.point()
    }

    fn algorithm(&self) -> &'static RcgenAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Request<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.signer.tpm.sign(&self.signer.key, message).map(|signature| signature.der).map_err(|why| {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
            rcgen::Error::RemoteKeyError
        })
    }
}
