//! The connection to the purchase-session service: one HTTP/2 channel over mutual TLS, made when first needed and made
//! anew when lost. Who the service must be is in the TLS configuration; the address is only where to knock.
//!
//! It leaves the stream of a purchase to `link`, the retries to whoever calls.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::config::AgentConfig;
use crate::proto::purchase_session_client::PurchaseSessionClient;
use crate::proto::{EnrollCardRequest, EnrollCardResponse, SealingKeyRequest, SealingKeyResponse, TamperReport};

/// A client of the service; clones share the connection.
#[derive(Clone)]
pub(crate) struct Service {
    client: PurchaseSessionClient<Channel>,
    call_within: Duration,
}

/// Whose fault a failed call is, and so how to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The way there or the service is down: try again soon.
    Unreachable,
    /// Someone else speaks with this identity.
    Superseded,
    /// The service does not accept what we say: trying sooner helps nobody.
    Rejected,
}

impl From<&Status> for Failure {
    fn from(status: &Status) -> Self {
        match status.code() {
            Code::Aborted => Self::Superseded,
            Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::OutOfRange
            | Code::Unimplemented => Self::Rejected,
            _ => Self::Unreachable,
        }
    }
}

impl Service {
    /// A client that connects when it is first used.
    ///
    /// # Errors
    /// [`tonic::transport::Error`] when the address is none.
    pub(crate) fn new(config: &AgentConfig) -> Result<Self, tonic::transport::Error> {
        let call_within = Duration::from_millis(config.limits.call_within_ms);
        let silence = Duration::from_millis(config.limits.silence_ms);
        let endpoint = Endpoint::from_shared(format!("http://{}", config.service))?
            .connect_timeout(call_within)
            .http2_keep_alive_interval(silence)
            .keep_alive_timeout(silence);
        let (address, tls) = (config.service.clone(), Arc::clone(&config.tls));
        let connector = tower::service_fn(move |_| connect(address.clone(), Arc::clone(&tls), call_within));
        Ok(Self { client: PurchaseSessionClient::new(endpoint.connect_with_connector_lazy(connector)), call_within })
    }

    /// The client for a purchase's stream.
    pub(crate) fn client(&self) -> PurchaseSessionClient<Channel> {
        self.client.clone()
    }

    /// The key that cards are sealed to.
    pub(crate) async fn sealing_key(&self) -> Result<SealingKeyResponse, Failure> {
        self.bounded(self.client().sealing_key(SealingKeyRequest {})).await
    }

    /// Puts a card into a wallet.
    pub(crate) async fn enroll_card(&self, request: EnrollCardRequest) -> Result<EnrollCardResponse, Failure> {
        self.bounded(self.client().enroll_card(request)).await
    }

    /// Reports tampering.
    pub(crate) async fn report_tamper(&self, report: TamperReport) -> Result<(), Failure> {
        self.bounded(self.client().report_tamper(report)).await.map(|_| ())
    }

    async fn bounded<T>(&self, call: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, Failure> {
        match tokio::time::timeout(self.call_within, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => {
                tracing::debug!(code = ?status.code(), "a call failed");
                Err(Failure::from(&status))
            }
            Err(_) => Err(Failure::Unreachable),
        }
    }
}

async fn connect(
    address: String,
    tls: Arc<rustls::ClientConfig>,
    limit: Duration,
) -> Result<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>, std::io::Error> {
    let name = server_name(&address)?;
    let tcp = tokio::time::timeout(limit, TcpStream::connect(&address)).await??;
    tcp.set_nodelay(true)?;
    let (stream, _) = ca_mtls::connect(tls, name, tcp, limit).await.map_err(std::io::Error::other)?;
    Ok(TokioIo::new(stream))
}

/// The host of `host:port`, for the handshake.
fn server_name(address: &str) -> Result<ServerName<'static>, std::io::Error> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(ip) => Ok(ServerName::IpAddress(ip.into())),
        Err(_) => ServerName::try_from(host.to_owned()).map_err(std::io::Error::other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_named_as_a_name_or_an_address() {
        assert_eq!(server_name("127.0.0.1:1").expect("an address").to_str(), "127.0.0.1");
        assert_eq!(server_name("[::1]:1").expect("an address").to_str(), "::1");
        assert_eq!(server_name("purchase.larder.internal:1").expect("a name").to_str(), "purchase.larder.internal");
        assert!(server_name("no name:1").is_err());
    }

    #[test]
    fn a_status_says_how_to_go_on() {
        assert_eq!(Failure::from(&Status::aborted("")), Failure::Superseded);
        assert_eq!(Failure::from(&Status::invalid_argument("")), Failure::Rejected);
        assert_eq!(Failure::from(&Status::permission_denied("")), Failure::Rejected);
        for status in
            [Status::unavailable(""), Status::internal(""), Status::deadline_exceeded(""), Status::unknown("")]
        {
            assert_eq!(Failure::from(&status), Failure::Unreachable);
        }
    }
}
