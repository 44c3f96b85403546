//! Why a certificate was not renewed, sorted by whose fault it is.

use std::path::Path;

use ca_client::AcmeError;
use thiserror::Error;

/// Why there is no new certificate.
#[derive(Debug, Error)]
pub enum RenewError {
    /// The settings, or the authority, say no: a person must change something.
    #[error("{0}")]
    Refused(String),
    /// Something failed; it is tried again.
    #[error("{0}")]
    Fault(String),
    /// A file here is not what was written there.
    #[error("{0}")]
    Corrupt(String),
}

impl RenewError {
    pub(crate) fn disk(doing: &str, path: &Path, why: &std::io::Error) -> Self {
        Self::Fault(format!("cannot {doing} {}: {why}; see whether the disk is full or read-only", path.display()))
    }
}

impl From<AcmeError> for RenewError {
    fn from(why: AcmeError) -> Self {
        match why {
            AcmeError::Refused(why) => Self::Refused(why),
            other => Self::Fault(other.to_string()),
        }
    }
}
