//! Requests and answers. A request's body is shared, not copied; an answer's body is wiped when it is dropped, since an
//! answer about a card may repeat some of it.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::Full;
use zeroize::Zeroizing;

use super::endpoint::Endpoint;
use super::error::Cause;

/// A body that wipes itself when the last part of the request is gone. Nothing below copies it.
#[must_use]
pub fn wiped_body(secret: Zeroizing<Vec<u8>>) -> Bytes {
    Bytes::from_owner(secret)
}

/// When a connection is closed after an answer rather than kept; its buffers go with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CloseAfter {
    /// Never: the answer holds nothing that a buffer may not keep.
    #[default]
    Never,
    /// When the answer is not a success: an error may repeat what was wrong with the request.
    Failure,
    /// Always: the answer may hold card data.
    Always,
}

impl CloseAfter {
    pub(super) fn closes(self, status: StatusCode) -> bool {
        match self {
            Self::Never => false,
            Self::Failure => !status.is_success(),
            Self::Always => true,
        }
    }
}

/// A request to the client's endpoint.
#[derive(Clone)]
pub struct Request {
    method: Method,
    path_and_query: String,
    headers: Vec<(HeaderName, Option<HeaderValue>)>,
    body: Bytes,
    pub(super) close_after: CloseAfter,
    pub(super) timeout_ms: Option<u64>,
}

impl Request {
    /// A GET of this path and query.
    #[must_use]
    pub fn get(path_and_query: impl Into<String>) -> Self {
        Self::new(Method::GET, path_and_query.into(), Bytes::new())
    }

    /// A POST of this body to this path.
    #[must_use]
    pub fn post(path_and_query: impl Into<String>, body: Bytes) -> Self {
        Self::new(Method::POST, path_and_query.into(), body)
    }

    /// A `PUT` of `path_and_query` with this body.
    #[must_use]
    pub fn put(path_and_query: impl Into<String>, body: Bytes) -> Self {
        Self::new(Method::PUT, path_and_query.into(), body)
    }

    const fn new(method: Method, path_and_query: String, body: Bytes) -> Self {
        Self { method, path_and_query, headers: Vec::new(), body, close_after: CloseAfter::Never, timeout_ms: None }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, Some(value)));
        self
    }

    /// Adds a header from text. If the text cannot be one, the request will not be sent at all.
    #[must_use]
    pub fn text_header(mut self, name: HeaderName, text: &str) -> Self {
        self.headers.push((name, HeaderValue::from_str(text).ok()));
        self
    }

    /// Says when the connection is closed after the answer.
    #[must_use]
    pub const fn close_after(mut self, close_after: CloseAfter) -> Self {
        self.close_after = close_after;
        self
    }

    /// Another bound on the whole request than the client's own, in milliseconds; for long polls.
    #[must_use]
    pub const fn timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.timeout_ms = Some(timeout_ms);
        self
    }

    pub(super) fn to_hyper(&self, endpoint: &Endpoint) -> Result<http::Request<Full<Bytes>>, Cause> {
        let mut request = http::Request::builder()
            .method(&self.method)
            .uri(endpoint.path(&self.path_and_query))
            .header(header::HOST, endpoint.host_header());
        for (name, value) in &self.headers {
            request = request.header(name, value.as_ref().ok_or(Cause::Malformed)?);
        }
        request.body(Full::new(self.body.clone())).map_err(|_| Cause::Malformed)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, path_and_query, body, .. } = self;
        write!(f, "Request({method} {path_and_query}, {} bytes)", body.len())
    }
}

/// An answer, of whatever status.
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, wiped when dropped.
    pub body: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Response({}, {} bytes)", self.status, self.body.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_body_and_no_header() {
        let request = Request::post("/v1/x", wiped_body(Zeroizing::new(b"secret".to_vec())))
            .header(header::AUTHORIZATION, HeaderValue::from_static("Bearer secret"));
        assert_eq!(format!("{request:?}"), "Request(POST /v1/x, 6 bytes)");
        let response =
            Response { status: StatusCode::OK, headers: HeaderMap::new(), body: Zeroizing::new(b"secret".to_vec()) };
        assert_eq!(format!("{response:?}"), "Response(200 OK, 6 bytes)");
    }

    #[test]
    fn a_request_that_is_not_http_is_our_fault() {
        let endpoint = Endpoint::parse("https://127.0.0.1:1").unwrap();
        assert!(matches!(Request::get("/a b").to_hyper(&endpoint), Err(Cause::Malformed)));
        let split = Request::get("/a").text_header(header::ACCEPT, "two\nlines");
        assert!(matches!(split.to_hyper(&endpoint), Err(Cause::Malformed)));
        assert!(Request::get("/a?b").text_header(header::ACCEPT, "*/*").to_hyper(&endpoint).is_ok());
    }

    #[test]
    fn a_body_is_shared_and_not_copied() {
        let secret = Zeroizing::new(b"secret".to_vec());
        let at = secret.as_ptr();
        let body = wiped_body(secret);
        assert_eq!(body.as_ptr(), at);
        assert_eq!(body.clone().as_ptr(), at);
    }

    #[test]
    fn connections_close_when_told() {
        for (rule, ok, failed) in
            [(CloseAfter::Never, false, false), (CloseAfter::Failure, false, true), (CloseAfter::Always, true, true)]
        {
            assert_eq!(rule.closes(StatusCode::OK), ok);
            assert_eq!(rule.closes(StatusCode::PAYMENT_REQUIRED), failed);
        }
    }
}
