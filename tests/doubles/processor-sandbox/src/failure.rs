//! Failures in the shape of Stripe's error body. Messages are fixed text: nothing a caller sent is repeated.

use serde_json::{Value, json};

use crate::entry::Refusal;

/// Why a request is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No key, or not ours.
    Unauthorized,
    /// No such URL or method.
    UnknownUrl,
    /// A parameter is missing.
    Missing(&'static str),
    /// A parameter is not what it should be.
    Invalid(&'static str),
    /// A parameter nobody knows.
    UnknownParameter,
    /// Something named does not exist.
    NoSuch(&'static str),
    /// The idempotency key was used with another body.
    KeyReused,
    /// The idempotency key is being worked on.
    KeyInUse,
    /// Refused in a way that a repeat is told again.
    Refused(Refusal),
    /// The sandbox is told to fail, or cannot write its books.
    Unavailable,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Failure {
    /// The HTTP status and the body.
    pub(crate) fn render(self) -> (u16, String) {
        let (status, kind, code, message) = self.parts();
        let param = match self {
            Self::Missing(param) | Self::Invalid(param) | Self::NoSuch(param) => Value::from(param),
            _ => Value::Null,
        };
        let error = json!({"error": {"type": kind, "code": code, "message": message, "param": param}});
        (status, error.to_string())
    }

    const fn parts(self) -> (u16, &'static str, Option<&'static str>, &'static str) {
        const INVALID: &str = "invalid_request_error";
        match self {
            Self::Unauthorized => (401, INVALID, None, "You did not provide a valid API key."),
            Self::UnknownUrl => (404, INVALID, None, "Unrecognized request URL."),
            Self::Missing(_) => (400, INVALID, Some("parameter_missing"), "Missing required param."),
            Self::Invalid(_) => (400, INVALID, Some("parameter_invalid"), "Invalid param."),
            Self::UnknownParameter => (400, INVALID, Some("parameter_unknown"), "Received unknown parameter."),
            Self::NoSuch(_) => (404, INVALID, Some("resource_missing"), "No such object."),
            Self::KeyReused => (
                400,
                "idempotency_error",
                None,
                "Keys for idempotent requests can only be used with the same parameters they were first used with.",
            ),
            Self::KeyInUse => (
                409,
                INVALID,
                Some("idempotency_key_in_use"),
                "There is currently another in-progress request using this idempotency key.",
            ),
            Self::Unavailable => (503, "api_error", None, "Sorry, something went wrong."),
            Self::Refused(refusal) => refused(refusal),
        }
    }
}

const fn refused(refusal: Refusal) -> (u16, &'static str, Option<&'static str>, &'static str) {
    const INVALID: &str = "invalid_request_error";
    match refusal {
        Refusal::IncorrectNumber => (402, "card_error", Some("incorrect_number"), "Your card number is incorrect."),
        Refusal::ExpiredCard => (402, "card_error", Some("expired_card"), "Your card has expired."),
        Refusal::UnexpectedState(_) => (
            400,
            INVALID,
            Some("payment_intent_unexpected_state"),
            "This PaymentIntent is not in a state that allows this.",
        ),
        Refusal::AmountTooLarge => (400, INVALID, Some("amount_too_large"), "The amount is more than is left."),
        Refusal::AmountTooSmall => (400, INVALID, Some("amount_too_small"), "A hold can only be raised."),
        Refusal::AlreadyRefunded => (400, INVALID, Some("charge_already_refunded"), "All has been refunded."),
    }
}
