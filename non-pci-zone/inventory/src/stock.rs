//! Sums over meals: what is in which fridge now, and which reservations are still open.

use axum::extract::State;
use ops_kit::guard::InventoryRead;
use ops_kit::{Allowed, Answer, ApiError, Kit, NoSettings, PageRequest, Params, Problem};
use pci_contract::{FridgeId, SubscriptionId, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::{QueryBuilder, Sqlite};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StockQuery {
    fridge: Option<FridgeId>,
}

/// `GET /stock?fridge=`: per fridge how many meals are placed, and of them expired, exposed, and made for an owner; for
/// one fridge also by meal type. Every fridge that has a placed meal, when none is given, in one query.
pub(crate) async fn stock(
    _: Allowed<InventoryRead>,
    State(kit): State<Kit<NoSettings>>,
    Params(query): Params<StockQuery>,
) -> Result<Answer, ApiError> {
    let fridge = query.fridge.as_ref().map(FridgeId::as_str);
    let mut tx = kit.db().read().await?;
    let rows: Vec<(String, i64, i64, i64, i64)> =
        placed(kit.now(), fridge).build_query_as().fetch_all(&mut *tx).await?;
    let stock = rows.into_iter().map(|(fridge, placed, expired, exposed, owned)| {
        json!({ "fridge": fridge, "placed": placed, "expired": expired, "exposed": exposed, "owned": owned })
    });
    let mut body = json!({ "stock": stock.collect::<Vec<_>>() });
    if let (Some(fridge), Some(members)) = (fridge, body.as_object_mut()) {
        let types: Vec<(String, Option<String>, i64)> = sqlx::query_as(
            "SELECT meal.gtin, meal_type.name, COUNT(*) FROM meal LEFT JOIN meal_type ON meal_type.gtin = meal.gtin
             WHERE meal.fridge = $1 AND meal.state = 'placed' GROUP BY meal.gtin ORDER BY meal.gtin",
        )
        .bind(fridge)
        .fetch_all(&mut *tx)
        .await?;
        let types = types.into_iter().map(|(gtin, name, placed)| json!({"gtin": gtin, "name": name, "placed": placed}));
        members.insert("meal_types".to_owned(), types.collect::<Vec<Value>>().into());
    }
    Answer::ok(&body)
}

fn placed(now: Timestamp, fridge: Option<&str>) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new("SELECT fridge, COUNT(*), SUM(expires_at <= ");
    sql.push_bind(now.micros()).push("), SUM(exposed), COUNT(owner) FROM meal WHERE state = 'placed' AND fridge ");
    match fridge {
        Some(fridge) => sql.push("= ").push_bind(fridge),
        None => sql.push("IS NOT NULL"),
    };
    sql.push(" GROUP BY fridge ORDER BY fridge");
    sql
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReservationQuery {
    subscription: Option<SubscriptionId>,
    state: Option<String>,
    page_size: Option<u32>,
    page_token: Option<String>,
}

type Reservation = (String, String, Option<String>, String, Option<String>, i64);

/// `GET /reservations?subscription=&state=`, in the order of barcodes.
pub(crate) async fn reservations(
    _: Allowed<InventoryRead>,
    State(kit): State<Kit<NoSettings>>,
    Params(query): Params<ReservationQuery>,
) -> Result<Answer, ApiError> {
    let page = PageRequest::read(query.page_size, query.page_token.as_deref())?;
    if query.state.as_deref().is_some_and(|state| !matches!(state, "reserved" | "completed")) {
        return Err(Problem::invalid("a reservation is reserved or completed").into());
    }
    let rows: Vec<Reservation> = reserved(&query, &page).build_query_as().fetch_all(kit.db().readers()).await?;
    let page = page.cut(rows, |row| row.0.clone());
    let rows = page.rows.into_iter().map(|(barcode, subscription, customer, state, session, at)| {
        let at = Timestamp::from_micros(at).rfc3339();
        json!({ "barcode": barcode, "subscription": subscription, "customer": customer, "state": state,
                "session": session, "at": at })
    });
    Answer::ok(&json!({ "reservations": rows.collect::<Vec<_>>(), "next_page_token": page.next }))
}

fn reserved(query: &ReservationQuery, page: &PageRequest) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new("SELECT barcode, subscription, customer, state, session, at FROM reservation");
    sql.push(" WHERE barcode > ").push_bind(page.after());
    if let Some(subscription) = &query.subscription {
        sql.push(" AND subscription = ").push_bind(subscription.as_str());
    }
    if let Some(state) = &query.state {
        sql.push(" AND state = ").push_bind(state.as_str());
    }
    sql.push(" ORDER BY barcode LIMIT ").push_bind(page.limit());
    sql
}

#[cfg(test)]
mod tests {
    use super::{PageRequest, ReservationQuery, SubscriptionId, Timestamp, placed, reserved};
    use crate::serve::plan;

    #[tokio::test]
    async fn stock_and_reservations_are_found_by_an_index() {
        let subscription = Some(SubscriptionId::parse("SU-1").unwrap());
        let query = ReservationQuery { subscription, state: None, page_size: None, page_token: None };
        let one = plan(reserved(&query, &PageRequest::read(None, None).unwrap())).await;
        assert!(one.contains("reservation_by_subscription (subscription=? AND barcode>?)"), "{one}");
        let now = Timestamp::from_micros(0);
        for (fridge, index) in [(Some("FR-0001"), "(fridge=? AND state=?)"), (None, "INDEX meal_by_fridge")] {
            let plan = plan(placed(now, fridge)).await;
            assert!(plan.contains(index) && !plan.contains("B-TREE"), "{plan}");
        }
    }
}
