//! The way to a server of the house's for those who may have no certificate yet: HTTP/1.1 over TLS in which only the server
//! shows one. Who the server must be is in the TLS configuration; the address is only where to knock. One connection is kept
//! and used for one question after the other.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ca_mtls::AnyServer;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

/// The bound on a whole question, its connection included.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The bound on making a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// The most bytes of an answer.
const MOST_BYTES: usize = 256 * 1_024;

/// Why there is no answer.
#[derive(Debug, Error)]
#[error("{address} {why}")]
pub struct WebError {
    address: String,
    why: String,
}

/// One server, and the connection to it.
#[derive(Debug, Clone)]
pub struct Web(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    address: String,
    taken: Taken,
    kept: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

/// Which server is taken.
#[derive(Debug)]
enum Taken {
    /// The one that this configuration takes.
    Named(Arc<ClientConfig>),
    /// Any.
    Any(AnyServer),
}

impl Web {
    /// The server at this address, `host:port`, that this configuration takes; see [`ca_mtls::EnrolmentClient`].
    #[must_use]
    pub fn new(address: String, tls: Arc<ClientConfig>) -> Self {
        Self(Arc::new(Inner { address, taken: Taken::Named(tls), kept: Mutex::default() }))
    }

    /// Whatever server is at this address.
    pub(crate) fn of_anyone(address: String, server: AnyServer) -> Self {
        Self(Arc::new(Inner { address, taken: Taken::Any(server), kept: Mutex::default() }))
    }

    /// Posts JSON to a path, and waits for the answer, for a bounded time and number of bytes.
    ///
    /// # Errors
    /// [`WebError`], when there is none.
    pub async fn post_json(&self, path: &str, body: String) -> Result<Response<Bytes>, WebError> {
        let request = Request::post(path).header(CONTENT_TYPE, "application/json");
        let request = request.body(Full::new(Bytes::from(body))).map_err(|why| self.0.failed(&why))?;
        self.ask(request).await
    }

    pub(crate) async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, WebError> {
        let answer = tokio::time::timeout(ANSWER_WITHIN, self.0.exchange(request)).await;
        answer.map_err(|_| self.0.failed(&"did not answer in time"))?
    }
}

impl Inner {
    /// One question on the kept connection, or on a new one when that was closed.
    async fn exchange(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Bytes>, WebError> {
        let host = HeaderValue::from_str(&self.address).map_err(|why| self.failed(&why))?;
        request.headers_mut().insert(HOST, host);
        if let Some(path) = request.uri().path_and_query().cloned() {
            *request.uri_mut() = path.into();
        }
        let mut kept = self.kept.lock().await;
        let mut sender = match Self::still_open(kept.take()).await {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let (head, body) = sender.send_request(request).await.map_err(|why| self.failed(&why))?.into_parts();
        let body = Limited::new(body, MOST_BYTES).collect().await.map_err(|why| self.failed(&why))?.to_bytes();
        *kept = Some(sender);
        Ok(Response::from_parts(head, body))
    }

    async fn still_open(kept: Option<SendRequest<Full<Bytes>>>) -> Option<SendRequest<Full<Bytes>>> {
        let mut sender = kept?;
        sender.ready().await.ok().map(|()| sender)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, WebError> {
        let stream = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(&self.address)).await;
        let stream = stream.map_err(|_| self.failed(&"cannot be reached"))?.map_err(|why| self.failed(&why))?;
        // A question follows upon the end of the handshake, and would wait until that is acknowledged.
        stream.set_nodelay(true).map_err(|why| self.failed(&why))?;
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        let name = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(ip) => ServerName::from(ip),
            Err(_) => ServerName::try_from(host.to_owned()).map_err(|why| self.failed(&why))?,
        };
        let connected = match &self.taken {
            Taken::Named(tls) => {
                ca_mtls::connect(Arc::clone(tls), name, stream, CONNECT_WITHIN).await.map(|(tls, _)| tls)
            }
            Taken::Any(server) => server.connect(name, stream, CONNECT_WITHIN).await,
        };
        let tls = connected.map_err(|why| self.failed(&why))?;
        let (sender, connection) = handshake(TokioIo::new(tls)).await.map_err(|why| self.failed(&why))?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn failed(&self, why: &dyn std::fmt::Display) -> WebError {
        WebError { address: self.address.clone(), why: why.to_string() }
    }
}
