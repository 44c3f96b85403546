//! Meal types and their prices. A price holds for sessions that begin after it reached the PCI zone.
//!
//! A basket is summed up in one currency, in an integer of bounded size, and authorized as one amount. So a price has a
//! bound, and all prices are in one currency: that of the prices there are. To change it, all are changed at once.

use axum::extract::State;
use http::StatusCode;
use ops_kit::guard::{InventoryRead, InventoryWrite};
use ops_kit::{
    Allowed, Answer, ApiError, Body, IfMatch, Kit, Named, NoSettings, Once, PageRequest, Params, Problem, WriteTx,
    check_batch, stored,
};
use pci_contract::{Currency, Gtin, MealTypeRow, Money};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::sqlite::SqliteConnection;

const MAX_NAME: usize = 200;
/// No meal costs more, in minor units: what is beyond is a slip of the hand or of a decimal point.
const MAX_PRICE_MINOR: i64 = 10_000_000;

/// A meal type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MealType {
    /// Which.
    pub gtin: Gtin,
    /// What people call it; 1 to 200 bytes.
    pub name: String,
    /// What it costs; from 0 to 10,000,000 minor units, in the currency of all others.
    pub price: Money,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MealTypeBody {
    gtin: Option<Gtin>,
    name: String,
    price: Money,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MealTypes {
    meal_types: Vec<MealType>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    page_size: Option<u32>,
    page_token: Option<String>,
}

type Columns = (String, String, i64, String, i64);

impl MealType {
    fn check(&self) -> Result<(), Problem> {
        if self.name.trim().is_empty() || self.name.len() > MAX_NAME {
            return Err(Problem::invalid(format!("a name has 1 to {MAX_NAME} bytes")));
        }
        if !(0..=MAX_PRICE_MINOR).contains(&self.price.minor()) {
            return Err(Problem::invalid(format!("a price is from 0 to {MAX_PRICE_MINOR} minor units")));
        }
        Ok(())
    }

    fn of((gtin, name, minor, currency, rev): Columns) -> Result<(Self, i64), ApiError> {
        let gtin = stored("meal_type.gtin", Gtin::parse(&gtin))?;
        let currency = stored("meal_type.currency", Currency::parse(&currency))?;
        Ok((Self { gtin, name, price: Money::new(minor, currency) }, rev))
    }
}

async fn find(sql: &mut SqliteConnection, gtin: &Gtin) -> Result<Option<(MealType, i64)>, ApiError> {
    sqlx::query_as("SELECT gtin, name, price_minor, currency, rev FROM meal_type WHERE gtin = $1")
        .bind(gtin.as_str())
        .fetch_optional(sql)
        .await?
        .map(MealType::of)
        .transpose()
}

async fn save(tx: &mut WriteTx, meal_type: &MealType) -> Result<i64, ApiError> {
    let MealType { gtin, name, price } = meal_type.clone();
    let row = MealTypeRow { gtin, name, price };
    let rev = tx.put_row(&row).await?;
    sqlx::query(
        "INSERT INTO meal_type (gtin, name, price_minor, currency, rev) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (gtin) DO UPDATE SET name = excluded.name, price_minor = excluded.price_minor,
            currency = excluded.currency, rev = excluded.rev",
    )
    .bind(row.gtin.as_str())
    .bind(&row.name)
    .bind(price.minor())
    .bind(price.currency().as_str())
    .bind(rev)
    .execute(tx.sql())
    .await?;
    Ok(rev)
}

/// Refuses what was saved in this transaction when it leaves prices in more than one currency.
async fn agree(tx: &mut WriteTx) -> Result<(), ApiError> {
    let (one, other): (Option<String>, Option<String>) =
        sqlx::query_as("SELECT MIN(currency), MAX(currency) FROM meal_type").fetch_one(tx.sql()).await?;
    if one == other {
        return Ok(());
    }
    Err(Problem::conflict("currency_in_use", "all meal types are priced in one currency").into())
}

pub(crate) async fn list(
    _: Allowed<InventoryRead>,
    State(kit): State<Kit<NoSettings>>,
    Params(query): Params<ListQuery>,
) -> Result<Answer, ApiError> {
    let page = PageRequest::read(query.page_size, query.page_token.as_deref())?;
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT gtin, name, price_minor, currency, rev FROM meal_type WHERE gtin > $1 ORDER BY gtin LIMIT $2",
    )
    .bind(page.after())
    .bind(page.limit())
    .fetch_all(kit.db().readers())
    .await?;
    let rows = rows.into_iter().map(|row| MealType::of(row).map(|(it, _)| it)).collect::<Result<Vec<_>, _>>()?;
    Answer::ok(&page.cut(rows, |row| row.gtin.to_string()).json("meal_types"))
}

pub(crate) async fn read(
    _: Allowed<InventoryRead>,
    State(kit): State<Kit<NoSettings>>,
    Named(gtin): Named<Gtin>,
) -> Result<Answer, ApiError> {
    let mut tx = kit.db().read().await?;
    let found = find(&mut tx, &gtin).await?;
    let (meal_type, rev) = found.ok_or_else(|| Problem::not_found("meal type"))?;
    Answer::record(rev, &meal_type)
}

/// Creates it; the same again is the same answer, another under the same id is a conflict.
pub(crate) async fn create(
    allowed: Allowed<InventoryWrite>,
    State(kit): State<Kit<NoSettings>>,
    once: Once<MealType>,
) -> Result<Answer, ApiError> {
    let (meal_type, ticket) = once.into_parts();
    meal_type.check()?;
    let (mut tx, now) = (kit.db().write().await?, kit.now());
    if let Some(answer) = ticket.recall(&mut tx, now).await? {
        return Ok(answer);
    }
    if let Some((known, rev)) = find(tx.sql(), &meal_type.gtin).await? {
        let conflict = || Problem::conflict("already_exists", "another meal type has this GTIN");
        return if known == meal_type { Answer::record(rev, &known) } else { Err(conflict().into()) };
    }
    let rev = save(&mut tx, &meal_type).await?;
    agree(&mut tx).await?;
    tx.audit(allowed.who(), "meal_type.create", meal_type.gtin.as_str(), &json!(meal_type), now).await?;
    let answer = Answer::created(rev, &meal_type)?;
    ticket.keep(&mut tx, &answer, now).await?;
    tx.commit().await?;
    Ok(answer)
}

/// Creates or replaces it.
pub(crate) async fn put(
    allowed: Allowed<InventoryWrite>,
    State(kit): State<Kit<NoSettings>>,
    Named(gtin): Named<Gtin>,
    if_match: IfMatch,
    Body(body): Body<MealTypeBody>,
) -> Result<Answer, ApiError> {
    if body.gtin.is_some_and(|other| other != gtin) {
        return Err(Problem::invalid("the body names another GTIN than the path").into());
    }
    let meal_type = MealType { gtin, name: body.name, price: body.price };
    meal_type.check()?;
    let mut tx = kit.db().write().await?;
    let known = find(tx.sql(), &gtin).await?;
    if_match.check(known.as_ref().map_or(0, |(_, rev)| *rev))?;
    let rev = save(&mut tx, &meal_type).await?;
    agree(&mut tx).await?;
    tx.audit(allowed.who(), "meal_type.put", gtin.as_str(), &json!(meal_type), kit.now()).await?;
    tx.commit().await?;
    let status = if known.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    Answer::new(status, Some(rev), &meal_type)
}

/// Creates many; those that are there stay as they are.
pub(crate) async fn batch_create(
    allowed: Allowed<InventoryWrite>,
    State(kit): State<Kit<NoSettings>>,
    Body(batch): Body<MealTypes>,
) -> Result<Answer, ApiError> {
    check_batch(&batch.meal_types)?;
    batch.meal_types.iter().try_for_each(MealType::check)?;
    let mut tx = kit.db().write().await?;
    let mut created = 0_usize;
    for meal_type in &batch.meal_types {
        if find(tx.sql(), &meal_type.gtin).await?.is_none() {
            save(&mut tx, meal_type).await?;
            created += 1;
        }
    }
    agree(&mut tx).await?;
    let existing = batch.meal_types.len() - created;
    let told = json!({ "created": created, "existing": existing });
    tx.audit(allowed.who(), "meal_type.batch_create", "", &told, kit.now()).await?;
    tx.commit().await?;
    Answer::ok(&told)
}

/// Changes names and prices of many at once, or of none: what is not there is not made.
pub(crate) async fn batch_update(
    allowed: Allowed<InventoryWrite>,
    State(kit): State<Kit<NoSettings>>,
    Body(batch): Body<MealTypes>,
) -> Result<Answer, ApiError> {
    check_batch(&batch.meal_types)?;
    batch.meal_types.iter().try_for_each(MealType::check)?;
    let (mut tx, now) = (kit.db().write().await?, kit.now());
    let mut updated = 0_usize;
    for meal_type in &batch.meal_types {
        let found = find(tx.sql(), &meal_type.gtin).await?;
        let (known, _) = found.ok_or_else(|| Problem::not_found("meal type").with("gtin", meal_type.gtin.as_str()))?;
        if known != *meal_type {
            save(&mut tx, meal_type).await?;
            let told = json!({ "before": known, "after": meal_type });
            tx.audit(allowed.who(), "meal_type.update", meal_type.gtin.as_str(), &told, now).await?;
            updated += 1;
        }
    }
    agree(&mut tx).await?;
    tx.commit().await?;
    Answer::ok(&json!({ "updated": updated }))
}
