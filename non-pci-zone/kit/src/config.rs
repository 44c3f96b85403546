//! A service's configuration: one TOML file, in which an unknown word is an error rather than a silent default.
//!
//! ```toml
//! listen = "127.0.0.1:0"                  # port 0: any free one, told in ready_file
//! certificate = "/etc/larder/tls.crt"     # chain, leaf first, PEM
//! key = "/etc/larder/tls.key"             # PEM, mode 0600
//! trust_bundle = "/etc/larder/roots.pem"
//! trust_domain = "larder.internal"
//! database = "/var/lib/larder/x.sqlite"
//! ready_file = "/run/larder/x.ready"      # optional; holds the actual address once the service listens
//! [authority]                             # optional; who says which certificates were revoked
//! address = "10.0.0.5:7450"
//! revocations = "/var/lib/larder/x-revocations.pem"   # keeps the last lists over a restart
//! [limits]                                # optional
//! [service]                               # what this one service needs besides
//! ```

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ca_mtls::IdentityFiles;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::problem::Fault;

/// What every service is told; `E` is the one service's own part.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, bound = "E: DeserializeOwned + Default")]
pub struct Config<E> {
    /// Where to listen; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The certificate chain, leaf first, PEM.
    pub certificate: PathBuf,
    /// The private key, PEM, readable by its owner alone.
    pub key: PathBuf,
    /// The authority's roots, PEM.
    pub trust_bundle: PathBuf,
    /// The trust domain of every party that is let in.
    pub trust_domain: String,
    /// The database file; made when it is not there.
    pub database: PathBuf,
    /// Where to write the actual address once the service listens.
    #[serde(default)]
    pub ready_file: Option<PathBuf>,
    /// Who says which certificates were revoked; nobody does when absent.
    #[serde(default)]
    pub authority: Option<AuthorityConfig>,
    /// Bounds.
    #[serde(default)]
    pub limits: Limits,
    /// What this one service needs besides.
    #[serde(default)]
    pub service: E,
}

/// Where the revocation lists come from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorityConfig {
    /// The certificate authority's listener for services.
    pub address: SocketAddr,
    /// The file that keeps the last lists over a restart.
    pub revocations: PathBuf,
}

/// Bounds on what one caller, or all of them, may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections at a time; more wait to be accepted.
    pub connections: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Bytes of a request's head.
    pub head_bytes: u32,
    /// Seconds a handshake may take.
    pub handshake_s: u64,
    /// Seconds a request may take; a feed that waits may take its waiting time longer.
    pub request_s: u64,
    /// Seconds that requests under way get when the service is told to end.
    pub drain_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            body_bytes: 1024 * 1024,
            head_bytes: 32 * 1024,
            handshake_s: 10,
            request_s: 30,
            drain_s: 10,
        }
    }
}

/// A service without a part of its own in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

impl<E: DeserializeOwned + Default> Config<E> {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// [`Fault`] when it cannot be read, or holds a word or a value that it may not.
    pub fn load(path: &Path) -> Result<Self, Fault> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Fault::new(format!("configuration {}: {error}", path.display()), false))?;
        toml::from_str(&text).map_err(|error| Fault::new(format!("configuration {}: {error}", path.display()), false))
    }
}

impl<E> Config<E> {
    /// The files of this service's identity.
    #[must_use]
    pub fn identity_files(&self) -> IdentityFiles {
        IdentityFiles {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            bundle: self.trust_bundle.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, Limits, NoSettings};

    const LEAST: &str = r#"
        listen = "127.0.0.1:0"
        certificate = "a"
        key = "b"
        trust_bundle = "c"
        trust_domain = "larder.internal"
        database = "d"
    "#;

    #[test]
    fn what_is_left_out_has_a_bound_all_the_same() {
        let config: Config<NoSettings> = toml::from_str(LEAST).unwrap();
        assert_eq!(config.limits, Limits::default());
        assert_eq!(config.ready_file, None);
    }

    #[test]
    fn an_unknown_word_is_an_error() {
        for more in ["tls = false", "[limits]\nbodies = 1", "[service]\nx = 1"] {
            assert!(toml::from_str::<Config<NoSettings>>(&format!("{LEAST}\n{more}")).is_err(), "{more}");
        }
    }
}
