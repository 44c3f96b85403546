//! Why something was not done, as RFC 9457 writes it.
//!
//! The type is a URI that programs hold on to; the detail is a sentence for people and never repeats a cause of ours.

use http::StatusCode;
use serde_json::{Map, Value};

/// A problem document.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    status: StatusCode,
    kind: String,
    detail: String,
    more: Map<String, Value>,
}

impl Problem {
    /// A problem of this type (a URI), with a sentence for people.
    #[must_use]
    pub fn new(status: StatusCode, kind: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { status, kind: kind.into(), detail: detail.into(), more: Map::new() }
    }

    /// A problem of the house's own kind, by its stable code: `urn:larder:problem:<code>`.
    #[must_use]
    pub fn of_code(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self::new(status, format!("urn:larder:problem:{code}"), detail)
    }

    /// 500: something of ours failed. What it was stands in the log and not here.
    #[must_use]
    pub fn fault() -> Self {
        Self::of_code(
            StatusCode::INTERNAL_SERVER_ERROR,
            "fault",
            "something of ours failed; the server's log says what",
        )
    }

    /// Adds a member of its own (RFC 9457 section 3.2).
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.more.insert(key.to_owned(), value.into());
        self
    }

    /// The status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The type.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The sentence for people.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The document.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut body = self.more.clone();
        body.insert("type".to_owned(), self.kind.clone().into());
        body.insert("title".to_owned(), self.status.canonical_reason().unwrap_or("Problem").into());
        body.insert("status".to_owned(), self.status.as_u16().into());
        body.insert("detail".to_owned(), self.detail.clone().into());
        Value::Object(body)
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::json;

    use super::Problem;

    #[test]
    fn a_problem_says_its_type_its_status_and_a_sentence() {
        let problem = Problem::of_code(StatusCode::CONFLICT, "busy", "wait").with("after_s", 3);
        let expected = json!({
            "type": "urn:larder:problem:busy", "title": "Conflict", "status": 409, "detail": "wait", "after_s": 3
        });
        assert_eq!(problem.to_json(), expected);
    }

    #[test]
    fn a_member_of_its_own_cannot_change_what_the_standard_names() {
        let problem = Problem::fault().with("status", 200).to_json();
        assert_eq!(problem["status"], 500);
    }
}
