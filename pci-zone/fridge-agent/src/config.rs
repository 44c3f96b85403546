//! What an agent is told at its start, checked once: who it is, whom it speaks to, where its journal lies.
//!
//! A file with an unknown key is refused: a misspelt bound must not become a silent default. It leaves the certificates
//! to `ca-mtls`, which checks them; here only their name is compared, since an agent that seals cards for one fridge
//! and speaks with another's certificate would be refused at every step.

use std::path::PathBuf;
use std::sync::Arc;

use ca_identity::{Role, SpiffeId, SpiffeIdError};
use ca_mtls::{IdentityFiles, MtlsError, ReloadingClient};
use fridge_identity::{Settings, SettingsError, TpmSettings};
use pci_contract::{FridgeId, IdError};
use serde::Deserialize;
use thiserror::Error;

use crate::disk::{Disk, Folder};

/// The application protocol of the fridge's connection.
pub const ALPN: &[&[u8]] = &[b"h2"];

/// The bounds on every wait and queue of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// A customer whose service cannot be reached for so long is refused.
    pub unreachable_after_ms: u64,
    /// A customer whose service was reached waits at most so long for its answer.
    pub answer_within_ms: u64,
    /// Lock again after so long when the service does not say.
    pub open_within_ms: u64,
    /// Sound after the door was open for so long, when the service does not say.
    pub open_limit_ms: u64,
    /// A stream whose service owes an answer and says nothing for so long is opened anew.
    pub silence_ms: u64,
    /// The bound on making a connection, and on each call that is not a purchase.
    pub call_within_ms: u64,
    /// The bound on each command to the hardware.
    pub hardware_within_ms: u64,
    /// The pause between tries to write a journal that could not be written.
    pub disk_retry_ms: u64,
    /// The most records of one session.
    pub max_records: u64,
    /// The most tamper reports kept while offline.
    pub max_reports: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            unreachable_after_ms: 10_000,
            answer_within_ms: 45_000,
            open_within_ms: 20_000,
            open_limit_ms: 60_000,
            silence_ms: 15_000,
            call_within_ms: 10_000,
            hardware_within_ms: 2_000,
            disk_retry_ms: 1_000,
            max_records: 4_096,
            max_reports: 256,
        }
    }
}

/// What an agent needs, in memory: for many agents in one process, and made of a file by the binary.
#[derive(Clone)]
pub struct AgentConfig {
    /// Which fridge this is.
    pub fridge: FridgeId,
    /// The service's address, `host:port`.
    pub service: String,
    /// How to speak TLS to it, from `ca-mtls`, with [`ALPN`].
    pub tls: Arc<rustls::ClientConfig>,
    /// Where the journal lies.
    pub disk: Arc<dyn Disk>,
    /// The bounds.
    pub limits: Limits,
}

impl AgentConfig {
    /// A configuration with the default bounds and its journal in a folder of its own.
    ///
    /// # Errors
    /// As the system says of the folder.
    pub fn new(
        fridge: FridgeId,
        service: impl Into<String>,
        tls: Arc<rustls::ClientConfig>,
        journal: impl Into<PathBuf>,
    ) -> std::io::Result<Self> {
        let disk = Arc::new(Folder::open(journal)?);
        Ok(Self { fridge, service: service.into(), tls, disk, limits: Limits::default() })
    }
}

/// Why an agent does not start.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A file or folder cannot be used.
    #[error("{path}: {why}")]
    Path {
        /// Which.
        path: PathBuf,
        /// As the system says.
        why: std::io::Error,
    },
    /// The file is not of the expected form.
    #[error("the configuration does not parse: {0}")]
    Form(#[from] toml::de::Error),
    /// The fridge's name is none.
    #[error("fridge: {0}")]
    Fridge(#[from] IdError),
    /// The service's name is none.
    #[error("service_id: {0}")]
    Service(#[from] SpiffeIdError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Certificates(#[from] MtlsError),
    /// The TPM cannot be used as it is told.
    #[error("tpm: {0}")]
    Tpm(#[from] SettingsError),
    /// There is no way to a certificate, or more than one.
    #[error("name either `certificate` and `key`, or a section [tpm]")]
    Source,
    /// The certificate names another party.
    #[error("the certificate is {found}'s, not this fridge's")]
    NotThisFridge {
        /// Whom it names.
        found: String,
    },
}

/// The configuration file of the binary.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// Which fridge this is.
    pub fridge: String,
    /// The service's address, `host:port`.
    pub service_address: String,
    /// The service's SPIFFE id.
    pub service_id: String,
    /// The fridge's certificate chain, PEM, when its key is in a file: for tests, since such a key can be copied.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// That key, PEM, readable by its owner alone.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// The fridge's TPM, which holds its key and gets its certificate.
    #[serde(default)]
    pub tpm: Option<TpmSettings>,
    /// The authority's roots, PEM.
    pub trust_bundle: PathBuf,
    /// The folder of the journal.
    pub journal: PathBuf,
    /// The Unix socket that drives the simulated hardware.
    pub control_socket: PathBuf,
    /// What to log, as a filter of `tracing`; `info` when absent.
    #[serde(default = "info")]
    pub log: String,
    /// The bounds; each has a default.
    #[serde(default)]
    pub limits: Limits,
}

fn info() -> String {
    "info".to_owned()
}

impl FileConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`] says what is wrong with it.
    pub fn load(path: &std::path::Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|why| ConfigError::Path { path: path.to_owned(), why })?;
        Self::parse(&text)
    }

    /// Parses a file's text.
    ///
    /// # Errors
    /// [`ConfigError::Form`] when it is not of the expected form.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Ok(toml::from_str(text)?)
    }

    /// Says where the certificate comes from, and loads it if it is in a file.
    ///
    /// # Errors
    /// [`ConfigError`] says what cannot be used.
    pub fn source(&self) -> Result<Source, ConfigError> {
        let fridge = FridgeId::parse(&self.fridge)?;
        let service = SpiffeId::parse(&self.service_id)?;
        match (&self.certificate, &self.key, &self.tpm) {
            (Some(certificate), Some(key), None) => {
                let (certificate, key, bundle) = (certificate.clone(), key.clone(), self.trust_bundle.clone());
                let certificates = ReloadingClient::new(IdentityFiles { certificate, key, bundle })?;
                match certificates.id().role() {
                    Role::Fridge(name) if name.as_str() == fridge.as_str() => Ok(Source::Files(certificates)),
                    _ => Err(ConfigError::NotThisFridge { found: certificates.id().to_string() }),
                }
            }
            (None, None, Some(tpm)) => {
                let bundle = self.trust_bundle.clone();
                let party = SpiffeId::fridge(service.trust_domain(), fridge.as_str())?;
                let settings = Settings::new(tpm, party, service, &self.service_address, bundle)?;
                Ok(Source::Tpm(Box::new(settings)))
            }
            _ => Err(ConfigError::Source),
        }
    }

    /// What an agent needs that speaks TLS like this.
    ///
    /// # Errors
    /// [`ConfigError`] says what cannot be used.
    pub fn agent(
        &self,
        tls: impl FnOnce(&SpiffeId, &[&[u8]]) -> Result<Arc<rustls::ClientConfig>, MtlsError>,
    ) -> Result<AgentConfig, ConfigError> {
        let tls = tls(&SpiffeId::parse(&self.service_id)?, ALPN)?;
        let config = AgentConfig::new(FridgeId::parse(&self.fridge)?, &self.service_address, tls, &self.journal)
            .map_err(|why| ConfigError::Path { path: self.journal.clone(), why })?;
        Ok(AgentConfig { limits: self.limits, ..config })
    }
}

/// Where a fridge's certificate comes from.
#[derive(Debug)]
pub enum Source {
    /// From files that somebody else replaces.
    Files(ReloadingClient),
    /// From the authority, for a key in the fridge's TPM.
    Tpm(Box<Settings>),
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        fridge = "FR-0001"
        service_address = "127.0.0.1:7443"
        service_id = "spiffe://larder.internal/service/purchase-session"
        certificate = "fridge.pem"
        key = "fridge.key"
        trust_bundle = "bundle.pem"
        journal = "journal"
        control_socket = "control.sock"
    "#;

    const TPM: &str = r#"
        [tpm]
        address = "device:/dev/tpmrm0"
        folder = "identity"
        registers = [0, 7]
        authority_address = "127.0.0.1:7444"
        authority_directory = "https://127.0.0.1:7444/acme/directory"
        attestation_address = "127.0.0.1:7445"
        account_key_id = "k"
        account_key_file = "k.mac"
    "#;

    #[test]
    fn a_file_gets_default_bounds_and_may_change_one() {
        let config = FileConfig::parse(GOOD).expect("parses");
        assert_eq!((config.limits, config.log.as_str()), (Limits::default(), "info"));
        let config = FileConfig::parse(&format!("{GOOD}\n[limits]\nsilence_ms = 7")).expect("parses");
        assert_eq!(config.limits, Limits { silence_ms: 7, ..Limits::default() });
    }

    #[test]
    fn a_misspelt_or_missing_key_is_refused() {
        for bad in [format!("{GOOD}\nfrige = 1"), format!("{GOOD}\n[limits]\nsilence = 7"), "fridge = 'x'".to_owned()] {
            assert!(matches!(FileConfig::parse(&bad), Err(ConfigError::Form(_))), "{bad}");
        }
    }

    #[test]
    fn names_and_files_are_checked_before_anything_starts() {
        let bad = GOOD.replace("FR-0001", "4242424242424242");
        assert!(matches!(FileConfig::parse(&bad).and_then(|c| c.source()), Err(ConfigError::Fridge(_))));
        let bad = GOOD.replace("spiffe://", "https://");
        assert!(matches!(FileConfig::parse(&bad).and_then(|c| c.source()), Err(ConfigError::Service(_))));
        assert!(matches!(FileConfig::parse(GOOD).and_then(|c| c.source()), Err(ConfigError::Certificates(_))));
        for (key, more) in [("key = \"fridge.key\"", ""), ("", TPM)] {
            let bad = format!("{}{more}", GOOD.replace(key, ""));
            assert!(matches!(FileConfig::parse(&bad).and_then(|c| c.source()), Err(ConfigError::Source)), "{bad}");
        }
        assert!(matches!(FileConfig::load(std::path::Path::new("/nonexistent")), Err(ConfigError::Path { .. })));
    }
}
