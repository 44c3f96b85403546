//! How each fridge is: its last report, its lock and its quarantine, and what it noticed outside sessions.
//!
//! A fridge is here once it reported or was locked; which fridges there are is for admin to say.

use axum::extract::State;
use ops_kit::guard::StatusRead;
use ops_kit::{Allowed, Answer, ApiError, Kit, Named, PageRequest, Params, Problem, stored};
use pci_contract::{FridgeId, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{QueryBuilder, Row, Sqlite};

use crate::Settings;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    locked: Option<bool>,
    quarantined: Option<bool>,
    page_size: Option<u32>,
    page_token: Option<String>,
}

/// A fridge as answered, and its revision.
pub(crate) fn told(row: &SqliteRow) -> Result<(Value, i64), ApiError> {
    let moment = |name| -> Result<Option<String>, sqlx::Error> {
        Ok(row.try_get::<Option<i64>, _>(name)?.map(|at| Timestamp::from_micros(at).rfc3339()))
    };
    let text = |name| row.try_get::<Option<String>, _>(name);
    let meals =
        text("meals")?.map(|meals| stored("fridge.meals", serde_json::from_str::<Value>(&meals))).transpose()?;
    let reasons = text("quarantine_reasons")?;
    let reasons =
        reasons.map(|reasons| stored("fridge.quarantine_reasons", serde_json::from_str::<Vec<String>>(&reasons)));
    let since = moment("quarantined_at")?;
    let body = json!({
        "fridge": text("id")?,
        "seen_at": moment("seen_at")?,
        "temperature_c": row.try_get::<Option<f64>, _>("temperature_c")?,
        "humidity": row.try_get::<Option<f64>, _>("humidity")?,
        "door": text("door")?,
        "firmware": text("firmware")?,
        "meals": meals,
        "counted_at": moment("counted_at")?,
        "lock": {
            "locked": row.try_get::<bool, _>("locked")?,
            "reason": text("lock_reason")?,
            "by": text("lock_by")?,
            "at": moment("lock_at")?,
        },
        "quarantine": {
            "quarantined": since.is_some(),
            "since": since,
            "reasons": reasons.transpose()?.unwrap_or_default(),
        },
    });
    Ok((body, row.try_get("rev")?))
}

/// The fridge of this id, if it reported or was locked.
pub(crate) async fn find(sql: &mut SqliteConnection, id: &FridgeId) -> Result<Option<(Value, i64)>, ApiError> {
    let row = sqlx::query("SELECT * FROM fridge WHERE id = $1").bind(id.as_str()).fetch_optional(sql).await?;
    row.as_ref().map(told).transpose()
}

pub(crate) async fn list(
    _: Allowed<StatusRead>,
    State(kit): State<Kit<Settings>>,
    Params(query): Params<ListQuery>,
) -> Result<Answer, ApiError> {
    let page = PageRequest::read(query.page_size, query.page_token.as_deref())?;
    let rows = sqlx::query(
        "SELECT * FROM fridge WHERE id > $1 AND ($2 IS NULL OR locked = $2)
            AND ($3 IS NULL OR (quarantined_at IS NOT NULL) = $3) ORDER BY id LIMIT $4",
    )
    .bind(page.after())
    .bind(query.locked)
    .bind(query.quarantined)
    .bind(page.limit())
    .fetch_all(kit.db().readers())
    .await?;
    let fridges = rows.iter().map(|row| told(row).map(|(body, _)| body)).collect::<Result<Vec<_>, _>>()?;
    let key = |body: &Value| body.get("fridge").and_then(Value::as_str).unwrap_or_default().to_owned();
    Answer::ok(&page.cut(fridges, key).json("fridges"))
}

pub(crate) async fn read(
    _: Allowed<StatusRead>,
    State(kit): State<Kit<Settings>>,
    Named(id): Named<FridgeId>,
) -> Result<Answer, ApiError> {
    let mut tx = kit.db().read().await?;
    let (body, rev) = find(&mut tx, &id).await?.ok_or_else(|| Problem::not_found("fridge"))?;
    Answer::record(rev, &body)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TamperQuery {
    fridge: Option<FridgeId>,
    page_size: Option<u32>,
    page_token: Option<String>,
}

/// `GET /tampers?fridge=`: what was noticed outside sessions, in the order it was told.
pub(crate) async fn tampers(
    _: Allowed<StatusRead>,
    State(kit): State<Kit<Settings>>,
    Params(query): Params<TamperQuery>,
) -> Result<Answer, ApiError> {
    let page = PageRequest::read(query.page_size, query.page_token.as_deref())?;
    let rows: Vec<(i64, String, String, Option<String>, i64)> =
        tampered(&query, &page)?.build_query_as().fetch_all(kit.db().readers()).await?;
    let page = page.cut(rows, |row| row.0.to_string());
    let tampers = page.rows.into_iter().map(|(sequence, fridge, kind, code, at)| {
        let at = Timestamp::from_micros(at).rfc3339();
        json!({ "sequence": sequence, "fridge": fridge, "kind": kind, "code": code, "at": at })
    });
    Answer::ok(&json!({ "tampers": tampers.collect::<Vec<_>>(), "next_page_token": page.next }))
}

fn tampered(query: &TamperQuery, page: &PageRequest) -> Result<QueryBuilder<Sqlite>, Problem> {
    let mut sql = QueryBuilder::new("SELECT sequence, fridge, kind, code, at FROM tamper WHERE sequence > ");
    sql.push_bind(page.after_number()?);
    if let Some(fridge) = &query.fridge {
        sql.push(" AND fridge = ").push_bind(fridge.as_str());
    }
    sql.push(" ORDER BY sequence LIMIT ").push_bind(page.limit());
    Ok(sql)
}

#[cfg(test)]
mod tests {
    use super::{FridgeId, PageRequest, TamperQuery, tampered};
    use crate::serve::plan;

    #[tokio::test]
    async fn what_a_fridge_noticed_is_found_by_an_index() {
        let query = TamperQuery { fridge: FridgeId::parse("FR-0001").ok(), page_size: None, page_token: None };
        let plan = plan(tampered(&query, &PageRequest::read(None, None).unwrap()).unwrap()).await;
        assert!(plan.contains("tamper_by_fridge (fridge=? AND sequence>?)"), "{plan}");
    }
}
