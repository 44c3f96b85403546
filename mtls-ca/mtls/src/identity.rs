//! What a process is (certificate chain and key) and whom it trusts (the authority's roots), loaded and checked once.
//!
//! The check is the constructor: an [`Identity`] has a key that belongs to its certificate, and the certificate names
//! exactly one party. A key file that others may read is refused, because a copied key is an identity stolen without a
//! trace. It leaves when to load again to `reload`.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use ca_identity::SpiffeId;
use rustls::RootCertStore;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::MtlsError;
use crate::peer::{Peer, parse, peer};
use crate::provider::provider;

/// The most bytes of a certificate, key or bundle file.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The most certificates of a chain or a bundle.
const MAX_CERTIFICATES: usize = 64;

/// A certificate chain, leaf first, and the key that belongs to it.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    own: Peer,
}

impl Identity {
    /// Loads a chain and a key from PEM files; the key file must be readable by its owner alone.
    ///
    /// # Errors
    /// [`MtlsError`] says which file is at fault and what to do.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, MtlsError> {
        Self::from_pem(&read(certificate, Secrecy::Public)?, &read(key, Secrecy::OwnerOnly)?)
    }

    /// Makes an identity of PEM texts that are already in memory.
    ///
    /// # Errors
    /// [`MtlsError`] when either does not parse, they do not belong together, or the leaf does not name one party.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, MtlsError> {
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|why| match why {
            rustls_pki_types::pem::Error::NoItemsFound => MtlsError::Missing("private key"),
            why => MtlsError::Pem { what: "the private key", why: why.to_string() },
        })?;
        let key = provider().key_provider.load_private_key(key).map_err(MtlsError::Key)?;
        Self::new(certificates(certificate, "certificate")?, key)
    }

    /// Makes an identity of a chain and a key that signs by itself, such as one inside a TPM.
    ///
    /// # Errors
    /// [`MtlsError`] when the chain is empty, the key is another's, or the leaf does not name one party.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: Arc<dyn SigningKey>) -> Result<Self, MtlsError> {
        let own = peer(&chain)?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(MtlsError::Key)?;
        Ok(Self { certified: Arc::new(certified), own })
    }

    /// Who we are.
    #[must_use]
    pub const fn id(&self) -> &SpiffeId {
        &self.own.id
    }

    /// Our certificate as a peer sees it: name, serial number and last second.
    #[must_use]
    pub const fn own(&self) -> &Peer {
        &self.own
    }

    /// The chain and key as rustls takes them.
    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("own", &self.own).finish_non_exhaustive()
    }
}

/// The roots a process trusts; during a rotation there are two of them.
#[derive(Debug, Clone)]
pub struct TrustBundle {
    roots: Arc<RootCertStore>,
}

impl TrustBundle {
    /// Loads the roots from a PEM file.
    ///
    /// # Errors
    /// [`MtlsError`] says what is wrong with the file.
    pub fn load(path: &Path) -> Result<Self, MtlsError> {
        Self::from_pem(&read(path, Secrecy::Public)?)
    }

    /// Makes a bundle of PEM text; every certificate in it must be usable, so that a torn file is not half a bundle.
    ///
    /// # Errors
    /// [`MtlsError`] when there is none, or one of them cannot be a trust anchor.
    pub fn from_pem(pem: &[u8]) -> Result<Self, MtlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(pem, "trusted certificate")? {
            if !parse(&certificate)?.is_ca() {
                return Err(MtlsError::NotAnAuthority);
            }
            roots.add(certificate).map_err(MtlsError::Bundle)?;
        }
        Ok(Self { roots: Arc::new(roots) })
    }

    /// How many roots it holds.
    #[must_use]
    pub fn count(&self) -> usize {
        self.roots.len()
    }

    /// The roots as anchors.
    pub(crate) fn anchors(&self) -> &[rustls_pki_types::TrustAnchor<'static>] {
        &self.roots.roots
    }

    /// The roots as rustls takes them.
    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.roots)
    }
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, MtlsError> {
    let found = CertificateDer::pem_slice_iter(pem)
        .take(MAX_CERTIFICATES.saturating_add(1))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|why| MtlsError::Pem { what, why: why.to_string() })?;
    match found.len() {
        0 => Err(MtlsError::Missing(what)),
        1..=MAX_CERTIFICATES => Ok(found),
        _ => Err(MtlsError::Pem { what, why: format!("it holds more than {MAX_CERTIFICATES} certificates") }),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Secrecy {
    Public,
    OwnerOnly,
}

/// Reads a bounded file. Mode and bytes come from the same open file, so that neither can be swapped in between.
fn read(path: &Path, secrecy: Secrecy) -> Result<Zeroizing<Vec<u8>>, MtlsError> {
    let failed = |source| MtlsError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if secrecy == Secrecy::OwnerOnly && mode & 0o077 != 0 {
        return Err(MtlsError::KeyMode { path: path.to_owned(), mode });
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(MtlsError::TooLarge { path: path.to_owned(), max_bytes: MAX_FILE_BYTES });
    }
    // Room for the whole file at once: a buffer that grows would leave unwiped copies of a key behind.
    let room = usize::try_from(metadata.len()).unwrap_or(0).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
