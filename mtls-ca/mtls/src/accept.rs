//! The handshake, on either side, with a bound on how long it may take.
//!
//! A peer that connects and says nothing must not hold a task for ever, and a server wants the peer's name before it
//! reads the first request; so both are done here, once. It leaves listening and the number of connections to servers.

use std::sync::Arc;
use std::time::Duration;

use rustls::{CertificateError, ClientConfig, OtherError, ServerConfig};
use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::{Peer, PeerError, peer};

/// Why a connection was not accepted.
#[derive(Debug, Error)]
pub enum AcceptError {
    /// The peer took too long.
    #[error("the handshake did not end within {0:?}")]
    TimedOut(Duration),
    /// The handshake failed: no certificate, a chain that does not hold, another protocol, or the peer went away.
    #[error("the handshake failed: {0}")]
    Handshake(std::io::Error),
    /// The certificate does not say who the peer is, or not one who may come in.
    #[error(transparent)]
    Peer(#[from] PeerError),
}

/// Why a connection was not made.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The server took too long.
    #[error("the handshake did not end within {0:?}")]
    TimedOut(Duration),
    /// The handshake failed: the server is not who it must be, or it went away.
    #[error("the handshake failed: {0}")]
    Handshake(std::io::Error),
    /// The server's certificate does not say who it is, or not whom we wanted.
    #[error(transparent)]
    Peer(#[from] PeerError),
}

/// Does the server's side of a handshake within `limit` and says who the client is.
///
/// # Errors
/// [`AcceptError`]; the stream is closed.
pub async fn accept<S>(
    config: Arc<ServerConfig>,
    stream: S,
    limit: Duration,
) -> Result<(server::TlsStream<S>, Peer), AcceptError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = TlsAcceptor::from(config).accept(stream);
    let tls = tokio::time::timeout(limit, handshake).await.map_err(|_| AcceptError::TimedOut(limit))?;
    let tls = tls.map_err(|error| our_reason(&error).map_or(AcceptError::Handshake(error), AcceptError::Peer))?;
    let peer = peer(tls.get_ref().1.peer_certificates().unwrap_or_default())?;
    Ok((tls, peer))
}

/// Does the client's side of a handshake within `limit` and shows the server's certificate.
///
/// `server_name` is only sent along (SNI); who the server must be is in `config`. In TLS 1.3 a server that refuses our
/// certificate says so after our handshake ended: it is the first read that fails.
///
/// # Errors
/// [`ConnectError`]; the stream is closed.
pub async fn connect<S>(
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
    stream: S,
    limit: Duration,
) -> Result<(client::TlsStream<S>, Peer), ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = TlsConnector::from(config).connect(server_name, stream);
    let tls = tokio::time::timeout(limit, handshake).await.map_err(|_| ConnectError::TimedOut(limit))?;
    let tls = tls.map_err(|error| our_reason(&error).map_or(ConnectError::Handshake(error), ConnectError::Peer))?;
    let peer = peer(tls.get_ref().1.peer_certificates().unwrap_or_default())?;
    Ok((tls, peer))
}

/// Our own reason for refusing a certificate, if it was that; rustls carries it inside its error and prints it badly.
fn our_reason(error: &std::io::Error) -> Option<PeerError> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(why))) => {
            why.downcast_ref::<PeerError>().cloned()
        }
        _ => None,
    }
}
