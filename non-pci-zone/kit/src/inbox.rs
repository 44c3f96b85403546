//! The inbox: events of the PCI zone, each booked exactly once, in the transaction of its effect.
//!
//! Delivery is at least once and in order. What was booked is skipped, what would leave a gap is refused with the number
//! that is expected, so the sender sends from there and nothing is ever missing below `booked`. A type nobody here knows
//! is booked and has no effect: new events must not stop old readers. A type that is known and does not parse is refused,
//! since skipping it would lose money. A whole batch is one transaction; at a thousand commits a second that is what
//! makes the difference.
//!
//! It leaves the effect to the service's [`Book`].

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;

use axum::extract::{FromRequest, Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use pci_contract::{EventBody, EventId};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::{QueryBuilder, Sqlite};

use crate::db::WriteTx;
use crate::extract::{json_bytes, parse};
use crate::guard::{Allowed, Guard};
use crate::kit::Kit;
use crate::problem::{ApiError, Fault, Problem};

const MAX_EVENTS: usize = 256;
/// Rows of one statement; one of fewer is not kept for the next time, there are too many of them.
const ROWS: usize = 64;
/// Ids are kept this far below the booked sequence, against a source that repeats an event under a new number.
const KEPT_IDS: i64 = 100_000;
const BATCH: &str = "application/cloudevents-batch+json";

/// Types of event this build knows; one of these that does not parse is an error, any other is booked and ignored.
const KNOWN: &[&str] = &[
    "larder.purchase.finalized.v1",
    "larder.purchase.refused.v1",
    "larder.payment.settled.v1",
    "larder.payment.failed.v1",
    "larder.theft.confirmed.v1",
    "larder.card.enrolled.v1",
    "larder.fridge.tampered.v1",
];

/// An event as a service sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// Its place in the source's order.
    pub sequence: i64,
    /// Type and data.
    pub body: EventBody,
}

/// What booking an event is: a future over the transaction.
pub type Booked<'a> = Pin<Box<dyn Future<Output = Result<(), ApiError>> + Send + 'a>>;

/// A service's effect of one event. Called once per event id; what it writes is committed with the booking.
pub type Book<E> = for<'a> fn(&'a Kit<E>, &'a mut WriteTx, &'a Event) -> Booked<'a>;

/// A batch as it came: at most 256 events of one source.
#[derive(Debug)]
pub(crate) struct Batch(Vec<Raw>);

#[derive(Debug, Deserialize)]
struct Raw {
    specversion: String,
    id: EventId,
    source: String,
    sequence: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    data: Value,
}

impl<S: Send + Sync> FromRequest<S> for Batch {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = json_bytes(request, state, &[BATCH]).await?;
        let events: Vec<Raw> = parse(&bytes)?;
        if events.is_empty() || events.len() > MAX_EVENTS {
            return Err(Problem::invalid(format!("a batch has 1 to {MAX_EVENTS} events")));
        }
        Ok(Self(events))
    }
}

/// `POST /inbox`.
pub(crate) async fn receive<A: Guard, E: Send + Sync + 'static>(
    _: Allowed<A>,
    State(kit): State<Kit<E>>,
    axum::Extension(Effect(book)): axum::Extension<Effect<E>>,
    _headers: HeaderMap,
    Batch(raw): Batch,
) -> Result<Response, ApiError> {
    let (source, events) = order(raw)?;
    let mut tx = kit.db().write().await?;
    let booked = booked(&mut tx, &source).await?;
    let fresh = fresh(events, booked)?;
    let Some(last) = fresh.last().map(|(sequence, ..)| *sequence) else {
        return Ok(axum::Json(json!({ "booked": booked })).into_response());
    };
    let count = fresh.len();
    let mut new = remember(&mut tx, &fresh).await?;
    for (sequence, id, body) in fresh {
        // Taken out, so that a second one of the same id in this batch is not new any more.
        if new.remove(&id)
            && let Some(body) = body
        {
            book(&kit, &mut tx, &Event { id, sequence, body }).await?;
        }
    }
    save_booked(&mut tx, &source, last).await?;
    tx.commit().await?;
    kit.metrics().events_booked(count);
    Ok(axum::Json(json!({ "booked": last })).into_response())
}

/// The service's effect as a request extension.
pub(crate) struct Effect<E>(pub(crate) Book<E>);

impl<E> Clone for Effect<E> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

type Ordered = (i64, EventId, Option<EventBody>);

/// Parses every event, in the order of their sequence. All must be of one source.
fn order(raw: Vec<Raw>) -> Result<(String, Vec<Ordered>), Problem> {
    let source = raw.first().map(|event| event.source.clone()).unwrap_or_default();
    let mut events = Vec::with_capacity(raw.len());
    for event in raw {
        if event.specversion != "1.0" || event.source != source {
            return Err(Problem::invalid("a batch holds CloudEvents 1.0 of one source"));
        }
        let sequence = event.sequence.parse().ok().filter(|number| *number > 0);
        let sequence: i64 = sequence.ok_or_else(|| Problem::invalid("sequence is a number from 1"))?;
        let body = if KNOWN.contains(&event.kind.as_str()) {
            let typed = json!({ "type": event.kind, "data": event.data });
            let body = serde_json::from_value(typed)
                .map_err(|error| Problem::invalid(error.to_string()).with("sequence", sequence))?;
            Some(body)
        } else {
            tracing::warn!(kind = event.kind, sequence, "an event of an unknown type is booked without effect");
            None
        };
        events.push((sequence, event.id, body));
    }
    events.sort_by_key(|(sequence, ..)| *sequence);
    Ok((source, events))
}

/// What is not booked yet; refuses a gap before it or within it.
fn fresh(events: Vec<Ordered>, booked: i64) -> Result<Vec<Ordered>, Problem> {
    let mut fresh: Vec<Ordered> = Vec::with_capacity(events.len());
    let mut expected = booked.saturating_add(1);
    for event in events {
        if event.0 < expected {
            continue; // booked before, or twice in this batch
        }
        if event.0 > expected {
            let detail = format!("event {expected} comes before event {}", event.0);
            return Err(Problem::conflict("sequence_gap", detail).with("expected", expected));
        }
        expected = expected.saturating_add(1);
        fresh.push(event);
    }
    Ok(fresh)
}

async fn booked(tx: &mut WriteTx, source: &str) -> Result<i64, ApiError> {
    let row: Option<(String, i64)> =
        sqlx::query_as("SELECT source, sequence FROM booked").fetch_optional(tx.sql()).await?;
    match row {
        None => Ok(0),
        Some((known, sequence)) if known == source => Ok(sequence),
        Some(_) => {
            let detail = "events come from one source; this is another";
            Err(Problem::new(StatusCode::CONFLICT, "unknown_source", detail).into())
        }
    }
}

/// Remembers the ids of all events; those that were not known before.
async fn remember(tx: &mut WriteTx, events: &[Ordered]) -> Result<HashSet<EventId>, ApiError> {
    let mut new = HashSet::with_capacity(events.len());
    for rows in events.chunks(ROWS) {
        let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO inbox (event_id, sequence) ");
        insert.push_values(rows, |mut row, (sequence, id, _)| {
            row.push_bind(id.to_string()).push_bind(*sequence);
        });
        insert.push(" ON CONFLICT DO NOTHING RETURNING event_id");
        let ids: Vec<String> = insert.build_query_scalar().persistent(rows.len() == ROWS).fetch_all(tx.sql()).await?;
        for id in ids {
            new.insert(EventId::parse(&id).map_err(|_| Fault::new("the inbox holds what is no id".to_owned(), false))?);
        }
    }
    Ok(new)
}

async fn save_booked(tx: &mut WriteTx, source: &str, sequence: i64) -> Result<(), ApiError> {
    sqlx::query(
        "INSERT INTO booked (source, sequence) VALUES ($1, $2)
         ON CONFLICT (source) DO UPDATE SET sequence = excluded.sequence",
    )
    .bind(source)
    .bind(sequence)
    .execute(tx.sql())
    .await?;
    sqlx::query("DELETE FROM inbox WHERE sequence <= $1").bind(sequence - KEPT_IDS).execute(tx.sql()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(sequence: i64) -> Ordered {
        (sequence, EventId::from_uuid(uuid::Uuid::nil()), None)
    }

    fn numbers(events: &[Ordered]) -> Vec<i64> {
        events.iter().map(|(sequence, ..)| *sequence).collect()
    }

    #[test]
    fn what_is_booked_is_skipped_and_a_gap_is_refused() {
        let all = |range: &[i64]| range.iter().map(|number| event(*number)).collect::<Vec<_>>();
        assert_eq!(numbers(&fresh(all(&[1, 2, 3]), 0).unwrap()), [1, 2, 3]);
        assert_eq!(numbers(&fresh(all(&[1, 2, 3]), 2).unwrap()), [3]);
        assert_eq!(numbers(&fresh(all(&[1, 1, 2]), 0).unwrap()), [1, 2]);
        assert!(fresh(all(&[1, 2]), 2).unwrap().is_empty());
        for gap in [&[4_i64][..], &[3, 5]] {
            assert_eq!(fresh(all(gap), 2).unwrap_err().code(), "sequence_gap");
        }
    }

    #[test]
    fn a_known_event_that_does_not_parse_is_refused_and_an_unknown_one_is_not() {
        let raw = |kind: &str| -> Raw {
            serde_json::from_value(
                json!({"specversion": "1.0", "id": uuid::Uuid::nil(), "source": "/pci", "subject": "x",
                "time": "x", "sequence": "1", "type": kind, "data": {"fridge": "4242424242424242"}}),
            )
            .unwrap()
        };
        assert!(order(vec![raw("larder.fridge.tampered.v1")]).is_err());
        assert_eq!(order(vec![raw("larder.of.tomorrow.v1")]).unwrap().1, [event(1)]);
    }

    #[test]
    fn every_type_of_event_is_known() {
        let known = |name: &str| KNOWN.contains(&name);
        for name in KNOWN {
            assert!(known(name));
            let error = serde_json::from_value::<EventBody>(json!({"type": name, "data": 1})).unwrap_err().to_string();
            assert!(!error.contains("unknown variant"), "{name}: {error}");
        }
    }
}
