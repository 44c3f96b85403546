//! A collector of spans: OTLP over HTTP behind mutual TLS, as the `monitor`. It keeps what it is sent, to be searched.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use single_node::Fault;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::driver::house::House;

/// How long a handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// A collector that listens, and later serves.
pub struct Collector {
    listener: TcpListener,
    address: String,
}

/// A collector that serves until it is dropped.
pub struct Serving {
    address: String,
    taken: Arc<Mutex<Vec<u8>>>,
    _task: AbortOnDropHandle<()>,
}

impl Collector {
    /// Listens, so that the house can be told where; calls wait until [`Collector::serve`].
    ///
    /// # Errors
    /// [`Fault`] when there is no port.
    pub async fn listen() -> Result<Self, Fault> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(Fault::of("the collector"))?;
        let address = listener.local_addr().map_err(Fault::of("the collector"))?.to_string();
        Ok(Self { listener, address })
    }

    /// Where it listens, `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Serves whoever has an identity of the house.
    ///
    /// # Errors
    /// [`Fault`] when the house gave the monitor no identity.
    pub fn serve(self, house: &House) -> Result<Serving, Fault> {
        let (identity, bundle) = house.identity("monitor")?;
        let tls = ca_mtls::server_config(&identity, &bundle, house.trust_domain(), &[b"http/1.1"])
            .map_err(Fault::of("the collector's identity"))?;
        let taken = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&taken);
        let listener = self.listener;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, Arc::clone(&tls), Arc::clone(&keep)));
            }
        });
        Ok(Serving { address: self.address, taken, _task: AbortOnDropHandle::new(task) })
    }
}

impl Serving {
    /// Where it listens, `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it was sent since it was last asked: request lines, headers and bodies.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.taken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn converse(stream: TcpStream, tls: Arc<rustls::ServerConfig>, keep: Arc<Mutex<Vec<u8>>>) {
    let Ok((stream, _)) = ca_mtls::accept(tls, stream, HANDSHAKE_WITHIN).await else { return };
    let answer = service_fn(move |request| take(request, Arc::clone(&keep)));
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

async fn take(request: Request<Incoming>, keep: Arc<Mutex<Vec<u8>>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let mut taken = keep.lock().unwrap_or_else(PoisonError::into_inner);
    taken.extend_from_slice(format!("{} {}\n{:?}\n", parts.method, parts.uri, parts.headers).as_bytes());
    taken.extend_from_slice(&body);
    taken.push(b'\n');
    drop(taken);
    Ok(Response::new(Full::new(Bytes::new())))
}
