//! The control API: for tests and for whoever wants to read the processor's own books. Loopback only, no secrets.

use std::collections::BTreeMap;
use std::io;

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::intent_id;
use crate::books::{Books, Ledger};
use crate::entry::Line;
use crate::floor::Floor;
use crate::params::Params;
use crate::switches::Change;

/// The most payments one page lists.
const MAX_LISTED: usize = 1_000;

/// Which cards are declined, and which hold only so much. Keys are card numbers, which are digested at once.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declines {
    /// Card number to reason; `null` takes a decline back.
    #[serde(default)]
    pub declines: BTreeMap<String, Option<String>>,
    /// Card number to the most that raising a hold may come to, in minor units; `null` takes the limit away.
    #[serde(default)]
    pub increment_limits: BTreeMap<String, Option<i64>>,
}

/// A payment as the control API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IntentView {
    /// Its id.
    pub id: String,
    /// Stripe's word for its state.
    pub status: &'static str,
    /// What was held in the end, in minor units.
    pub amount: i64,
    /// What was taken, in minor units.
    pub amount_received: i64,
    /// What was given back, in minor units.
    pub amount_refunded: i64,
}

/// Writes declines and limits into the books.
pub(crate) fn set_declines(floor: &Floor, declines: Declines) -> io::Result<()> {
    for (number, reason) in declines.declines {
        let card = floor.desk().card_digest(&number);
        floor.set(Line::Decline { card, reason })?;
    }
    for (number, most_minor) in declines.increment_limits {
        let card = floor.desk().card_digest(&number);
        floor.set(Line::Limit { card, most_minor })?;
    }
    Ok(())
}

/// The totals of the books.
pub(crate) fn ledger(floor: &Floor) -> Ledger {
    floor.desk().books.ledger
}

/// The payments of a session, the newest first.
pub(crate) fn of_session(floor: &Floor, session: &str) -> Vec<IntentView> {
    let desk = floor.desk();
    desk.books.of_session(session).into_iter().filter_map(|index| view(&desk.books, index)).collect()
}

/// Answers one control request.
pub(crate) fn answer(
    floor: &Floor,
    method: &Method,
    path: &str,
    query: Option<&str>,
    body: &[u8],
) -> (StatusCode, Value) {
    match (method.as_str(), path) {
        ("GET", "/healthz") => (StatusCode::OK, json!({"status": "ok"})),
        ("GET", "/control/ledger") => (StatusCode::OK, json!(ledger(floor))),
        ("GET", "/control/switches") => (StatusCode::OK, json!(floor.switches())),
        ("POST", "/control/switches") => match serde_json::from_slice::<Change>(body) {
            Ok(change) => {
                floor.switch(|switches| switches.change(change));
                (StatusCode::OK, json!(floor.switches()))
            }
            Err(_) => bad_request(),
        },
        ("POST", "/control/declines") => match serde_json::from_slice::<Declines>(body) {
            Ok(declines) => match set_declines(floor, declines) {
                Ok(()) => (StatusCode::OK, json!({})),
                Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, json!({"error": "the books cannot be written"})),
            },
            Err(_) => bad_request(),
        },
        ("GET", "/control/intents") => list(floor, query.unwrap_or_default()),
        _ => (StatusCode::NOT_FOUND, json!({"error": "no such control"})),
    }
}

fn list(floor: &Floor, query: &str) -> (StatusCode, Value) {
    let Ok(mut params) = Params::parse(query.as_bytes()) else { return bad_request() };
    if let Some(session) = params.optional("session") {
        return (StatusCode::OK, json!({"intents": of_session(floor, &session)}));
    }
    let from = match params.optional("from").map(|text| text.parse::<u32>()) {
        None => 0,
        Some(Ok(from)) => from,
        Some(Err(_)) => return bad_request(),
    };
    let desk = floor.desk();
    let page: Vec<IntentView> = (from..).map_while(|index| view(&desk.books, index)).take(MAX_LISTED).collect();
    (StatusCode::OK, json!({"intents": page, "total": desk.books.intents.len()}))
}

fn bad_request() -> (StatusCode, Value) {
    (StatusCode::BAD_REQUEST, json!({"error": "this cannot be read"}))
}

fn view(books: &Books, index: u32) -> Option<IntentView> {
    let intent = books.intent(index)?;
    Some(IntentView {
        id: intent_id(books, index),
        status: intent.status.as_str(),
        amount: intent.terms.amount,
        amount_received: intent.received,
        amount_refunded: intent.refunded,
    })
}
