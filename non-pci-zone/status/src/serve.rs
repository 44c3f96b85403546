//! The service put together: its migrations and its routes.

use ca_identity::ServiceName;
use ops_kit::guard::{StatusFeed, StatusInbox, StatusRead};
use ops_kit::{CancellationToken, Config, Fault, Kit, Routes, Step};
use pci_contract::LockRow;

use crate::{Settings, drive, fridges, locks, reports, sessions, snapshots};

const STEPS: &[Step] = &[
    (1, "kit", include_str!("../../../migrations/status/0001_kit.sql")),
    (2, "status", include_str!("../../../migrations/status/0002_status.sql")),
    (3, "counted sessions", include_str!("../../../migrations/status/0003_counted_sessions.sql")),
    (4, "snapshots", include_str!("../../../migrations/status/0004_snapshots.sql")),
    (5, "quarantine", include_str!("../../../migrations/status/0005_quarantine.sql")),
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
        .get("/fridges/{id}/snapshots", snapshots::list)
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

/// How SQLite would find the rows of a query; what no index serves reads a whole table.
#[cfg(test)]
pub(crate) async fn plan(query: sqlx::QueryBuilder<sqlx::Sqlite>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let db = ops_kit::Db::open(&folder.path().join("x.sqlite"), STEPS).await.unwrap();
    let text = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", query.into_string()));
    let steps: Vec<(i64, i64, i64, String)> = sqlx::query_as(text).fetch_all(db.readers()).await.unwrap();
    steps.into_iter().map(|(.., step)| step + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::STEPS;
    use ops_kit::Db;

    #[tokio::test]
    async fn sessions_that_ended_before_they_were_counted_still_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sqlite");
        let db = Db::open(&path, &STEPS[..2]).await.unwrap();
        let mut tx = db.write().await.unwrap();
        for row in ["('a', 'FR-0001', 'charged')", "('b', 'FR-0001', 'refused')", "('c', 'FR-0001', NULL)"] {
            let text = sqlx::AssertSqlSafe(format!("INSERT INTO session (session, fridge, outcome) VALUES {row}"));
            sqlx::query(text).execute(tx.sql()).await.unwrap();
        }
        tx.commit().await.unwrap();
        db.close().await;
        let db = Db::open(&path, STEPS).await.unwrap();
        let sessions: i64 = sqlx::query_scalar("SELECT sessions FROM ended").fetch_one(db.readers()).await.unwrap();
        assert_eq!(sessions, 2);
    }
}
