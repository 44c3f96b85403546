//! The least a server can do with the same messages, in a process of its own: a gRPC service that answers by rote, over
//! the same mutual TLS, and an HTTPS server with one answer, over a processor's TLS. No session, no queue, no disk.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use ca_identity::TrustDomain;
use ca_mtls::{Identity, TrustBundle};
use fridge_agent::proto::purchase_session_server::{PurchaseSession, PurchaseSessionServer};
use fridge_agent::proto::{self, FridgeMessage, ServiceMessage, fridge_message, service_message, touch};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use processor_sandbox::TlsIdentity;
use prost::Message;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_stream::Stream;
use tonic::{Status, Streaming};

use crate::Fault;

/// How long a handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// What a processor answers to an authorization.
pub(super) const INTENT: &str = concat!(
    r#"{"id":"pi_abcdefghijklmnop","object":"payment_intent","amount":2500,"amount_capturable":2500,"#,
    r#""amount_received":0,"capture_method":"manual","currency":"usd","payment_method":"pm_abcdefghijklmnop","#,
    r#""status":"requires_capture","metadata":{"session":"019cb000-0000-7000-8000-000000000000"},"#,
    r#""created":1772431200,"livemode":false}"#
);

/// What the servers are told: whose identity they bear, and what they answer by rote.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) bundle: PathBuf,
    pub(super) trust_domain: String,
    /// A [`ServiceMessage`] that unlocks, encoded.
    pub(super) unlock: Vec<u8>,
    /// A [`ServiceMessage`] with a receipt, encoded.
    pub(super) receipt: Vec<u8>,
}

/// Where they listen.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Listening {
    pub(super) grpc: String,
    pub(super) https: String,
    pub(super) root_pem: String,
}

/// Starts both servers.
///
/// # Errors
/// [`Fault`] when they cannot listen.
pub(super) async fn start(setup: &Setup) -> Result<Listening, Fault> {
    let decode = |bytes: &[u8]| ServiceMessage::decode(bytes).map(|message| message.body);
    let rote = Rote {
        unlock: decode(&setup.unlock).map_err(Fault::of("the recorded unlock"))?,
        receipt: decode(&setup.receipt).map_err(Fault::of("the recorded receipt"))?,
    };
    let identity = Identity::load(&setup.certificate, &setup.key).map_err(Fault::of("the servers' identity"))?;
    let bundle = TrustBundle::load(&setup.bundle).map_err(Fault::of("the trust bundle"))?;
    let domain = TrustDomain::parse(&setup.trust_domain).map_err(Fault::of("the trust domain"))?;
    let tls =
        ca_mtls::server_config(&identity, &bundle, &domain, &[b"h2"]).map_err(Fault::of("the servers' identity"))?;
    let (grpc, grpc_listener) = listen().await?;
    tokio::spawn(serve_grpc(grpc_listener, tls, Arc::new(rote)));
    let processor = TlsIdentity::generate().map_err(Fault::of("a processor's identity"))?;
    let acceptor = TlsAcceptor::from(processor.server_config().map_err(Fault::of("a processor's identity"))?);
    let (https, https_listener) = listen().await?;
    tokio::spawn(serve_https(https_listener, acceptor));
    Ok(Listening { grpc, https, root_pem: processor.root_pem().to_owned() })
}

async fn listen() -> Result<(String, TcpListener), Fault> {
    let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.map_err(Fault::of("no free port"))?;
    let address = listener.local_addr().map_err(Fault::of("no free port"))?;
    Ok((address.to_string(), listener))
}

async fn serve_grpc(listener: TcpListener, tls: Arc<rustls::ServerConfig>, rote: Arc<Rote>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, rote) = (Arc::clone(&tls), Arc::clone(&rote));
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let Ok((stream, _)) = ca_mtls::accept(tls, stream, HANDSHAKE_WITHIN).await else { return };
            let service = TowerToHyperService::new(PurchaseSessionServer::new(Face(rote)));
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            drop(builder.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn serve_https(listener: TcpListener, acceptor: TlsAcceptor) {
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await else { return };
            let mut builder = hyper::server::conn::http1::Builder::new();
            let connection =
                builder.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service_fn(answer));
            drop(connection.await);
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    drop(request.into_body().collect().await);
    let mut response = Response::new(Full::new(Bytes::from_static(INTENT.as_bytes())));
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    Ok(response)
}

/// What is answered, whoever asks.
struct Rote {
    unlock: Option<service_message::Body>,
    receipt: Option<service_message::Body>,
}

struct Face(Arc<Rote>);

#[tonic::async_trait]
impl PurchaseSession for Face {
    type PurchaseStream = Answers;

    async fn purchase(
        &self,
        request: tonic::Request<Streaming<FridgeMessage>>,
    ) -> Result<tonic::Response<Answers>, Status> {
        let (inbound, rote) = (request.into_inner(), Arc::clone(&self.0));
        Ok(tonic::Response::new(Answers { inbound, rote, waiting: VecDeque::new(), ended: false }))
    }

    async fn sealing_key(
        &self,
        _: tonic::Request<proto::SealingKeyRequest>,
    ) -> Result<tonic::Response<proto::SealingKeyResponse>, Status> {
        Err(Status::unimplemented("not measured"))
    }

    async fn enroll_card(
        &self,
        _: tonic::Request<proto::EnrollCardRequest>,
    ) -> Result<tonic::Response<proto::EnrollCardResponse>, Status> {
        Err(Status::unimplemented("not measured"))
    }

    async fn report_tamper(
        &self,
        _: tonic::Request<proto::TamperReport>,
    ) -> Result<tonic::Response<proto::TamperAcknowledgement>, Status> {
        Err(Status::unimplemented("not measured"))
    }
}

/// The answers of one stream, each made when its message is read: no task, no channel.
struct Answers {
    inbound: Streaming<FridgeMessage>,
    rote: Arc<Rote>,
    waiting: VecDeque<ServiceMessage>,
    ended: bool,
}

impl Answers {
    fn take(&mut self, message: FridgeMessage) {
        use service_message::Body;
        let FridgeMessage { session_id, sequence: acknowledged, body, .. } = message;
        let plain = |body| ServiceMessage { session_id: session_id.clone(), acknowledged, body };
        match body {
            Some(fridge_message::Body::Open(_)) => {
                self.waiting.extend([plain(None), plain(self.rote.unlock.clone())]);
            }
            Some(fridge_message::Body::Touch(touched)) if touched.barcode.ends_with("OWNED") => {
                let (taken, barcode) = (touched.kind() == touch::Kind::Taken, touched.barcode);
                self.waiting.push_back(plain(Some(if taken {
                    Body::Alarm(proto::Alarm { kind: proto::alarm::Kind::NotYours.into(), barcode })
                } else {
                    Body::AlarmCleared(proto::AlarmCleared { barcode })
                })));
            }
            Some(fridge_message::Body::DoorClosed(_)) => {
                self.waiting.push_back(plain(self.rote.receipt.clone()));
                self.ended = true;
            }
            _ => self.waiting.push_back(plain(None)),
        }
    }
}

impl Stream for Answers {
    type Item = Result<ServiceMessage, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(answer) = self.waiting.pop_front() {
                return Poll::Ready(Some(Ok(answer)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match ready!(Pin::new(&mut self.inbound).poll_next(context)) {
                Some(Ok(message)) => self.take(message),
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => return Poll::Ready(None),
            }
        }
    }
}
