//! Two hundred fridges without their agents: an identity each, and a connection each over mutual TLS, so that what is
//! measured is the service and not what a fridge does for its own safety.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use ca_identity::{ServiceName, SpiffeId};
use fridge_agent::proto::SealingKeyRequest;
use fridge_agent::proto::purchase_session_client::PurchaseSessionClient;
use http::Uri;
use hyper_util::rt::TokioIo;
use pci_contract::{FridgeId, SealingKey, SealingKeyId};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower_service::Service;

use super::world;
use crate::Fault;
use crate::issuer::Party;
use crate::stack::Stack;

/// How long a connection may take to stand.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long an agent waits for a silent service before it asks whether it lives.
const SILENCE: Duration = Duration::from_secs(15);

/// A client of the fridge protocol.
pub(super) type Client = PurchaseSessionClient<Channel>;

/// A fridge's name and the TLS configuration of its certificate.
#[derive(Clone)]
pub(super) struct Fridge {
    /// Its number in the world.
    pub(super) number: usize,
    /// Its name.
    pub(super) id: FridgeId,
    tls: Arc<rustls::ClientConfig>,
}

/// Issues an identity to the first `count` fridges of the world.
///
/// # Errors
/// [`Fault`] when the authority refuses.
pub(super) fn issue(stack: &Stack, count: usize) -> Result<Vec<Fridge>, Fault> {
    let service = SpiffeId::service(stack.issuer().trust_domain(), ServiceName::PurchaseSession);
    (0..count)
        .map(|number| {
            let name = world::fridge(number);
            let (identity, bundle) = stack.issuer().load(&Party::Fridge(name.clone()))?;
            let tls = ca_mtls::client_config(&identity, &bundle, &service, &[b"h2"])
                .map_err(Fault::of("a fridge's identity"))?;
            Ok(Fridge { number, id: FridgeId::parse(&name).map_err(Fault::of("a fridge's name"))?, tls })
        })
        .collect()
}

/// Connects each of `fridges` to the service at `address`, `host:port`.
///
/// # Errors
/// [`Fault`] when it cannot be reached.
pub(super) async fn connect(fridges: &[Fridge], address: &str) -> Result<Vec<Client>, Fault> {
    let mut clients = Vec::with_capacity(fridges.len());
    for fridge in fridges {
        clients.push(client(Arc::clone(&fridge.tls), address, Arc::default()).await?);
    }
    Ok(clients)
}

/// Connects a fridge as its agent does to the service at `address`, `host:port`. A client whose connection was closed
/// makes another for the next call; `connects` counts them.
///
/// # Errors
/// [`Fault`] when it cannot be reached.
pub(super) async fn client(
    tls: Arc<rustls::ClientConfig>,
    address: &str,
    connects: Arc<AtomicUsize>,
) -> Result<Client, Fault> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(Fault::of("a service's address"))?;
    let endpoint = endpoint.http2_keep_alive_interval(SILENCE).keep_alive_timeout(SILENCE);
    let knock = Knock { address: address.to_owned(), tls, connects };
    let channel = endpoint.connect_with_connector(knock).await.map_err(|error| {
        let why = std::error::Error::source(&error).map_or_else(String::new, |source| format!(": {source}"));
        Fault::new(format!("a fridge cannot connect to {address}: {error}{why}"))
    })?;
    Ok(PurchaseSessionClient::new(channel))
}

/// The key that cards are sealed to.
///
/// # Errors
/// [`Fault`] when the service does not tell.
pub(super) async fn sealing_key(client: &Client) -> Result<SealingKey, Fault> {
    let answer = client.clone().sealing_key(SealingKeyRequest {}).await.map_err(Fault::of("the sealing key"))?;
    let answer = answer.into_inner();
    let public: Result<[u8; 65], _> = answer.public_key.try_into();
    Ok(SealingKey {
        id: SealingKeyId::parse(&answer.key_id).map_err(Fault::of("the sealing key"))?,
        public: public.map_err(|_| Fault::new("the sealing key has another length".to_owned()))?,
    })
}

/// Makes the connection of a channel: TCP, then the handshake of the house.
struct Knock {
    address: String,
    tls: Arc<rustls::ClientConfig>,
    connects: Arc<AtomicUsize>,
}

type Stream = TokioIo<TlsStream<TcpStream>>;

impl Service<Uri> for Knock {
    type Response = Stream;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Stream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (address, tls) = (self.address.clone(), Arc::clone(&self.tls));
        self.connects.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let tcp = TcpStream::connect(&address).await?;
            tcp.set_nodelay(true)?;
            let name = ServerName::from(std::net::Ipv4Addr::LOCALHOST);
            let connected = ca_mtls::connect(tls, name, tcp, CONNECT_WITHIN).await;
            let (stream, _) = connected.map_err(std::io::Error::other)?;
            Ok(TokioIo::new(stream))
        })
    }
}
