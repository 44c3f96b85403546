//! The outbox: events in the order they were committed, read by relays and pruned behind them.
//!
//! An event is deleted only when every subscriber has booked it and the feeds that people's standing comes from have
//! booked it too: until then the index needs it after a restart.

use pci_contract::{CardRow, CustomerRow, Envelope, EventBody, EventId, FeedRow, Timestamp};
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
    for row in rows {
        let stored = EventStored {
            position: row.try_get(0).map_err(fault)?,
            event: row.try_get(1).map_err(fault)?,
            kind: row.try_get(2).map_err(fault)?,
            subject: row.try_get(3).map_err(fault)?,
            at: row.try_get(4).map_err(fault)?,
            body: row.try_get(5).map_err(fault)?,
        };
        events.push(stored.try_into()?);
    }
    Ok(events)
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

/// Deletes up to `limit` events that nobody needs any more; says how many. While no subscriber is known, or one of the
/// two feeds was never read, all are needed.
pub(crate) async fn prune(connection: &mut Connection, limit: u32) -> Result<u64, CommitError> {
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
    let done = sqlx::query(
        "DELETE FROM outbox WHERE position IN \
         (SELECT position FROM outbox WHERE position <= $1 ORDER BY position LIMIT $2)",
    )
    .bind(subscribers.min(booked))
    .bind(i64::from(limit))
    .execute(&mut *connection)
    .await
    .map_err(fault)?;
    Ok(done.rows_affected())
}
