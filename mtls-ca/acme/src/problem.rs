//! Why a request was not granted: the problem documents of RFC 8555 section 6.7, with a sentence that a technician
//! understands. Everything here is the caller's to mend, but for [`Kind::ServerInternal`].

use serde_json::{Value, json};

/// The error types of RFC 8555 section 6.7, RFC 9773 section 7.4 and of the drafts on profiles and device attestation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The key given on `onlyReturnExisting`, or the `kid`, is of no account.
    AccountDoesNotExist,
    /// The certificate is revoked already.
    AlreadyRevoked,
    /// The certificate named in `replaces` has been replaced already.
    AlreadyReplaced,
    /// The attestation object cannot be accepted.
    BadAttestationStatement,
    /// The certificate signing request cannot be accepted.
    BadCsr,
    /// The nonce is not one of ours, too old, or spent.
    BadNonce,
    /// A public key that cannot be used here.
    BadPublicKey,
    /// The reason code is not one that can be given.
    BadRevocationReason,
    /// A signature algorithm that is not spoken here.
    BadSignatureAlgorithm,
    /// Could not reach what was to be validated.
    Connection,
    /// No valid external account binding.
    ExternalAccountRequired,
    /// What was found while validating is not what must be there.
    IncorrectResponse,
    /// A contact that is none.
    InvalidContact,
    /// A profile that the account may not have.
    InvalidProfile,
    /// The message is not well-formed.
    Malformed,
    /// The order is not ready.
    OrderNotReady,
    /// Too many at a time.
    RateLimited,
    /// An identifier that will not be certified.
    RejectedIdentifier,
    /// Something of ours.
    ServerInternal,
    /// Not allowed.
    Unauthorized,
    /// A contact of another scheme.
    UnsupportedContact,
    /// An identifier of a type that is not issued here.
    UnsupportedIdentifier,
}

impl Kind {
    /// The name of the type in its namespace and the HTTP status it is answered with.
    const fn parts(self) -> (&'static str, u16) {
        match self {
            Self::AccountDoesNotExist => ("accountDoesNotExist", 400),
            Self::AlreadyRevoked => ("alreadyRevoked", 400),
            Self::AlreadyReplaced => ("alreadyReplaced", 409),
            Self::BadAttestationStatement => ("badAttestationStatement", 400),
            Self::BadCsr => ("badCSR", 400),
            Self::BadNonce => ("badNonce", 400),
            Self::BadPublicKey => ("badPublicKey", 400),
            Self::BadRevocationReason => ("badRevocationReason", 400),
            Self::BadSignatureAlgorithm => ("badSignatureAlgorithm", 400),
            Self::Connection => ("connection", 400),
            Self::ExternalAccountRequired => ("externalAccountRequired", 403),
            Self::IncorrectResponse => ("incorrectResponse", 403),
            Self::InvalidContact => ("invalidContact", 400),
            Self::InvalidProfile => ("invalidProfile", 400),
            Self::Malformed => ("malformed", 400),
            Self::OrderNotReady => ("orderNotReady", 403),
            Self::RateLimited => ("rateLimited", 429),
            Self::RejectedIdentifier => ("rejectedIdentifier", 400),
            Self::ServerInternal => ("serverInternal", 500),
            Self::Unauthorized => ("unauthorized", 403),
            Self::UnsupportedContact => ("unsupportedContact", 400),
            Self::UnsupportedIdentifier => ("unsupportedIdentifier", 400),
        }
    }

    /// The type as a URN.
    #[must_use]
    pub fn urn(self) -> String {
        format!("urn:ietf:params:acme:error:{}", self.parts().0)
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        self.parts().1
    }
}

/// A problem document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The type.
    pub kind: Kind,
    /// The HTTP status; the type's own, but where HTTP has a better word (404, 405, 409, 415).
    pub status: u16,
    /// What happened and what to do.
    pub detail: String,
    /// Signature algorithms that would be accepted, when it was that.
    algorithms: Option<&'static [&'static str]>,
}

impl Problem {
    /// A problem of this type.
    #[must_use]
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, status: kind.status(), detail: detail.into(), algorithms: None }
    }

    /// A message that is not well-formed.
    #[must_use]
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(Kind::Malformed, detail)
    }

    /// 404: nothing is there for this caller. Whether it is another's is not told.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self { status: 404, ..Self::malformed(format!("there is no such {what} for this account")) }
    }

    /// The same problem with another HTTP status.
    #[must_use]
    pub fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// An algorithm that is not spoken, with those that are (RFC 8555 section 6.2).
    pub(crate) fn algorithm(asked: &str, spoken: &'static [&'static str]) -> Self {
        let detail =
            format!("the algorithm {asked:?} is not spoken here or not this key's; use one of {}", spoken.join(", "));
        Self { algorithms: Some(spoken), ..Self::new(Kind::BadSignatureAlgorithm, detail) }
    }

    /// The document.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut body = json!({ "type": self.kind.urn(), "status": self.status, "detail": self.detail });
        if let (Some(algorithms), Some(members)) = (self.algorithms, body.as_object_mut()) {
            members.insert("algorithms".to_owned(), json!(algorithms));
        }
        body
    }
}
