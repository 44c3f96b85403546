//! The service's configuration: one TOML file, every key known, every figure bounded. A key that is not known is an
//! error, since a mistyped bound would otherwise be a bound that does not hold.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}; give its path as the first argument")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text is not a configuration.
    #[error("the configuration {path} is wrong: {source}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A figure is out of its bounds.
    #[error("the configuration {path} is wrong: {key} must be from {least} to {most}")]
    Bound {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: &'static str,
        /// The least it may be.
        least: u64,
        /// The most it may be.
        most: u64,
    },
}

/// All that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address and port to listen on; port 0 takes a free one.
    pub listen: std::net::SocketAddr,
    /// Where to write the address listened on, once ready.
    pub ready_file: Option<PathBuf>,
    /// What `RUST_LOG` would say, for example `info`.
    #[serde(default = "default_log")]
    pub log: String,
    /// Certificate, key and trust.
    pub identity: IdentityConfig,
    /// The database file.
    pub database: PathBuf,
    /// The hardware security module.
    pub hsm: HsmConfig,
    /// The card processor.
    pub processor: ProcessorSection,
    /// Who is told of events.
    #[serde(default)]
    pub subscribers: Vec<PeerService>,
    /// Whose feeds are pulled.
    #[serde(default)]
    pub feeds: Vec<FeedSource>,
    /// Who says which certificates were revoked; nobody does when absent.
    pub authority: Option<AuthoritySection>,
    /// Bounds.
    #[serde(default)]
    pub limits: Limits,
    /// Where spans are sent, `host:port` of a collector that speaks OTLP over HTTP behind mutual TLS and names itself
    /// the `monitor` service; nowhere when absent.
    pub collector: Option<String>,
}

fn default_log() -> String {
    "info".to_owned()
}

/// Who the service is, and whom it trusts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityConfig {
    /// Certificate chain, PEM.
    pub certificate: PathBuf,
    /// Private key, PEM, mode 0600.
    pub key: PathBuf,
    /// The authorities trusted, PEM.
    pub trust_bundle: PathBuf,
    /// The trust domain of every SPIFFE id accepted.
    pub trust_domain: String,
}

/// Where the revocation lists come from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthoritySection {
    /// `host:port` of the certificate authority's listener for services.
    pub address: String,
    /// The file that keeps the last lists over a restart.
    pub revocations: PathBuf,
}

/// Which token holds the keys.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HsmConfig {
    /// The PKCS#11 module.
    pub module: PathBuf,
    /// The token's label.
    pub token_label: String,
    /// A file that holds the user PIN, mode 0600.
    pub pin_file: PathBuf,
    /// The plan of keys, `keys.toml`.
    pub keys: PathBuf,
    /// Threads that talk to the module.
    #[serde(default = "default_hsm_threads")]
    pub threads: usize,
    /// Openings that may wait.
    #[serde(default = "default_hsm_queue")]
    pub queue: usize,
    /// Openings after which the module is recycled, for modules that leak session objects.
    #[serde(default = "default_recycle_after")]
    pub recycle_after: u64,
}

const fn default_hsm_threads() -> usize {
    2
}

const fn default_hsm_queue() -> usize {
    1_024
}

const fn default_recycle_after() -> u64 {
    100_000
}

/// Which processor authorizes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessorSection {
    /// Its base URL, `https://host[:port]`.
    pub base_url: String,
    /// A file that holds the API key, mode 0600.
    pub api_key_file: PathBuf,
    /// The roots its certificate must chain to, PEM.
    pub pinned_roots: PathBuf,
    /// The most one call may take, in milliseconds.
    #[serde(default = "default_processor_timeout")]
    pub timeout_ms: u64,
    /// The most a fridge's customer waits for an authorization, in milliseconds, retries included.
    #[serde(default = "default_open_budget")]
    pub open_budget_ms: u64,
}

const fn default_processor_timeout() -> u64 {
    5_000
}

const fn default_open_budget() -> u64 {
    9_000
}

/// A service of the other zone that hears of events.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerService {
    /// Its name: `inventory`, `status`, `admin` or `customers`.
    pub name: String,
    /// Where it is, `host:port`.
    pub address: String,
}

/// A service of the other zone that has feeds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedSource {
    /// Its name.
    pub name: String,
    /// Where it is, `host:port`.
    pub address: String,
    /// The feeds to pull, for example `["fridges", "policy"]`.
    pub feeds: Vec<String>,
}

/// Bounds on what others can make the service hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Seconds a TLS handshake may take.
    pub handshake_s: u64,
    /// Streams at once on one connection.
    pub streams_per_connection: u32,
    /// Bytes of one message.
    pub message_bytes: usize,
    /// Payments being settled at once.
    pub settlements: usize,
    /// Seconds that an answer may wait for a fridge that does not read.
    pub slow_reader_s: u64,
    /// Seconds a shutdown waits for streams to end.
    pub drain_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            handshake_s: 10,
            streams_per_connection: 64,
            message_bytes: 16 * 1_024,
            settlements: 32,
            slow_reader_s: 10,
            drain_s: 10,
        }
    }
}

impl Config {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// [`ConfigError`] says which file and key, and what is allowed.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let config: Self = toml::from_str(&text)
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })?;
        config.check(path)?;
        Ok(config)
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let wide = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        for (key, value, least, most) in [
            ("hsm.threads", wide(self.hsm.threads), 1, 64),
            ("hsm.queue", wide(self.hsm.queue), 1, 65_536),
            ("hsm.recycle_after", self.hsm.recycle_after, 1_000, u64::MAX),
            ("processor.timeout_ms", self.processor.timeout_ms, 50, 60_000),
            ("processor.open_budget_ms", self.processor.open_budget_ms, 100, 60_000),
            ("limits.connections", wide(self.limits.connections), 1, 1_000_000),
            ("limits.handshake_s", self.limits.handshake_s, 1, 60),
            ("limits.streams_per_connection", u64::from(self.limits.streams_per_connection), 1, 1_000),
            ("limits.message_bytes", wide(self.limits.message_bytes), 1_024, 1_048_576),
            ("limits.settlements", wide(self.limits.settlements), 1, 1_024),
            ("limits.slow_reader_s", self.limits.slow_reader_s, 1, 300),
            ("limits.drain_s", self.limits.drain_s, 0, 300),
        ] {
            if value < least || value > most {
                return Err(ConfigError::Bound { path: path.to_owned(), key, least, most });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        listen = "127.0.0.1:0"
        database = "purchase.db"
        [identity]
        certificate = "c.pem"
        key = "k.pem"
        trust_bundle = "t.pem"
        trust_domain = "larder.internal"
        [hsm]
        module = "m.so"
        token_label = "pci"
        pin_file = "pin"
        keys = "keys.toml"
        [processor]
        base_url = "https://localhost:1"
        api_key_file = "key"
        pinned_roots = "roots.pem"
    "#;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("config.toml");
        std::fs::write(&path, text).expect("written");
        Config::load(&path)
    }

    #[test]
    fn a_plain_configuration_has_its_defaults() {
        let config = load(GOOD).expect("good");
        assert_eq!((config.hsm.threads, config.limits.message_bytes), (2, 16_384));
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let error = load(&format!("listn = \"x\"\n{GOOD}")).expect_err("unknown").to_string();
        assert!(error.contains("listn"), "{error}");
        assert!(load(&format!("{GOOD}\n[limits]\nconections = 1")).is_err());
    }

    #[test]
    fn a_figure_out_of_bounds_is_refused_with_its_bounds() {
        let error = load(&format!("{GOOD}\n[limits]\nmessage_bytes = 1")).expect_err("bound").to_string();
        assert!(error.contains("limits.message_bytes") && error.contains("1048576"), "{error}");
    }
}
