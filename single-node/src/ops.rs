//! A client of the services outside the PCI zone, as an operator has one: mutual TLS, JSON, problem details.

use std::sync::Arc;

use ca_identity::{ServiceName, SpiffeId, TrustDomain};
use ca_mtls::{Identity, TrustBundle};
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderName, StatusCode};
use pci_processors::http as client;
use rustls::ClientConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Fault;

/// The longest answer, in bytes.
const MAX_ANSWER: usize = 32 << 20;

/// A client of one service.
#[derive(Clone)]
pub struct Ops {
    service: &'static str,
    client: Arc<client::Client>,
}

impl Ops {
    /// A client of `service` at `address`, as `identity`.
    ///
    /// # Errors
    /// [`Fault`] when the address or the identity cannot be used.
    pub fn new(
        service: ServiceName,
        address: &str,
        identity: &Identity,
        bundle: &TrustBundle,
        trust_domain: &TrustDomain,
    ) -> Result<Self, Fault> {
        let expected = SpiffeId::service(trust_domain, service);
        let tls = ca_mtls::client_config(identity, bundle, &expected, &[b"http/1.1"])
            .map_err(Fault::of("the operator's identity"))?;
        Self::speaking(service, address, tls)
    }

    /// A client of `service` at `address` with this configuration.
    ///
    /// # Errors
    /// [`Fault`] when the address is none.
    pub fn speaking(service: ServiceName, address: &str, tls: Arc<ClientConfig>) -> Result<Self, Fault> {
        let endpoint =
            client::Endpoint::parse(&format!("https://{address}")).map_err(Fault::of("a service's address"))?;
        let config = client::ClientConfig {
            max_body_bytes: MAX_ANSWER,
            request_timeout_ms: 60_000,
            ..client::ClientConfig::new(tls, endpoint)
        };
        Ok(Self { service: service.as_str(), client: Arc::new(client::Client::new(config)) })
    }

    /// Reads `path`.
    ///
    /// # Errors
    /// [`Fault`] with the problem the service told.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Fault> {
        self.send(path, client::Request::get(path)).await
    }

    /// The revision of the record at `path`, which its entity tag tells.
    ///
    /// # Errors
    /// [`Fault`] with the problem the service told.
    pub async fn revision(&self, path: &str) -> Result<i64, Fault> {
        let answer = self.answer(path, client::Request::get(path)).await?;
        let tag = answer.headers.get(ETAG).and_then(|tag| tag.to_str().ok()?.trim_matches('"').parse().ok());
        tag.ok_or_else(|| Fault::new(format!("{} {path} has no revision", self.service)))
    }

    /// Reads `path` as text.
    ///
    /// # Errors
    /// [`Fault`] with the problem the service told.
    pub async fn text(&self, path: &str) -> Result<String, Fault> {
        let answer = self.answer(path, client::Request::get(path)).await?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// Reads what comes after what `tag` names at `path`; none when nothing does.
    ///
    /// # Errors
    /// [`Fault`] with the problem the service told.
    pub async fn next(&self, path: &str, tag: Option<&str>) -> Result<Option<String>, Fault> {
        let request = client::Request::get(path);
        let request = match tag {
            Some(tag) => request.text_header(IF_NONE_MATCH, tag),
            None => request,
        };
        let answer = self.client.send(request).await.map_err(Fault::of(&format!("{} {path}", self.service)))?;
        match answer.status {
            StatusCode::NOT_MODIFIED => Ok(None),
            _ => self.good(path, answer).map(|answer| Some(String::from_utf8_lossy(&answer.body).into_owned())),
        }
    }

    /// Posts `body` to `path`; `key` makes a repeat harmless.
    ///
    /// # Errors
    /// [`Fault`] with the problem the service told.
    pub async fn post<B: Serialize>(&self, path: &str, key: &str, body: &B) -> Result<Value, Fault> {
        let json = serde_json::to_vec(body).map_err(Fault::of("a request cannot be written as JSON"))?;
        let request = client::Request::post(path, json.into())
            .text_header(CONTENT_TYPE, "application/json")
            .text_header(HeaderName::from_static("idempotency-key"), key);
        self.send(path, request).await
    }

    /// Puts `body` at `path`.
    ///
    /// # Errors
    /// [`Fault`] with the problem the service told.
    pub async fn put<B: Serialize>(&self, path: &str, body: &B) -> Result<Value, Fault> {
        let json = serde_json::to_vec(body).map_err(Fault::of("a request cannot be written as JSON"))?;
        let request = client::Request::put(path, json.into()).text_header(CONTENT_TYPE, "application/json");
        self.send(path, request).await
    }

    async fn send<T: DeserializeOwned>(&self, path: &str, request: client::Request) -> Result<T, Fault> {
        let answer = self.answer(path, request).await?;
        let body: &[u8] = if answer.body.is_empty() { b"null" } else { &answer.body };
        serde_json::from_slice(body).map_err(Fault::of(&format!("{} {path} answered something else", self.service)))
    }

    async fn answer(&self, path: &str, request: client::Request) -> Result<client::Response, Fault> {
        let answer = self.client.send(request).await.map_err(Fault::of(&format!("{} {path}", self.service)))?;
        self.good(path, answer)
    }

    fn good(&self, path: &str, answer: client::Response) -> Result<client::Response, Fault> {
        if answer.status.is_success() {
            return Ok(answer);
        }
        let problem = String::from_utf8_lossy(&answer.body);
        Err(Fault::new(format!("{} {path} answered {}: {problem}", self.service, answer.status)))
    }
}
