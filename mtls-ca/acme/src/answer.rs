//! What a request is answered with, and what else is to be done for it.

use serde_json::Value;

use crate::account::Account;
use crate::approved::ApprovedOrder;
use crate::grant::EabKey;
use crate::host::Host;
use crate::order::Order;
use crate::problem::Problem;

/// The body of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// None.
    Empty,
    /// A resource, `application/json`.
    Json(Value),
    /// A problem document, `application/problem+json`.
    Problem(Problem),
    /// A certificate chain, `application/pem-certificate-chain`.
    Chain(String),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers, but for those of the body.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Body,
}

impl Answer {
    pub(crate) const fn new(status: u16, body: Body) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    pub(crate) const fn json(status: u16, value: Value) -> Self {
        Self::new(status, Body::Json(value))
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        Self::new(problem.status, Body::Problem(problem))
    }
}

/// What is to be done, in this order, before the answer goes out; but for the proofs, which are looked at meanwhile.
#[derive(Debug)]
pub enum Effect {
    /// Store a binding key.
    PutEab(EabKey),
    /// Store an account.
    PutAccount(Account),
    /// Store an order.
    PutOrder(Order),
    /// Look for a proof over HTTP (RFC 8555 section 8.3), then tell [`Order::proved`].
    ProbeHttp01(ProbeHttp01),
    /// Have a TPM's statement judged (draft-ietf-acme-device-attest), then tell [`Order::proved`] or
    /// [`Order::undecided`].
    VerifyDeviceAttestation(VerifyDeviceAttestation),
    /// Have a certificate signed, then tell [`Order::issued`].
    Issue(ApprovedOrder),
    /// Revoke a certificate.
    Revoke(Revoke),
}

/// Where to look for a proof, and what must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeHttp01 {
    /// The order.
    pub order: String,
    /// The place of the authorization in it.
    pub place: usize,
    /// The host, one that the account's binding key allows.
    pub host: Host,
    /// The token: the file to ask for below `/.well-known/acme-challenge/`.
    pub token: String,
    /// What the file must hold.
    pub key_authorization: String,
}

/// A TPM's statement and what it must be about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyDeviceAttestation {
    /// The order.
    pub order: String,
    /// The place of the authorization in it.
    pub place: usize,
    /// The lower-case hex SHA-256 of the endorsement key's SubjectPublicKeyInfo: the identifier of the order.
    pub permanent_identifier: String,
    /// Its SHA-256 must be the qualifying data of the statement.
    pub key_authorization: String,
    /// The account, by its key's thumbprint: the verdict must be for it.
    pub account: String,
    /// The order's URL: the verdict must be for it.
    pub order_url: String,
    /// The WebAuthn attestation object, as it came.
    pub attestation_object: Vec<u8>,
}

/// A certificate to be revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoke {
    /// Its serial number, lower-case hex.
    pub serial: String,
    /// The reason code (RFC 5280 section 5.3.1).
    pub reason: u8,
}
