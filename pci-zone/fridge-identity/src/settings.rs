//! What a fridge is told about its TPM and about whom to ask, checked once.
//!
//! A file with an unknown key is refused: a misspelt register would otherwise be a key that is bound to nothing.

use std::path::PathBuf;
use std::sync::Arc;

use attest_evidence::{HashAlgorithm, PcrSelection};
use ca_client::Web;
use ca_identity::{ServiceName, SpiffeId};
use ca_mtls::{AnyServer, EnrolmentClient, MtlsError, TrustBundle};
use data_encoding::BASE64URL_NOPAD;
use fridge_tpm::{Refusal, TpmAddress, TpmError};
use rustls::ClientConfig;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::EnrolError;
use crate::store::read;

/// The most bytes of a file that is named here.
const MOST_BYTES: u64 = 64 * 1_024;
/// The most registers there are.
const REGISTERS: u8 = 24;

/// The part of an agent's configuration file that is about its TPM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmSettings {
    /// Where the TPM is: `device:/dev/tpmrm0`, or `swtpm:host=127.0.0.1,port=2321`.
    pub address: String,
    /// The folder of what is kept: the keys, wrapped by the TPM, the certificate, the account.
    pub folder: PathBuf,
    /// The boot's log, as the kernel gives it.
    #[serde(default = "kernel_log")]
    pub event_log: PathBuf,
    /// The certificates between the TPM's own and its maker's root, PEM, when the TPM holds none.
    #[serde(default)]
    pub maker_intermediates: Option<PathBuf>,
    /// The registers that the key for TLS is bound to: those of the attestation service's list of reference values, or
    /// fewer, whose policy that list then names.
    pub registers: Vec<u8>,
    /// The authority's address, `host:port`, and its ACME directory.
    pub authority_address: String,
    /// The URL of the authority's ACME directory.
    pub authority_directory: String,
    /// The attestation service's address, `host:port`.
    pub attestation_address: String,
    /// The id of the external account key that this fridge was given.
    pub account_key_id: String,
    /// The file of that key, base64url; it is needed until there is an account.
    pub account_key_file: PathBuf,
    /// The status service's address, `host:port`, which is told what this fridge is; nobody is when absent.
    #[serde(default)]
    pub status_address: Option<String>,
}

fn kernel_log() -> PathBuf {
    PathBuf::from("/sys/kernel/security/tpm0/binary_bios_measurements")
}

/// Why a fridge's identity does not start.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The TPM's address or registers are none.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// TLS cannot be configured.
    #[error(transparent)]
    Tls(#[from] MtlsError),
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] EnrolError),
}

/// What it takes to get and keep a certificate.
#[derive(Debug, Clone)]
pub struct Settings {
    pub(crate) party: SpiffeId,
    pub(crate) tpm: TpmAddress,
    pub(crate) folder: PathBuf,
    pub(crate) event_log: PathBuf,
    pub(crate) ek_intermediates: Vec<Vec<u8>>,
    pub(crate) registers: PcrSelection,
    pub(crate) directory: String,
    pub(crate) authority: Web,
    pub(crate) attestation: Web,
    pub(crate) authority_address: String,
    pub(crate) anyone: AnyServer,
    pub(crate) service_address: String,
    pub(crate) service: SpiffeId,
    pub(crate) bundle: PathBuf,
    pub(crate) trusts: EnrolmentClient,
    pub(crate) status_address: Option<String>,
    account_key_id: String,
    account_key_file: PathBuf,
}

impl Settings {
    /// Checks what the file said, for this fridge, which speaks to `service` at `service_address` and trusts the roots in
    /// the file `bundle` (PEM), which is replaced when the authority has others.
    ///
    /// # Errors
    /// [`SettingsError`] says what is wrong.
    pub fn new(
        file: &TpmSettings,
        party: SpiffeId,
        service: SpiffeId,
        service_address: &str,
        bundle: PathBuf,
    ) -> Result<Self, SettingsError> {
        let registers = &file.registers;
        if registers.is_empty() || registers.iter().any(|register| *register >= REGISTERS) {
            return Err(TpmError::from(Refusal::Selection).into());
        }
        let domain = party.trust_domain();
        let trusts = EnrolmentClient::new(&TrustBundle::load(&bundle)?);
        let way = |service, address: &String| {
            let tls: Arc<ClientConfig> = trusts.config(&SpiffeId::service(domain, service), &[b"http/1.1"])?;
            Ok::<_, MtlsError>(Web::new(address.clone(), tls))
        };
        Ok(Self {
            tpm: file.address.parse::<TpmAddress>().map_err(TpmError::from)?,
            folder: file.folder.clone(),
            event_log: file.event_log.clone(),
            ek_intermediates: intermediates(file.maker_intermediates.as_ref())?,
            registers: PcrSelection::of(HashAlgorithm::Sha256, registers.iter().copied()),
            directory: file.authority_directory.clone(),
            authority: way(ServiceName::Authority, &file.authority_address)?,
            attestation: way(ServiceName::Attestation, &file.attestation_address)?,
            authority_address: file.authority_address.clone(),
            anyone: AnyServer::new(&[b"http/1.1"])?,
            service_address: service_address.to_owned(),
            service,
            account_key_id: file.account_key_id.clone(),
            account_key_file: file.account_key_file.clone(),
            status_address: file.status_address.clone(),
            party,
            bundle,
            trusts,
        })
    }

    /// The external account key: its id and its secret.
    pub(crate) fn external_account(&self) -> Result<(String, Zeroizing<Vec<u8>>), EnrolError> {
        let path = &self.account_key_file;
        let told = |why: &str| {
            let path = path.display();
            EnrolError::Refused(format!("{path} {why}: make one with `larder-acme eab new` and put it there"))
        };
        let text =
            Zeroizing::new(read(path, MOST_BYTES)?.ok_or_else(|| told("is not there, and there is no account yet"))?);
        let secret = BASE64URL_NOPAD.decode(text.trim_ascii());
        let secret = secret.map_err(|_| told("holds no external account key in base64url"))?;
        Ok((self.account_key_id.clone(), Zeroizing::new(secret)))
    }
}

fn intermediates(path: Option<&PathBuf>) -> Result<Vec<Vec<u8>>, EnrolError> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let told = |why: &str| EnrolError::Refused(format!("the TPM maker's certificates at {}: {why}", path.display()));
    let pem = read(path, MOST_BYTES)?.ok_or_else(|| told("there is no such file"))?;
    let read = CertificateDer::pem_slice_iter(&pem).map(|der| der.map(|der| der.to_vec())).collect::<Result<_, _>>();
    read.map_err(|why| told(&why.to_string()))
}
