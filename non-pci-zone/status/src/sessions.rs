//! Sessions as the events told them: one, some, a list, and how many are not settled yet.
//!
//! `settlement` is null for a refused session: nothing was held, or nothing is any more.

use axum::extract::State;
use ops_kit::guard::StatusRead;
use ops_kit::{Allowed, Answer, ApiError, Kit, Named, PageRequest, Params, Problem, stored};
use pci_contract::{CustomerId, FridgeId, SessionId, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::Settings;

const MAX_IDS: usize = 200;

fn told(row: &SqliteRow) -> Result<Value, ApiError> {
    let text = |name| row.try_get::<Option<String>, _>(name);
    let minor = |name| row.try_get::<Option<i64>, _>(name);
    let list =
        |name| -> Result<Value, ApiError> { stored(name, serde_json::from_str(&row.try_get::<String, _>(name)?)) };
    let moment = |name| -> Result<Option<String>, sqlx::Error> {
        Ok(minor(name)?.map(|at| Timestamp::from_micros(at).rfc3339()))
    };
    Ok(json!({
        "session": text("session")?,
        "fridge": text("fridge")?,
        "outcome": text("outcome")?,
        "reason": text("reason")?,
        "customer": text("customer")?,
        "card": text("card")?,
        "charged_minor": minor("charged_minor")?,
        "credit_used_minor": minor("credit_used_minor")?,
        "unpaid_minor": minor("unpaid_minor")?,
        "currency": text("currency")?,
        "alarms": list("alarms")?,
        "thefts": list("thefts")?,
        "meals": list("meals")?,
        "settlement": text("settlement")?,
        "captured_minor": minor("captured_minor")?,
        "refunded_minor": minor("refunded_minor")?,
        "opened_at": moment("opened_at")?,
        "closed_at": moment("closed_at")?,
    }))
}

pub(crate) async fn read(
    _: Allowed<StatusRead>,
    State(kit): State<Kit<Settings>>,
    Named(id): Named<SessionId>,
) -> Result<Answer, ApiError> {
    let row = sqlx::query("SELECT * FROM session WHERE session = $1 AND outcome IS NOT NULL")
        .bind(id.to_string())
        .fetch_optional(kit.db().readers())
        .await?;
    Answer::ok(&told(&row.ok_or_else(|| Problem::not_found("session"))?)?)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchQuery {
    ids: String,
}

/// `GET /sessions:batchGet?ids=a,b`: those of them that have ended, in the order of ids; at most 200.
pub(crate) async fn batch_get(
    _: Allowed<StatusRead>,
    State(kit): State<Kit<Settings>>,
    Params(query): Params<BatchQuery>,
) -> Result<Answer, ApiError> {
    let ids: Vec<&str> = query.ids.split(',').collect();
    if ids.len() > MAX_IDS {
        return Err(Problem::invalid(format!("at most {MAX_IDS} ids at a time")).into());
    }
    let ids = ids.into_iter().map(SessionId::parse).collect::<Result<Vec<_>, _>>();
    let ids = ids.map_err(|error| Problem::invalid(format!("ids: {error}")))?;
    let rows = sqlx::query(
        "SELECT * FROM session WHERE session IN (SELECT value FROM json_each($1)) AND outcome IS NOT NULL
         ORDER BY session",
    )
    .bind(json!(ids).to_string())
    .fetch_all(kit.db().readers())
    .await?;
    let sessions = rows.iter().map(told).collect::<Result<Vec<_>, _>>()?;
    Answer::ok(&json!({ "sessions": sessions }))
}

/// `GET /sessions:count`: how many have ended, and for how many of them the processor has not answered.
pub(crate) async fn count(_: Allowed<StatusRead>, State(kit): State<Kit<Settings>>) -> Result<Answer, ApiError> {
    let (sessions, pending): (i64, i64) = sqlx::query_as(
        "SELECT COUNT(*), COALESCE(SUM(settlement IS 'pending'), 0) FROM session WHERE outcome IS NOT NULL",
    )
    .fetch_one(kit.db().readers())
    .await?;
    Answer::ok(&json!({ "sessions": sessions, "pending": pending }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    fridge: Option<FridgeId>,
    customer: Option<CustomerId>,
    outcome: Option<String>,
    settlement: Option<String>,
    page_size: Option<u32>,
    page_token: Option<String>,
}

/// `GET /sessions?fridge=&customer=&outcome=&settlement=`, in the order of ids, which is nearly that of time.
pub(crate) async fn list(
    _: Allowed<StatusRead>,
    State(kit): State<Kit<Settings>>,
    Params(query): Params<ListQuery>,
) -> Result<Answer, ApiError> {
    let page = PageRequest::read(query.page_size, query.page_token.as_deref())?;
    let rows = sqlx::query(
        "SELECT * FROM session
         WHERE session > $1 AND outcome IS NOT NULL AND ($2 IS NULL OR fridge = $2) AND ($3 IS NULL OR customer = $3)
           AND ($4 IS NULL OR outcome = $4) AND ($5 IS NULL OR settlement = $5)
         ORDER BY session LIMIT $6",
    )
    .bind(page.after())
    .bind(query.fridge.as_ref().map(FridgeId::as_str))
    .bind(query.customer.as_ref().map(CustomerId::as_str))
    .bind(query.outcome)
    .bind(query.settlement)
    .bind(page.limit())
    .fetch_all(kit.db().readers())
    .await?;
    let sessions = rows.iter().map(told).collect::<Result<Vec<_>, _>>()?;
    let key = |body: &Value| body.get("session").and_then(Value::as_str).unwrap_or_default().to_owned();
    Answer::ok(&page.cut(sessions, key).json("sessions"))
}
