//! The settings file, and the files that it names, read and checked as a whole.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use attest_verifier::MakerRoots;
use ca_mtls::{Identity, IdentityFiles};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::values::MOST_BYTES;
use crate::{AuthorityClient, ServeError, Signer, Values};

/// What stands before an uncompressed point in the SubjectPublicKeyInfo of a key on P-256.
const SPKI_P256_BYTES: usize = 26;
const POINT_BYTES: usize = 65;

/// What the service is told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The service's certificate chain, leaf first, PEM; it names `service/attestation` and signs verdicts, too.
    pub certificate: PathBuf,
    /// Its key, PKCS #8 in PEM, readable by its owner alone.
    pub key: PathBuf,
    /// The database.
    pub database: PathBuf,
    /// The roots of TPM makers, PEM.
    pub maker_roots: PathBuf,
    /// The signed list of reference values.
    pub reference_values: PathBuf,
    /// The public key, PEM, with which that list must be signed.
    pub reference_values_key: PathBuf,
    /// Is written with the address once the service answers.
    #[serde(default)]
    pub ready_file: Option<PathBuf>,
    /// The authority, which certifies attestation keys.
    pub authority: AuthorityConfig,
}

/// Where the authority is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorityConfig {
    /// Its address for services (`larder-ca serve`).
    pub address: SocketAddr,
    /// The roots under which it must be, PEM; the service replaces the file when the authority has others.
    pub bundle: PathBuf,
}

impl Config {
    /// Reads a settings file (TOML).
    ///
    /// # Errors
    /// [`ServeError`] names the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, ServeError> {
        let text = read(path)?;
        let text = std::str::from_utf8(&text).map_err(|_| ServeError::file(path, "it is no text"))?;
        toml::from_str(text).map_err(|error| ServeError::file(path, &error.to_string()))
    }

    /// The certificate and the key, for connections and for verdicts.
    pub(crate) fn identity(&self) -> Result<(Identity, Signer), ServeError> {
        let identity = Identity::load(&self.certificate, &self.key)?;
        let chain = certificates(&self.certificate)?;
        let pem = Zeroizing::new(read(&self.key)?);
        let signer = match PrivateKeyDer::from_pem_slice(&pem) {
            Ok(PrivateKeyDer::Pkcs8(key)) => Signer::new(chain, key.secret_pkcs8_der()),
            _ => None,
        };
        Ok((identity, signer.ok_or_else(|| ServeError::file(&self.key, "it is no key on P-256 in PKCS #8"))?))
    }

    /// The way to the authority.
    pub(crate) fn authority(&self) -> Result<AuthorityClient, ServeError> {
        Ok(AuthorityClient::new(self.authority.address, self.files())?)
    }

    /// The files of who the service is and of whom it trusts.
    pub(crate) fn files(&self) -> IdentityFiles {
        let (certificate, key) = (self.certificate.clone(), self.key.clone());
        IdentityFiles { certificate, key, bundle: self.authority.bundle.clone() }
    }

    /// The makers' roots.
    pub(crate) fn roots(&self) -> Result<MakerRoots, ServeError> {
        let roots = certificates(&self.maker_roots)?;
        MakerRoots::new(&roots).map_err(|why| ServeError::file(&self.maker_roots, &why.to_string()))
    }

    /// The list of reference values.
    pub(crate) fn values(&self) -> Result<Values, ServeError> {
        let path = &self.reference_values_key;
        let key = SubjectPublicKeyInfoDer::from_pem_slice(&read(path)?).ok();
        let point = key.as_ref().and_then(|key| key.get(SPKI_P256_BYTES..)).filter(|point| point.len() == POINT_BYTES);
        let point = point.ok_or_else(|| ServeError::file(path, "it is no public key on P-256"))?;
        let values = Values::read(&read(&self.reference_values)?, point);
        values.map_err(|why| ServeError::file(&self.reference_values, &why.to_string()))
    }
}

fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, ServeError> {
    let pem = read(path)?;
    let read = CertificateDer::pem_slice_iter(&pem).map(|der| der.map(|der| der.to_vec()));
    read.collect::<Result<_, _>>().map_err(|error| ServeError::file(path, &error.to_string()))
}

/// Reads a bounded file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, ServeError> {
    let failed = |error: std::io::Error| ServeError::file(path, &error.to_string());
    let most = u64::try_from(MOST_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > MOST_BYTES { Err(ServeError::file(path, "it is larger than any such file")) } else { Ok(bytes) }
}
