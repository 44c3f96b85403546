//! What a fridge holds over a power cut: its certificate with the key it belongs to, in one file that is replaced whole,
//! and its account with the authority.
//!
//! The key is wrapped by the TPM and worth nothing elsewhere. The account's key is a plain one: it alone gets no
//! certificate, since an order needs the TPM too. Its file is its owner's alone all the same.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ca_client::{Credentials, Span};
use data_encoding::BASE64;
use fridge_tpm::StoredKey;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::EnrolError;

/// The most bytes of any file here.
const MOST_BYTES: u64 = 64 * 1_024;

/// The folder of one fridge's identity.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

/// A certificate and the key in the TPM that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) key: StoredKey,
    pub(crate) chain_pem: String,
    /// Why it is a quarantine certificate; none when it is a fridge's.
    pub(crate) reasons: Vec<String>,
    /// What was booted when it was got; see [`crate::enrol::Enrolment::booted`].
    pub(crate) booted: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeldText {
    key: String,
    chain: String,
    reasons: Vec<String>,
    booted: String,
}

impl Folder {
    /// Uses this folder, which is made if need be.
    pub(crate) fn open(path: &Path) -> Result<Self, EnrolError> {
        fs::create_dir_all(path).map_err(|why| failed("make", path, &why))?;
        Ok(Self(path.to_owned()))
    }

    /// Where the attestation key is kept.
    pub(crate) fn attestation_key(&self) -> PathBuf {
        self.0.join("attestation.key")
    }

    /// The key that the next certificate is to be for, from when it was made until that certificate is held.
    pub(crate) fn next_key(&self) -> PathBuf {
        self.0.join("next.key")
    }

    /// What is held, if anything.
    pub(crate) fn held(&self) -> Result<Option<Held>, EnrolError> {
        let path = self.0.join("certificate.json");
        let Some(bytes) = read(&path, MOST_BYTES)? else { return Ok(None) };
        let corrupt = |why: &dyn std::fmt::Display| {
            EnrolError::Corrupt(format!("{} is not what was written there ({why}): remove it", path.display()))
        };
        let text: HeldText = serde_json::from_slice(&bytes).map_err(|why| corrupt(&why))?;
        let key = BASE64.decode(text.key.as_bytes()).map_err(|why| corrupt(&why))?;
        let key = StoredKey::from_bytes(&key).map_err(|why| corrupt(&why))?;
        Ok(Some(Held { key, chain_pem: text.chain, reasons: text.reasons, booted: text.booted }))
    }

    /// Holds this instead of what was held.
    pub(crate) fn hold(&self, held: &Held) -> Result<(), EnrolError> {
        let text = HeldText {
            key: BASE64.encode(&held.key.to_bytes()),
            chain: held.chain_pem.clone(),
            reasons: held.reasons.clone(),
            booted: held.booted.clone(),
        };
        self.write("certificate.json", &text)?;
        match fs::remove_file(self.next_key()) {
            Err(why) if why.kind() != ErrorKind::NotFound => Err(failed("remove", &self.next_key(), &why)),
            _ => Ok(()),
        }
    }

    /// The account, if there is one.
    pub(crate) fn account(&self) -> Result<Option<Credentials>, EnrolError> {
        let path = self.0.join("account.json");
        let Some(bytes) = read(&path, MOST_BYTES)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|why| {
            let path = path.display();
            EnrolError::Corrupt(format!(
                "{path} holds no account ({why}): remove it and bring a new external account key"
            ))
        })
    }

    /// Keeps the account.
    pub(crate) fn keep_account(&self, account: &Credentials) -> Result<(), EnrolError> {
        self.write("account.json", account)
    }

    /// Writes a file in one step and onto the disk.
    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), EnrolError> {
        let path = self.0.join(name);
        let text = serde_json::to_vec(value).map_err(|why| EnrolError::Fault(format!("{name}: {why}")))?;
        let new = path.with_extension("new");
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.0)?.sync_all()
        };
        write().map_err(|why| failed("write", &path, &why))
    }
}

impl Held {
    /// The certificates, leaf first.
    pub(crate) fn chain(&self) -> Result<Vec<CertificateDer<'static>>, EnrolError> {
        let read = CertificateDer::pem_slice_iter(self.chain_pem.as_bytes()).collect::<Result<Vec<_>, _>>();
        read.map_err(|why| EnrolError::Corrupt(format!("the certificate that is held cannot be read: {why}")))
    }

    /// The leaf's life.
    pub(crate) fn life(&self) -> Result<Span, EnrolError> {
        let chain = self.chain()?;
        let leaf = chain.first().and_then(|leaf| X509Certificate::from_der(leaf).ok());
        let leaf = leaf.ok_or_else(|| EnrolError::Corrupt("the certificate that is held cannot be read".to_owned()))?;
        let validity = leaf.1.validity();
        Ok(Span { from_s: validity.not_before.timestamp(), to_s: validity.not_after.timestamp() })
    }
}

/// Reads a bounded file; none when it is not there.
pub(crate) fn read(path: &Path, most_bytes: u64) -> Result<Option<Vec<u8>>, EnrolError> {
    let file = match File::open(path) {
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|why| failed("read", path, &why))?,
    };
    let mut bytes = Vec::new();
    file.take(most_bytes).read_to_end(&mut bytes).map_err(|why| failed("read", path, &why))?;
    Ok(Some(bytes))
}

fn failed(doing: &str, path: &Path, why: &std::io::Error) -> EnrolError {
    EnrolError::Fault(format!("cannot {doing} {}: {why}; see whether the disk is full or read-only", path.display()))
}
