//! Why an answer to a device-attest-01 challenge proves nothing, in words for whoever stands before the fridge.

use attest_evidence::Malformed;
use attest_verdict::VerdictRefusal;
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The most characters of a text that a device chose.
const MOST_CHARACTERS: usize = 160;

/// Why an answer proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StatementRefusal {
    /// The attestation object, or a structure in it, cannot be read.
    #[error("{0}; send the object that the fridge's own program makes")]
    Malformed(#[from] Malformed),
    /// The attestation key's certificate is not believed.
    #[error(transparent)]
    Certificate(#[from] CertificateRefusal),
    /// The certificate is another key's.
    #[error(
        "the attestation key's certificate (x5c) is for another key than the attestation key in the object \
         (larder-ak-area): send the certificate that came with the verdict"
    )]
    AnotherCertificate,
    /// The statement answers another challenge.
    #[error(
        "the TPM's statement is for another challenge than this one, or for another account's: its extraData is not the \
         SHA-256 of this challenge's key authorization; have the TPM certify the key for this order"
    )]
    Challenge,
    /// Something that the TPM should have said is not believed.
    #[error("{what}: {why}")]
    Evidence {
        /// What was looked at.
        what: &'static str,
        /// Why it is not believed.
        why: attest_verifier::Refusal,
    },
    /// The certified key is of another curve.
    #[error("the certified key is not on P-256, and no other is certified here: make one on P-256")]
    Curve,
    /// The verdict is not believed, or is about something else.
    #[error(transparent)]
    Verdict(#[from] VerdictRefusal),
    /// The verdict is about another attestation key.
    #[error(
        "the verdict is about another attestation key than the one that signed this statement: attest and answer with \
         the same attestation key"
    )]
    AnotherAttestationKey,
}

impl StatementRefusal {
    /// Whether a clock that is wrong may be all there is to it: the same answer may be good once it is right.
    #[must_use]
    pub const fn may_be_the_clock(&self) -> bool {
        matches!(
            self,
            Self::Certificate(CertificateRefusal::Expired { .. } | CertificateRefusal::NotYetValid { .. })
                | Self::Verdict(
                    VerdictRefusal::Expired { .. }
                        | VerdictRefusal::FromTheFuture { .. }
                        | VerdictRefusal::SignerExpired { .. }
                        | VerdictRefusal::SignerNotYetValid { .. }
                )
        )
    }
}

/// Why an attestation key's certificate is not believed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CertificateRefusal {
    /// It is no certificate.
    #[error(
        "the attestation key's certificate is no X.509 certificate in DER: send the one that came with the verdict"
    )]
    Unreadable,
    /// It leads elsewhere.
    #[error(
        "the attestation key's certificate leads to no root of ours; it was issued by \"{issuer}\": have the device \
         attested by our attestation service and send the chain that comes with the verdict"
    )]
    UnknownRoot {
        /// The name of whoever issued it, shortened.
        issuer: String,
    },
    /// It, or one above it, is not valid any more.
    #[error(
        "the attestation key's certificate, or one above it, ended at {}, and the time here is {}: have the device \
         attested again; if it was attested just now, compare both times with a clock",
        moment(*not_after_unix_s), moment(*now_unix_s)
    )]
    Expired {
        /// Its last second, since the Unix epoch.
        not_after_unix_s: i64,
        /// When it was judged, seconds since the Unix epoch.
        now_unix_s: i64,
    },
    /// It, or one above it, is not valid yet.
    #[error(
        "the attestation key's certificate, or one above it, begins at {}, and the time here is {}: compare both with a \
         clock, one of them is wrong",
        moment(*not_before_unix_s), moment(*now_unix_s)
    )]
    NotYetValid {
        /// Its first second, since the Unix epoch.
        not_before_unix_s: i64,
        /// When it was judged, seconds since the Unix epoch.
        now_unix_s: i64,
    },
    /// It, or one above it, is for something else.
    #[error(
        "the certificate, or one above it, is not one for attestation keys (2.23.133.8.3): send the one that came with \
         the verdict, not one for TLS"
    )]
    NotForAttestation,
    /// Its signature, or that of one above it, is not its issuer's.
    #[error("the attestation key's certificate was altered, or was not signed by the issuer that it names")]
    Forged,
    /// It is not as WebAuthn has it.
    #[error("the attestation key's certificate is not as Web Authentication has it (section 8.3.1): {0}")]
    Form(&'static str),
    /// Anything else that is wrong with the chain.
    #[error("the attestation key's certificate and those above it do not hold together: {0}")]
    Chain(String),
}

/// A text of others, short and without anything that could pass for another line.
pub(crate) fn short(text: &str) -> String {
    text.escape_debug().take(MOST_CHARACTERS).collect()
}

/// A moment as people read it, UTC, to the second.
fn moment(unix_s: i64) -> String {
    let read = OffsetDateTime::from_unix_timestamp(unix_s).ok().and_then(|at| at.format(&Rfc3339).ok());
    read.unwrap_or_else(|| format!("{unix_s} s"))
}
