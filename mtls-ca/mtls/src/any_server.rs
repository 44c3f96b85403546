//! The way to a server of whom nothing can be known yet, for one question: what the trust bundle is.
//!
//! Who was away while the root was replaced trusts no certificate that it is shown, and what would tell it of the new root
//! is behind one. The bundle itself needs no trust in whoever hands it out: it is signed by a root of the one before, and
//! [`crate::BundleFollower`] believes nothing else. So for this question any server will do; it can withhold an answer,
//! which anybody on the way can.
//!
//! It is a type of its own and gives away no configuration, so nothing else can be asked like this by mistake: `ca-client`
//! takes it for that question alone.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client};

use crate::config::judged_by;
use crate::provider::provider;
use crate::verify::never_tls12;
use crate::{ConnectError, MtlsError};

/// A client that takes any server, and shows nothing of itself.
#[derive(Debug, Clone)]
pub struct AnyServer(Arc<ClientConfig>);

impl AnyServer {
    /// A client that speaks one of these protocols.
    ///
    /// # Errors
    /// [`MtlsError::Config`] when rustls refuses it.
    pub fn new(alpn: &[&[u8]]) -> Result<Self, MtlsError> {
        judged_by(Arc::new(Nobody(provider())), alpn, |builder| builder.with_no_client_auth()).map(Self)
    }

    /// Does the client's side of a handshake within `limit`. Nothing is known of who is on the other side; `server_name` is
    /// only sent along (SNI).
    ///
    /// # Errors
    /// [`ConnectError`]; the stream is closed.
    pub async fn connect<S>(
        &self,
        server_name: ServerName<'static>,
        stream: S,
        limit: Duration,
    ) -> Result<client::TlsStream<S>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = TlsConnector::from(Arc::clone(&self.0)).connect(server_name, stream);
        let tls = tokio::time::timeout(limit, handshake).await.map_err(|_| ConnectError::TimedOut(limit))?;
        tls.map_err(ConnectError::Handshake)
    }
}

/// Judges nobody; that a server has the key of what it shows is part of the protocol.
#[derive(Debug)]
struct Nobody(Arc<CryptoProvider>);

impl ServerCertVerifier for Nobody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(never_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
