//! The meals of the API: create one or many, read, list, change.
//!
//! Creating a meal for a subscription also makes its reservation. It leaves the record itself to `record`.

use axum::extract::State;
use ops_kit::guard::{InventoryRead, InventoryWrite};
use ops_kit::{
    Allowed, Answer, ApiError, Body, IfMatch, Kit, Named, NoSettings, Once, PageRequest, Params, Problem, WriteTx,
    check_batch, present,
};
use pci_contract::{CustomerId, FridgeId, Gtin, MealId, Timestamp};
use serde::Deserialize;
use serde_json::json;
use sqlx::{QueryBuilder, Sqlite};

use super::record::{Meal, MealState, NewMeal, check_sign, find, moment, save};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Meals {
    meals: Vec<NewMeal>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    fridge: Option<FridgeId>,
    owner: Option<CustomerId>,
    gtin: Option<Gtin>,
    state: Option<MealState>,
    page_size: Option<u32>,
    page_token: Option<String>,
}

/// What may be changed; null takes a place or a sign away.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    #[serde(default, deserialize_with = "present")]
    fridge: Option<Option<FridgeId>>,
    #[serde(default, deserialize_with = "present")]
    sign: Option<Option<String>>,
    state: Option<MealState>,
    exposed: Option<bool>,
    expires_at: Option<String>,
}

pub(crate) async fn list(
    _: Allowed<InventoryRead>,
    State(kit): State<Kit<NoSettings>>,
    Params(query): Params<ListQuery>,
) -> Result<Answer, ApiError> {
    let page = PageRequest::read(query.page_size, query.page_token.as_deref())?;
    let rows = listed(&query, &page).build().fetch_all(kit.db().readers()).await?;
    let meals = rows.iter().map(Meal::of).collect::<Result<Vec<_>, _>>()?;
    Answer::ok(&page.cut(meals, |meal| meal.barcode.to_string()).json("meals"))
}

/// The query of a list. Only what is asked for is in it, so that SQLite finds it by an index.
fn listed(query: &ListQuery, page: &PageRequest) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new("SELECT * FROM meal WHERE barcode > ");
    sql.push_bind(page.after());
    for (column, value) in [
        ("fridge", query.fridge.as_ref().map(FridgeId::as_str)),
        ("owner", query.owner.as_ref().map(CustomerId::as_str)),
        ("gtin", query.gtin.as_ref().map(Gtin::as_str)),
        ("state", query.state.map(MealState::as_str)),
    ] {
        if let Some(value) = value {
            sql.push(" AND ").push(column).push(" = ").push_bind(value);
        }
    }
    sql.push(" ORDER BY barcode LIMIT ").push_bind(page.limit());
    sql
}

pub(crate) async fn read(
    _: Allowed<InventoryRead>,
    State(kit): State<Kit<NoSettings>>,
    Named(barcode): Named<MealId>,
) -> Result<Answer, ApiError> {
    let mut tx = kit.db().read().await?;
    let meal = find(&mut tx, &barcode).await?.ok_or_else(|| Problem::not_found("meal"))?;
    Answer::record(meal.rev, &meal)
}

/// Creates one; one that is there is a conflict unless it is the same.
pub(crate) async fn create(
    allowed: Allowed<InventoryWrite>,
    State(kit): State<Kit<NoSettings>>,
    once: Once<NewMeal>,
) -> Result<Answer, ApiError> {
    let (new, ticket) = once.into_parts();
    let now = kit.now();
    let meal = new.check(now)?;
    let mut tx = kit.db().write().await?;
    if let Some(answer) = ticket.recall(&mut tx, now).await? {
        return Ok(answer);
    }
    if let Some(known) = find(tx.sql(), &meal.barcode).await? {
        let same = Meal { rev: known.rev, state_at: known.state_at, ..meal } == known;
        let conflict = || Problem::conflict("already_exists", "another meal has this barcode");
        return if same { Answer::record(known.rev, &known) } else { Err(conflict().into()) };
    }
    let rev = add(&mut tx, &meal, now).await?;
    tx.audit(allowed.who(), "meal.create", meal.barcode.as_str(), &json!(meal), now).await?;
    let answer = Answer::created(rev, &meal)?;
    ticket.keep(&mut tx, &answer, now).await?;
    tx.commit().await?;
    Ok(answer)
}

/// Creates many; those that are there stay as they are.
pub(crate) async fn batch_create(
    allowed: Allowed<InventoryWrite>,
    State(kit): State<Kit<NoSettings>>,
    Body(batch): Body<Meals>,
) -> Result<Answer, ApiError> {
    check_batch(&batch.meals)?;
    let now = kit.now();
    let count = batch.meals.len();
    let meals = batch.meals.into_iter().map(|meal| meal.check(now)).collect::<Result<Vec<_>, _>>()?;
    let mut tx = kit.db().write().await?;
    let mut created = 0_usize;
    for meal in &meals {
        if find(tx.sql(), &meal.barcode).await?.is_none() {
            add(&mut tx, meal, now).await?;
            created += 1;
        }
    }
    let told = json!({ "created": created, "existing": count - created });
    tx.audit(allowed.who(), "meal.batch_create", "", &told, now).await?;
    tx.commit().await?;
    Answer::ok(&told)
}

async fn add(tx: &mut WriteTx, meal: &Meal, now: Timestamp) -> Result<i64, ApiError> {
    let rev = save(tx, meal, None).await?;
    if let Some(subscription) = &meal.owner_subscription {
        sqlx::query(
            "INSERT INTO reservation (barcode, subscription, customer, state, at) VALUES ($1, $2, $3, 'reserved', $4)
             ON CONFLICT DO NOTHING",
        )
        .bind(meal.barcode.as_str())
        .bind(subscription.as_str())
        .bind(meal.owner.as_ref().map(CustomerId::as_str))
        .bind(now.micros())
        .execute(tx.sql())
        .await?;
    }
    Ok(rev)
}

/// Changes where it is, in which state, whether it was exposed, its sign or its date.
pub(crate) async fn patch(
    allowed: Allowed<InventoryWrite>,
    State(kit): State<Kit<NoSettings>>,
    Named(barcode): Named<MealId>,
    if_match: IfMatch,
    Body(change): Body<Change>,
) -> Result<Answer, ApiError> {
    let (mut tx, now) = (kit.db().write().await?, kit.now());
    let before = find(tx.sql(), &barcode).await?.ok_or_else(|| Problem::not_found("meal"))?;
    if_match.demand(before.rev)?;
    let meal = changed(&before, change, now)?;
    let rev = save(&mut tx, &meal, Some(&before)).await?;
    tx.audit(allowed.who(), "meal.patch", barcode.as_str(), &json!({ "before": before, "after": meal }), now).await?;
    tx.commit().await?;
    Answer::record(rev, &meal)
}

fn changed(before: &Meal, change: Change, now: Timestamp) -> Result<Meal, Problem> {
    let mut meal = before.clone();
    if let Some(fridge) = change.fridge {
        let placed = fridge.is_some();
        meal.fridge = fridge;
        meal.state = if placed { MealState::Placed } else { MealState::Produced };
    }
    if let Some(state) = change.state {
        if state.is_gone() {
            return Err(Problem::invalid("only a purchase makes a meal purchased, stolen or taken"));
        }
        meal.state = state;
    }
    if meal.state == MealState::Placed && meal.fridge.is_none() {
        return Err(Problem::invalid("a placed meal is in a fridge"));
    }
    if meal.state != before.state {
        meal.state_at = now;
        meal.session = None;
    }
    if let Some(sign) = change.sign {
        meal.sign = sign.map(check_sign).transpose()?;
    }
    meal.exposed = change.exposed.unwrap_or(meal.exposed);
    meal.expires_at = change.expires_at.as_deref().map(moment).transpose()?.unwrap_or(meal.expires_at);
    Ok(meal)
}

#[cfg(test)]
mod tests {
    use super::{CustomerId, FridgeId, Gtin, ListQuery, MealState, PageRequest, listed};
    use crate::serve::plan;

    #[tokio::test]
    async fn meals_are_found_by_an_index() {
        let page = PageRequest::read(None, None).unwrap();
        let fridge = FridgeId::parse("FR-0001").ok();
        let placed = ListQuery { fridge: fridge.clone(), state: Some(MealState::Placed), ..ListQuery::default() };
        let owned = ListQuery { owner: CustomerId::parse("CU-1").ok(), ..ListQuery::default() };
        let typed = ListQuery { gtin: Gtin::parse("09500000000198").ok(), ..ListQuery::default() };
        for (query, index) in [
            (placed, "meal_by_fridge (fridge=? AND state=? AND barcode>?)"),
            (ListQuery { fridge, ..ListQuery::default() }, "meal_by_fridge (fridge=?)"),
            (owned, "meal_by_owner (owner=? AND barcode>?)"),
            (typed, "meal_by_gtin (gtin=? AND barcode>?)"),
            (ListQuery::default(), "PRIMARY KEY (barcode>?)"),
        ] {
            let plan = plan(listed(&query, &page)).await;
            assert!(plan.contains(index), "{plan}");
        }
    }
}
