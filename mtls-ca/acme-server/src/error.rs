//! What can go wrong, by whose fault it is. Nothing of it reaches a client: he is told that something of ours failed.

use thiserror::Error;

/// Why the server or one of its commands did not do what it was asked.
#[derive(Debug, Error)]
pub enum AcmeServerError {
    /// The operator's: what he asked for cannot be.
    #[error("{0}")]
    Refused(String),
    /// The authority's.
    #[error(transparent)]
    Authority(#[from] authority::AuthorityError),
    /// The server's own certificate.
    #[error(transparent)]
    Identity(#[from] ca_mtls::MtlsError),
    /// The database.
    #[error("the database failed: {0}; check the disk and who may write to it, then ask again")]
    Database(#[from] sqlx::Error),
    /// The system: a socket, a file, chance.
    #[error("{what}: {source}")]
    System {
        /// What was being done.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A row that no code of ours could have written.
    #[error("{place} in the database cannot be what this program wrote: {why}; restore it from a backup")]
    Corrupt {
        /// Which row.
        place: String,
        /// What is wrong with it.
        why: String,
    },
}

impl AcmeServerError {
    pub(crate) fn corrupt(place: &str, why: impl std::fmt::Display) -> Self {
        Self::Corrupt { place: place.to_owned(), why: why.to_string() }
    }

    pub(crate) fn system(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::System { what: what.into(), source }
    }
}
