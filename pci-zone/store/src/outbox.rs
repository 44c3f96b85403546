//! The outbox: events in the order they were committed, read by relays and pruned behind them.
//!
//! An event is deleted only when every subscriber has booked it and the feeds that people's standing comes from have
//! booked it too: until then the index needs it after a restart. It is kept for a while longer, so that a subscriber
//! that was set back to yesterday's backup can be told again.

use pci_contract::{CardRow, CustomerRow, Envelope, EventBody, EventId, FeedRow, Timestamp};
use serde::Serialize;
use serde::de::IgnoredAny;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use crate::dialect::Connection;
use crate::error::{CommitError, Corrupt, Fault, StoreError};

/// Who tells the events, for CloudEvents' `source`.
pub const EVENT_SOURCE: &str = "/pci/purchase-session";

const TABLE: &str = "outbox";

/// An event row as stored.
struct EventStored {
    position: i64,
    event: String,
    kind: String,
    subject: String,
    at: i64,
    body: String,
}

impl TryFrom<EventStored> for (i64, Envelope) {
    type Error = Corrupt;

    fn try_from(row: EventStored) -> Result<Self, Corrupt> {
        let corrupt = |why| Corrupt::new(TABLE, row.position.to_string(), why);
        let body: EventBody = serde_json::from_str(&row.body).map_err(|_| corrupt("the body is no event"))?;
        if body.name() != row.kind || body.subject() != row.subject {
            return Err(corrupt("type or subject is not the body's"));
        }
        let envelope = Envelope {
            specversion: "1.0".to_owned(),
            id: EventId::parse(&row.event).map_err(|_| corrupt("the id is no UUID"))?,
            source: EVENT_SOURCE.to_owned(),
            subject: row.subject,
            time: Timestamp::from_micros(row.at).rfc3339(),
            sequence: row.position.to_string(),
            body,
        };
        Ok((row.position, envelope))
    }
}

/// Events after a position, oldest first.
pub(crate) async fn events_after<'e, E>(
    executor: E,
    position: i64,
    limit: u32,
) -> Result<Vec<(i64, Envelope)>, StoreError>
where
    E: sqlx::Executor<'e, Database = crate::dialect::Db>,
{
    let fault = |error| Fault::new("read events", error);
    let rows = sqlx::query(
        "SELECT position, event, type, subject, at, body FROM outbox WHERE position > $1 ORDER BY position LIMIT $2",
    )
    .bind(position)
    .bind(i64::from(limit))
    .fetch_all(executor)
    .await
    .map_err(fault)?;
    let mut events = Vec::with_capacity(rows.len());
    for row in &rows {
        events.push(stored(row).map_err(fault)?.try_into()?);
    }
    Ok(events)
}

/// An event as its subscribers read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventText {
    /// Its place in the outbox.
    pub position: i64,
    /// The whole envelope, one JSON object.
    pub json: String,
}

/// The envelope without type and data, which are stored as text already.
#[derive(Serialize)]
struct Head<'a> {
    specversion: &'static str,
    id: EventId,
    source: &'static str,
    subject: &'a str,
    time: String,
    sequence: String,
}

/// More than any head has.
const HEAD_BYTES: i64 = 512;

impl TryFrom<EventStored> for EventText {
    type Error = Corrupt;

    /// Puts the head before the stored body. That the body is JSON, of its type and names its subject is checked, and
    /// nothing of it is built: it was made of an [`EventBody`] and is read again by every subscriber.
    fn try_from(row: EventStored) -> Result<Self, Corrupt> {
        let corrupt = |why| Corrupt::new(TABLE, row.position.to_string(), why);
        let begins = format!(r#"{{"type":"{}","data":"#, row.kind);
        if !row.body.starts_with(&begins) || serde_json::from_str::<IgnoredAny>(&row.body).is_err() {
            return Err(corrupt("the body is no event of its type"));
        }
        if !row.body.contains(&format!(r#""{}""#, row.subject)) {
            return Err(corrupt("subject is not the body's"));
        }
        let head = Head {
            specversion: "1.0",
            id: EventId::parse(&row.event).map_err(|_| corrupt("the id is no UUID"))?,
            source: EVENT_SOURCE,
            subject: &row.subject,
            time: Timestamp::from_micros(row.at).rfc3339(),
            sequence: row.position.to_string(),
        };
        let head = serde_json::to_string(&head).map_err(|_| corrupt("the head cannot be written"))?;
        let (head, body) = (head.strip_suffix('}'), row.body.strip_prefix('{'));
        let (Some(head), Some(body)) = (head, body) else { return Err(corrupt("the body is no object")) };
        Ok(Self { position: row.position, json: format!("{head},{body}") })
    }
}

/// Events after a position as text, oldest first: at most `limit`, and together at most `most_bytes` unless the first
/// alone is larger.
pub(crate) async fn texts_after(
    readers: &SqlitePool,
    position: i64,
    limit: u32,
    most_bytes: u32,
) -> Result<Vec<EventText>, StoreError> {
    let fault = |error| Fault::new("read events", error);
    let rows = sqlx::query(
        "SELECT position, event, type, subject, at, body FROM \
         (SELECT position, event, type, subject, at, body, OCTET_LENGTH(body) + $4 AS own, \
          SUM(OCTET_LENGTH(body) + $4) OVER (ORDER BY position) AS together FROM \
          (SELECT position, event, type, subject, at, body FROM outbox WHERE position > $1 ORDER BY position LIMIT $2) AS some) \
         AS measured WHERE together <= $3 OR together = own ORDER BY position",
    )
    .bind(position)
    .bind(i64::from(limit))
    .bind(i64::from(most_bytes))
    .bind(HEAD_BYTES)
    .fetch_all(readers)
    .await
    .map_err(fault)?;
    let mut events = Vec::with_capacity(rows.len());
    for row in &rows {
        events.push(stored(row).map_err(fault)?.try_into()?);
    }
    Ok(events)
}

fn stored(row: &SqliteRow) -> Result<EventStored, sqlx::Error> {
    Ok(EventStored {
        position: row.try_get(0)?,
        event: row.try_get(1)?,
        kind: row.try_get(2)?,
        subject: row.try_get(3)?,
        at: row.try_get(4)?,
        body: row.try_get(5)?,
    })
}

/// How far a subscriber has booked; 0 when it is unknown.
pub(crate) async fn cursor(readers: &SqlitePool, subscriber: &str) -> Result<i64, StoreError> {
    let position = sqlx::query_scalar("SELECT position FROM cursors WHERE subscriber = $1")
        .bind(subscriber)
        .fetch_optional(readers)
        .await
        .map_err(|error| Fault::new("read a cursor", error))?;
    Ok(position.unwrap_or(0))
}

/// The last position ever given.
pub(crate) async fn last_position(connection: &mut Connection) -> Result<i64, StoreError> {
    sqlx::query_scalar("SELECT reached FROM counters WHERE counter = 'outbox'")
        .fetch_one(connection)
        .await
        .map_err(|error| Fault::new("read the outbox", error).into())
}

/// Sets a subscriber's cursor back to `position`, if all events after it are still there; says whether it did.
pub(crate) async fn set_back(
    connection: &mut Connection,
    subscriber: &str,
    position: i64,
) -> Result<bool, CommitError> {
    let done = sqlx::query(
        "UPDATE cursors SET position = $2 WHERE subscriber = $1 AND position > $2 \
         AND EXISTS (SELECT 1 FROM outbox WHERE position = $2 + 1)",
    )
    .bind(subscriber)
    .bind(position)
    .execute(connection)
    .await
    .map_err(|error| Fault::new("set a cursor back", error))?;
    Ok(done.rows_affected() == 1)
}

/// Deletes events that nobody needs any more and that are older than `before`, oldest first and up to `limit`; says how
/// many. While no subscriber is known, or one of the two feeds was never read, all are needed.
pub(crate) async fn prune(connection: &mut Connection, limit: u32, before: Timestamp) -> Result<u64, CommitError> {
    let fault = |error| Fault::new("pruned events", error);
    let subscribers: Option<i64> =
        sqlx::query_scalar("SELECT MIN(position) FROM cursors").fetch_one(&mut *connection).await.map_err(fault)?;
    let row = sqlx::query("SELECT COUNT(*), MIN(booked) FROM feeds WHERE feed IN ($1, $2)")
        .bind(CustomerRow::FEED)
        .bind(CardRow::FEED)
        .fetch_one(&mut *connection)
        .await
        .map_err(fault)?;
    let (feeds, booked): (i64, Option<i64>) = (row.try_get(0).map_err(fault)?, row.try_get(1).map_err(fault)?);
    let (Some(subscribers), Some(booked), 2) = (subscribers, booked, feeds) else { return Ok(0) };
    // Times do not follow positions exactly, and what is left must have no gap: the first young one ends the bite.
    let oldest: Vec<(i64, i64)> =
        sqlx::query_as("SELECT position, at FROM outbox WHERE position <= $1 ORDER BY position LIMIT $2")
            .bind(subscribers.min(booked))
            .bind(i64::from(limit))
            .fetch_all(&mut *connection)
            .await
            .map_err(fault)?;
    let old = oldest.iter().take_while(|(_, at)| *at < before.micros()).last();
    let Some((last, _)) = old else { return Ok(0) };
    let done = sqlx::query("DELETE FROM outbox WHERE position <= $1")
        .bind(last)
        .execute(&mut *connection)
        .await
        .map_err(fault)?;
    Ok(done.rows_affected())
}
