//! What each fridge has sold, summed from finalized purchases.

use axum::extract::State;
use ops_kit::guard::AdminRead;
use ops_kit::{Allowed, Answer, ApiError, Kit, NoSettings, PageRequest, Params, WriteTx};
use pci_contract::{FridgeId, MealStatus, PurchaseFinalized};
use serde::Deserialize;
use serde_json::json;

/// Adds a finalized purchase.
pub(crate) async fn add(tx: &mut WriteTx, purchase: &PurchaseFinalized) -> Result<(), ApiError> {
    let stolen = purchase.meals.iter().filter(|line| line.status == MealStatus::Stolen).count();
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    sqlx::query(
        "INSERT INTO sales (fridge, currency, sessions, charged_sessions, charged_minor, credit_used_minor, meals, thefts)
         VALUES ($1, $2, 1, $3, $4, $5, $6, $7)
         ON CONFLICT (fridge, currency) DO UPDATE SET sessions = sessions + 1,
            charged_sessions = charged_sessions + excluded.charged_sessions,
            charged_minor = charged_minor + excluded.charged_minor,
            credit_used_minor = credit_used_minor + excluded.credit_used_minor,
            meals = meals + excluded.meals, thefts = thefts + excluded.thefts",
    )
    .bind(purchase.fridge.as_str())
    .bind(purchase.charged.currency().as_str())
    .bind(purchase.charged.is_positive())
    .bind(purchase.charged.minor())
    .bind(purchase.credit_used.minor())
    .bind(number(purchase.meals.len()))
    .bind(number(stolen))
    .execute(tx.sql())
    .await?;
    Ok(())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    fridge: Option<FridgeId>,
    page_size: Option<u32>,
    page_token: Option<String>,
}

type Columns = (String, String, i64, i64, i64, i64, i64, i64);

/// `GET /sales?fridge=`: one row a fridge and currency, in the order of fridges.
pub(crate) async fn list(
    _: Allowed<AdminRead>,
    State(kit): State<Kit<NoSettings>>,
    Params(query): Params<ListQuery>,
) -> Result<Answer, ApiError> {
    let page = PageRequest::read(query.page_size, query.page_token.as_deref())?;
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT fridge, currency, sessions, charged_sessions, charged_minor, credit_used_minor, meals, thefts FROM sales
         WHERE fridge || ' ' || currency > $1 AND ($2 IS NULL OR fridge = $2)
         ORDER BY fridge || ' ' || currency LIMIT $3",
    )
    .bind(page.after())
    .bind(query.fridge.as_ref().map(FridgeId::as_str))
    .bind(page.limit())
    .fetch_all(kit.db().readers())
    .await?;
    let page = page.cut(rows, |row| format!("{} {}", row.0, row.1));
    let rows =
        page.rows.into_iter().map(|(fridge, currency, sessions, charged_sessions, charged, credit, meals, thefts)| {
            json!({ "fridge": fridge, "sessions": sessions, "charged_sessions": charged_sessions,
                "charged": { "minor": charged, "currency": currency },
                "credit_used": { "minor": credit, "currency": currency }, "meals": meals, "thefts": thefts })
        });
    Answer::ok(&json!({ "sales": rows.collect::<Vec<_>>(), "next_page_token": page.next }))
}
