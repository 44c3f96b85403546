//! The PCI zone's one HTTP client: HTTP/1.1 over TLS to one endpoint, through a bounded pool of kept connections.
//!
//! Why not a ready-made client: three things must hold that none of them promises. **A body is never copied**: it is an
//! owner that wipes itself ([`wiped_body`]), and every layer below forwards vectored writes, so that the only other
//! bytes of it are ciphertext (HTTP/2 copies small frames, hence HTTP/1.1). **"Not sent" is a
//! fact and not a guess**: every connection counts the bytes it was offered. **Everything is bounded**:
//! connections, waits, and the size of an answer.
//!
//! It never follows a redirect, never repeats what may have been seen, trusts only the roots it is given, and leaves
//! the meaning of an answer to the caller.

mod connection;
mod endpoint;
mod error;
mod message;
mod pool;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use connection::Connection;
pub use endpoint::{Endpoint, EndpointError};
pub use error::{Cause, HttpError};
pub use message::{CloseAfter, Request, Response, wiped_body};
use pool::Idle;

/// How to reach one endpoint, and every bound on it.
#[derive(Clone)]
pub struct ClientConfig {
    /// Whom to trust and who to be.
    pub tls: Arc<rustls::ClientConfig>,
    /// Where to.
    pub endpoint: Endpoint,
    /// The most a connection may take to stand, TCP and TLS together, in milliseconds.
    pub connect_timeout_ms: u64,
    /// The most a request may take in all, waits and connecting included, in milliseconds.
    pub request_timeout_ms: u64,
    /// A connection idle for longer is not used again, in milliseconds.
    pub idle_timeout_ms: u64,
    /// The most connections at once; requests beyond them wait. At least one.
    pub max_connections: usize,
    /// The longest answer that is read, in bytes.
    pub max_body_bytes: usize,
}

impl ClientConfig {
    /// The usual bounds: 2 s to connect, 10 s in all, 30 s idle, 32 connections, answers of 1 MiB.
    #[must_use]
    pub const fn new(tls: Arc<rustls::ClientConfig>, endpoint: Endpoint) -> Self {
        Self {
            tls,
            endpoint,
            connect_timeout_ms: 2_000,
            request_timeout_ms: 10_000,
            idle_timeout_ms: 30_000,
            max_connections: 32,
            max_body_bytes: 1 << 20,
        }
    }
}

/// A client of one endpoint. Share it in an [`Arc`].
pub struct Client {
    config: ClientConfig,
    connector: TlsConnector,
    slots: Semaphore,
    idle: Idle,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.config.endpoint).finish_non_exhaustive()
    }
}

impl Client {
    /// A client; it connects when there is something to send.
    #[must_use]
    pub fn new(config: ClientConfig) -> Self {
        let max_connections = config.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            connector: TlsConnector::from(Arc::clone(&config.tls)),
            slots: Semaphore::new(max_connections),
            idle: Idle::new(Duration::from_millis(config.idle_timeout_ms)),
            config,
        }
    }

    /// Sends a request and reads its answer, whatever its status. A kept connection that has gone stale is replaced
    /// once, which is no repeat: nothing of the request was written to it.
    ///
    /// # Errors
    /// [`HttpError::NotSent`] when certainly no byte of the request went out, [`HttpError::Unknown`] when any may have.
    pub async fn send(&self, request: Request) -> Result<Response, HttpError> {
        let timeout_ms = request.timeout_ms.unwrap_or(self.config.request_timeout_ms);
        let deadline = Instant::now() + Duration::from_millis(timeout_ms);
        let _slot = timeout_at(deadline, self.slots.acquire())
            .await
            .map_err(|_| HttpError::NotSent(Cause::Busy))?
            .map_err(|_| HttpError::NotSent(Cause::Busy))?;
        if let Some(kept) = self.idle.take(deadline).await {
            match self.exchange(kept, &request, deadline).await {
                Err(HttpError::NotSent(Cause::Closed(_))) => {}
                settled => return settled,
            }
        }
        let fresh = self.connect(deadline).await.map_err(HttpError::NotSent)?;
        self.exchange(fresh, &request, deadline).await
    }

    async fn connect(&self, deadline: Instant) -> Result<Connection, Cause> {
        let connect_by = Instant::now() + Duration::from_millis(self.config.connect_timeout_ms);
        timeout_at(connect_by.min(deadline), Connection::open(&self.connector, &self.config.endpoint))
            .await
            .map_err(|_| Cause::ConnectTimeout)?
    }

    async fn exchange(
        &self,
        mut connection: Connection,
        request: &Request,
        deadline: Instant,
    ) -> Result<Response, HttpError> {
        let head = request.to_hyper(&self.config.endpoint).map_err(HttpError::NotSent)?;
        let before = connection.offered_bytes();
        let answer = timeout_at(deadline, connection.round_trip(head, self.config.max_body_bytes)).await;
        let cause = match answer {
            Ok(Ok(response)) => {
                if !request.close_after.closes(response.status) {
                    self.idle.put(connection);
                }
                return Ok(response);
            }
            Ok(Err(cause)) => cause,
            Err(_) => Cause::Timeout,
        };
        // Only when the connection has ended does its count stand still.
        let after = connection.close().await;
        Err(if after == before { HttpError::NotSent(cause) } else { HttpError::Unknown(cause) })
    }
}
