//! The service put together: its migrations, the policy that is there from the first start, and its routes.

use ca_identity::ServiceName;
use ops_kit::guard::{AdminFeed, AdminInbox, AdminRead};
use ops_kit::{CancellationToken, Config, Fault, Kit, NoSettings, Routes, Step};
use pci_contract::{FridgeRow, PolicyRow};

use crate::{drive, fridges, policy, sales};

const STEPS: &[Step] = &[
    (1, "kit", include_str!("../../../migrations/admin/0001_kit.sql")),
    (2, "admin", include_str!("../../../migrations/admin/0002_admin.sql")),
    (3, "sales by day", include_str!("../../../migrations/admin/0003_sales_by_day.sql")),
];

/// Serves until `ending` is cancelled.
///
/// # Errors
/// [`Fault`] when the configuration, the database or the address cannot be used.
pub async fn serve(config: Config<NoSettings>, ending: CancellationToken) -> Result<(), Fault> {
    let kit = Kit::open(ServiceName::Admin, &config, STEPS, ending).await?;
    policy::ensure(kit.db()).await.map_err(|error| Fault::new(format!("policy: {error}"), false))?;
    let routes = Routes::new::<AdminRead>(&kit)
        .get("/fridges", fridges::list)
        .post("/fridges", fridges::create)
        .post("/fridges:batchCreate", fridges::batch_create)
        .get("/fridges/{id}", fridges::read)
        .patch("/fridges/{id}", fridges::patch)
        .delete("/fridges/{id}", fridges::delete)
        .get("/fridges/{id}/sales", sales::of_fridge)
        .get("/policy", policy::read)
        .put("/policy", policy::put)
        .get("/sales", sales::by_fridge)
        .get("/sales/days", sales::by_day)
        .get("/sales/meal-types", sales::by_meal_type)
        .feed::<FridgeRow, AdminFeed>()
        .feed::<PolicyRow, AdminFeed>()
        .inbox::<AdminInbox>(drive::book);
    ops_kit::serve(&config, kit, routes).await
}

#[cfg(test)]
mod tests {
    use super::STEPS;
    use ops_kit::Db;

    #[tokio::test]
    async fn what_was_sold_before_days_were_kept_still_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sqlite");
        let db = Db::open(&path, &STEPS[..2]).await.unwrap();
        let mut tx = db.write().await.unwrap();
        for row in [
            "INSERT INTO sales VALUES ('FR-0001', 'USD', 2, 1, 1550, 200, 3, 1)",
            "INSERT INTO fridge VALUES ('FR-0001', 'x', 0, 0, 2500, 'USD', 1, 60, '[]', 'being_restocked', 0, NULL, 1)",
        ] {
            sqlx::query(row).execute(tx.sql()).await.unwrap();
        }
        tx.commit().await.unwrap();
        db.close().await;
        let db = Db::open(&path, STEPS).await.unwrap();
        let sums: (i64, i64, i64, i64, i64) =
            sqlx::query_as("SELECT sessions, charged_minor, captured_minor, credit_minor, thefts FROM sale")
                .fetch_one(db.readers())
                .await
                .unwrap();
        assert_eq!(sums, (2, 1550, 1550, 200, 1));
        let life_cycle: String =
            sqlx::query_scalar("SELECT life_cycle FROM fridge").fetch_one(db.readers()).await.unwrap();
        assert_eq!(life_cycle, "restocking");
    }
}
