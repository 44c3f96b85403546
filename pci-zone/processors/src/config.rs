//! What a connector must be told: where its processor is, whom to trust there, who we are, and how long to wait.
//!
//! Only the roots given here are trusted; a public root store is not linked into the zone. Where the key and the roots
//! are kept (a file, a vault) is left to the binary.

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::http::{Client, ClientConfig, Endpoint, EndpointError};

/// The key by which a processor knows us. Not printable; wiped on drop.
#[derive(Clone)]
pub struct ApiKey(Zeroizing<String>);

impl ApiKey {
    /// Wraps a key.
    #[must_use]
    pub const fn new(secret: Zeroizing<String>) -> Self {
        Self(secret)
    }

    /// The `Authorization` header that shows the key.
    pub(crate) fn bearer(&self) -> Result<HeaderValue, ConfigError> {
        let text = Zeroizing::new(format!("Bearer {}", self.0.as_str()));
        let mut header = HeaderValue::from_str(&text).map_err(|_| ConfigError::ApiKey)?;
        header.set_sensitive(true);
        if self.0.is_empty() { Err(ConfigError::ApiKey) } else { Ok(header) }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// Why a connector cannot be made.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ConfigError {
    /// The base URL is not one.
    #[error("the processor's base URL: {0}")]
    BaseUrl(#[from] EndpointError),
    /// The key is empty or not fit for a header.
    #[error("the processor's API key is empty or not printable")]
    ApiKey,
    /// The PEM text holds no certificate, or something that is not one.
    #[error("the pinned roots are not certificates in PEM")]
    PinnedRoots,
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(rustls::Error),
}

/// How to reach a processor.
#[derive(Debug, Clone)]
pub struct ProcessorConfig {
    /// `https://host[:port][/path]`.
    pub base_url: String,
    /// Who we are there.
    pub api_key: ApiKey,
    /// The only roots its certificate may hang from, PEM.
    pub pinned_roots_pem: String,
    /// The most an ask may take in all, in milliseconds.
    pub timeout_ms: u64,
    /// The most a connection may take to stand, in milliseconds.
    pub connect_timeout_ms: u64,
    /// The most connections at once.
    pub max_connections: usize,
    /// The longest answer that is read, in bytes.
    pub max_body_bytes: usize,
    /// Close the connection after every answer about a card, not only after failures: for a processor whose answers
    /// repeat card data.
    pub close_after_card: bool,
}

impl ProcessorConfig {
    /// The usual bounds: 5 s in all, 2 s to connect, 32 connections, answers of 64 KiB.
    #[must_use]
    pub fn new(base_url: impl Into<String>, api_key: ApiKey, pinned_roots_pem: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            api_key,
            pinned_roots_pem: pinned_roots_pem.into(),
            timeout_ms: 5_000,
            connect_timeout_ms: 2_000,
            max_connections: 32,
            max_body_bytes: 64 * 1024,
            close_after_card: false,
        }
    }

    /// The client these settings describe.
    pub(crate) fn client(&self) -> Result<Client, ConfigError> {
        let endpoint = Endpoint::parse(&self.base_url)?;
        let tls = pinned_tls(&self.pinned_roots_pem)?;
        Ok(Client::new(ClientConfig {
            connect_timeout_ms: self.connect_timeout_ms,
            request_timeout_ms: self.timeout_ms,
            max_connections: self.max_connections,
            max_body_bytes: self.max_body_bytes,
            ..ClientConfig::new(Arc::new(tls), endpoint)
        }))
    }
}

/// TLS towards a processor: trusts these roots and no others; we show no certificate.
fn pinned_tls(roots_pem: &str) -> Result<rustls::ClientConfig, ConfigError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(roots_pem.as_bytes()) {
        let certificate = certificate.map_err(|_| ConfigError::PinnedRoots)?;
        roots.add(certificate).map_err(|_| ConfigError::PinnedRoots)?;
    }
    if roots.is_empty() {
        return Err(ConfigError::PinnedRoots);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ConfigError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> ApiKey {
        ApiKey::new(Zeroizing::new(text.to_owned()))
    }

    #[test]
    fn the_key_is_not_printable() {
        let config = ProcessorConfig::new("https://127.0.0.1:1", key("sk_test_hush"), "");
        assert!(!format!("{config:?}").contains("hush"));
        let header = key("sk_test_hush").bearer().unwrap();
        assert_eq!(header.as_bytes(), b"Bearer sk_test_hush");
        assert!(!format!("{header:?}").contains("hush"));
        for bad in ["", "two\nlines"] {
            assert_eq!(key(bad).bearer(), Err(ConfigError::ApiKey));
        }
    }

    #[test]
    fn there_is_no_trust_by_default() {
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for pem in ["", "not PEM", garbage] {
            let config = ProcessorConfig::new("https://127.0.0.1:1", key("sk"), pem);
            assert_eq!(config.client().err(), Some(ConfigError::PinnedRoots), "{pem}");
        }
        let plain = ProcessorConfig::new("http://127.0.0.1:1", key("sk"), "");
        assert_eq!(plain.client().err(), Some(ConfigError::BaseUrl(EndpointError::Scheme)));
    }
}
