//! The sales of the API: by fridge, of one fridge, by day, and by meal type.
//!
//! Days are UTC and both ends of a range count. Amounts are in one currency, the policy's unless another is asked for.
//! It leaves adding up to `sum`.

use axum::extract::State;
use http::StatusCode;
use ops_kit::guard::AdminRead;
use ops_kit::{Allowed, Answer, ApiError, Kit, Named, NoSettings, PageRequest, Params, Problem};
use pci_contract::{Currency, FridgeId, Money, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnection;

use super::sum::{By, Part, Range, sums};
use crate::fridges::{self, Known};
use crate::policy;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RangeQuery {
    from: Option<String>,
    to: Option<String>,
    currency: Option<Currency>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SalesQuery {
    from: Option<String>,
    to: Option<String>,
    currency: Option<Currency>,
    fridge: Option<FridgeId>,
    page_size: Option<u32>,
    page_token: Option<String>,
}

impl SalesQuery {
    fn page(&self) -> Result<PageRequest, Problem> {
        PageRequest::read(self.page_size, self.page_token.as_deref())
    }

    async fn range(self, sql: &mut SqliteConnection) -> Result<Range, ApiError> {
        RangeQuery { from: self.from, to: self.to, currency: self.currency }.range(sql, self.fridge).await
    }
}

impl RangeQuery {
    async fn range(self, sql: &mut SqliteConnection, fridge: Option<FridgeId>) -> Result<Range, ApiError> {
        let from = day(self.from, "0000-01-01")?;
        let to = day(self.to, "9999-12-31")?;
        let currency = match self.currency {
            Some(currency) => currency,
            None => policy::find(sql).await?.0.currency,
        };
        Ok(Range { from, to, currency, fridge })
    }
}

fn day(given: Option<String>, otherwise: &str) -> Result<String, Problem> {
    let Some(day) = given else { return Ok(otherwise.to_owned()) };
    if day.len() == 10 && Timestamp::parse_rfc3339(&format!("{day}T00:00:00Z")).is_some() {
        return Ok(day);
    }
    Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_query", "a day is written YYYY-MM-DD"))
}

/// `GET /sales?from=&to=&currency=&fridge=`: every fridge that sold or refused, in the order of names, and the total.
pub(crate) async fn by_fridge(
    _: Allowed<AdminRead>,
    State(kit): State<Kit<NoSettings>>,
    Params(query): Params<SalesQuery>,
) -> Result<Answer, ApiError> {
    let page = query.page()?;
    let mut tx = kit.db().read().await?;
    let range = query.range(&mut tx).await?;
    let total = sums(&mut tx, By::Nothing, &range, "", 1).await?.pop();
    let total = total.unwrap_or_else(|| Part::empty(String::new())).told(None, range.currency);
    let parts = sums(&mut tx, By::Fridge, &range, page.after(), page.limit()).await?;
    let page = page.cut(parts, |part| part.bucket.clone());
    let rows: Vec<Value> = page.rows.into_iter().map(|part| part.told(Some("fridge"), range.currency)).collect();
    Answer::ok(&json!({ "sales": rows, "total": total, "next_page_token": page.next }))
}

/// `GET /fridges/{id}/sales?from=&to=&currency=`: also of a fridge that was deleted.
pub(crate) async fn of_fridge(
    _: Allowed<AdminRead>,
    State(kit): State<Kit<NoSettings>>,
    Named(name): Named<FridgeId>,
    Params(query): Params<RangeQuery>,
) -> Result<Answer, ApiError> {
    let mut tx = kit.db().read().await?;
    let range = query.range(&mut tx, Some(name.clone())).await?;
    let part = match sums(&mut tx, By::Fridge, &range, "", 1).await?.pop() {
        Some(part) => part,
        None if matches!(fridges::find(&mut tx, &name).await?, Known::Never) && !sold_ever(&mut tx, &name).await? => {
            return Err(Problem::not_found("fridge").into());
        }
        None => Part::empty(name.to_string()),
    };
    Answer::ok(&part.told(Some("fridge"), range.currency))
}

async fn sold_ever(sql: &mut SqliteConnection, fridge: &FridgeId) -> Result<bool, ApiError> {
    let query =
        "SELECT EXISTS (SELECT 1 FROM sale WHERE fridge = $1) OR EXISTS (SELECT 1 FROM refusal WHERE fridge = $1)";
    Ok(sqlx::query_scalar(query).bind(fridge.as_str()).fetch_one(sql).await?)
}

/// `GET /sales/days?from=&to=&currency=&fridge=`: every day that something was sold or refused, in order.
pub(crate) async fn by_day(
    _: Allowed<AdminRead>,
    State(kit): State<Kit<NoSettings>>,
    Params(query): Params<SalesQuery>,
) -> Result<Answer, ApiError> {
    let page = query.page()?;
    let mut tx = kit.db().read().await?;
    let range = query.range(&mut tx).await?;
    let parts = sums(&mut tx, By::Day, &range, page.after(), page.limit()).await?;
    let page = page.cut(parts, |part| part.bucket.clone());
    let rows: Vec<Value> = page.rows.into_iter().map(|part| part.told(Some("day"), range.currency)).collect();
    Answer::ok(&json!({ "days": rows, "next_page_token": page.next }))
}

/// `GET /sales/meal-types?from=&to=&currency=&fridge=`: how many of each were sold and stolen and what was due for them.
pub(crate) async fn by_meal_type(
    _: Allowed<AdminRead>,
    State(kit): State<Kit<NoSettings>>,
    Params(query): Params<SalesQuery>,
) -> Result<Answer, ApiError> {
    let page = query.page()?;
    let mut tx = kit.db().read().await?;
    let range = query.range(&mut tx).await?;
    let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(
        "SELECT gtin, SUM(sold), SUM(stolen), SUM(due_minor) FROM sale_meal
         WHERE gtin > $1 AND day BETWEEN $2 AND $3 AND currency = $4 AND ($5 IS NULL OR fridge = $5)
         GROUP BY gtin ORDER BY gtin LIMIT $6",
    )
    .bind(page.after())
    .bind(&range.from)
    .bind(&range.to)
    .bind(range.currency.as_str())
    .bind(range.fridge())
    .bind(page.limit())
    .fetch_all(&mut *tx)
    .await?;
    let page = page.cut(rows, |row| row.0.clone());
    let rows = page.rows.into_iter().map(|(gtin, sold, stolen, due)| {
        json!({ "gtin": gtin, "sold": sold, "stolen": stolen, "due": Money::new(due, range.currency) })
    });
    Answer::ok(&json!({ "meal_types": rows.collect::<Vec<_>>(), "next_page_token": page.next }))
}
