//! The processor's API, without HTTP: from path and form to a status and a body, in Stripe's shape.

use crate::books::Books;
use crate::desk::{Ask, MAX_AMOUNT_MINOR};
use crate::digest::{from_letters, letters};
use crate::entry::{Answer, Status};
use crate::failure::Failure;
use crate::params::Params;
use crate::switches::Verb;

/// A request that names its parts correctly.
pub(crate) enum Routed {
    /// Changes something.
    Ask(Ask),
    /// One payment.
    Read(u32),
    /// The payments of a session.
    Search(String),
}

impl Routed {
    pub(crate) const fn verb(&self) -> Verb {
        match self {
            Self::Ask(Ask::StoreCard { .. }) => Verb::StoreCard,
            Self::Ask(Ask::Authorize { .. }) => Verb::Authorize,
            Self::Ask(Ask::Increment { .. }) => Verb::Increment,
            Self::Ask(Ask::Capture { .. }) => Verb::Capture,
            Self::Ask(Ask::Void { .. }) => Verb::Void,
            Self::Ask(Ask::Refund { .. }) => Verb::Refund,
            Self::Read(_) | Self::Search(_) => Verb::Read,
        }
    }
}

/// Finds what is asked. `prefix` is the one of the books' ids.
pub(crate) fn route(is_post: bool, path: &str, fields: &[u8], prefix: &str) -> Result<Routed, Failure> {
    let mut params = Params::parse(fields)?;
    let path = path.strip_prefix("/v1/").ok_or(Failure::UnknownUrl)?;
    let parts: Vec<&str> = path.split('/').collect();
    let intent = |id: &str| parse_id("pi", prefix, id).ok_or(Failure::NoSuch("intent"));
    let routed = match (is_post, parts.as_slice()) {
        (true, ["payment_methods"]) => Routed::Ask(store_card(&mut params)?),
        (true, ["payment_intents"]) => Routed::Ask(authorize(&mut params, prefix)?),
        (true, ["payment_intents", id, "increment_authorization"]) => {
            let to = amount("amount", &params.required("amount")?)?;
            Routed::Ask(Ask::Increment { intent: intent(id)?, to })
        }
        (true, ["payment_intents", id, "capture"]) => {
            let amount = optional_amount(&mut params, "amount_to_capture")?;
            Routed::Ask(Ask::Capture { intent: intent(id)?, amount })
        }
        (true, ["payment_intents", id, "cancel"]) => Routed::Ask(Ask::Void { intent: intent(id)? }),
        (true, ["refunds"]) => {
            let id = params.required("payment_intent")?;
            let amount = optional_amount(&mut params, "amount")?;
            Routed::Ask(Ask::Refund { intent: intent(&id)?, amount })
        }
        (false, ["payment_intents", "search"]) => {
            params.optional("limit");
            let query = params.required("query")?;
            let session = query.strip_prefix("metadata['session']:'").and_then(|rest| rest.strip_suffix('\''));
            Routed::Search(session.ok_or(Failure::Invalid("query"))?.to_owned())
        }
        (false, ["payment_intents", id]) => Routed::Read(intent(id)?),
        _ => return Err(Failure::UnknownUrl),
    };
    params.finish()?;
    Ok(routed)
}

fn store_card(params: &mut Params) -> Result<Ask, Failure> {
    params.exactly("type", "card")?;
    let number = params.required("card[number]")?;
    let exp_month = params.required("card[exp_month]")?.parse().ok().filter(|month| (1..=12).contains(month));
    let exp_year = params.required("card[exp_year]")?.parse().ok().filter(|year| (2000..=2099).contains(year));
    Ok(Ask::StoreCard {
        number,
        exp_month: exp_month.ok_or(Failure::Invalid("card[exp_month]"))?,
        exp_year: exp_year.ok_or(Failure::Invalid("card[exp_year]"))?,
    })
}

fn authorize(params: &mut Params, prefix: &str) -> Result<Ask, Failure> {
    let amount = amount("amount", &params.required("amount")?)?;
    let currency = params.required("currency")?;
    if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return Err(Failure::Invalid("currency"));
    }
    let method = params.required("payment_method")?;
    params.exactly("capture_method", "manual")?;
    params.exactly("confirm", "true")?;
    for accepted in [
        "off_session",
        "payment_method_types[]",
        "payment_method_types[0]",
        "payment_method_options[card][request_incremental_authorization]",
    ] {
        params.optional(accepted);
    }
    let metadata = params.map("metadata");
    Ok(Ask::Authorize {
        method: parse_id("pm", prefix, &method).ok_or(Failure::NoSuch("payment_method"))?,
        amount,
        currency,
        session: metadata.get("session").cloned(),
        metadata: serde_json::to_string(&metadata).map_err(|_| Failure::Invalid("metadata"))?.into(),
    })
}

fn amount(name: &'static str, text: &str) -> Result<i64, Failure> {
    text.parse().ok().filter(|amount| (1..=MAX_AMOUNT_MINOR).contains(amount)).ok_or(Failure::Invalid(name))
}

fn optional_amount(params: &mut Params, name: &'static str) -> Result<Option<i64>, Failure> {
    params.optional(name).map(|text| amount(name, &text)).transpose()
}

fn id(kind: &str, prefix: &str, index: u32) -> String {
    format!("{kind}_{prefix}{}", letters(&index.to_be_bytes()))
}

fn parse_id(kind: &str, prefix: &str, id: &str) -> Option<u32> {
    let tail = id.strip_prefix(kind)?.strip_prefix('_')?.strip_prefix(prefix)?;
    Some(u32::from_be_bytes(from_letters(tail)?.try_into().ok()?))
}

/// An answer as HTTP status and body.
pub(crate) fn render(books: &Books, answer: Answer) -> (u16, String) {
    let body = match answer {
        Answer::Refused(refusal) => return Failure::from(refusal).render(),
        Answer::Declined { intent, reason } => return (402, render_decline(books, intent, reason)),
        Answer::Method(index) => render_method(books, index),
        Answer::Intent { intent, status, amount, received } => render_intent(books, intent, status, amount, received),
        Answer::Refund(index) => render_refund(books, index),
    };
    body.map_or_else(|| Failure::Unavailable.render(), |body| (200, body))
}

/// A list of payments as they are now.
pub(crate) fn render_search(books: &Books, found: &[u32]) -> String {
    let shown: Vec<String> = found.iter().filter_map(|index| render_current(books, *index)).collect();
    format!(
        r#"{{"object":"search_result","url":"/v1/payment_intents/search","has_more":false,"next_page":null,"data":[{}]}}"#,
        shown.join(",")
    )
}

/// A payment as it is now.
pub(crate) fn render_current(books: &Books, index: u32) -> Option<String> {
    match books.snapshot(index)? {
        Answer::Intent { intent, status, amount, received } => render_intent(books, intent, status, amount, received),
        _ => None,
    }
}

/// The id of a payment.
pub(crate) fn intent_id(books: &Books, index: u32) -> String {
    id("pi", &books.prefix, index)
}

fn render_intent(books: &Books, index: u32, status: Status, amount: i64, received: i64) -> Option<String> {
    let intent = books.intent(index)?;
    let capturable = if status == Status::RequiresCapture { amount } else { 0 };
    Some(format!(
        concat!(
            r#"{{"id":"{}","object":"payment_intent","amount":{},"amount_capturable":{},"amount_received":{},"#,
            r#""capture_method":"manual","currency":"{}","payment_method":"{}","status":"{}","metadata":{},"#,
            r#""created":{},"livemode":false}}"#
        ),
        intent_id(books, index),
        amount,
        capturable,
        received,
        intent.terms.currency,
        id("pm", &books.prefix, intent.method),
        status.as_str(),
        intent.terms.metadata,
        intent.terms.created,
    ))
}

fn render_method(books: &Books, index: u32) -> Option<String> {
    let method = books.method(index)?;
    Some(format!(
        concat!(
            r#"{{"id":"{}","object":"payment_method","type":"card","card":{{"brand":"{}","last4":"{}","#,
            r#""exp_month":{},"exp_year":{},"funding":"credit"}},"created":{},"livemode":false,"metadata":{{}}}}"#
        ),
        id("pm", &books.prefix, index),
        method.brand.as_str(),
        method.last4,
        method.exp_month,
        method.exp_year,
        method.created,
    ))
}

fn render_refund(books: &Books, index: u32) -> Option<String> {
    let refund = books.refunds.get(usize::try_from(index).ok()?)?;
    let currency = &books.intent(refund.intent)?.terms.currency;
    Some(format!(
        r#"{{"id":"{}","object":"refund","amount":{},"currency":"{currency}","payment_intent":"{}","status":"succeeded"}}"#,
        id("re", &books.prefix, index),
        refund.amount,
        intent_id(books, refund.intent),
    ))
}

fn render_decline(books: &Books, intent: u32, reason: u32) -> String {
    let decline_code = match books.reason(reason) {
        "card_declined" => "generic_decline",
        reason => reason,
    };
    serde_json::json!({"error": {
        "type": "card_error",
        "code": "card_declined",
        "decline_code": decline_code,
        "message": "Your card was declined.",
        "payment_intent": {"id": intent_id(books, intent), "object": "payment_intent"},
    }})
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(is_post: bool, path: &str, fields: &str) -> Failure {
        route(is_post, path, fields.as_bytes(), "abcdefgh").err().unwrap()
    }

    #[test]
    fn ids_go_both_ways_and_belong_to_their_books() {
        for index in [0, 1, 1_000_000, u32::MAX] {
            let text = id("pi", "abcdefgh", index);
            assert_eq!(parse_id("pi", "abcdefgh", &text), Some(index));
            assert_eq!(parse_id("pm", "abcdefgh", &text), None);
            assert_eq!(parse_id("pi", "other", &text), None);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(failure(true, "/v2/refunds", ""), Failure::UnknownUrl);
        assert_eq!(failure(false, "/v1/refunds", ""), Failure::UnknownUrl);
        assert_eq!(failure(true, "/v1/refunds", ""), Failure::Missing("payment_intent"));
        assert_eq!(failure(true, "/v1/payment_intents/pi_x/cancel", ""), Failure::NoSuch("intent"));
        assert_eq!(failure(true, "/v1/payment_methods", "type=paper"), Failure::Invalid("type"));
        let card = "type=card&card[number]=1&card[exp_month]=13&card[exp_year]=2031";
        assert_eq!(failure(true, "/v1/payment_methods", card), Failure::Invalid("card[exp_month]"));
        assert_eq!(failure(false, "/v1/payment_intents/search", "query=all"), Failure::Invalid("query"));
        for amount in ["0", "-1", "1.5", "100000000", ""] {
            let fields = format!("amount={amount}");
            assert_eq!(failure(true, "/v1/payment_intents", &fields), Failure::Invalid("amount"), "{amount}");
        }
        let id = id("pi", "abcdefgh", 7);
        let path = format!("/v1/payment_intents/{id}/capture");
        assert_eq!(failure(true, &path, "amount=1"), Failure::UnknownParameter);
    }
}
