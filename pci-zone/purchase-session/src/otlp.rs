//! Carries spans to a collector through the zone's one HTTP client, over mutual TLS like everything else.
//!
//! The exporter calls from a thread of its own that has no event loop, so each post runs on the service's.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use pci_processors::http as zone_http;
use tokio::runtime::Handle;

/// The exporter's way out.
pub struct OtlpClient {
    client: Arc<zone_http::Client>,
    runtime: Handle,
}

impl OtlpClient {
    /// Posts through `client` on `runtime`.
    #[must_use]
    pub const fn new(client: Arc<zone_http::Client>, runtime: Handle) -> Self {
        Self { client, runtime }
    }
}

impl fmt::Debug for OtlpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OtlpClient")
    }
}

#[async_trait]
impl HttpClient for OtlpClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/v1/traces", |path| path.as_str());
        let media_type = HeaderValue::from_static("application/x-protobuf");
        let post = zone_http::Request::post(path, body).header(http::header::CONTENT_TYPE, media_type);
        let client = Arc::clone(&self.client);
        let answer = self.runtime.spawn(async move { client.send(post).await }).await??;
        Ok(Response::builder().status(answer.status).body(Bytes::copy_from_slice(&answer.body))?)
    }
}
