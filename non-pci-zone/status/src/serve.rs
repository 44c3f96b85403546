//! The service put together: its migrations and its routes.

use ca_identity::ServiceName;
use ops_kit::guard::{StatusFeed, StatusInbox, StatusRead};
use ops_kit::{CancellationToken, Config, Fault, Kit, Routes, Step};
use pci_contract::LockRow;

use crate::{Settings, drive, fridges, locks, reports, sessions};

const STEPS: &[Step] = &[
    (1, "kit", include_str!("../../../migrations/status/0001_kit.sql")),
    (2, "status", include_str!("../../../migrations/status/0002_status.sql")),
];

/// Serves until `ending` is cancelled.
///
/// # Errors
/// [`Fault`] when the configuration, the database or the address cannot be used.
pub async fn serve(config: Config<Settings>, ending: CancellationToken) -> Result<(), Fault> {
    let kit = Kit::open(ServiceName::Status, &config, STEPS, ending).await?;
    let routes = Routes::new::<StatusRead>(&kit)
        .get("/fridges", fridges::list)
        .get("/fridges/{id}", fridges::read)
        .get("/fridges/{id}/reports", reports::list)
        .post("/fridges/{id}/reports", reports::report)
        .put("/fridges/{id}/lock", locks::put)
        .get("/tampers", fridges::tampers)
        .get("/sessions", sessions::list)
        .get("/sessions:batchGet", sessions::batch_get)
        .get("/sessions:count", sessions::count)
        .get("/sessions/{id}", sessions::read)
        .feed::<LockRow, StatusFeed>()
        .inbox::<StatusInbox>(drive::book);
    ops_kit::serve(&config, kit, routes).await
}
