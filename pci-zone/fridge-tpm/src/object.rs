//! The fridge's answer to a device-attest-01 challenge (draft-ietf-acme-device-attest, section 5): the attestation object,
//! for which the TPM certifies the key for TLS once more, over the hash of the challenge's key authorization.

use attest_evidence::AttestationObject;

use crate::service::{senseless, sha256};
use crate::{Attested, Attesting, Tpm, TpmError};

/// Makes the attestation object for what was attested, in answer to the challenge with this key authorization (RFC 8555,
/// section 8.1). As `attObj` it goes to the ACME server in base64url.
///
/// # Errors
/// [`Fault::Service`](crate::Fault::Service) when what the attestation service gave does not fit into one, and what any
/// question to a TPM may meet.
pub fn attestation_object(
    tpm: &Tpm,
    attesting: &Attesting,
    attested: &Attested,
    key_authorization: &str,
) -> Result<Vec<u8>, TpmError> {
    let nonce = sha256(key_authorization.as_bytes());
    let certified = tpm.certify(&attesting.tls_key, &attesting.attestation_key, &nonce)?;
    let object = AttestationObject {
        certificates: attested.attestation_key_certificate.iter().map(Vec::as_slice).collect(),
        signature: &certified.signature,
        statement: &certified.statement,
        public_area: attesting.tls_key.public_area(),
        attestation_key: attesting.attestation_key.public_area(),
        verdict: &attested.verdict,
    };
    Ok(object.to_bytes().map_err(|_| senseless())?)
}
