//! Who changed what, and when: written in the transaction of the change, read with the service's read permission.
//!
//! It leaves signing the trail and carrying it to a log of its own to the compliance tools.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use ca_identity::SpiffeId;
use pci_contract::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::db::WriteTx;
use crate::extract::Params;
use crate::guard::{Allowed, Guard};
use crate::kit::Kit;
use crate::paging::PageRequest;
use crate::problem::ApiError;

impl WriteTx {
    /// Books a change: who did what to which record, with what matters of it. Never pass a secret in `detail`.
    ///
    /// # Errors
    /// [`crate::Fault`] when the database fails.
    pub async fn audit(
        &mut self,
        who: &SpiffeId,
        what: &'static str,
        target: &str,
        detail: &Value,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        sqlx::query("INSERT INTO audit (at, who, what, target, detail) VALUES ($1, $2, $3, $4, $5)")
            .bind(now.micros())
            .bind(who.as_str())
            .bind(what)
            .bind(target)
            .bind(detail.to_string())
            .execute(self.sql())
            .await?;
        Ok(())
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditQuery {
    target: Option<String>,
    page_size: Option<u32>,
    page_token: Option<String>,
}

#[derive(Debug, Serialize)]
struct Entry {
    id: i64,
    at: String,
    who: String,
    what: String,
    target: String,
    detail: Value,
}

const OF_ALL: &str =
    "SELECT id, at, who, what, target, detail FROM audit WHERE id > $1 AND $3 IS NULL ORDER BY id LIMIT $2";
const OF_TARGET: &str =
    "SELECT id, at, who, what, target, detail FROM audit WHERE id > $1 AND target = $3 ORDER BY id LIMIT $2";

/// `GET /audit?target=`: oldest first.
pub(crate) async fn list<A: Guard, E: Send + Sync + 'static>(
    _: Allowed<A>,
    State(kit): State<Kit<E>>,
    Params(query): Params<AuditQuery>,
) -> Result<Response, ApiError> {
    let page = PageRequest::read(query.page_size, query.page_token.as_deref())?;
    // Two statements of the same values, since no index serves a condition that may be none.
    let sql = if query.target.is_some() { OF_TARGET } else { OF_ALL };
    let rows: Vec<(i64, i64, String, String, String, String)> = sqlx::query_as(sql)
        .bind(page.after_number()?)
        .bind(page.limit())
        .bind(query.target)
        .fetch_all(kit.db().readers())
        .await?;
    let entries = rows.into_iter().map(|(id, at, who, what, target, detail)| {
        let detail = serde_json::from_str(&detail).map_err(|error| ApiError::corrupt("audit.detail", error))?;
        Ok(Entry { id, at: Timestamp::from_micros(at).rfc3339(), who, what, target, detail })
    });
    let entries = entries.collect::<Result<Vec<_>, ApiError>>()?;
    Ok(axum::Json(page.cut(entries, |entry| entry.id.to_string()).json("entries")).into_response())
}
