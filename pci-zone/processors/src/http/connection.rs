//! One connection: TCP, TLS, HTTP/1.1, and a count of the bytes that were offered to it.
//!
//! Vectored writes are forwarded at every layer: without them hyper would flatten head and body into a buffer of its
//! own, and a card number would stay there. The task that drives the connection ends with it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use super::endpoint::Endpoint;
use super::error::Cause;
use super::message::Response;

/// The longest head of an answer that is read, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;

pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    offered: Arc<AtomicU64>,
    driver: Driver,
}

impl Connection {
    pub(super) async fn open(connector: &TlsConnector, endpoint: &Endpoint) -> Result<Self, Cause> {
        let tcp = TcpStream::connect(endpoint.address()).await.map_err(Cause::Connect)?;
        tcp.set_nodelay(true).map_err(Cause::Connect)?;
        let tls = connector.connect(endpoint.server_name().clone(), tcp).await.map_err(Cause::Tls)?;
        let offered = Arc::new(AtomicU64::new(0));
        let io = TokioIo::new(Counted { inner: tls, offered: Arc::clone(&offered) });
        let (sender, connection) =
            Builder::new().writev(true).max_buf_size(MAX_HEAD_BYTES).handshake(io).await.map_err(Cause::Closed)?;
        let driver = Driver(tokio::spawn(async move {
            // How it ends is told to whoever waits for an answer; an idle end is no news.
            drop(connection.await);
        }));
        Ok(Self { sender, offered, driver })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Waits until a request can be sent; false when none can any more.
    pub(super) async fn ready(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    /// Bytes of requests offered to this connection so far. The count may grow while the connection lives.
    pub(super) fn offered_bytes(&self) -> u64 {
        self.offered.load(Ordering::SeqCst)
    }

    /// Ends the connection and says, finally, how many bytes of requests were offered to it.
    pub(super) async fn close(mut self) -> u64 {
        self.driver.0.abort();
        // An aborted task answers with an error, which is what was asked for.
        drop((&mut self.driver.0).await);
        self.offered_bytes()
    }

    pub(super) async fn round_trip(
        &mut self,
        request: http::Request<Full<Bytes>>,
        max_body_bytes: usize,
    ) -> Result<Response, Cause> {
        let answer = self.sender.send_request(request).await.map_err(Cause::Closed)?;
        let (head, body) = answer.into_parts();
        let body = read_body(body, max_body_bytes).await?;
        Ok(Response { status: head.status, headers: head.headers, body })
    }
}

async fn read_body(mut body: Incoming, max_bytes: usize) -> Result<Zeroizing<Vec<u8>>, Cause> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > max_bytes {
        return Err(Cause::TooLong { max_bytes });
    }
    let mut read = Zeroizing::new(Vec::with_capacity(announced));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Cause::Closed)?.into_data() else { continue };
        if read.len().saturating_add(data.len()) > max_bytes {
            return Err(Cause::TooLong { max_bytes });
        }
        read.extend_from_slice(&data);
    }
    Ok(read)
}

/// The task of a connection; it never outlives it.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Counts what is offered to TLS, taken or not: a write that fails may have sent a part before. So the count is never
/// less than what has left, and a count that stands still proves that nothing has.
struct Counted {
    inner: TlsStream<TcpStream>,
    offered: Arc<AtomicU64>,
}

impl Counted {
    fn count(&self, bytes: usize) {
        self.offered.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.count(buf.len());
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.count(bufs.iter().map(|buf| buf.len()).sum());
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
