//! Revisions as entity tags (RFC 9110 sections 8.8.3 and 13.1.1): a change says which state it was made for.
//!
//! Two people who look at the same record and change it one after the other must not undo each other unseen: the second
//! gets 412 and looks again. It leaves the comparison inside the writing transaction to the handlers.

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::problem::Problem;

/// What `If-Match` demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMatch {
    /// No such header.
    Absent,
    /// `*`: whatever is there.
    Any,
    /// Exactly this revision.
    Revision(i64),
}

impl IfMatch {
    /// Whether a record at `revision` may be changed.
    ///
    /// # Errors
    /// 412 with the present revision when another one was demanded.
    pub fn check(self, revision: i64) -> Result<(), Problem> {
        match self {
            Self::Revision(expected) if expected != revision => {
                let detail = "the record has changed since it was read; read it again";
                Err(Problem::new(StatusCode::PRECONDITION_FAILED, "changed_meanwhile", detail).with("rev", revision))
            }
            Self::Absent | Self::Any | Self::Revision(_) => Ok(()),
        }
    }

    /// As [`Self::check`], for changes that must say which state they were made for.
    ///
    /// # Errors
    /// 428 without the header, else as [`Self::check`].
    pub fn demand(self, revision: i64) -> Result<(), Problem> {
        if self == Self::Absent {
            let detail = "send If-Match with the ETag that was read, or * to change whatever is there";
            return Err(Problem::new(StatusCode::PRECONDITION_REQUIRED, "if_match_required", detail));
        }
        self.check(revision)
    }

    fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        let Some(value) = headers.get(header::IF_MATCH) else {
            return Ok(Self::Absent);
        };
        let refused = || Problem::new(StatusCode::BAD_REQUEST, "invalid_if_match", "If-Match is * or one ETag of ours");
        let text = value.to_str().map_err(|_| refused())?.trim();
        if text == "*" {
            return Ok(Self::Any);
        }
        let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).ok_or_else(refused)?;
        inner.parse().map(Self::Revision).map_err(|_| refused())
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Self::read(&parts.headers)
    }
}

/// The entity tag of a revision.
#[must_use]
pub fn etag(revision: i64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{revision}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &'static str) -> Result<IfMatch, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_MATCH, HeaderValue::from_static(value));
        IfMatch::read(&headers)
    }

    #[test]
    fn a_tag_is_read_back() {
        assert_eq!(read("\"7\"").unwrap(), IfMatch::Revision(7));
        assert_eq!(read("*").unwrap(), IfMatch::Any);
        assert_eq!(IfMatch::read(&HeaderMap::new()).unwrap(), IfMatch::Absent);
        for bad in ["7", "\"x\"", "W/\"7\"", "\"7\", \"8\""] {
            assert_eq!(read(bad).unwrap_err().code(), "invalid_if_match", "{bad}");
        }
    }

    #[test]
    fn a_change_made_for_another_state_is_refused() {
        assert!(IfMatch::Revision(7).check(7).is_ok());
        assert_eq!(IfMatch::Revision(6).check(7).unwrap_err().status(), StatusCode::PRECONDITION_FAILED);
        assert_eq!(IfMatch::Absent.demand(7).unwrap_err().status(), StatusCode::PRECONDITION_REQUIRED);
        assert!(IfMatch::Absent.check(7).is_ok());
        assert!(IfMatch::Any.demand(7).is_ok());
    }
}
