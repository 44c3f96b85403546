//! The two listeners: the processor's API over TLS, and the control API in clear on the loopback.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::control;
use crate::floor::{Floor, Posted, Reply};

const MAX_BODY_BYTES: usize = 64 * 1024;
const MAX_CONNECTIONS: usize = 4_096;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves the processor's API until dropped.
pub(crate) async fn api(listener: TcpListener, acceptor: TlsAcceptor, floor: Arc<Floor>) {
    accept(listener, |tcp| {
        let (acceptor, floor) = (acceptor.clone(), Arc::clone(&floor));
        async move {
            let mut switches = floor.watch();
            tokio::select! {
                // Down: whatever stands is cut, in the middle of a word if need be.
                _ = switches.wait_for(|switches| switches.down) => {}
                () = api_connection(tcp, acceptor, Arc::clone(&floor)) => {}
            }
        }
    })
    .await;
}

async fn api_connection(tcp: TcpStream, acceptor: TlsAcceptor, floor: Arc<Floor>) {
    let Ok(Ok(tls)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(tcp)).await else { return };
    let service = service_fn(move |request| answer_api(request, Arc::clone(&floor)));
    let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(tls), service);
    // How a caller's connection ends is the caller's affair.
    drop(connection.await);
}

/// An error here makes hyper close the connection without an answer.
async fn answer_api(request: Request<Incoming>, floor: Arc<Floor>) -> io::Result<Response<Full<Bytes>>> {
    let posted = read_request(request).await?;
    let reply = tokio::spawn(floor.serve(posted)).await?.ok_or_else(|| io::Error::other("answer lost"))?;
    let Reply { status, body, is_replay } = reply;
    let mut response = Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
    if is_replay {
        response = response.header("idempotent-replayed", "true");
    }
    response.body(Full::new(body.into())).map_err(io::Error::other)
}

async fn read_request(request: Request<Incoming>) -> io::Result<Posted> {
    let (head, body) = request.into_parts();
    let text =
        |name: header::HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let is_post = head.method == Method::POST;
    let fields = if is_post {
        Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(io::Error::other)?.to_bytes().to_vec()
    } else {
        head.uri.query().unwrap_or_default().as_bytes().to_vec()
    };
    Ok(Posted {
        is_post,
        fields,
        idempotency_key: text(header::HeaderName::from_static("idempotency-key")),
        authorization: text(header::AUTHORIZATION),
        path: head.uri.path().to_owned(),
    })
}

/// Serves the control API until dropped.
pub(crate) async fn control(listener: TcpListener, floor: Arc<Floor>) {
    accept(listener, |tcp| {
        let floor = Arc::clone(&floor);
        async move {
            let service = service_fn(move |request| answer_control(request, Arc::clone(&floor)));
            let connection =
                http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(tcp), service);
            drop(connection.await);
        }
    })
    .await;
}

async fn answer_control(request: Request<Incoming>, floor: Arc<Floor>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, 64 * MAX_BODY_BYTES).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let (status, answer) = control::answer(&floor, &head.method, head.uri.path(), head.uri.query(), &body);
    let mut response = Response::new(Full::new(answer.to_string().into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Accepts connections for ever; they end when this future is dropped.
async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((tcp, _)) if connections.len() < MAX_CONNECTIONS => {
                drop(tcp.set_nodelay(true));
                connections.spawn(serve(tcp));
            }
            Ok(_) => {}
            // Out of descriptors, as like as not: give those that stand time to end.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}
