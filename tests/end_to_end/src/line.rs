//! A connection to the purchase-session service, and gRPC over it, written out by hand (the protocol of gRPC over HTTP/2:
//! five bytes before each message, the status in the trailers).
//!
//! A generated client cannot say what is wrong, break off in the middle of a message, or show which words of an answer
//! came before the end. This can, and it is a second opinion on the protocol besides.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use fridge_agent::proto::{
    EnrollCardRequest, EnrollCardResponse, SealingKeyRequest, TamperAcknowledgement, TamperReport,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use pci_contract::{SealingKey, SealingKeyId};
use prost::Message;
use rustls::ClientConfig;
use single_node::Fault;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_stream::wrappers::ReceiverStream;

use crate::PATIENCE;

/// Frames of a request that may wait for the network.
pub(crate) const ON_THE_WAY: usize = 256;
/// The most bytes of one answer.
const MAX_ANSWER: usize = 1 << 20;

/// The codes of gRPC that occur here.
pub mod code {
    /// It went well.
    pub const OK: u32 = 0;
    /// What was said is wrong.
    pub const INVALID_ARGUMENT: u32 = 3;
    /// The caller may not do this.
    pub const PERMISSION_DENIED: u32 = 7;
    /// Someone else speaks now.
    pub const ABORTED: u32 = 10;
    /// There is no such call.
    pub const UNIMPLEMENTED: u32 = 12;
    /// Come back later.
    pub const UNAVAILABLE: u32 = 14;
}

/// How a call or a stream ended, when not with what was hoped for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With a status: gRPC's code and text.
    Status {
        /// See [`code`].
        code: u32,
        /// What it says.
        message: String,
    },
    /// Without one: the connection, or the handshake, broke.
    Lost(String),
    /// It did not end, nor was anything said, within [`PATIENCE`].
    Silence,
}

impl End {
    pub(crate) fn lost(why: impl std::fmt::Display) -> Self {
        Self::Lost(why.to_string())
    }

    /// The code, if it ended with a status.
    #[must_use]
    pub const fn code(&self) -> Option<u32> {
        match self {
            Self::Status { code, .. } => Some(*code),
            Self::Lost(_) | Self::Silence => None,
        }
    }

    /// Whether it is a status of this code whose text contains `words`.
    #[must_use]
    pub fn says(&self, wanted: u32, words: &str) -> bool {
        matches!(self, Self::Status { code, message } if *code == wanted && message.contains(words))
    }
}

impl From<End> for Fault {
    fn from(end: End) -> Self {
        Self::new(format!("the service ended it: {end:?}"))
    }
}

type Sent = StreamBody<ReceiverStream<Result<Frame<Bytes>, Infallible>>>;

/// One connection.
pub struct Line {
    requests: SendRequest<Sent>,
    tasks: Tasks,
}

/// The tasks of one connection; when they are ended, nobody holds its socket any more.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<Vec<AbortHandle>>>);

impl Tasks {
    fn end(&self) {
        for task in self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

impl<F: Future<Output: Send + 'static> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        let task = tokio::spawn(task).abort_handle();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }
}

impl Line {
    /// Connects to `address` with this TLS configuration. In TLS 1.3 a client whose certificate is refused may learn of it
    /// only at its first call.
    ///
    /// # Errors
    /// [`End::Lost`] says why there is no connection.
    pub async fn connect(address: &str, tls: &Arc<ClientConfig>) -> Result<Self, End> {
        let name = rustls_pki_types::ServerName::try_from("localhost").map_err(End::lost)?;
        let tcp = TcpStream::connect(address).await.map_err(End::lost)?;
        tcp.set_nodelay(true).map_err(End::lost)?;
        let (stream, _) = ca_mtls::connect(Arc::clone(tls), name, tcp, PATIENCE).await.map_err(End::lost)?;
        let tasks = Tasks::default();
        let shaken = http2::handshake(tasks.clone(), TokioIo::new(stream)).await;
        let (requests, connection) = shaken.map_err(|error| End::Lost(causes(&error)))?;
        tasks.execute(connection);
        Ok(Self { requests, tasks })
    }

    /// Cuts the connection, with everything on it: the socket is closed without a word.
    pub fn cut(self) {
        self.tasks.end();
    }

    /// The key that cards are sealed to.
    ///
    /// # Errors
    /// [`End`] when there is none.
    pub async fn sealing_key(&self) -> Result<SealingKey, End> {
        let answer: fridge_agent::proto::SealingKeyResponse = self.call("SealingKey", &SealingKeyRequest {}).await?;
        let id = SealingKeyId::parse(&answer.key_id).map_err(End::lost)?;
        let public = answer.public_key.try_into().map_err(|_| End::lost("a point of another length"))?;
        Ok(SealingKey { id, public })
    }

    /// Enrols a card.
    ///
    /// # Errors
    /// [`End`] when it is not answered.
    pub async fn enroll(&self, request: &EnrollCardRequest) -> Result<EnrollCardResponse, End> {
        self.call("EnrollCard", request).await
    }

    /// Reports tampering.
    ///
    /// # Errors
    /// [`End`] when it is not taken.
    pub async fn report_tamper(&self, report: &TamperReport) -> Result<(), End> {
        let _: TamperAcknowledgement = self.call("ReportTamper", report).await?;
        Ok(())
    }

    /// Calls `method` with one message, whatever it is called.
    ///
    /// # Errors
    /// [`End`] when it ends without exactly one answer.
    pub async fn call<Q: Message, A: Message + Default>(&self, method: &str, question: &Q) -> Result<A, End> {
        let (frames, body) = mpsc::channel(ON_THE_WAY);
        let _ = frames.send(Ok(Frame::data(framed(&question.encode_to_vec())))).await;
        drop(frames);
        let mut reader = Reader::new(self.post(method, body).await?)?;
        let message = reader.next().await?;
        let _ = reader.next().await;
        A::decode(message).map_err(End::lost)
    }

    /// Reads a page that is not gRPC's.
    ///
    /// # Errors
    /// [`End`] when there is no answer.
    pub async fn get(&self, path: &str) -> Result<(StatusCode, String), End> {
        let (_, nothing) = mpsc::channel(1);
        let answer = self.request(Method::GET, &format!("https://localhost{path}"), nothing).await?;
        let status = answer.status();
        let body = bounded(answer.into_body().collect()).await?.map_err(End::lost)?;
        Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    }

    pub(crate) async fn post(&self, method: &str, body: Body) -> Result<Response<Incoming>, End> {
        let uri = format!("https://localhost/larder.purchase.v1.PurchaseSession/{method}");
        self.request(Method::POST, &uri, body).await
    }

    async fn request(&self, method: Method, uri: &str, body: Body) -> Result<Response<Incoming>, End> {
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(http::header::CONTENT_TYPE, "application/grpc")
            .header(http::header::TE, "trailers")
            .body(StreamBody::new(ReceiverStream::new(body)))
            .map_err(End::lost)?;
        let answer = bounded(self.requests.clone().send_request(request)).await?;
        answer.map_err(|error| End::Lost(causes(&error)))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.tasks.end();
    }
}

type Body = mpsc::Receiver<Result<Frame<Bytes>, Infallible>>;
pub(crate) type Frames = mpsc::Sender<Result<Frame<Bytes>, Infallible>>;

/// One message with gRPC's five bytes before it.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(message.len().saturating_add(5));
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

/// Reads the messages of an answer, and the status it ends with.
pub(crate) struct Reader {
    body: Incoming,
    waiting: BytesMut,
    /// The status when it came with the headers.
    early: Option<End>,
}

impl Reader {
    pub(crate) fn new(answer: Response<Incoming>) -> Result<Self, End> {
        if answer.status() != StatusCode::OK {
            return Err(End::Lost(format!("HTTP status {}", answer.status())));
        }
        let early = status(answer.headers());
        Ok(Self { body: answer.into_body(), waiting: BytesMut::new(), early })
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Result<Bytes, End> {
        loop {
            if let Some(message) = self.whole() {
                return Ok(message);
            }
            if let Some(end) = &self.early {
                return Err(end.clone());
            }
            if self.waiting.len() > MAX_ANSWER {
                return Err(End::lost("an answer without end"));
            }
            let frame = match bounded(self.body.frame()).await? {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Err(End::Lost(causes(&error))),
                None => return Err(End::lost("the stream ended without a status")),
            };
            match frame.into_data() {
                Ok(data) => self.waiting.extend_from_slice(&data),
                Err(frame) => self.early = frame.trailers_ref().and_then(status),
            }
        }
    }

    fn whole(&mut self) -> Option<Bytes> {
        let length = self.waiting.get(1..5)?.try_into().ok().map(u32::from_be_bytes)?;
        let whole = usize::try_from(length).ok()?.checked_add(5)?;
        if self.waiting.len() < whole {
            return None;
        }
        Some(self.waiting.split_to(whole).freeze().slice(5..))
    }
}

fn status(headers: &HeaderMap) -> Option<End> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let code = text("grpc-status")?.parse().ok()?;
    Some(End::Status { code, message: unescaped(text("grpc-message").unwrap_or_default()) })
}

/// gRPC escapes its texts like URLs.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('%');
    let mut plain = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (hex, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        plain.extend(u8::from_str_radix(hex, 16));
        plain.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8_lossy(&plain).into_owned()
}

pub(crate) async fn bounded<T>(wait: impl Future<Output = T>) -> Result<T, End> {
    tokio::time::timeout(PATIENCE, wait).await.map_err(|_| End::Silence)
}

/// An error with all that caused it; the reason of a TLS alert stands at the bottom.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        text.push_str(": ");
        text.push_str(&error.to_string());
        below = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{framed, unescaped};

    #[test]
    fn a_message_has_its_length_before_it() {
        assert_eq!(framed(b"abc").as_ref(), b"\x00\x00\x00\x00\x03abc");
    }

    #[test]
    fn a_status_is_read_as_it_was_meant() {
        assert_eq!(unescaped("barcode:%20has%20at%20most%2090%20bytes"), "barcode: has at most 90 bytes");
        assert_eq!(unescaped("plain"), "plain");
    }
}
