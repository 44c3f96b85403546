//! What a handler reads of a request, with a problem body for whatever is not as it must be.
//!
//! axum's own extractors answer in plain text; these say the same in RFC 9457. It leaves permission to `guard` and
//! repeats to `once`.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// A JSON body.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = json_bytes(request, state, &["application/json"]).await?;
        parse(&bytes).map(Self)
    }
}

/// The query part.
#[derive(Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(value)| Self(value))
            .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "invalid_query", error.body_text()))
    }
}

/// The names in the path. A name that cannot be one names nothing, hence 404.
#[derive(Debug)]
pub struct Named<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Path::from_request_parts(parts, state).await.map(|Path(name)| Self(name)).map_err(|error| {
            Problem::new(StatusCode::NOT_FOUND, "not_found", format!("no such thing: {}", error.body_text()))
        })
    }
}

/// The most records that one `:batchCreate` takes.
pub const MAX_BATCH: usize = 1000;

/// Checks the size of a batch.
///
/// # Errors
/// 422 when it is empty or above [`MAX_BATCH`].
pub fn check_batch<T>(records: &[T]) -> Result<(), Problem> {
    if records.is_empty() || records.len() > MAX_BATCH {
        return Err(Problem::invalid(format!("a batch has 1 to {MAX_BATCH} records")));
    }
    Ok(())
}

/// For PATCH: tells a member that is null from one that is left out. Use with `default`.
///
/// # Errors
/// Whatever the value's own parsing says.
pub fn present<'de, T: serde::Deserialize<'de>, D: serde::Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// The bytes of a body whose content type is one of `types`.
pub(crate) async fn json_bytes<S: Send + Sync>(request: Request, state: &S, types: &[&str]) -> Result<Bytes, Problem> {
    let found = content_type(request.headers());
    if !types.iter().any(|allowed| found.eq_ignore_ascii_case(allowed)) {
        let detail = format!("the body must be {}", types.join(" or "));
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
    }
    Bytes::from_request(request, state).await.map_err(|error| unread(&error))
}

/// Parses a JSON body; 400 when it is no JSON, 422 when it is not the JSON that is meant.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        if error.is_data() {
            Problem::invalid(error.to_string())
        } else {
            Problem::new(StatusCode::BAD_REQUEST, "invalid_json", error.to_string())
        }
    })
}

fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

fn unread(error: &BytesRejection) -> Problem {
    let status = error.status();
    let code = if status == StatusCode::PAYLOAD_TOO_LARGE { "body_too_large" } else { "body_unread" };
    Problem::new(status, code, error.body_text())
}
