//! The service put together: its migrations and its routes.

use ca_identity::ServiceName;
use ops_kit::guard::{AdminFeed, AdminInbox, AdminRead};
use ops_kit::{CancellationToken, Config, Fault, Kit, NoSettings, Routes, Step};
use pci_contract::{FridgeRow, PolicyRow};

use crate::{drive, fridges, policy, sales};

const STEPS: &[Step] = &[
    (1, "kit", include_str!("../../../migrations/admin/0001_kit.sql")),
    (2, "admin", include_str!("../../../migrations/admin/0002_admin.sql")),
];

/// Serves until `ending` is cancelled.
///
/// # Errors
/// [`Fault`] when the configuration, the database or the address cannot be used.
pub async fn serve(config: Config<NoSettings>, ending: CancellationToken) -> Result<(), Fault> {
    let kit = Kit::open(ServiceName::Admin, &config, STEPS, ending).await?;
    let routes = Routes::new::<AdminRead>(&kit)
        .get("/fridges", fridges::list)
        .post("/fridges", fridges::create)
        .post("/fridges:batchCreate", fridges::batch_create)
        .get("/fridges/{id}", fridges::read)
        .patch("/fridges/{id}", fridges::patch)
        .delete("/fridges/{id}", fridges::delete)
        .get("/policy", policy::read)
        .put("/policy", policy::put)
        .get("/sales", sales::list)
        .feed::<FridgeRow, AdminFeed>()
        .feed::<PolicyRow, AdminFeed>()
        .inbox::<AdminInbox>(drive::book);
    ops_kit::serve(&config, kit, routes).await
}
