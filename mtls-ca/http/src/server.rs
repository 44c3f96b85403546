//! The listener: it accepts within a bound on connections, does the handshake, serves requests one after the other, and
//! ends in order when it is told to.

use std::sync::Arc;
use std::time::Duration;

use ca_mtls::{AcceptError, EnrolmentServer, Peer};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::exchange::Exchange;
use crate::{Limits, Request, Response};

/// The least buffer hyper takes for a request's head, in bytes.
const LEAST_HEAD_BYTES: usize = 8 * 1024;
/// The wait after a connection could not be accepted, so that others can end and give their descriptors back.
const PAUSE: Duration = Duration::from_millis(50);

/// Whom a listener lets in.
#[derive(Debug, Clone)]
pub enum Tls {
    /// Parties with a certificate: each request says who it is from. The configuration is one of `ca_mtls`'s servers.
    Mutual(Arc<ServerConfig>),
    /// Anybody: the listener for those who come for their first certificate, or after their last one ran out.
    Enrolment(Arc<EnrolmentServer>),
}

/// A listener's settings and its handler.
#[derive(Debug)]
pub struct Server<F> {
    tls: Tls,
    limits: Limits,
    now_unix_s: fn() -> i64,
    handler: Arc<F>,
}

impl<F> Clone for Server<F> {
    fn clone(&self) -> Self {
        let (tls, handler) = (self.tls.clone(), Arc::clone(&self.handler));
        Self { tls, limits: self.limits, now_unix_s: self.now_unix_s, handler }
    }
}

impl<F, Fut> Server<F>
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response> + Send + 'static,
{
    /// A server that asks `handler` for each answer. `now_unix_s` is the binary's clock, in seconds since the Unix epoch:
    /// a connection may outlive the certificate it began with.
    #[must_use]
    pub fn new(tls: Tls, limits: Limits, now_unix_s: fn() -> i64, handler: F) -> Self {
        Self { tls, limits, now_unix_s, handler: Arc::new(handler) }
    }

    /// Accepts connections until `shutdown` ends, then lets requests under way finish within [`Limits::drain`], cuts off
    /// the rest, and returns.
    pub async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let places = Arc::new(Semaphore::new(self.limits.connections));
        let (ending, told) = watch::channel(());
        let mut connections = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = accept(&listener, &places) => accepted,
            };
            while connections.try_join_next().is_some() {}
            match accepted {
                Some((stream, place)) => {
                    connections.spawn(self.clone().connection(stream, place, told.clone()));
                }
                None => tokio::time::sleep(PAUSE).await,
            }
        }
        drop((listener, told, ending)); // with its sender gone, each connection learns that it is to end
        let ended = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(self.limits.drain, ended).await.is_err() {
            tracing::warn!("requests under way did not end in time and were cut off");
        }
        connections.shutdown().await;
    }

    async fn connection(self, stream: TcpStream, place: OwnedSemaphorePermit, told: watch::Receiver<()>) {
        let _place = place;
        let _ = stream.set_nodelay(true); // slower without, and no worse
        let handshaken = match &self.tls {
            Tls::Mutual(config) => {
                let accepted = ca_mtls::accept(Arc::clone(config), stream, self.limits.handshake).await;
                accepted.map(|(tls, peer)| (tls, Some(peer)))
            }
            Tls::Enrolment(server) => server.accept(stream, self.limits.handshake).await.map(|tls| (tls, None)),
        };
        match handshaken {
            Ok((tls, peer)) => self.serve(tls, peer, told).await,
            Err(error @ AcceptError::TimedOut(_)) => tracing::debug!(%error, "a connection was refused"),
            Err(error) => tracing::info!(%error, "a connection was refused"),
        }
    }

    async fn serve<S>(self, stream: S, peer: Option<Peer>, mut told: watch::Receiver<()>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (limits, now_unix_s) = (self.limits, self.now_unix_s);
        let exchange = Arc::new(Exchange { handler: self.handler, limits, now_unix_s, peer });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.idle)
            .max_buf_size(limits.head_bytes.max(LEAST_HEAD_BYTES))
            .max_headers(limits.headers)
            .serve_connection(TokioIo::new(stream), service_fn(|request| Arc::clone(&exchange).answer(request)));
        tokio::pin!(connection);
        let outcome = tokio::select! {
            outcome = connection.as_mut() => outcome,
            _ = told.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.as_mut().await
            }
            () = tokio::time::sleep(limits.age) => {
                connection.as_mut().graceful_shutdown();
                // What is under way may still end; what is not read is cut off.
                tokio::time::timeout(limits.request, connection.as_mut()).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "a connection ended badly");
        }
    }
}

/// The next connection and a place for it; `None` when the system could not give one.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            None
        }
    }
}
