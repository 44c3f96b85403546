//! Why a verdict is not believed.

use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Why a verdict is not believed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VerdictRefusal {
    /// It is larger than any.
    #[error("a verdict has at most {most} bytes: send the one that the attestation service gave")]
    TooLarge {
        /// The most bytes.
        most: usize,
    },
    /// A part of it is not as it must be.
    #[error("the verdict cannot be read: {0}, as it stands there, is not what the attestation service writes")]
    Malformed(&'static str),
    /// Roots that cannot be used; a fault of our own settings.
    #[error("there must be 1 to 16 roots, and each must be an authority's certificate: check the trust bundle")]
    Roots,
    /// The signer's chain does not hold.
    #[error("the verdict's signer has no certificate of ours: {0}; have the device attested again")]
    Chain(String),
    /// The signer is somebody else.
    #[error("the verdict was signed by {found}, and only {expected} may: find out how {found} came to it")]
    Name {
        /// Who may.
        expected: String,
        /// Who did.
        found: String,
    },
    /// The signer's certificate, or one above it, has ended.
    #[error(
        "the certificate of the verdict's signer ended at {}, and the time here is {}: compare both with a clock, and \
         have the device attested again",
        moment(*not_after_unix_s), moment(*now_unix_s)
    )]
    SignerExpired {
        /// Its last second, since the Unix epoch.
        not_after_unix_s: i64,
        /// When it was asked, seconds since the Unix epoch.
        now_unix_s: i64,
    },
    /// The signer's certificate, or one above it, has not begun.
    #[error(
        "the certificate of the verdict's signer begins at {}, and the time here is {}: compare both with a clock",
        moment(*not_before_unix_s), moment(*now_unix_s)
    )]
    SignerNotYetValid {
        /// Its first second, since the Unix epoch.
        not_before_unix_s: i64,
        /// When it was asked, seconds since the Unix epoch.
        now_unix_s: i64,
    },
    /// The signature is not the signer's.
    #[error("the verdict was altered, or its signer did not sign it: have the device attested again")]
    Signature,
    /// It does not hold any more.
    #[error("the verdict held until {}, and the time here is {}: have the device attested again", moment(*expires_at_unix_s), moment(*now_unix_s))]
    Expired {
        /// Its last second, since the Unix epoch.
        expires_at_unix_s: i64,
        /// When it was asked, seconds since the Unix epoch.
        now_unix_s: i64,
    },
    /// It was said later than now.
    #[error("the verdict is of {}, and the time here is {}: compare both with a clock, one of them is wrong", moment(*issued_at_unix_s), moment(*now_unix_s))]
    FromTheFuture {
        /// When it was said, seconds since the Unix epoch.
        issued_at_unix_s: i64,
        /// When it was asked, seconds since the Unix epoch.
        now_unix_s: i64,
    },
    /// It was asked for something else.
    #[error("the verdict is for another {0} than this one: have the device attested for what is asked here")]
    Another(&'static str),
}

/// A moment as people read it, UTC, to the second.
fn moment(unix_s: i64) -> String {
    let read = OffsetDateTime::from_unix_timestamp(unix_s).ok().and_then(|at| at.format(&Rfc3339).ok());
    read.unwrap_or_else(|| format!("{unix_s} s"))
}
