//! The files of a certificate. Key and chain are written beside the old ones and then put in their place, the key first: a
//! service that reads between the two finds that they do not belong together, keeps what it has, and reads again.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ca_client::{Credentials, Span};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::RenewError;

/// The most bytes of any file here.
const MOST_BYTES: u64 = 64 * 1_024;
/// Who may read a secret, and who anything else.
const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// Reads a bounded file; none when it is not there.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, RenewError> {
    let file = match File::open(path) {
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|why| RenewError::disk("read", path, &why))?,
    };
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes).map_err(|why| RenewError::disk("read", path, &why))?;
    Ok(Some(bytes))
}

/// Writes a file in one step and onto the disk.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), RenewError> {
    let new = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
    };
    write().map_err(|why| RenewError::disk("write", path, &why))
}

/// Puts a new key and its chain in the place of the old ones.
pub(crate) fn keep(certificate: &Path, key: &Path, chain_pem: &str, key_pem: &str) -> Result<(), RenewError> {
    write(key, key_pem.as_bytes(), SECRET)?;
    write(certificate, chain_pem.as_bytes(), PUBLIC)
}

/// The leaf that stands in a file, if there is one.
pub(crate) fn leaf(certificate: &Path) -> Result<Option<CertificateDer<'static>>, RenewError> {
    let Some(pem) = read(certificate)? else { return Ok(None) };
    CertificateDer::from_pem_slice(&pem).map(Some).map_err(|why| {
        RenewError::Corrupt(format!("{} holds no certificate ({why}): remove it", certificate.display()))
    })
}

/// The life of a certificate.
pub(crate) fn life(leaf: &CertificateDer<'_>) -> Result<Span, RenewError> {
    let parsed = X509Certificate::from_der(leaf);
    let (_, leaf) = parsed.map_err(|why| RenewError::Corrupt(format!("a certificate cannot be read: {why}")))?;
    let validity = leaf.validity();
    Ok(Span { from_s: validity.not_before.timestamp(), to_s: validity.not_after.timestamp() })
}

/// The account that is kept, if there is one.
pub(crate) fn account(path: &Path) -> Result<Option<Credentials>, RenewError> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|why| {
        let path = path.display();
        RenewError::Corrupt(format!("{path} holds no account ({why}): remove it and bring a new external account key"))
    })
}

/// Keeps an account.
pub(crate) fn keep_account(path: &Path, account: &Credentials) -> Result<(), RenewError> {
    let text = serde_json::to_vec(account).map_err(|why| RenewError::Fault(why.to_string()))?;
    write(path, &text, SECRET)
}
