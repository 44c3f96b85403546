//! The other side: a JSON client over mutual TLS, for the console, for loading and for tests.
//!
//! One connection, HTTP/1.1, made anew when it is gone; every wait and every body has a bound. It never repeats a
//! request by itself: whether that is safe only the caller knows. It leaves what to say to the caller.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ca_identity::SpiffeId;
use ca_mtls::{Identity, TrustBundle, client_config, connect};
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

const CONNECT_S: u64 = 10;
const ANSWER_S: u64 = 70;
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The identity or the trust bundle cannot be used.
    #[error("identity: {0}")]
    Identity(String),
    /// No connection: nobody listens, or it is not who it must be.
    #[error("connect: {0}")]
    Connect(String),
    /// The request may or may not have arrived.
    #[error("exchange: {0}")]
    Exchange(String),
    /// The answer took too long; the request may have been done.
    #[error("no answer in time")]
    TimedOut,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// The body as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as a value.
    ///
    /// # Errors
    /// [`ClientError::Exchange`] when it is not one.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|error| ClientError::Exchange(format!("{}: {error}", self.status)))
    }

    /// The entity tag, ready for `If-Match`.
    #[must_use]
    pub fn etag(&self) -> Option<&str> {
        self.headers.get(header::ETAG).and_then(|value| value.to_str().ok())
    }
}

/// A client of one service. Requests of one client go one after the other; make several for more.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Client {
    /// A client that speaks as `identity` to `server` at `address` and to nobody else.
    ///
    /// # Errors
    /// [`ClientError::Identity`].
    pub fn new(
        identity: &Identity,
        bundle: &TrustBundle,
        server: &SpiffeId,
        address: SocketAddr,
    ) -> Result<Self, ClientError> {
        let tls = client_config(identity, bundle, server, &[b"http/1.1"])
            .map_err(|error| ClientError::Identity(error.to_string()))?;
        Ok(Self { address, tls, connection: Mutex::new(None) })
    }

    /// Sends one request. `headers` may override the content type, which is JSON when there is a body.
    ///
    /// # Errors
    /// [`ClientError`]; an answer that is a problem is not an error here.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Reply, ClientError> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, self.address.to_string());
        if body.is_some() && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = request.body(Full::new(bytes)).map_err(|error| ClientError::Exchange(error.to_string()))?;
        tokio::time::timeout(Duration::from_secs(ANSWER_S), self.exchange(request))
            .await
            .map_err(|_| ClientError::TimedOut)?
    }

    /// GET.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn get(&self, path: &str) -> Result<Reply, ClientError> {
        self.send(Method::GET, path, &[], None).await
    }

    /// POST of a JSON body.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Reply, ClientError> {
        self.send(Method::POST, path, &[], Some(body)).await
    }

    /// PUT of a JSON body.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn put(&self, path: &str, body: &Value) -> Result<Reply, ClientError> {
        self.send(Method::PUT, path, &[], Some(body)).await
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Reply, ClientError> {
        let mut held = self.connection.lock().await;
        // Taken out while in use: a request that is dropped half-way must not leave its answer to the next one.
        let mut sender = match usable(held.take()).await {
            Some(sender) => sender,
            None => self.open().await?,
        };
        let exchange = |error: &dyn std::fmt::Display| ClientError::Exchange(error.to_string());
        let response = sender.send_request(request).await.map_err(|error| exchange(&error))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await.map_err(|error| exchange(&error))?.to_bytes();
        *held = Some(sender);
        Ok(Reply { status: parts.status, headers: parts.headers, body })
    }

    async fn open(&self) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let limit = Duration::from_secs(CONNECT_S);
        let connect_error = |error: &dyn std::fmt::Display| ClientError::Connect(error.to_string());
        let stream = tokio::time::timeout(limit, TcpStream::connect(self.address))
            .await
            .map_err(|_| ClientError::TimedOut)?
            .map_err(|error| connect_error(&error))?;
        stream.set_nodelay(true).map_err(|error| connect_error(&error))?;
        let name = ServerName::IpAddress(self.address.ip().into());
        let (tls, _) =
            connect(Arc::clone(&self.tls), name, stream, limit).await.map_err(|error| connect_error(&error))?;
        let (sender, connection) = handshake(TokioIo::new(tls)).await.map_err(|error| connect_error(&error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection");
            }
        });
        Ok(sender)
    }
}

/// The connection that is held, if it still stands.
async fn usable(held: Option<SendRequest<Full<Bytes>>>) -> Option<SendRequest<Full<Bytes>>> {
    let mut sender = held?;
    sender.ready().await.ok()?;
    Some(sender)
}
