//! Whose cryptography is used: ring's, here and nowhere else decided.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The one provider of cryptography.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
