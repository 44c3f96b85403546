//! What is said of a device, and what it was asked for.

use crate::VerdictRefusal;

/// How long a verdict holds, in seconds.
pub const LIFE_S: i64 = 3_600;
/// The most bytes of an account's name: a JWK thumbprint (RFC 7638) has 43.
const MOST_ACCOUNT_BYTES: usize = 64;
/// The most bytes of an order's URL.
const MOST_ORDER_BYTES: usize = 512;
/// The most reasons, and the most bytes of one.
const MOST_REASONS: usize = 32;
const MOST_REASON_BYTES: usize = 256;

/// What a verdict was asked for: it is worth nothing for anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The device: the SHA-256 of its endorsement key's SubjectPublicKeyInfo.
    pub permanent_identifier: [u8; 32],
    /// The SHA-256 of the SubjectPublicKeyInfo of the key for TLS, which is in the device's TPM.
    pub tls_key_sha256: [u8; 32],
    /// The SHA-256 of the certificate request, in DER.
    pub csr_sha256: [u8; 32],
    /// The ACME account, by its key's thumbprint (RFC 7638).
    pub account: String,
    /// The ACME order, by its URL.
    pub order: String,
}

/// Whether what runs on the device is known to be good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appraised {
    /// All that was measured is known to be good.
    Affirming,
    /// The device is genuine, but must not sell: it may update and report. The reasons are for people.
    Quarantine(Vec<String>),
}

/// What is said of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What it was asked for.
    pub binding: Binding,
    /// The hash that the TPM was made to put into its statements; it covers the whole conversation.
    pub nonce: [u8; 32],
    /// The TPM's name of the attestation key.
    pub attestation_key: Vec<u8>,
    /// How the device was appraised.
    pub appraised: Appraised,
    /// By which version of the reference values.
    pub reference_values: u64,
    /// When it was said, seconds since the Unix epoch; it holds for [`LIFE_S`].
    pub issued_at_unix_s: i64,
}

impl Verdict {
    /// The last second in which it holds, since the Unix epoch.
    #[must_use]
    pub const fn expires_at_unix_s(&self) -> i64 {
        self.issued_at_unix_s.saturating_add(LIFE_S)
    }

    /// Whether it is the answer to what was asked.
    ///
    /// # Errors
    /// [`VerdictRefusal::Another`] with the first thing that is not the same.
    pub fn answers(&self, asked: &Binding) -> Result<(), VerdictRefusal> {
        let Binding { permanent_identifier, tls_key_sha256, csr_sha256, account, order } = &self.binding;
        let differs = [
            (*permanent_identifier != asked.permanent_identifier, "device"),
            (*tls_key_sha256 != asked.tls_key_sha256, "key"),
            (*csr_sha256 != asked.csr_sha256, "certificate request"),
            (*account != asked.account, "account"),
            (*order != asked.order, "order"),
        ];
        match differs.iter().find(|(differs, _)| *differs) {
            Some((_, what)) => Err(VerdictRefusal::Another(what)),
            None => Ok(()),
        }
    }

    /// Checks that nothing in it is larger than it may be.
    pub(crate) fn check_bounds(&self) -> Result<(), VerdictRefusal> {
        let text = |text: &str, most| !text.is_empty() && text.len() <= most && !text.chars().any(char::is_control);
        let Binding { account, order, .. } = &self.binding;
        let reasons = match &self.appraised {
            Appraised::Affirming => true,
            Appraised::Quarantine(reasons) => {
                (1..=MOST_REASONS).contains(&reasons.len())
                    && reasons.iter().all(|reason| text(reason, MOST_REASON_BYTES))
            }
        };
        let holds = [
            (text(account, MOST_ACCOUNT_BYTES), "the account"),
            (text(order, MOST_ORDER_BYTES), "the order"),
            (is_name(&self.attestation_key), "the attestation key's name"),
            (reasons, "the reasons"),
            (self.issued_at_unix_s >= 0, "the time"),
        ];
        match holds.iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(VerdictRefusal::Malformed(what)),
            None => Ok(()),
        }
    }
}

/// Whether bytes are a TPM's name of a key: the id of a hash (SHA-256, SHA-384, SHA-512) and such a hash.
fn is_name(name: &[u8]) -> bool {
    matches!((name, name.len()), ([0, 0x0b, ..], 34) | ([0, 0x0c, ..], 50) | ([0, 0x0d, ..], 66))
}
