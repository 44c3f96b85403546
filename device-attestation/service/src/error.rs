//! How an attestation fails, sorted by whose fault it is. Every text says what happened, why, and what to do.

use std::sync::Arc;

use attest_verdict::VerdictRefusal;
use attest_verifier::CertificateRefusal;
use thiserror::Error;

use crate::text::moment;

/// Why an attestation did not lead to a verdict.
#[derive(Debug, Clone, Error)]
pub enum AttestError {
    /// The device's fault.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Ours, or a dependency's.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Something is stored that no code of ours could have written.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}

/// What a device, or whoever speaks for it, did wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The request cannot be read.
    #[error("the request cannot be read: {0}; send what the description of this interface says")]
    Request(String),
    /// The endorsement certificate is not believed.
    #[error(transparent)]
    Certificate(#[from] CertificateRefusal),
    /// The endorsement certificate does not say what the TPM is.
    #[error(
        "the endorsement certificate does not name the TPM's manufacturer, model and version (TCG EK Credential Profile, \
         section 3.2.9), so its attestation key cannot be certified: use a board whose TPM's maker says it"
    )]
    Model,
    /// Something that the TPM should have said is not believed.
    #[error("{what}: {why}")]
    Evidence {
        /// What was looked at.
        what: &'static str,
        /// Why it is not believed.
        why: attest_verifier::Refusal,
    },
    /// There is no such attestation.
    #[error("no attestation of this id was begun here, or it ended long ago: begin a new one")]
    Unknown,
    /// Its evidence came before.
    #[error("the evidence of this attestation came already, and it can be used once: begin a new one")]
    Used,
    /// It took too long.
    #[error(
        "this attestation could be ended until {}, and the time here is {}: begin a new one; if that is wrong, compare \
         both clocks",
        moment(*expires_at_unix_s), moment(*now_unix_s)
    )]
    Expired {
        /// Its last second, since the Unix epoch.
        expires_at_unix_s: i64,
        /// When it was to be ended, seconds since the Unix epoch.
        now_unix_s: i64,
    },
    /// The TPM did not open the credential.
    #[error(
        "the secret is not the one that was sealed for this attestation: the attestation key is not in the TPM of this \
         endorsement key, or the attestation is another device's; begin again with the TPM's own keys"
    )]
    Secret,
    /// The previous key for TLS did not sign.
    #[error("the previous key for TLS did not sign this attestation: sign its nonce with the key that was named")]
    PreviousKey,
    /// Too many are under way.
    #[error("too many attestations are under way: wait for {wait_s} s and begin again")]
    Busy {
        /// How long to wait, in seconds.
        wait_s: i64,
    },
    /// A list of reference values that is older than the one in force.
    #[error(
        "the reference values have version {offered}, and version {accepted} was in force before: a list is never taken \
         back; sign the old values again under a version above {accepted}"
    )]
    ValuesWentBack {
        /// The version offered.
        offered: u64,
        /// The highest that was ever accepted.
        accepted: u64,
    },
    /// Two lists with one version.
    #[error("there are two different lists of reference values with version {0}: sign the right one with a higher one")]
    ValuesDiffer(u64),
    /// A list of reference values that cannot be used.
    #[error("the list of reference values cannot be used: {0}; the one before stays in force")]
    Values(&'static str),
    /// A device that is not known.
    #[error("no device with the permanent identifier {0} was ever attested here: check the identifier")]
    NoSuchDevice(String),
}

impl Refusal {
    /// A word that programs can hold on to.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Request(_) => "bad_request",
            Self::Certificate(_) => "endorsement_certificate",
            Self::Model => "tpm_model",
            Self::Evidence { .. } => "evidence",
            Self::Unknown => "unknown_attestation",
            Self::Used => "used_attestation",
            Self::Expired { .. } => "expired_attestation",
            Self::Secret => "secret",
            Self::PreviousKey => "previous_key",
            Self::Busy { .. } => "busy",
            Self::ValuesWentBack { .. } => "values_went_back",
            Self::ValuesDiffer(_) => "values_differ",
            Self::Values(_) => "values",
            Self::NoSuchDevice(_) => "no_such_device",
        }
    }
}

/// Something of ours, or of a dependency, failed. Nothing was half done; the same attestation may be begun again.
#[derive(Debug, Clone, Error)]
pub enum Fault {
    /// The database.
    #[error("the attestation database failed while it {doing}: {cause}; see whether its disk is full or unreadable")]
    Database {
        /// What it was doing.
        doing: &'static str,
        /// What it said.
        cause: Arc<sqlx::Error>,
    },
    /// The authority did not certify the attestation key.
    #[error(
        "the authority did not certify an attestation key: {0}; see whether `larder-ca serve` runs at the address in the \
         settings. Nothing was lost: the device sends the same evidence again"
    )]
    Authority(String),
    /// The machine gave no randomness.
    #[error("the machine has no randomness to give; it must not run unattended like this")]
    Chance,
    /// The verdict could not be sealed.
    #[error("the verdict could not be sealed: {0}")]
    Seal(#[from] VerdictRefusal),
    /// A migration that was applied has another text.
    #[error("migration {0} was applied with another text than this program's: start the program that applied it")]
    Migration(i64),
}

impl Fault {
    pub(crate) fn database(doing: &'static str) -> impl Fn(sqlx::Error) -> Self {
        move |cause| Self::Database { doing, cause: Arc::new(cause) }
    }
}

/// A stored row that no code of ours could have written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "the row {key} of table {table} cannot be: {why}; restore the database from a backup and find out who wrote it"
)]
pub struct Corrupt {
    /// The table.
    pub table: &'static str,
    /// The row's key.
    pub key: String,
    /// What cannot be.
    pub why: &'static str,
}
