//! Sessions as the events told them: one, some, a list, and how many are not settled yet.
//!
//! `settlement` is null for a refused session: nothing was held, or nothing is any more. How many have ended is counted
//! when they end, since whoever waits for the end of a day asks many times a second.

use axum::extract::State;
use ops_kit::guard::StatusRead;
use ops_kit::{Allowed, Answer, ApiError, Kit, Named, PageRequest, Params, Problem, stored};
use pci_contract::{CustomerId, FridgeId, SessionId, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};

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

const THESE: &str = "SELECT * FROM session WHERE session IN (SELECT value FROM json_each($1)) AND outcome IS NOT NULL
                     ORDER BY session";

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
    let rows = sqlx::query(THESE).bind(json!(ids).to_string()).fetch_all(kit.db().readers()).await?;
    let sessions = rows.iter().map(told).collect::<Result<Vec<_>, _>>()?;
    Answer::ok(&json!({ "sessions": sessions }))
}

/// A pending session has an outcome, so it is among those that have ended.
const COUNT: &str = "SELECT sessions, (SELECT COUNT(*) FROM session WHERE settlement = 'pending') FROM ended";

/// `GET /sessions:count`: how many have ended, and for how many of them the processor has not answered.
pub(crate) async fn count(_: Allowed<StatusRead>, State(kit): State<Kit<Settings>>) -> Result<Answer, ApiError> {
    let (sessions, pending): (i64, i64) = sqlx::query_as(COUNT).fetch_one(kit.db().readers()).await?;
    Answer::ok(&json!({ "sessions": sessions, "pending": pending }))
}

#[derive(Debug, Default, Deserialize)]
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
    let rows = listed(&query, &page).build().fetch_all(kit.db().readers()).await?;
    let sessions = rows.iter().map(told).collect::<Result<Vec<_>, _>>()?;
    let key = |body: &Value| body.get("session").and_then(Value::as_str).unwrap_or_default().to_owned();
    Answer::ok(&page.cut(sessions, key).json("sessions"))
}

/// The query of a list. Only what is asked for is in it, so that SQLite finds it by an index.
fn listed(query: &ListQuery, page: &PageRequest) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new("SELECT * FROM session WHERE outcome IS NOT NULL AND session > ");
    sql.push_bind(page.after());
    for (column, value) in [
        ("fridge", query.fridge.as_ref().map(FridgeId::as_str)),
        ("customer", query.customer.as_ref().map(CustomerId::as_str)),
        ("outcome", query.outcome.as_deref()),
        ("settlement", query.settlement.as_deref()),
    ] {
        if let Some(value) = value {
            sql.push(" AND ").push(column).push(" = ").push_bind(value);
        }
    }
    sql.push(" ORDER BY session LIMIT ").push_bind(page.limit());
    sql
}

#[cfg(test)]
mod tests {
    use super::{COUNT, CustomerId, FridgeId, ListQuery, PageRequest, THESE, listed};
    use crate::serve::plan;
    use sqlx::QueryBuilder;

    #[tokio::test]
    async fn sessions_are_found_by_an_index() {
        let page = PageRequest::read(None, None).unwrap();
        let fridge = ListQuery { fridge: FridgeId::parse("FR-0001").ok(), ..ListQuery::default() };
        let customer = ListQuery { customer: CustomerId::parse("CU-1").ok(), ..ListQuery::default() };
        let outcome = ListQuery { outcome: Some("abandoned".to_owned()), ..ListQuery::default() };
        let settlement = ListQuery { settlement: Some("failed".to_owned()), ..ListQuery::default() };
        for (query, index) in [
            (fridge, "session_by_fridge (fridge=? AND session>?)"),
            (customer, "session_by_customer (customer=? AND session>?)"),
            (outcome, "session_by_outcome (outcome=? AND session>?)"),
            (settlement, "session_by_settlement (settlement=? AND session>?)"),
            (ListQuery::default(), "PRIMARY KEY (session>?)"),
        ] {
            let plan = plan(listed(&query, &page)).await;
            assert!(plan.contains(index) && !plan.contains("B-TREE"), "{plan}");
        }
        let these = plan(QueryBuilder::new(THESE)).await;
        assert!(these.contains("SEARCH session USING PRIMARY KEY (session=?)") && !these.contains("B-TREE"), "{these}");
    }

    #[tokio::test]
    async fn counting_reads_only_what_is_pending() {
        let count = plan(QueryBuilder::new(COUNT)).await;
        assert!(count.contains("session_by_settlement (settlement=?)"), "{count}");
        assert!(!count.contains("SCAN session"), "{count}");
    }
}
