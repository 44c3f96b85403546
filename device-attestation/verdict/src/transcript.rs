//! The one hash of a whole attestation: what the TPM puts into its quote and into its certification of the key for TLS.
//!
//! Everything that is agreed on in the two steps goes into it, so that no part can be exchanged between them: not the
//! attestation key, not the key for TLS, not the request, not whose order it is for. Each part is preceded by its length,
//! so that nothing can move from one part into its neighbour. The service and the device both compute it.

use ring::digest::{Context, SHA256};

use crate::Binding;

/// What the hash begins with: no other hash of ours does.
const DOMAIN: &[u8] = b"larder device attestation 1\0";

/// What was agreed on when an attestation began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transcript<'a> {
    /// The service's challenge: chance, used once.
    pub challenge: &'a [u8],
    /// The device, by its permanent identifier.
    pub permanent_identifier: &'a [u8; 32],
    /// The TPM's name of the attestation key.
    pub attestation_key: &'a [u8],
    /// The TPM's name of the key for TLS.
    pub tls_key: &'a [u8],
    /// The SHA-256 of the certificate request, in DER.
    pub csr_sha256: &'a [u8; 32],
    /// The ACME account, by its key's thumbprint.
    pub account: &'a str,
    /// The ACME order, by its URL.
    pub order: &'a str,
}

impl Transcript<'_> {
    /// The hash: SHA-256 over the domain, then each part with its length before it, in 4 bytes, big-endian.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let parts = [
            self.challenge,
            self.permanent_identifier,
            self.attestation_key,
            self.tls_key,
            self.csr_sha256,
            self.account.as_bytes(),
            self.order.as_bytes(),
        ];
        let mut context = Context::new(&SHA256);
        context.update(DOMAIN);
        for part in parts {
            // No part that a service takes comes near four gigabytes.
            context.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            context.update(part);
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        hash
    }

    /// What a verdict on this attestation is bound to; `tls_key_sha256` is the hash of the key's SubjectPublicKeyInfo.
    #[must_use]
    pub fn binding(&self, tls_key_sha256: [u8; 32]) -> Binding {
        Binding {
            permanent_identifier: *self.permanent_identifier,
            tls_key_sha256,
            csr_sha256: *self.csr_sha256,
            account: self.account.to_owned(),
            order: self.order.to_owned(),
        }
    }
}
