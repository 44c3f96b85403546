//! What an operator or refiller must look at: things that were kept or put back and that no rule could settle.

use axum::extract::State;
use ops_kit::guard::{InventoryRead, InventoryWrite};
use ops_kit::{Allowed, Answer, ApiError, Body, Kit, Named, NoSettings, PageRequest, Params, Problem, WriteTx};
use pci_contract::{FridgeId, PurchaseFinalized, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{QueryBuilder, Sqlite};

const MAX_NOTE: usize = 500;

/// Why something is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReviewKind {
    /// Kept, and no list of ours knows it.
    Unidentified,
    /// Put back by a session that had not taken it.
    StrayReturn,
    /// Kept though expired or exposed; not charged.
    NotSellableKept,
    /// Sold, though we do not know the meal.
    UnknownMeal,
    /// Sold again after another session had it.
    SoldTwice,
}

impl ReviewKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Unidentified => "unidentified",
            Self::StrayReturn => "stray_return",
            Self::NotSellableKept => "not_sellable_kept",
            Self::UnknownMeal => "unknown_meal",
            Self::SoldTwice => "sold_twice",
        }
    }
}

/// Puts one thing on the list.
pub(crate) async fn add(
    tx: &mut WriteTx,
    kind: ReviewKind,
    purchase: &PurchaseFinalized,
    code: &str,
) -> Result<(), ApiError> {
    sqlx::query("INSERT INTO review (kind, session, fridge, code, at) VALUES ($1, $2, $3, $4, $5)")
        .bind(kind.as_str())
        .bind(purchase.session.to_string())
        .bind(purchase.fridge.as_str())
        .bind(code)
        .bind(purchase.closed_at.micros())
        .execute(tx.sql())
        .await?;
    Ok(())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    kind: Option<ReviewKind>,
    fridge: Option<FridgeId>,
    #[serde(default)]
    resolved: bool,
    page_size: Option<u32>,
    page_token: Option<String>,
}

type Columns = (i64, String, String, String, String, i64, Option<i64>, Option<String>, Option<String>);

fn told(row: Columns) -> Value {
    let (id, kind, session, fridge, code, at, resolved_at, resolved_by, note) = row;
    let text = |at| Timestamp::from_micros(at).rfc3339();
    json!({ "id": id, "kind": kind, "session": session, "fridge": fridge, "code": code, "at": text(at),
            "resolved_at": resolved_at.map(text), "resolved_by": resolved_by, "note": note })
}

/// `GET /reviews?kind=&fridge=&resolved=`: open ones unless resolved ones are asked for, oldest first.
pub(crate) async fn list(
    _: Allowed<InventoryRead>,
    State(kit): State<Kit<NoSettings>>,
    Params(query): Params<ListQuery>,
) -> Result<Answer, ApiError> {
    let page = PageRequest::read(query.page_size, query.page_token.as_deref())?;
    let rows: Vec<Columns> = listed(&query, &page)?.build_query_as().fetch_all(kit.db().readers()).await?;
    let page = page.cut(rows, |row| row.0.to_string());
    let rows: Vec<Value> = page.rows.into_iter().map(told).collect();
    Answer::ok(&json!({ "reviews": rows, "next_page_token": page.next }))
}

fn listed(query: &ListQuery, page: &PageRequest) -> Result<QueryBuilder<Sqlite>, Problem> {
    let columns = "SELECT id, kind, session, fridge, code, at, resolved_at, resolved_by, note FROM review WHERE id > ";
    let mut sql = QueryBuilder::new(columns);
    sql.push_bind(page.after_number()?);
    sql.push(if query.resolved { " AND resolved_at IS NOT NULL" } else { " AND resolved_at IS NULL" });
    if let Some(kind) = query.kind {
        sql.push(" AND kind = ").push_bind(kind.as_str());
    }
    if let Some(fridge) = &query.fridge {
        sql.push(" AND fridge = ").push_bind(fridge.as_str());
    }
    sql.push(" ORDER BY id LIMIT ").push_bind(page.limit());
    Ok(sql)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resolution {
    note: String,
}

/// `PUT /reviews/{id}/resolution`: somebody looked, and says what it was.
pub(crate) async fn resolve(
    allowed: Allowed<InventoryWrite>,
    State(kit): State<Kit<NoSettings>>,
    Named(id): Named<i64>,
    Body(resolution): Body<Resolution>,
) -> Result<Answer, ApiError> {
    let note = resolution.note;
    if note.is_empty() || note.len() > MAX_NOTE {
        return Err(Problem::invalid(format!("a note has 1 to {MAX_NOTE} bytes")).into());
    }
    let (mut tx, now) = (kit.db().write().await?, kit.now());
    let row: Option<Columns> = sqlx::query_as(
        "UPDATE review SET resolved_at = $1, resolved_by = $2, note = $3 WHERE id = $4
         RETURNING id, kind, session, fridge, code, at, resolved_at, resolved_by, note",
    )
    .bind(now.micros())
    .bind(allowed.who().as_str())
    .bind(&note)
    .bind(id)
    .fetch_optional(tx.sql())
    .await?;
    let review = told(row.ok_or_else(|| Problem::not_found("review"))?);
    tx.audit(allowed.who(), "review.resolve", &id.to_string(), &review, now).await?;
    tx.commit().await?;
    Answer::ok(&review)
}

#[cfg(test)]
mod tests {
    use super::{ListQuery, PageRequest, listed};
    use crate::serve::plan;

    #[tokio::test]
    async fn open_reviews_are_found_by_an_index() {
        let page = PageRequest::read(None, None).unwrap();
        let query = ListQuery { kind: None, fridge: None, resolved: false, page_size: None, page_token: None };
        let plan = plan(listed(&query, &page).unwrap()).await;
        assert!(plan.contains("review_open (id>?)"), "{plan}");
    }
}
