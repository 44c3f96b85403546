//! The settings file: where the authority is, and which certificates are wanted. A file with an unknown key is refused.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use ca_client::Web;
use ca_identity::{ServiceName, SpiffeId, TrustDomain};
use ca_mtls::{EnrolmentClient, TrustBundle};
use serde::Deserialize;

use crate::RenewError;
use crate::files::read;

/// What the program is told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The authority's ACME server, `host:port`.
    pub authority_address: String,
    /// Its ACME directory.
    pub authority_directory: String,
    /// The roots under which it must be, PEM; read anew for each certificate.
    pub trust_bundle: PathBuf,
    /// The trust domain.
    pub trust_domain: String,
    /// Where the authority's questions for names and addresses are answered; port 80 as the world sees it.
    pub http01_listen: SocketAddr,
    /// The certificates.
    #[serde(rename = "certificate")]
    pub wanted: Vec<Wanted>,
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Whose it is: `service/<name>`.
    pub party: String,
    /// Its DNS names.
    #[serde(default)]
    pub dns: Vec<String>,
    /// Its addresses.
    #[serde(default)]
    pub ip: Vec<IpAddr>,
    /// Where the chain goes, PEM.
    pub certificate: PathBuf,
    /// Where its key goes, PEM, readable by its owner alone.
    pub key: PathBuf,
    /// Where the account with the authority is kept.
    pub account: PathBuf,
    /// The id of the external account key that the security team made for this party.
    pub account_key_id: String,
    /// That key's file, base64url; it is needed until there is an account.
    pub account_key_file: PathBuf,
}

impl Config {
    /// Reads a settings file (TOML).
    ///
    /// # Errors
    /// [`RenewError::Refused`] when it is none.
    pub fn load(path: &Path) -> Result<Self, RenewError> {
        let refused = |why: &dyn std::fmt::Display| RenewError::Refused(format!("{}: {why}", path.display()));
        let bytes = read(path)?.ok_or_else(|| refused(&"there is no such file"))?;
        let text = std::str::from_utf8(&bytes).map_err(|why| refused(&why))?;
        let config: Self = toml::from_str(text).map_err(|why| refused(&why))?;
        let domain = config.domain()?;
        for wanted in &config.wanted {
            wanted.id(&domain)?;
            if wanted.dns.is_empty() && wanted.ip.is_empty() {
                return Err(refused(&format!("{} has neither `dns` nor `ip`", wanted.party)));
            }
        }
        Ok(config)
    }

    /// The way to the authority, and what trusts for it.
    ///
    /// # Errors
    /// [`RenewError::Refused`] when the trust bundle or the trust domain is none.
    pub fn authority(&self) -> Result<(Web, EnrolmentClient), RenewError> {
        let refused = |why: &dyn std::fmt::Display| RenewError::Refused(why.to_string());
        let client = EnrolmentClient::new(&self.roots()?);
        let server = SpiffeId::service(&self.domain()?, ServiceName::Authority);
        let tls = client.config(&server, &[b"http/1.1"]).map_err(|why| refused(&why))?;
        Ok((Web::new(self.authority_address.clone(), tls), client))
    }

    /// The roots as they are in the file now: a service that follows the authority replaces it.
    ///
    /// # Errors
    /// [`RenewError::Refused`] when there are none.
    pub fn roots(&self) -> Result<TrustBundle, RenewError> {
        TrustBundle::load(&self.trust_bundle).map_err(|why| RenewError::Refused(why.to_string()))
    }

    /// The trust domain, parsed.
    ///
    /// # Errors
    /// [`RenewError::Refused`] when it is none.
    pub fn domain(&self) -> Result<TrustDomain, RenewError> {
        TrustDomain::parse(&self.trust_domain).map_err(|why| RenewError::Refused(format!("trust_domain: {why}")))
    }
}

impl Wanted {
    /// The party, whole.
    ///
    /// # Errors
    /// [`RenewError::Refused`] when it is none.
    pub fn id(&self, domain: &TrustDomain) -> Result<SpiffeId, RenewError> {
        SpiffeId::parse_path_in(domain, &self.party)
            .map_err(|why| RenewError::Refused(format!("{}: {why}", self.party)))
    }
}
