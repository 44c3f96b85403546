//! What a fridge counted inside, each time that it was other than before: the record against which the book of the
//! inventory and a session that was abandoned can be checked.
//!
//! It leaves the comparison to whoever has the book.

use axum::extract::State;
use ops_kit::guard::StatusRead;
use ops_kit::{Allowed, Answer, ApiError, Kit, Named, PageRequest, Params, WriteTx, stored};
use pci_contract::{FridgeId, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Settings;

/// Keeps what report `n` counted unless it is what was counted last, and prunes.
pub(crate) async fn keep(
    tx: &mut WriteTx,
    id: &FridgeId,
    n: i64,
    meals: &str,
    settings: &Settings,
    now: Timestamp,
) -> Result<(), ApiError> {
    let last: Option<String> =
        sqlx::query_scalar("SELECT meals FROM snapshot WHERE fridge = $1 ORDER BY n DESC LIMIT 1")
            .bind(id.as_str())
            .fetch_optional(tx.sql())
            .await?;
    if last.as_deref() == Some(meals) {
        return Ok(());
    }
    sqlx::query("INSERT INTO snapshot (fridge, n, at, meals) VALUES ($1, $2, $3, $4)")
        .bind(id.as_str())
        .bind(n)
        .bind(now.micros())
        .bind(meals)
        .execute(tx.sql())
        .await?;
    for (text, bound) in [
        (
            "DELETE FROM snapshot WHERE fridge = $1
             AND n <= (SELECT n FROM snapshot WHERE fridge = $1 ORDER BY n DESC LIMIT 1 OFFSET $2)",
            i64::from(settings.snapshots_per_fridge),
        ),
        ("DELETE FROM snapshot WHERE fridge = $1 AND at < $2", settings.oldest(now)),
    ] {
        sqlx::query(text).bind(id.as_str()).bind(bound).execute(tx.sql()).await?;
    }
    Ok(())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    page_size: Option<u32>,
    page_token: Option<String>,
}

/// `GET /fridges/{id}/snapshots`: what it counted, oldest first; `report` says with which report.
pub(crate) async fn list(
    _: Allowed<StatusRead>,
    State(kit): State<Kit<Settings>>,
    Named(id): Named<FridgeId>,
    Params(query): Params<ListQuery>,
) -> Result<Answer, ApiError> {
    let page = PageRequest::read(query.page_size, query.page_token.as_deref())?;
    let rows: Vec<(i64, i64, String)> =
        sqlx::query_as("SELECT n, at, meals FROM snapshot WHERE fridge = $1 AND n > $2 ORDER BY n LIMIT $3")
            .bind(id.as_str())
            .bind(page.after_number()?)
            .bind(page.limit())
            .fetch_all(kit.db().readers())
            .await?;
    let page = page.cut(rows, |row| row.0.to_string());
    let rows = page.rows.into_iter().map(|(n, at, meals)| {
        let meals = stored("snapshot.meals", serde_json::from_str::<Value>(&meals))?;
        Ok(json!({ "report": n, "at": Timestamp::from_micros(at).rfc3339(), "meals": meals }))
    });
    let rows = rows.collect::<Result<Vec<_>, ApiError>>()?;
    Answer::ok(&json!({ "snapshots": rows, "next_page_token": page.next }))
}
