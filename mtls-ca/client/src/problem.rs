//! Why the authority gave nothing, sorted by whose fault it is, in words for a technician.

use http::StatusCode;
use serde::Deserialize;
use thiserror::Error;

/// The type of the refusal that a nonce was used up (RFC 8555, section 6.5).
const BAD_NONCE: &str = "urn:ietf:params:acme:error:badNonce";
/// The most characters of what the authority says that are told on.
const MOST_TOLD: usize = 600;

/// Why the authority gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AcmeError {
    /// It says no; the same question gets the same answer until a person changes something.
    #[error("{0}")]
    Refused(String),
    /// It failed, or cannot be reached; asking again is right.
    #[error("{0}")]
    Failed(String),
    /// It was asked with a nonce that was used up, again and again.
    #[error("the authority takes no nonce that it gives; it is asked again")]
    Nonce,
}

/// A problem document (RFC 9457), as far as it is told on.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Problem {
    #[serde(rename = "type")]
    kind: Option<String>,
    detail: Option<String>,
    #[serde(default)]
    subproblems: Vec<Subproblem>,
}

#[derive(Debug, Clone, Deserialize)]
struct Subproblem {
    detail: Option<String>,
}

impl Problem {
    /// What an answer with this status says.
    pub(crate) fn told(&self, status: StatusCode) -> AcmeError {
        if self.kind.as_deref() == Some(BAD_NONCE) {
            return AcmeError::Nonce;
        }
        let words = self.words();
        if status.is_client_error() {
            return AcmeError::Refused(format!("the authority refuses: {words}"));
        }
        AcmeError::Failed(format!("the authority failed with status {}: {words}; it is asked again", status.as_u16()))
    }

    /// What it says, and what its parts add.
    pub(crate) fn words(&self) -> String {
        let parts = self.subproblems.iter().filter_map(|part| part.detail.as_deref());
        let all: Vec<&str> = self.detail.as_deref().into_iter().chain(parts).collect();
        let said = match (&self.kind, all.is_empty()) {
            (Some(kind), true) => kind.clone(),
            (None, true) => "it does not say why".to_owned(),
            (_, false) => all.join("; "),
        };
        said.chars().filter(|character| !character.is_control()).take(MOST_TOLD).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{AcmeError, Problem};
    use http::StatusCode;

    fn told(status: u16, json: &str) -> AcmeError {
        let problem: Problem = serde_json::from_str(json).unwrap();
        problem.told(StatusCode::from_u16(status).unwrap())
    }

    #[test]
    fn a_refusal_is_told_from_a_failure() {
        let refused = told(403, r#"{"detail": "the key\n is revoked", "subproblems": [{"detail": "for a.example"}]}"#);
        assert_eq!(refused, AcmeError::Refused("the authority refuses: the key is revoked; for a.example".into()));
        let failed = told(503, r#"{"detail": "no token"}"#);
        assert!(matches!(&failed, AcmeError::Failed(why) if why.contains("503: no token")));
        let silent = told(400, r#"{"type": "urn:ietf:params:acme:error:malformed"}"#);
        assert!(matches!(&silent, AcmeError::Refused(why) if why.ends_with(":malformed")));
        assert!(matches!(told(500, "{}"), AcmeError::Failed(why) if why.contains("does not say why")));
        assert_eq!(told(400, r#"{"type": "urn:ietf:params:acme:error:badNonce"}"#), AcmeError::Nonce);
        assert!(told(400, &format!(r#"{{"detail": "{}"}}"#, "x".repeat(5_000))).to_string().len() < 700);
    }
}
