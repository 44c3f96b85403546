//! An answer as a handler gives it.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;

use crate::Problem;

/// One whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers; the length of the body is added on the way out.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Response {
    /// An answer without a body.
    #[must_use]
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// An answer of this media type.
    #[must_use]
    pub fn with_body(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut response = Self { status, headers: HeaderMap::new(), body: body.into() };
        response.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        response
    }

    /// An answer in JSON. A value that has no JSON form (a map whose keys are no text) is a fault of ours and is answered
    /// as one.
    #[must_use]
    pub fn json(status: StatusCode, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::with_body(status, "application/json", body),
            Err(error) => {
                tracing::error!(%error, "an answer could not be written as JSON");
                Problem::fault().into()
            }
        }
    }

    /// Adds a header. A value that cannot stand in one is left out, loudly: it would be a fault of ours.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(value) => {
                self.headers.append(name, value);
            }
            Err(error) => tracing::error!(%error, %name, "a header could not be written"),
        }
        self
    }

    /// The answer as hyper takes it.
    pub(crate) fn into_hyper(self) -> http::Response<Full<Bytes>> {
        let mut response = http::Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Self {
        Self::with_body(problem.status(), "application/problem+json", problem.to_json().to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http::{StatusCode, header};
    use serde_json::json;

    use super::Response;
    use crate::Problem;

    #[test]
    fn a_problem_says_that_it_is() {
        let problem = Problem::of_code(StatusCode::CONFLICT, "busy", "wait");
        let response = Response::from(problem.clone());
        assert_eq!(response.status, StatusCode::CONFLICT);
        assert_eq!(response.headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&response.body).unwrap(), problem.to_json());
    }

    #[test]
    fn json_says_that_it_is() {
        let response = Response::json(StatusCode::CREATED, &json!({"a": 1}));
        assert_eq!((response.status, response.body.as_ref()), (StatusCode::CREATED, br#"{"a":1}"#.as_slice()));
        assert_eq!(response.headers[header::CONTENT_TYPE], "application/json");
    }

    #[test]
    fn what_has_no_json_form_is_our_fault() {
        let response = Response::json(StatusCode::OK, &BTreeMap::from([([1_u8], 1)]));
        assert_eq!(response.status, StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[test]
    fn a_header_cannot_be_split() {
        let response = Response::empty(StatusCode::OK).header(header::LOCATION, "/a\r\nset-cookie: b");
        assert!(response.headers.is_empty());
        let twice = Response::empty(StatusCode::OK).header(header::LINK, "a").header(header::LINK, "b");
        assert_eq!(twice.headers.get_all(header::LINK).iter().count(), 2);
    }
}
