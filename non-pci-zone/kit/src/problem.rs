//! What a service answers when it does not do what was asked: problem details (RFC 9457), sorted by whose fault it is.
//!
//! A [`Problem`] is the caller's and says all that helps him; a [`Fault`] is ours or a dependency's and is opaque
//! outside, but says whether asking again is safe; [`ApiError::Corrupt`] is stored state that no code of ours could
//! have written, which is reported and never repaired silently. Causes go to the log, never into an answer.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value};
use thiserror::Error;

/// The fewest digits of a card number (ISO/IEC 7812-1).
const CARD_DIGITS: usize = 13;

/// A refusal: the caller can do something about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    more: Map<String, Value>,
}

impl Problem {
    /// A problem with its stable code and a sentence for people. What could be a card number in the sentence is left
    /// out: a parser's words repeat what it was given, and people paste anything.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: without_card_numbers(&detail.into()), more: Map::new() }
    }

    /// 404: there is no such thing.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("there is no such {what}"))
    }

    /// 422: well-formed, and yet it cannot be.
    #[must_use]
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
    }

    /// 409: contradicts what is there.
    #[must_use]
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// Adds a member to the body (RFC 9457 section 3.2).
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.more.insert(key.to_owned(), value.into());
        self
    }

    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }
}

/// `text` with an ellipsis in place of each number that could be a card's: 13 digits or more, in one run or in groups,
/// that do not begin with 0 as our barcodes do.
fn without_card_numbers(text: &str) -> String {
    let mut told = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let (number, after) = from.split_at(number_bytes(from.as_bytes()));
        let digits = number.bytes().filter(u8::is_ascii_digit).count();
        let could_be_card = digits >= CARD_DIGITS && !number.starts_with('0');
        told.push_str(before);
        told.push_str(if could_be_card { "…" } else { number });
        rest = after;
    }
    told + rest
}

/// Bytes of the number at the beginning of `text`: digits, with single spaces or dashes between them.
fn number_bytes(text: &[u8]) -> usize {
    let digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
    let between = |at: usize| matches!(text.get(at), Some(b' ' | b'-')) && digit(at + 1);
    (0..text.len()).find(|at| !digit(*at) && !between(*at)).unwrap_or(text.len())
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = self.more;
        body.insert("type".into(), format!("urn:larder:problem:{}", self.code).into());
        body.insert("title".into(), self.status.canonical_reason().unwrap_or("Problem").into());
        body.insert("status".into(), self.status.as_u16().into());
        body.insert("code".into(), self.code.into());
        body.insert("detail".into(), self.detail.into());
        let mut response = (self.status, Value::Object(body).to_string()).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

/// Something of ours, or something we depend on, did not work.
#[derive(Debug, Error)]
#[error("{what}")]
pub struct Fault {
    what: String,
    retry_is_safe: bool,
}

impl Fault {
    /// A fault with its cause, for the log only, and whether the same request may be sent again.
    #[must_use]
    pub fn new(what: impl Into<String>, retry_is_safe: bool) -> Self {
        Self { what: what.into(), retry_is_safe }
    }

    /// Whether the same request may be sent again.
    #[must_use]
    pub const fn retry_is_safe(&self) -> bool {
        self.retry_is_safe
    }
}

impl From<sqlx::Error> for Fault {
    /// Nothing of a transaction that failed is kept, so the same request may come again.
    fn from(error: sqlx::Error) -> Self {
        Self::new(format!("database: {error}"), true)
    }
}

/// Why a request was not done.
#[derive(Debug, Error)]
pub enum ApiError {
    /// The caller's.
    #[error("{} ({})", .0.detail, .0.code)]
    Refusal(Box<Problem>),
    /// Ours or a dependency's.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Stored state that no code could have written.
    #[error("corrupt: {0}")]
    Corrupt(String),
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self::Refusal(Box::new(problem))
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        Self::Fault(error.into())
    }
}

impl ApiError {
    /// A stored value that does not parse: where it is, and why it cannot be.
    #[must_use]
    pub fn corrupt(place: &str, why: impl std::fmt::Display) -> Self {
        Self::Corrupt(format!("{place}: {why}"))
    }
}

/// A stored value that was checked before it was stored: what does not parse now was not written by us.
///
/// # Errors
/// [`ApiError::Corrupt`], with the place.
pub fn stored<T, E: std::fmt::Display>(place: &str, value: Result<T, E>) -> Result<T, ApiError> {
    value.map_err(|error| ApiError::corrupt(place, error))
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self {
            Self::Refusal(problem) => problem.into_response(),
            Self::Fault(fault) if fault.retry_is_safe => {
                tracing::error!(cause = fault.what, "fault");
                let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "try again in a moment");
                let mut response = problem.into_response();
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
                response
            }
            Self::Fault(fault) => {
                tracing::error!(cause = fault.what, "fault");
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", "something of ours failed").into_response()
            }
            Self::Corrupt(what) => {
                tracing::error!(cause = what, "corrupt");
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "corrupt", "stored state cannot be read")
                    .into_response()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_does_not_repeat_what_could_be_a_card_number() {
        // Built here, since no card number may stand in this zone's code.
        let number = format!("40{}", "0".repeat(14));
        let grouped = format!("{} {}-{}", &number[..4], &number[4..10], &number[10..]);
        for given in [&number, &grouped] {
            let problem = Problem::invalid(format!("invalid value: string \"{given}\", expected a name at column 9"));
            assert_eq!(problem.detail, "invalid value: string \"…\", expected a name at column 9");
        }
        for kept in ["(01)09500000000198(21)00000335", "2026-03-02 05:31:41", "400000000000", "12 meals, 3 fridges ä 7"]
        {
            assert_eq!(Problem::invalid(kept).detail, kept);
        }
    }
}
