//! Why the service, or a command, cannot do what it was told. These are faults of our own files and surroundings; what a
//! device does wrong is a [`crate::Refusal`].

use std::path::Path;

use ca_mtls::MtlsError;
use thiserror::Error;

use crate::{AttestError, Fault};

/// Why the service cannot run.
#[derive(Debug, Error)]
pub enum ServeError {
    /// A file cannot be used.
    #[error("{file}: {why}; put the right file in place")]
    File {
        /// Which.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// The certificate or the key.
    #[error(transparent)]
    Identity(#[from] MtlsError),
    /// The certificate is another service's.
    #[error("the certificate names {0}, but only service/attestation may answer here: have the right one issued")]
    Name(String),
    /// The address.
    #[error("cannot listen: {0}; see whether another process has the address")]
    Listen(#[from] std::io::Error),
    /// The database, or the list of reference values.
    #[error(transparent)]
    Attest(#[from] AttestError),
}

impl From<Fault> for ServeError {
    fn from(fault: Fault) -> Self {
        Self::Attest(fault.into())
    }
}

impl ServeError {
    pub(crate) fn file(file: &Path, why: &str) -> Self {
        Self::File { file: file.display().to_string(), why: why.to_owned() }
    }
}
