//! A caller that shows everything it was answered: status, headers, body and trailers. The house's own clients read an
//! answer and throw the rest away, and the rest is what is searched here.

use std::time::Duration;

use bytes::Bytes;
use ca_identity::SpiffeId;
use ca_mtls::{Identity, TrustBundle};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rustls_pki_types::ServerName;
use serde_json::Value;
use single_node::Fault;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use crate::driver::house::House;

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The service of the fridge protocol.
const PURCHASE: &str = "/larder.purchase.v1.PurchaseSession/";

/// One party that calls one service, each time over a connection of its own.
pub struct Caller {
    identity: Identity,
    bundle: TrustBundle,
    service: SpiffeId,
    address: String,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    /// Its HTTP status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
    /// Headers and trailers, as text.
    pub heads: String,
}

impl Caller {
    /// `party` as a caller of `service`.
    ///
    /// # Errors
    /// [`Fault`] when there is no such party or service.
    pub fn new(house: &House, party: &str, service: &str) -> Result<Self, Fault> {
        let (identity, bundle) = house.identity(party)?;
        Ok(Self { identity, bundle, service: house.id_of(service)?, address: house.address(service)? })
    }

    /// `party` as a caller of the collector at `address`, which is the `monitor`.
    ///
    /// # Errors
    /// [`Fault`] when there is no such party.
    pub fn of_collector(house: &House, party: &str, address: &str) -> Result<Self, Fault> {
        let (identity, bundle) = house.identity(party)?;
        Ok(Self { identity, bundle, service: house.id_of("monitor")?, address: address.to_owned() })
    }

    /// Sends one HTTP/1.1 request.
    ///
    /// # Errors
    /// [`Fault`] when there is no answer.
    pub async fn http(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, Fault> {
        let mut request = Request::builder().method(method).uri(target).header(http::header::HOST, &self.address);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).map_err(Fault::of("a request"))?;
        bounded(async {
            let (mut sender, connection) =
                http1::handshake(self.connect(b"http/1.1").await?).await.map_err(self.failed())?;
            let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
            whole(sender.send_request(request).await.map_err(self.failed())?).await
        })
        .await
    }

    /// Reads JSON.
    ///
    /// # Errors
    /// [`Fault`] when there is no answer, or another.
    pub async fn json(&self, target: &str) -> Result<Value, Fault> {
        let answer = self.http("GET", target, &[], Bytes::new()).await?;
        if !answer.status.is_success() {
            return Err(Fault::new(format!("{target} answered {}: {:?}", answer.status, answer.body)));
        }
        serde_json::from_slice(&answer.body).map_err(Fault::of(target))
    }

    /// Calls a method of the fridge protocol with these messages, then says that there are no more.
    ///
    /// # Errors
    /// [`Fault`] when there is no answer.
    pub async fn grpc(&self, method: &str, messages: &[impl Message]) -> Result<Answer, Fault> {
        let framed = |message: &_| {
            let body = Message::encode_to_vec(message);
            let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
            [&[0][..], &length, &body].concat()
        };
        self.grpc_bytes(method, messages.iter().flat_map(framed).collect::<Vec<u8>>()).await
    }

    /// Calls a method of the fridge protocol with a body as it is.
    ///
    /// # Errors
    /// [`Fault`] when there is no answer.
    pub async fn grpc_bytes(&self, method: &str, body: impl Into<Bytes>) -> Result<Answer, Fault> {
        let request = Request::builder()
            .method("POST")
            .uri(format!("https://{}{PURCHASE}{method}", self.address))
            .header(http::header::CONTENT_TYPE, "application/grpc")
            .header(http::header::TE, "trailers")
            .body(Full::new(body.into()))
            .map_err(Fault::of("a request"))?;
        bounded(async {
            let handshake = http2::handshake(TokioExecutor::new(), self.connect(b"h2").await?);
            let (mut sender, connection) = handshake.await.map_err(self.failed())?;
            let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
            whole(sender.send_request(request).await.map_err(self.failed())?).await
        })
        .await
    }

    async fn connect(
        &self,
        protocol: &[u8],
    ) -> Result<TokioIo<impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static>, Fault> {
        let tls = ca_mtls::client_config(&self.identity, &self.bundle, &self.service, &[protocol])
            .map_err(Fault::of("a caller's identity"))?;
        let tcp = TcpStream::connect(&self.address).await.map_err(self.failed())?;
        let name = ServerName::try_from("localhost").map_err(Fault::of("a server's name"))?;
        let (stream, _) = ca_mtls::connect(tls, name, tcp, ANSWER_WITHIN).await.map_err(self.failed())?;
        Ok(TokioIo::new(stream))
    }

    fn failed<E: std::fmt::Display>(&self) -> impl FnOnce(E) -> Fault + use<E> {
        Fault::of(&format!("{} at {}", self.service, self.address))
    }
}

impl Answer {
    /// All of it, to be searched.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        [self.heads.as_bytes(), &self.body].concat()
    }
}

async fn bounded(call: impl Future<Output = Result<Answer, Fault>>) -> Result<Answer, Fault> {
    let late = |_| Fault::new(format!("there was no answer within {ANSWER_WITHIN:?}"));
    tokio::time::timeout(ANSWER_WITHIN, call).await.map_err(late)?
}

async fn whole(response: http::Response<Incoming>) -> Result<Answer, Fault> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(Fault::of("the body of an answer"))?;
    let mut heads = written(&parts.headers);
    if let Some(trailers) = body.trailers() {
        heads.push_str(&written(trailers));
    }
    Ok(Answer { status: parts.status, body: body.to_bytes(), heads })
}

fn written(headers: &HeaderMap) -> String {
    let line =
        |(name, value): (_, &http::HeaderValue)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
    headers.iter().map(line).collect()
}
