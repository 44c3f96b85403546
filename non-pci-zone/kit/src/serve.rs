//! The listener: mutual TLS, bounds on everything a caller may take, and an orderly end.
//!
//! Who the peer is stands beside every request of its connection. Certificates are re-read when their files were
//! replaced, and swapped without a restart; a bad file leaves the last good one in force. It leaves the routes to `routes`.

use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use ca_identity::{SpiffeId, TrustDomain};
use ca_mtls::{End, Peer, ReloadingServer};
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::authority::Followed;
use crate::kit::Kit;
use crate::metrics::Metrics;
use crate::problem::Fault;
use crate::routes::Routes;
use crate::{Config, Limits, clock};

/// How long an idle connection is kept, and a request's head may take.
const HEAD_S: u64 = 60;
/// Requests at a time on one HTTP/2 connection.
const STREAMS: u32 = 128;

/// Serves until the kit is told to end, then lets requests under way finish within the bound.
///
/// # Errors
/// [`Fault`] when the address, the certificate or the ready file cannot be used.
pub async fn serve<E: Send + Sync + 'static>(config: &Config<E>, kit: Kit<E>, routes: Routes<E>) -> Result<(), Fault> {
    let watched = config.identity_files().watched();
    let server = Arc::new(identity(config, &kit)?);
    let bound = TcpListener::bind(config.listen).await;
    let listener = bound.map_err(|error| Fault::new(format!("listen on {}: {error}", config.listen), true))?;
    let address = listener.local_addr().map_err(|error| Fault::new(error.to_string(), true))?;
    let ending = kit.ending().clone();
    let following = follow_authority(config, &server, kit.metrics())?;
    let reloading = Arc::clone(&server);
    let reloading = tokio::spawn(watched.keep_fresh(move || reloading.reload().map(drop)));
    if let Some(path) = &config.ready_file {
        write_ready(path, &address.to_string())?;
    }
    tracing::info!(%address, service = kit.service().as_str(), "ready");
    let slots = Arc::new(Semaphore::new(config.limits.connections));
    accept_all(&listener, &server, &kit, routes, &slots, &ending).await;
    drop(listener);
    let all = slots.acquire_many(u32::try_from(config.limits.connections).unwrap_or(u32::MAX));
    if tokio::time::timeout(Duration::from_secs(config.limits.drain_s), all).await.is_err() {
        tracing::warn!("requests under way did not end in time");
    }
    reloading.abort();
    following.abort();
    kit.db().close().await;
    tracing::info!("ended");
    Ok(())
}

/// Follows who tells which certificates were revoked and which roots are trusted; without one, there is nothing to do.
fn follow_authority<E>(
    config: &Config<E>,
    server: &Arc<ReloadingServer>,
    metrics: &Metrics,
) -> Result<JoinHandle<()>, Fault> {
    let Some(authority) = config.authority.clone() else { return Ok(tokio::spawn(async {})) };
    let fault = |error: &dyn std::fmt::Display| Fault::new(error.to_string(), false);
    let domain = TrustDomain::parse(&config.trust_domain).map_err(|error| fault(&error))?;
    let followed = Followed::new(server, authority, config.identity_files(), domain).map_err(|error| fault(&error))?;
    let followed = Arc::new(followed);
    metrics.follow(Arc::clone(&followed));
    Ok(tokio::spawn(followed.follow()))
}

fn identity<E>(config: &Config<E>, kit: &Kit<E>) -> Result<ReloadingServer, Fault> {
    let domain = TrustDomain::parse(&config.trust_domain).map_err(|error| Fault::new(error.to_string(), false))?;
    let server = ReloadingServer::new(config.identity_files(), &domain, &[b"h2", b"http/1.1"])
        .map_err(|error| Fault::new(error.to_string(), false))?;
    let expected = SpiffeId::service(&domain, kit.service());
    if server.id() != &expected {
        return Err(Fault::new(format!("the certificate names {}, not {expected}", server.id()), false));
    }
    Ok(server)
}

async fn accept_all<E: Send + Sync + 'static>(
    listener: &TcpListener,
    server: &Arc<ReloadingServer>,
    kit: &Kit<E>,
    routes: Routes<E>,
    slots: &Arc<Semaphore>,
    ending: &CancellationToken,
) {
    let router = routes.finish();
    let limits = *kit.limits();
    loop {
        let slot = tokio::select! {
            () = ending.cancelled() => return,
            slot = Arc::clone(slots).acquire_owned() => match slot { Ok(slot) => slot, Err(_) => return },
        };
        let stream = tokio::select! {
            () = ending.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(Duration::from_millis(50)).await; // out of descriptors: let some close
                    continue;
                }
            },
        };
        let connection = Connection { server: Arc::clone(server), router: router.clone(), limits, slot };
        tokio::spawn(connection.run(kit.clone(), stream));
    }
}

struct Connection {
    server: Arc<ReloadingServer>,
    router: axum::Router,
    limits: Limits,
    slot: OwnedSemaphorePermit,
}

impl Connection {
    async fn run<E: Send + Sync + 'static>(self, kit: Kit<E>, stream: TcpStream) {
        let _slot = self.slot;
        let _count = kit.metrics().connected();
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let limit = Duration::from_secs(self.limits.handshake_s);
        let (tls, live) = match self.server.accept(stream, limit).await {
            Ok(accepted) => accepted,
            Err(error) => {
                kit.metrics().connection_refused();
                tracing::info!(%error, "connection refused");
                return;
            }
        };
        let (router, peer) = (self.router, live.peer());
        let service = hyper::service::service_fn(move |request| answer(router.clone(), Peer::clone(&peer), request));
        let builder = builder(self.limits);
        let connection = builder.serve_connection(TokioIo::new(tls), service).into_owned();
        let (stop, connection) = (kit.ending().clone(), pin!(connection));
        let finish = |connection: Pin<&mut _>| GracefulConnection::graceful_shutdown(connection);
        if let End::Finished(Err(error)) = live.keep(connection, stop.cancelled(), finish, clock::now_s()).await {
            tracing::debug!(%error, "connection");
        }
    }
}

async fn answer(
    router: axum::Router,
    peer: Peer,
    mut request: Request<Incoming>,
) -> Result<axum::response::Response, std::convert::Infallible> {
    request.extensions_mut().insert(peer);
    router.oneshot(request.map(Body::new)).await
}

fn builder(limits: Limits) -> Builder<TokioExecutor> {
    let head_bytes = usize::try_from(limits.head_bytes).unwrap_or(usize::MAX);
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(HEAD_S))
        .max_buf_size(head_bytes.max(8192));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(limits.head_bytes)
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(Duration::from_secs(HEAD_S));
    builder
}

/// Writes the address in one step, so that whoever waits for the file never reads half of it.
fn write_ready(path: &Path, address: &str) -> Result<(), Fault> {
    let mut next = path.as_os_str().to_owned();
    next.push(".new");
    std::fs::write(&next, format!("{address}\n"))
        .and_then(|()| std::fs::rename(&next, path))
        .map_err(|error| Fault::new(format!("ready file {}: {error}", path.display()), false))
}
