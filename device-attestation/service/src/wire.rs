//! What goes over the wire, in JSON: bytes are base64url without padding (RFC 4648, section 5), moments RFC 3339.
//!
//! Reading is the check: what comes out has the right kinds and sizes, and an unknown field is refused, so that a device
//! that means something we do not understand is told so.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use crate::Refusal;

/// The most bytes of an event log, as its parser bounds it, and of everything else.
const MOST_LOG_BYTES: usize = 256 * 1_024;
const MOST_BYTES: usize = 8 * 1_024;
/// The most certificates above an endorsement certificate.
const MOST_INTERMEDIATES: usize = 8;
/// A JWK thumbprint by SHA-256 in base64url (RFC 7638).
const THUMBPRINT_CHARACTERS: usize = 43;
/// The most bytes of an order's URL.
const MOST_ORDER_BYTES: usize = 512;
/// A TPM's name of a key: the id of a hash and the hash, of 32 to 64 bytes.
const NAME_BYTES: std::ops::RangeInclusive<usize> = 34..=66;

/// The first step: who comes, with which keys, and for which order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// The endorsement certificate, DER.
    pub ek_certificate: Vec<u8>,
    /// Those above it, DER.
    pub ek_intermediates: Vec<Vec<u8>>,
    /// The endorsement key's `TPMT_PUBLIC`, when it was not made by the TCG's template.
    pub ek_public: Option<Vec<u8>>,
    /// The attestation key's `TPMT_PUBLIC`.
    pub ak_public: Vec<u8>,
    /// The new key for TLS, its `TPMT_PUBLIC`.
    pub tls_key_public: Vec<u8>,
    /// The TPM's name of the key for TLS before it, when there was one.
    pub previous_tls_key: Option<Vec<u8>>,
    /// The SHA-256 of the certificate request.
    pub csr_sha256: [u8; 32],
    /// The ACME account's thumbprint.
    pub acme_account: String,
    /// The ACME order's URL.
    pub acme_order: String,
}

/// The second step: the evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    /// What the credential held.
    pub secret: Vec<u8>,
    /// The quote, a `TPMS_ATTEST`, and its `TPMT_SIGNATURE`.
    pub quote: Vec<u8>,
    /// Its signature.
    pub quote_signature: Vec<u8>,
    /// The certification of the key for TLS, a `TPMS_ATTEST`.
    pub certify: Vec<u8>,
    /// Its signature.
    pub certify_signature: Vec<u8>,
    /// The boot's log.
    pub event_log: Vec<u8>,
    /// The previous key's `TPMT_SIGNATURE` (ECDSA, SHA-256) over the nonce, when one was named.
    pub previous_signature: Option<Vec<u8>>,
}

/// The answer to [`Begin`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Begun {
    /// The attestation's id.
    pub id: String,
    /// `TPM2B_ID_OBJECT` and `TPM2B_ENCRYPTED_SECRET`, as `TPM2_ActivateCredential` takes them.
    pub credential_blob: String,
    /// The second of both.
    pub encrypted_secret: String,
    /// The challenge.
    pub challenge: String,
    /// The device's permanent identifier, as lower-case hexadecimal.
    pub permanent_identifier: String,
    /// What the quote and the certification must carry: the hash of all that was agreed on.
    pub nonce: String,
    /// The registers to quote, of the SHA-256 bank.
    pub pcr_selection: Vec<u8>,
    /// Until when the evidence must come.
    pub expires_at: String,
}

/// The answer to [`Finish`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finished {
    /// The sealed verdict.
    pub verdict: String,
    /// The attestation key's certificate and those above it, DER, leaf first.
    pub attestation_key_certificate: Vec<String>,
    /// `affirming` or `quarantine`.
    pub appraisal: &'static str,
    /// Why it is quarantine.
    pub reasons: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BeginText<'a> {
    ek_certificate: &'a str,
    #[serde(default, borrow)]
    ek_intermediates: Vec<&'a str>,
    ek_public: Option<&'a str>,
    ak_public: &'a str,
    tls_key_public: &'a str,
    previous_tls_key: Option<&'a str>,
    csr_sha256: &'a str,
    acme_account: &'a str,
    acme_order: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FinishText<'a> {
    secret: &'a str,
    quote: &'a str,
    quote_signature: &'a str,
    certify: &'a str,
    certify_signature: &'a str,
    event_log: &'a str,
    previous_signature: Option<&'a str>,
}

impl Begin {
    /// Reads a request's body.
    ///
    /// # Errors
    /// [`Refusal::Request`] with what cannot be read.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let text: BeginText<'_> = json(body)?;
        if text.ek_intermediates.len() > MOST_INTERMEDIATES {
            return Err(refused("ek_intermediates", "more than any maker has"));
        }
        let intermediates = text.ek_intermediates.iter().map(|der| bytes("ek_intermediates", der, MOST_BYTES));
        let csr_sha256 = bytes("csr_sha256", text.csr_sha256, 32)?;
        let previous = text.previous_tls_key.map(|name| bytes("previous_tls_key", name, MOST_BYTES)).transpose()?;
        if previous.as_ref().is_some_and(|name| !NAME_BYTES.contains(&name.len())) {
            return Err(refused("previous_tls_key", "not a TPM's name of a key"));
        }
        Ok(Self {
            ek_certificate: bytes("ek_certificate", text.ek_certificate, MOST_BYTES)?,
            ek_intermediates: intermediates.collect::<Result<_, _>>()?,
            ek_public: text.ek_public.map(|area| bytes("ek_public", area, MOST_BYTES)).transpose()?,
            ak_public: bytes("ak_public", text.ak_public, MOST_BYTES)?,
            tls_key_public: bytes("tls_key_public", text.tls_key_public, MOST_BYTES)?,
            previous_tls_key: previous,
            csr_sha256: csr_sha256.try_into().map_err(|_| refused("csr_sha256", "not 32 bytes"))?,
            acme_account: account(text.acme_account)?,
            acme_order: order(text.acme_order)?,
        })
    }
}

impl Finish {
    /// Reads a request's body.
    ///
    /// # Errors
    /// [`Refusal::Request`] with what cannot be read.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let text: FinishText<'_> = json(body)?;
        let previous = text.previous_signature.map(|signature| bytes("previous_signature", signature, MOST_BYTES));
        Ok(Self {
            secret: bytes("secret", text.secret, MOST_BYTES)?,
            quote: bytes("quote", text.quote, MOST_BYTES)?,
            quote_signature: bytes("quote_signature", text.quote_signature, MOST_BYTES)?,
            certify: bytes("certify", text.certify, MOST_BYTES)?,
            certify_signature: bytes("certify_signature", text.certify_signature, MOST_BYTES)?,
            event_log: bytes("event_log", text.event_log, MOST_LOG_BYTES)?,
            previous_signature: previous.transpose()?,
        })
    }
}

/// Bytes as they are written here.
pub(crate) fn encode(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::Request(error.to_string().chars().take(200).collect()))
}

fn refused(field: &str, why: &str) -> Refusal {
    Refusal::Request(format!("{field} is {why}"))
}

fn bytes(field: &'static str, text: &str, most: usize) -> Result<Vec<u8>, Refusal> {
    if text.len() > most.saturating_mul(2) {
        return Err(refused(field, "too long"));
    }
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes());
    let bytes = bytes.map_err(|_| refused(field, "not base64url without padding"))?;
    if bytes.len() <= most { Ok(bytes) } else { Err(refused(field, "too long")) }
}

fn account(text: &str) -> Result<String, Refusal> {
    let digits = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let is_one = digits && text.len() == THUMBPRINT_CHARACTERS;
    if is_one { Ok(text.to_owned()) } else { Err(refused("acme_account", "not a thumbprint (RFC 7638)")) }
}

fn order(text: &str) -> Result<String, Refusal> {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    let is_one = visible && text.starts_with("https://") && text.len() <= MOST_ORDER_BYTES;
    if is_one { Ok(text.to_owned()) } else { Err(refused("acme_order", "not an https URL")) }
}
