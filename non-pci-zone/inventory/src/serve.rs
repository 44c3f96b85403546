//! The service put together: its migrations and its routes.

use ca_identity::ServiceName;
use ops_kit::guard::{InventoryFeed, InventoryInbox, InventoryRead};
use ops_kit::{CancellationToken, Config, Fault, Kit, NoSettings, Routes, Step};
use pci_contract::{MealRow, MealTypeRow};

use crate::{drive, meal_types, meals, reviews, stock};

const STEPS: &[Step] = &[
    (1, "kit", include_str!("../../../migrations/inventory/0001_kit.sql")),
    (2, "inventory", include_str!("../../../migrations/inventory/0002_inventory.sql")),
    (3, "lookups", include_str!("../../../migrations/inventory/0003_lookups.sql")),
];

/// Serves until `ending` is cancelled.
///
/// # Errors
/// [`Fault`] when the configuration, the database or the address cannot be used.
pub async fn serve(config: Config<NoSettings>, ending: CancellationToken) -> Result<(), Fault> {
    let kit = Kit::open(ServiceName::Inventory, &config, STEPS, ending).await?;
    let routes = Routes::new::<InventoryRead>(&kit)
        .get("/meal-types", meal_types::list)
        .post("/meal-types", meal_types::create)
        .post("/meal-types:batchCreate", meal_types::batch_create)
        .post("/meal-types:batchUpdate", meal_types::batch_update)
        .get("/meal-types/{gtin}", meal_types::read)
        .put("/meal-types/{gtin}", meal_types::put)
        .get("/meals", meals::list)
        .post("/meals", meals::create)
        .post("/meals:batchCreate", meals::batch_create)
        .get("/meals/{barcode}", meals::read)
        .patch("/meals/{barcode}", meals::patch)
        .get("/stock", stock::stock)
        .get("/reservations", stock::reservations)
        .get("/reviews", reviews::list)
        .put("/reviews/{id}/resolution", reviews::resolve)
        .feed::<MealTypeRow, InventoryFeed>()
        .feed::<MealRow, InventoryFeed>()
        .inbox::<InventoryInbox>(drive::book);
    ops_kit::serve(&config, kit, routes).await
}

/// How SQLite would find the rows of a query; what no index serves reads a whole table.
#[cfg(test)]
pub(crate) async fn plan(query: sqlx::QueryBuilder<sqlx::Sqlite>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let db = ops_kit::Db::open(&folder.path().join("x.sqlite"), STEPS).await.unwrap();
    let text = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", query.into_string()));
    let steps: Vec<(i64, i64, i64, String)> = sqlx::query_as(text).fetch_all(db.readers()).await.unwrap();
    steps.into_iter().map(|(.., step)| step + "\n").collect()
}
