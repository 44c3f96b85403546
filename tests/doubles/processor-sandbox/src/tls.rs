//! The sandbox's own root and server certificate. Nothing trusts them that is not told to.
//!
//! With books that outlive the process, they are kept beside them, so that a restarted sandbox is still the one its
//! callers pinned.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::{SandboxError, wrong};

/// A root and a server certificate under it for `127.0.0.1`, `::1` and `localhost`, with its key; all PEM.
#[derive(Clone)]
pub struct TlsIdentity {
    root_pem: String,
    server_pem: String,
    key_pem: String,
}

impl TlsIdentity {
    /// Makes a new one.
    ///
    /// # Errors
    /// [`SandboxError`] when keys or certificates cannot be made.
    pub fn generate() -> Result<Self, SandboxError> {
        let mut root = CertificateParams::default();
        root.distinguished_name.push(DnType::CommonName, "processor-sandbox root");
        root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer =
            CertifiedIssuer::self_signed(root, KeyPair::generate().map_err(certificate)?).map_err(certificate)?;
        let names = ["127.0.0.1", "::1", "localhost"].map(str::to_owned);
        let mut server = CertificateParams::new(names).map_err(certificate)?;
        server.distinguished_name.push(DnType::CommonName, "processor-sandbox");
        server.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(certificate)?;
        let server = server.signed_by(&key, &issuer).map_err(certificate)?;
        Ok(Self { root_pem: issuer.pem(), server_pem: server.pem(), key_pem: key.serialize_pem() })
    }

    /// The one kept in this file, or a new one that is kept there from now on.
    pub(crate) fn kept(path: &Path) -> Result<Self, SandboxError> {
        if let Ok(text) = std::fs::read_to_string(path) {
            let mut parts = text.split_inclusive("-----END CERTIFICATE-----\n").map(str::to_owned);
            let (Some(root_pem), Some(server_pem), Some(key_pem)) = (parts.next(), parts.next(), parts.next()) else {
                return Err(wrong("the kept TLS identity is not whole"));
            };
            return Ok(Self { root_pem, server_pem, key_pem });
        }
        let made = Self::generate()?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let unix = |pem: &str| pem.replace("\r\n", "\n");
        write!(file, "{}{}{}", unix(&made.root_pem), unix(&made.server_pem), unix(&made.key_pem))?;
        Ok(made)
    }

    /// The root to pin, PEM.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// What a server needs to speak TLS under this identity.
    ///
    /// # Errors
    /// [`SandboxError`] when the parts do not fit together.
    pub fn server_config(&self) -> Result<Arc<rustls::ServerConfig>, SandboxError> {
        let certificate = CertificateDer::from_pem_slice(self.server_pem.as_bytes())
            .map_err(|_| wrong("the server certificate is not PEM"))?;
        let key =
            PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).map_err(|_| wrong("the server key is not PEM"))?;
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate], key))
            .map_err(|error| SandboxError::Setup(error.to_string()))?;
        Ok(Arc::new(config))
    }
}

fn certificate(error: rcgen::Error) -> SandboxError {
    SandboxError::Setup(error.to_string())
}
