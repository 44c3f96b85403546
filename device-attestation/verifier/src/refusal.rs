//! Why evidence is not believed, in words for whoever stands before the fridge.

use attest_evidence::Malformed;
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Why evidence is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// A structure cannot be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A key is not of the kind it must be.
    #[error(transparent)]
    Key(#[from] KeyFlaw),
    /// The signature is not of this key over this statement.
    #[error("the attestation key did not sign this statement, or it was altered since")]
    Signature,
    /// The statement answers another question.
    #[error("the statement answers an earlier or another question: its nonce is not the one that was given")]
    Nonce,
    /// The statement is about something else.
    #[error("the statement is no {0}")]
    NotA(&'static str),
    /// Other registers were quoted than were asked for.
    #[error("other registers were quoted than were asked for")]
    Selection,
    /// The log does not tell how the registers came to be.
    #[error("the boot log does not lead to the quoted registers: it was altered, cut, or is of another boot")]
    Log,
    /// No credential can be made of it.
    #[error("a credential's secret has 1 to 32 bytes, and chance must be had to seal it")]
    Secret,
    /// The key that is vouched for is another.
    #[error("the key that is vouched for is another than the one presented")]
    AnotherKey,
}

/// Why a key is not fit for what it is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum KeyFlaw {
    /// It may be outside the TPM as well.
    #[error("the key may leave its TPM, so it says nothing of this one")]
    NotFixed,
    /// It was made elsewhere and brought in.
    #[error("the key was not made inside the TPM")]
    BroughtIn,
    /// A key without restriction signs whatever it is given.
    #[error("the attestation key is not restricted, so it would sign a forged statement as well")]
    NotRestricted,
    /// It does not sign, or does more than that.
    #[error("the attestation key must sign and do nothing else")]
    NotForSigning,
    /// An endorsement key that is none.
    #[error("the endorsement key must open what is sealed to it and do nothing else")]
    NotForStorage,
    /// A curve, a hash or a scheme that is not among those used here.
    #[error(
        "the key's algorithms are not those used here: ECDSA on P-256 with SHA-256 to attest, ECC with AES to endorse"
    )]
    Algorithm,
    /// The certified key is bound to another policy, or to none.
    #[error("the key is not bound to the policy that holds it to the measured firmware")]
    Policy,
}

/// Why an endorsement certificate is not believed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CertificateRefusal {
    /// More, or larger ones, than any TPM has.
    #[error("an endorsement certificate has at most {most_bytes} bytes and at most {most} certificates above it")]
    TooLarge {
        /// The most intermediates.
        most: usize,
        /// The most bytes of a certificate.
        most_bytes: usize,
    },
    /// It is no certificate.
    #[error("the endorsement certificate is no X.509 certificate in DER: read it from the TPM again")]
    Unreadable,
    /// Its root is none of those that are known.
    #[error(
        "the endorsement certificate leads to no known root of a TPM maker; it was issued by \"{issuer}\": send the \
         certificates in between along, or have the maker's root added if the make is ours"
    )]
    UnknownRoot {
        /// The name of whoever issued it, shortened.
        issuer: String,
    },
    /// It, or one above it, is not valid any more.
    #[error(
        "the endorsement certificate, or one above it, expired at {}, and the time here is {}: compare both with a \
         clock; if they are right, the maker must give a new one",
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
        "the endorsement certificate, or one above it, is valid from {}, and the time here is {}: compare both with a \
         clock, one of them is wrong",
        moment(*not_before_unix_s), moment(*now_unix_s)
    )]
    NotYetValid {
        /// Its first second, since the Unix epoch.
        not_before_unix_s: i64,
        /// When it was judged, seconds since the Unix epoch.
        now_unix_s: i64,
    },
    /// It is a certificate for something else.
    #[error("the certificate does not state that it is one for an endorsement key (2.23.133.8.1): show the TPM's own")]
    NotForEndorsement,
    /// Its signature, or that of one above it, is not its issuer's.
    #[error("the endorsement certificate was altered, or was not signed by the issuer that it names")]
    Forged,
    /// Its key is of another kind.
    #[error("the endorsement key is not one on P-256 or P-384: show the TPM's ECC endorsement key and its certificate")]
    Algorithm,
    /// Anything else that is wrong with the chain.
    #[error("the endorsement certificate and those above it do not hold together: {0}")]
    Chain(String),
}

/// Why a list of roots cannot be used. It is a fault of our own settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RootsFlaw {
    /// There is none, or there are too many.
    #[error("there must be 1 to {most} roots of TPM makers, and {found} were given: check the file")]
    Count {
        /// How many were given.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// One cannot be a root.
    #[error("the certificate number {number} of the TPM makers' roots is no authority's: take it out or replace it")]
    NoRoot {
        /// Which, from 1.
        number: usize,
    },
}

/// A moment as people read it, UTC, to the second.
fn moment(unix_s: i64) -> String {
    let read = OffsetDateTime::from_unix_timestamp(unix_s).ok().and_then(|at| at.format(&Rfc3339).ok());
    read.unwrap_or_else(|| format!("{unix_s} s"))
}
