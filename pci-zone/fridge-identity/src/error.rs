//! Why a certificate was not got, sorted by whose fault it is. The texts are read by a technician before the fridge.

use ca_client::AcmeError;
use ca_mtls::MtlsError;
use fridge_tpm::TpmError;
use thiserror::Error;

/// Why there is no new certificate.
#[derive(Debug, Error)]
pub enum EnrolError {
    /// The authority, the attestation service or the TPM says no; the same question gets the same answer until a person
    /// changes something.
    #[error("{0}")]
    Refused(String),
    /// Something failed or cannot be reached; asking again is right.
    #[error("{0}")]
    Fault(String),
    /// What is stored here is not what was stored.
    #[error("{0}")]
    Corrupt(String),
}

impl From<TpmError> for EnrolError {
    fn from(why: TpmError) -> Self {
        match why {
            TpmError::Refused(why) => Self::Refused(why.to_string()),
            TpmError::Fault(why) => Self::Fault(why.to_string()),
            TpmError::Corrupt(why) => Self::Corrupt(why.to_string()),
        }
    }
}

impl From<AcmeError> for EnrolError {
    fn from(why: AcmeError) -> Self {
        match why {
            AcmeError::Refused(why) => Self::Refused(why),
            other => Self::Fault(other.to_string()),
        }
    }
}

impl From<MtlsError> for EnrolError {
    fn from(why: MtlsError) -> Self {
        Self::Refused(why.to_string())
    }
}
