//! A trust bundle as the authority sends it: versioned, and signed by a root that was trusted before it. So the roots that a
//! process trusts can be replaced over the wire, and only by whom it trusts already.
//!
//! It is a compact JWS (RFC 7515) with ES256. It is written in exactly one form, and what is written otherwise is refused:
//! there is nothing in it that a reader could choose to see. It leaves asking for it, and putting it in force, to
//! `bundle_follow`, and the signature itself to whoever has the key.

use ca_identity::TrustDomain;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use ring::digest::{SHA256, digest};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rustls_pki_types::TrustAnchor;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::peer::hex;
use crate::{MtlsError, TrustBundle};

/// The `typ` of the header: what this JWS is, so that no other can be taken for it (RFC 8725, section 3.11).
const TYPE: &str = "larder-trust-bundle+jws";
/// The most bytes of the text; two roots have some 2 KB.
const MAX_BYTES: usize = 64 * 1024;
/// The most roots; there are two while they are rotated.
const MAX_ROOTS: usize = 8;
/// What stands before the point in the SubjectPublicKeyInfo of a P-256 key (RFC 5480), DER.
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE,
    0x3D, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// The tag and the length that an anchor's key is without.
const OUTER_BYTES: usize = 2;

/// Why a signed bundle is not believed. The one in force stays in force.
#[derive(Debug, Error)]
pub enum BundleError {
    /// It is larger than any bundle of ours.
    #[error("the trust bundle has {0} bytes, more than {MAX_BYTES}")]
    TooLarge(usize),
    /// It is not written as the authority writes it.
    #[error("the trust bundle cannot be read: {0}")]
    Malformed(&'static str),
    /// It is another trust domain's.
    #[error("the trust bundle is for the trust domain {0:?}, which is not ours")]
    TrustDomain(String),
    /// It is not newer than the one in force.
    #[error("the trust bundle has version {found}, but version {known} is in force; an old bundle is being shown")]
    Older {
        /// The version in force.
        known: u64,
        /// The version of the bundle refused.
        found: u64,
    },
    /// Its signer is none of the roots that are trusted now.
    #[error(
        "the trust bundle is signed by a root that is not trusted here; if this process was away for a whole rotation, \
         give it the authority's bundle by hand"
    )]
    UnknownSigner,
    /// The signature is wrong.
    #[error("the trust bundle is not signed by the root it names")]
    Signature,
    /// A root in it cannot be used.
    #[error("a root of the trust bundle cannot be used: {0}")]
    Roots(#[from] MtlsError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
    typ: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    trust_domain: String,
    version: u64,
    issued_at_unix_s: i64,
    roots: Vec<String>,
}

/// What is to be signed as a bundle.
#[derive(Debug, Clone, Copy)]
pub struct BundleDraft<'a> {
    /// Whose roots they are.
    pub trust_domain: &'a TrustDomain,
    /// The version; each is greater than the one before.
    pub version: u64,
    /// When it is made, seconds since the Unix epoch.
    pub issued_at_unix_s: i64,
    /// The roots, DER.
    pub roots: &'a [Vec<u8>],
    /// The uncompressed P-256 point of the root that signs it.
    pub signer_point: &'a [u8],
}

impl BundleDraft<'_> {
    /// What the signature is over (RFC 7515, section 5.1): ECDSA with P-256 and SHA-256.
    ///
    /// # Errors
    /// [`BundleError::Malformed`] when it cannot be written as JSON.
    pub fn signing_input(&self) -> Result<String, BundleError> {
        let header = Header { alg: "ES256".to_owned(), kid: key_id(self.signer_point), typ: TYPE.to_owned() };
        let payload = Payload {
            trust_domain: self.trust_domain.as_str().to_owned(),
            version: self.version,
            issued_at_unix_s: self.issued_at_unix_s,
            roots: self.roots.iter().map(|root| BASE64.encode(root)).collect(),
        };
        Ok(format!("{}.{}", part(&header)?, part(&payload)?))
    }

    /// The signed bundle, of what was signed and its signature, r ‖ s.
    #[must_use]
    pub fn assemble(signing_input: &str, signature: &[u8]) -> String {
        format!("{signing_input}.{}", BASE64URL_NOPAD.encode(signature))
    }
}

/// A bundle that may be believed.
#[derive(Debug, Clone)]
pub struct SignedBundle {
    version: u64,
    issued_at_unix_s: i64,
    bundle: TrustBundle,
    pem: String,
}

impl SignedBundle {
    /// Checks a bundle against what is trusted now: the roots, the trust domain, and the version in force (zero when that is
    /// not known).
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn check(
        text: &str,
        trusted: &TrustBundle,
        trust_domain: &TrustDomain,
        known_version: u64,
    ) -> Result<Self, BundleError> {
        let (header, payload, input, signature) = read(text)?;
        let signer = trusted.anchors().iter().filter_map(point).find(|point| key_id(point) == header.kid);
        let signer = signer.ok_or(BundleError::UnknownSigner)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, signer)
            .verify(input.as_bytes(), &signature)
            .map_err(|_| BundleError::Signature)?;
        if payload.trust_domain != trust_domain.as_str() {
            return Err(BundleError::TrustDomain(payload.trust_domain));
        }
        if payload.version <= known_version {
            return Err(BundleError::Older { known: known_version, found: payload.version });
        }
        Self::of(&payload)
    }

    /// Reads a bundle that was checked when it came, without checking who signed it.
    ///
    /// # Errors
    /// [`BundleError`] when it is not written as it must be.
    pub(crate) fn read_kept(text: &str) -> Result<Self, BundleError> {
        let (_, payload, _, _) = read(text)?;
        Self::of(&payload)
    }

    fn of(payload: &Payload) -> Result<Self, BundleError> {
        if payload.roots.is_empty() || payload.roots.len() > MAX_ROOTS {
            return Err(BundleError::Malformed("it has no root, or far too many"));
        }
        let mut pem = String::new();
        for root in &payload.roots {
            let der = BASE64.decode(root.as_bytes()).map_err(|_| BundleError::Malformed("a root is not base64"))?;
            pem.push_str(&certificate_pem(&der));
        }
        let bundle = TrustBundle::from_pem(pem.as_bytes())?;
        if bundle.anchors().iter().any(|root| point(root).is_none()) {
            return Err(BundleError::Malformed("the key of a root is not P-256"));
        }
        Ok(Self { version: payload.version, issued_at_unix_s: payload.issued_at_unix_s, bundle, pem })
    }

    /// Its version.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// When it was made, seconds since the Unix epoch.
    #[must_use]
    pub const fn issued_at_unix_s(&self) -> i64 {
        self.issued_at_unix_s
    }

    /// The roots in it.
    #[must_use]
    pub const fn bundle(&self) -> &TrustBundle {
        &self.bundle
    }

    /// The roots in it, PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }
}

/// The header, the payload, what is signed and the signature.
fn read(text: &str) -> Result<(Header, Payload, &str, Vec<u8>), BundleError> {
    if text.len() > MAX_BYTES {
        return Err(BundleError::TooLarge(text.len()));
    }
    let malformed = BundleError::Malformed;
    let (input, signature) = text.rsplit_once('.').ok_or(malformed("it is not three parts"))?;
    let (header, payload) = input.split_once('.').ok_or(malformed("it is not three parts"))?;
    let bytes = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| malformed("it is not base64url"));
    let header_read: Header =
        serde_json::from_slice(&bytes(header)?).map_err(|_| malformed("its header is another"))?;
    let payload_read: Payload =
        serde_json::from_slice(&bytes(payload)?).map_err(|_| malformed("it says something else"))?;
    if part(&header_read)? != header || part(&payload_read)? != payload {
        return Err(malformed("it is not written as the authority writes"));
    }
    if header_read.alg != "ES256" || header_read.typ != TYPE {
        return Err(malformed("its header is another"));
    }
    Ok((header_read, payload_read, input, bytes(signature)?))
}

fn part(value: &impl Serialize) -> Result<String, BundleError> {
    let json = serde_json::to_vec(value).map_err(|_| BundleError::Malformed("it has no form in JSON"))?;
    Ok(BASE64URL_NOPAD.encode(&json))
}

/// How a root is named: SHA-256 of its SubjectPublicKeyInfo, lowercase hex.
fn key_id(point: &[u8]) -> String {
    hex(digest(&SHA256, &[P256_PREFIX.as_slice(), point].concat()).as_ref())
}

/// The point of an anchor's key, if it is P-256.
fn point<'a>(anchor: &'a TrustAnchor<'_>) -> Option<&'a [u8]> {
    let prefix = P256_PREFIX.get(OUTER_BYTES..)?;
    anchor.subject_public_key_info.as_ref().strip_prefix(prefix).filter(|point| point.len() == 65)
}

/// DER as PEM (RFC 7468).
fn certificate_pem(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let mut lines = String::from("-----BEGIN CERTIFICATE-----\n");
    for (at, letter) in text.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            lines.push('\n');
        }
        lines.push(letter);
    }
    lines.push_str("\n-----END CERTIFICATE-----\n");
    lines
}
