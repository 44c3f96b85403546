//! Why a configuration cannot be made or replaced. Every text says what happened and what the operator can do.
//!
//! These are faults of our own files; what a peer does wrong is [`crate::PeerError`].

use std::path::PathBuf;

use ca_identity::SpiffeId;
use thiserror::Error;

use crate::PeerError;

/// Why an identity, a trust bundle or a TLS configuration could not be made.
#[derive(Debug, Error)]
pub enum MtlsError {
    /// A file could not be read.
    #[error("cannot read {}: {source}; check that it exists and that this service's user may read it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is far larger than any certificate or key.
    #[error("{} is larger than {max_bytes} bytes and so is no certificate, key or trust bundle", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most bytes such a file may have.
        max_bytes: u64,
    },
    /// A private key that others than its owner may read.
    #[error(
        "the key {} has mode {mode:04o}, so others than its owner may use it; \
         run `chmod 600 {}`, and replace the key if it may have been read",
        path.display(), path.display()
    )]
    KeyMode {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// PEM that does not decode.
    #[error("{what} is not valid PEM: {why}")]
    Pem {
        /// What was being read.
        what: &'static str,
        /// What the decoder said.
        why: String,
    },
    /// A file without the thing it is there for.
    #[error("no {0} was found; the file must hold at least one, in PEM form")]
    Missing(&'static str),
    /// A key that rustls cannot use, or that does not belong to the certificate.
    #[error("the private key cannot be used with its certificate: {0}; put the matching pair in place")]
    Key(rustls::Error),
    /// A certificate in the bundle that cannot be a trust anchor.
    #[error("a certificate of the trust bundle cannot be used: {0}; put the authority's own bundle in place")]
    Bundle(rustls::Error),
    /// A certificate in the bundle that is not an authority's.
    #[error("the trust bundle holds a certificate that is no authority's; put the authority's own bundle in place")]
    NotAnAuthority,
    /// Our own certificate does not name us as it must.
    #[error("our own certificate cannot be used: {0}; have the authority issue a new one")]
    Own(#[from] PeerError),
    /// The replaced certificate names somebody else.
    #[error("the new certificate names {found}, but this process runs as {expected}; put its own certificate in place")]
    NameChanged {
        /// Who the process runs as.
        expected: Box<SpiffeId>,
        /// Who the new certificate names.
        found: Box<SpiffeId>,
    },
    /// rustls refused the configuration.
    #[error("the TLS configuration was refused: {0}")]
    Config(String),
}
