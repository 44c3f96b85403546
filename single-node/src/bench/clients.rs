//! Fridges by the thousand, in a part of its own: they knock all at once, or stay connected and say nothing. A few
//! certificates are shared by many connections, since what a server does and keeps is a connection's and not a name's.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ca_identity::{ServiceName, SpiffeId, TrustDomain};
use ca_mtls::{Identity, TrustBundle};
use rustls_pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use super::fridges::{self, Client};
use super::many::many;
use crate::Fault;

/// How long a connection may take to stand.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);
/// Connections that are made at once.
const AT_ONCE: usize = 32;
/// Addresses of this machine that the connections come from, 127.0.1.1 and further: who closes a connection keeps its
/// port for a minute, and one address has too few.
const SOURCES: usize = 64;

/// The files of an identity.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) bundle: PathBuf,
}

/// What the part can be told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Bear these identities, in turn. First.
    Be { fridges: Vec<Files>, trust_domain: String },
    /// Do handshakes for so long, so many at once, each connection closed at once; answers with how many, and their time.
    Knock { address: SocketAddr, millis: u64, at_once: usize },
    /// Open so many more connections and say nothing.
    Stand { address: SocketAddr, count: usize },
    /// Open so many more connections as an agent does, ask each for the sealing key, then say nothing.
    Connect { address: SocketAddr, count: usize },
    /// Ask each connected one for the sealing key again; answers with how many answered on the connection they had.
    Ask,
    /// Close all connections.
    LetGo,
}

/// What was done, and how long it took.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) count: usize,
    pub(super) seconds: f64,
}

/// The fridges.
#[derive(Default)]
pub(super) struct Crowd {
    identities: Vec<Arc<rustls::ClientConfig>>,
    standing: Vec<TlsStream<TcpStream>>,
    connected: Vec<Client>,
    /// How often any of the connected ones made a connection.
    connects: Arc<AtomicUsize>,
}

impl Crowd {
    /// Does what a line of the part's input says.
    ///
    /// # Errors
    /// [`Fault`] when the order is no good, or a server refuses somebody.
    pub(super) async fn obey(&mut self, order: &str) -> Result<Done, Fault> {
        let order: Order = serde_json::from_str(order).map_err(Fault::of("a command"))?;
        let began = Instant::now();
        let count = match order {
            Order::Be { fridges, trust_domain } => self.be(&fridges, &trust_domain)?,
            Order::Knock { address, millis, at_once } => {
                knock(&self.identities, address, Duration::from_millis(millis), at_once).await?
            }
            Order::Stand { address, count } => {
                let (from, identities) = (self.standing.len(), self.identities.clone());
                let standing =
                    many(0..count, AT_ONCE, move |n| stand(identity(&identities, from + n), address, from + n));
                self.standing.extend(standing.await?);
                self.standing.len()
            }
            Order::Connect { address, count } => {
                let (from, identities) = (self.connected.len(), self.identities.clone());
                let connects = Arc::clone(&self.connects);
                let connected = many(0..count, AT_ONCE, move |n| {
                    connect(identity(&identities, from + n), address, Arc::clone(&connects))
                });
                self.connected.extend(connected.await?);
                self.connected.len()
            }
            Order::Ask => self.ask().await?,
            Order::LetGo => {
                self.standing.clear();
                self.connected.clear();
                self.connects.store(0, Ordering::Relaxed);
                0
            }
        };
        Ok(Done { count, seconds: began.elapsed().as_secs_f64() })
    }

    fn be(&mut self, fridges: &[Files], trust_domain: &str) -> Result<usize, Fault> {
        let domain = TrustDomain::parse(trust_domain).map_err(Fault::of("the trust domain"))?;
        let service = SpiffeId::service(&domain, ServiceName::PurchaseSession);
        let read = |files: &Files| {
            let identity = Identity::load(&files.certificate, &files.key).map_err(Fault::of("a fridge's identity"))?;
            let bundle = TrustBundle::load(&files.bundle).map_err(Fault::of("the trust bundle"))?;
            ca_mtls::client_config(&identity, &bundle, &service, &[b"h2"]).map_err(Fault::of("a fridge's identity"))
        };
        self.identities = fridges.iter().map(read).collect::<Result<_, _>>()?;
        Ok(self.identities.len())
    }

    /// Those who had to connect again are not counted: a new connection hides that the old one was closed.
    async fn ask(&self) -> Result<usize, Fault> {
        let asking = |client: Client| async move { fridges::sealing_key(&client).await.map(drop) };
        let answered = many(self.connected.clone(), AT_ONCE, asking).await?.len();
        let again = self.connects.load(Ordering::Relaxed).saturating_sub(self.connected.len());
        Ok(answered.saturating_sub(again))
    }
}

fn nobody() -> Fault {
    Fault::new("there are no fridges".to_owned())
}

fn identity(identities: &[Arc<rustls::ClientConfig>], n: usize) -> Option<Arc<rustls::ClientConfig>> {
    identities.get(n % identities.len().max(1)).map(Arc::clone)
}

/// A connection after its handshake.
async fn stand(
    tls: Option<Arc<rustls::ClientConfig>>,
    address: SocketAddr,
    n: usize,
) -> Result<TlsStream<TcpStream>, Fault> {
    let why = "a connection for a measurement";
    let socket = TcpSocket::new_v4().map_err(Fault::of(why))?;
    let last = u8::try_from(1 + n % SOURCES).unwrap_or(1);
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 1, last), 0))).map_err(Fault::of(why))?;
    let tcp = socket.connect(address).await.map_err(Fault::of(why))?;
    tcp.set_nodelay(true).map_err(Fault::of(why))?;
    let name = ServerName::from(Ipv4Addr::LOCALHOST);
    let connected = ca_mtls::connect(tls.ok_or_else(nobody)?, name, tcp, CONNECT_WITHIN).await;
    connected.map(|(stream, _)| stream).map_err(Fault::of(why))
}

/// A connection as an agent has it, after the first thing that it asks.
async fn connect(
    tls: Option<Arc<rustls::ClientConfig>>,
    address: SocketAddr,
    connects: Arc<AtomicUsize>,
) -> Result<Client, Fault> {
    let client = fridges::client(tls.ok_or_else(nobody)?, &address.to_string(), connects).await?;
    fridges::sealing_key(&client).await?;
    Ok(client)
}

async fn knock(
    identities: &[Arc<rustls::ClientConfig>],
    address: SocketAddr,
    duration: Duration,
    at_once: usize,
) -> Result<usize, Fault> {
    let until = Instant::now() + duration;
    let knocking = |n| {
        let tls = identity(identities, n);
        async move {
            let mut made = 0_usize;
            while Instant::now() < until {
                let_in(stand(tls.clone(), address, n).await?).await?;
                made += 1;
            }
            Ok(made)
        }
    };
    Ok(many(0..at_once, at_once, knocking).await?.into_iter().sum())
}

/// Closes a connection, and makes sure that the server had let us in: in TLS 1.3 the client's side of a handshake ends
/// before the server has judged it, and who is refused reads an alert where others read the end.
async fn let_in(mut stream: TlsStream<TcpStream>) -> Result<(), Fault> {
    stream.shutdown().await.map_err(Fault::of("a connection for a measurement"))?;
    match stream.read(&mut [0; 64]).await {
        Ok(0) => Ok(()),
        Ok(_) => Err(Fault::new("a server spoke before it was asked".to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(()),
        Err(error) => Err(Fault::new(format!("a server refused a fridge: {error}"))),
    }
}

#[cfg(test)]
#[path = "clients_tests.rs"]
mod tests;
