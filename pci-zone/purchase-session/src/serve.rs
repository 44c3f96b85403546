//! The one listener: TLS 1.3 with a required client certificate, HTTP/2 for the fridge protocol, HTTP/1.1 or 2 for
//! health and metrics. It bounds connections, handshakes, streams and headers, and puts the peer's identity into each
//! request; what a peer may do is decided further in.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ca_mtls::{End, Peer, ReloadingServer};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower_service::Service;

use crate::authority::Followed;
use crate::authorize::{self, Health, Metrics as MetricsMethod};
use crate::clock;
use crate::config::Limits;
use crate::metrics::Metrics;
use crate::rpc::Rpc;
use crate::rpc::proto::purchase_session_server::PurchaseSessionServer;

/// How often an idle HTTP/2 connection is asked whether it lives, and how long it may take to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// What every connection shares.
#[derive(Clone)]
pub struct Server {
    /// Who we are and whom we trust; its files may be replaced while we run.
    pub tls: Arc<ReloadingServer>,
    /// Bounds.
    pub limits: Limits,
    /// The fridge protocol.
    pub rpc: Rpc,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The revocation lists and the trust bundle, if anybody tells of them.
    pub followed: Option<Arc<Followed>>,
    /// What the service lacks to do its work now.
    pub lacks: Arc<dyn Fn() -> Option<String> + Send + Sync>,
}

impl Server {
    /// Accepts connections until `stop`, then lets streams end for at most `limits.drain_s`.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(self.limits.connections));
        loop {
            // At the most connections this waits for one to end, which may be long after the service is told to.
            let place = tokio::select! {
                () = stop.cancelled() => break,
                place = Arc::clone(&places).acquire_owned() => place,
            };
            let Ok(place) = place else { break };
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    tokio::spawn(self.clone().connection(stream, place, stop.clone()));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: others will close.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(listener);
        let drain = Duration::from_secs(self.limits.drain_s);
        let all = u32::try_from(self.limits.connections).unwrap_or(u32::MAX);
        if tokio::time::timeout(drain, places.acquire_many(all)).await.is_err() {
            tracing::info!(
                "streams were still open at the end of the drain time; fridges come back with their journals"
            );
        }
    }

    async fn connection(self, stream: TcpStream, place: OwnedSemaphorePermit, stop: CancellationToken) {
        let _place = place;
        let _ = stream.set_nodelay(true);
        let bound = Duration::from_secs(self.limits.handshake_s);
        let (stream, live) = match self.tls.accept(stream, bound).await {
            Ok(accepted) => accepted,
            Err(error) => {
                self.metrics.handshake_failures.inc();
                tracing::info!(%error, "a connection was refused");
                return;
            }
        };
        self.metrics.connections.inc();
        let (service, peer) = (self.clone(), live.peer());
        let answer = service_fn(move |request| service.clone().answer(Arc::clone(&peer), request));
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .max_concurrent_streams(self.limits.streams_per_connection)
            .max_header_list_size(16 * 1_024);
        builder.http1().timer(TokioTimer::new()).header_read_timeout(bound).max_headers(64);
        let connection = pin!(builder.serve_connection(TokioIo::new(stream), answer).into_owned());
        let finish = |connection: Pin<&mut _>| GracefulConnection::graceful_shutdown(connection);
        match live.keep(connection, stop.cancelled(), finish, clock::now_s()).await {
            End::Finished(Err(error)) => tracing::debug!(%error, "a connection ended badly"),
            End::Finished(Ok(())) | End::Expired => {}
            End::Revoked => drop(self.metrics.revoked_connections.inc()),
        }
        self.metrics.connections.dec();
    }

    async fn answer(self, peer: Arc<Peer>, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        match request.uri().path() {
            "/metrics" => Ok(match authorize::authorize::<MetricsMethod>(&peer, clock::now()) {
                Ok(_permit) => {
                    if let Some(followed) = &self.followed {
                        self.metrics.follows(followed);
                    }
                    text(StatusCode::OK, self.metrics.text())
                }
                Err(denied) => text(StatusCode::FORBIDDEN, denied.to_string()),
            }),
            "/healthz" => Ok(match authorize::authorize::<Health>(&peer, clock::now()) {
                Ok(_permit) => match (self.lacks)() {
                    None => text(StatusCode::OK, "ready\n".to_owned()),
                    Some(what) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{what}\n")),
                },
                Err(denied) => text(StatusCode::FORBIDDEN, denied.to_string()),
            }),
            _ => {
                request.extensions_mut().insert(peer);
                let mut service =
                    PurchaseSessionServer::new(self.rpc).max_decoding_message_size(self.limits.message_bytes);
                service.call(request).await
            }
        }
    }
}

fn text(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(Bytes::from(body)).map_err(|never| match never {})));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; version=0.0.4"));
    response
}
