//! Reading a processor's answers (Stripe's shape). An answer is a stranger's text: it is parsed into exactly what is
//! expected, and what it says of errors passes on only as short words that cannot hold a card number.

use http::StatusCode;
use pci_contract::{Currency, Money, ReasonCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::http::{HttpError, Response};
use crate::port::{AskError, AuthorizationRef, Standing, StandingState, StoredCard};

/// The code of an ask that came in the wrong state of a payment.
pub(crate) const UNEXPECTED_STATE: &str = "payment_intent_unexpected_state";

/// What a state of a payment is called.
pub(crate) const HELD: &str = "requires_capture";
pub(crate) const TAKEN: &str = "succeeded";
pub(crate) const LET_GO: &str = "canceled";

/// A stored card.
#[derive(Deserialize)]
pub(crate) struct MethodAnswer {
    id: String,
}

impl MethodAnswer {
    pub(crate) fn stored_card(&self) -> Result<StoredCard, AskError> {
        StoredCard::parse(&self.id).map_err(|_| AskError::Unknown)
    }
}

/// A payment.
#[derive(Deserialize)]
pub(crate) struct IntentAnswer {
    id: String,
    amount: i64,
    #[serde(default)]
    amount_received: i64,
    currency: String,
    pub(crate) status: String,
}

impl IntentAnswer {
    pub(crate) fn reference(&self) -> Result<AuthorizationRef, AskError> {
        AuthorizationRef::parse(&self.id).map_err(|_| AskError::Unknown)
    }

    pub(crate) fn amount(&self) -> Result<Money, AskError> {
        Ok(Money::new(self.amount, self.currency()?))
    }

    pub(crate) fn received(&self) -> Result<Money, AskError> {
        Ok(Money::new(self.amount_received, self.currency()?))
    }

    /// Whether the answer is about the payment that was asked about.
    pub(crate) fn is(&self, authorization: &AuthorizationRef) -> bool {
        self.id == authorization.as_str()
    }

    /// Where this payment stands; `None` for one that never came to hold anything.
    pub(crate) fn standing(&self) -> Result<Option<Standing>, AskError> {
        let state = match self.status.as_str() {
            HELD => StandingState::Held,
            TAKEN => StandingState::Captured,
            LET_GO => StandingState::Voided,
            _ => return Ok(None),
        };
        let standing = Standing {
            authorization: self.reference()?,
            authorized: self.amount()?,
            captured: self.received()?,
            state,
        };
        Ok(Some(standing))
    }

    fn currency(&self) -> Result<Currency, AskError> {
        Currency::parse(&self.currency.to_ascii_uppercase()).map_err(|_| AskError::Unknown)
    }
}

/// A list of payments that were searched for.
#[derive(Deserialize)]
pub(crate) struct SearchAnswer {
    pub(crate) data: Vec<IntentAnswer>,
}

/// A refund.
#[derive(Deserialize)]
pub(crate) struct RefundAnswer {
    pub(crate) amount: i64,
    pub(crate) status: String,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error: ErrorBody,
}

#[derive(Deserialize, Default)]
struct ErrorBody {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    decline_code: Option<String>,
}

/// The meaning of what came back. A success that cannot be read leaves the outcome unknown: the processor has acted.
pub(crate) fn read<A: DeserializeOwned>(answer: Result<Response, HttpError>) -> Result<A, AskError> {
    let response = answer.map_err(|error| match error {
        HttpError::NotSent(_) => AskError::NotSent,
        HttpError::Unknown(_) => AskError::Unknown,
    })?;
    if response.status.is_success() {
        return serde_json::from_slice(&response.body).map_err(|_| AskError::Unknown);
    }
    Err(failure(response.status, &response.body))
}

fn failure(status: StatusCode, body: &[u8]) -> AskError {
    let error = serde_json::from_slice::<ErrorAnswer>(body).map(|answer| answer.error).unwrap_or_default();
    match status {
        StatusCode::PAYMENT_REQUIRED if error.kind.as_deref() == Some("card_error") => {
            AskError::Declined(decline_reason(&error))
        }
        // Turned away at the door, before anything was done.
        StatusCode::TOO_MANY_REQUESTS => AskError::NotSent,
        // The same key is being worked on: its outcome is still to come.
        StatusCode::CONFLICT | StatusCode::REQUEST_TIMEOUT => AskError::Unknown,
        status if status.is_server_error() => AskError::Unknown,
        status => AskError::Rejected { status: status.as_u16(), code: rejection_code(error) },
    }
}

/// Ours where the processor's word means the same; else the processor's own, if it is a word.
fn decline_reason(error: &ErrorBody) -> ReasonCode {
    let word = error.decline_code.as_deref().or(error.code.as_deref()).unwrap_or_default();
    match word {
        "generic_decline" => ReasonCode::CARD_DECLINED,
        "incorrect_number" | "invalid_number" => ReasonCode::INVALID_CARD,
        "invalid_expiry_month" | "invalid_expiry_year" => ReasonCode::EXPIRED_CARD,
        word => ReasonCode::parse(word).unwrap_or(ReasonCode::CARD_DECLINED),
    }
}

fn rejection_code(error: ErrorBody) -> String {
    let word = error.code.or(error.kind).unwrap_or_default();
    ReasonCode::parse(&word).map_or_else(|_| "unreadable".to_owned(), String::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Cause;
    use zeroize::Zeroizing;

    fn answer(status: u16, body: &str) -> Result<Response, HttpError> {
        Ok(Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers: http::HeaderMap::new(),
            body: Zeroizing::new(body.as_bytes().to_vec()),
        })
    }

    fn failed(status: u16, body: &str) -> AskError {
        read::<MethodAnswer>(answer(status, body)).err().unwrap()
    }

    fn declined(words: &str) -> AskError {
        failed(402, &format!(r#"{{"error":{{"type":"card_error",{words}}}}}"#))
    }

    #[test]
    fn declines_speak_our_words_where_we_have_one() {
        for (words, reason) in [
            (r#""code":"card_declined","decline_code":"generic_decline""#, "card_declined"),
            (r#""code":"card_declined","decline_code":"insufficient_funds""#, "insufficient_funds"),
            (r#""code":"card_declined","decline_code":"lost_card""#, "lost_card"),
            (r#""code":"card_declined""#, "card_declined"),
            (r#""code":"incorrect_number""#, "invalid_card"),
            (r#""code":"expired_card""#, "expired_card"),
            (r#""code":"invalid_expiry_year""#, "expired_card"),
            (r#""code":"card_declined","decline_code":"4242424242424242""#, "card_declined"),
            (r#""code":null"#, "card_declined"),
        ] {
            assert_eq!(declined(words), AskError::Declined(ReasonCode::parse(reason).unwrap()), "{words}");
        }
    }

    #[test]
    fn a_status_says_what_may_have_happened() {
        assert_eq!(failed(409, r#"{"error":{"type":"idempotency_error"}}"#), AskError::Unknown);
        assert_eq!(failed(429, ""), AskError::NotSent);
        for status in [500, 502, 503, 504, 408] {
            assert_eq!(failed(status, "<html>"), AskError::Unknown, "{status}");
        }
        for (status, body, code) in [
            (400, r#"{"error":{"type":"invalid_request_error","code":"parameter_missing"}}"#, "parameter_missing"),
            (400, r#"{"error":{"type":"idempotency_error"}}"#, "idempotency_error"),
            (401, r#"{"error":{"type":"invalid_request_error"}}"#, "invalid_request_error"),
            (404, "not JSON", "unreadable"),
            (400, r#"{"error":{"code":"4242424242424242"}}"#, "unreadable"),
            (402, r#"{"error":{"type":"api_error"}}"#, "api_error"),
            (301, "", "unreadable"),
        ] {
            assert_eq!(failed(status, body), AskError::Rejected { status, code: code.to_owned() }, "{body}");
        }
    }

    #[test]
    fn a_success_that_cannot_be_read_is_unknown() {
        for body in ["", "{}", "[]", "null", r#"{"id":7}"#, "\u{0}", r#"{"id":"pm_1""#] {
            assert_eq!(read::<MethodAnswer>(answer(200, body)).err(), Some(AskError::Unknown), "{body}");
        }
        let method: MethodAnswer = read(answer(200, r#"{"id":"4242424242424242"}"#)).unwrap();
        assert_eq!(method.stored_card(), Err(AskError::Unknown));
    }

    #[test]
    fn an_answer_that_did_not_come_keeps_its_kind() {
        assert_eq!(read::<MethodAnswer>(Err(HttpError::NotSent(Cause::Busy))).err(), Some(AskError::NotSent));
        assert_eq!(read::<MethodAnswer>(Err(HttpError::Unknown(Cause::Timeout))).err(), Some(AskError::Unknown));
    }

    #[test]
    fn a_payment_that_holds_nothing_has_no_standing() {
        let intent = |status: &str| -> IntentAnswer {
            let body = format!(r#"{{"id":"pi_1","amount":2500,"currency":"usd","status":"{status}"}}"#);
            read(answer(200, &body)).unwrap()
        };
        for status in ["requires_payment_method", "requires_confirmation", "requires_action", "processing", ""] {
            assert_eq!(intent(status).standing(), Ok(None), "{status}");
        }
        let held = intent(HELD).standing().unwrap().unwrap();
        assert_eq!((held.state, held.authorized), (StandingState::Held, Money::new(2500, Currency::USD)));
        assert_eq!(intent(LET_GO).standing().unwrap().unwrap().state, StandingState::Voided);
    }
}
