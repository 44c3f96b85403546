//! The schema, applied in order. The files of `migrations/purchase-session` are part of the program.
//!
//! What was applied is kept word for word, so that a file that changed afterwards is found, and an operator sees what
//! ran. Numbers this program does not know are left alone: a newer program may have expanded the schema first.

use pci_contract::Timestamp;
use sqlx::Row;

use crate::dialect::{BEGIN, Connection};
use crate::error::{Fault, StoreError};

/// One file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Migration {
    version: i64,
    text: &'static str,
}

/// All files, oldest first.
pub(crate) const ALL: &[Migration] = &[
    Migration { version: 1, text: include_str!("../../../migrations/purchase-session/0001_first.sql") },
    Migration { version: 2, text: include_str!("../../../migrations/purchase-session/0002_key_checks.sql") },
];

/// Applies what is missing, all in one transaction.
pub(crate) async fn apply(connection: &mut Connection, all: &[Migration], now: Timestamp) -> Result<(), StoreError> {
    let fault = |error| Fault::new("was migrated", error);
    sqlx::query(BEGIN).execute(&mut *connection).await.map_err(fault)?;
    match apply_missing(connection, all, now).await {
        Ok(()) => {
            sqlx::query("COMMIT").execute(&mut *connection).await.map_err(fault)?;
            Ok(())
        }
        Err(error) => {
            sqlx::query("ROLLBACK").execute(&mut *connection).await.map_err(fault)?;
            Err(error)
        }
    }
}

async fn apply_missing(connection: &mut Connection, all: &[Migration], now: Timestamp) -> Result<(), StoreError> {
    let fault = |error| Fault::new("was migrated", error);
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS migrations (
            version BIGINT NOT NULL PRIMARY KEY, text TEXT NOT NULL, applied_at BIGINT NOT NULL)",
    )
    .execute(&mut *connection)
    .await
    .map_err(fault)?;
    for migration in all {
        let applied = sqlx::query("SELECT text FROM migrations WHERE version = $1")
            .bind(migration.version)
            .fetch_optional(&mut *connection)
            .await
            .map_err(fault)?;
        match applied {
            Some(row) if row.try_get::<String, _>(0).map_err(fault)? == migration.text => {}
            Some(_) => return Err(StoreError::MigrationChanged { version: migration.version }),
            None => {
                sqlx::raw_sql(migration.text).execute(&mut *connection).await.map_err(fault)?;
                sqlx::query("INSERT INTO migrations (version, text, applied_at) VALUES ($1, $2, $3)")
                    .bind(migration.version)
                    .bind(migration.text)
                    .bind(now.micros())
                    .execute(&mut *connection)
                    .await
                    .map_err(fault)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::ConnectOptions;

    async fn connect(path: &std::path::Path) -> Connection {
        crate::dialect::writer_options(path).connect().await.expect("connects")
    }

    #[tokio::test]
    async fn what_was_applied_is_not_applied_again_and_must_not_change() {
        let folder = tempfile::tempdir().expect("folder");
        let mut connection = connect(&folder.path().join("a.db")).await;
        let now = Timestamp::from_micros(7);
        let first = [Migration { version: 1, text: "CREATE TABLE a (x BIGINT); CREATE TABLE b (x BIGINT);" }];
        apply(&mut connection, &first, now).await.expect("applies");
        apply(&mut connection, &first, now).await.expect("applies again");
        let changed = [Migration { version: 1, text: "CREATE TABLE a (x TEXT);" }];
        let refused = apply(&mut connection, &changed, now).await;
        assert!(matches!(refused, Err(StoreError::MigrationChanged { version: 1 })), "{refused:?}");
        // An older program under a newer schema.
        apply(&mut connection, &[], now).await.expect("lives with more than it knows");
    }

    #[tokio::test]
    async fn a_migration_that_fails_leaves_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        let mut connection = connect(&folder.path().join("a.db")).await;
        let now = Timestamp::from_micros(7);
        let broken = [
            Migration { version: 1, text: "CREATE TABLE a (x BIGINT);" },
            Migration { version: 2, text: "CREATE TABLE b (x BIGINT); CREATE NONSENSE;" },
        ];
        assert!(apply(&mut connection, &broken, now).await.is_err());
        let tables: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM sqlite_master WHERE type = 'table'")
            .fetch_one(&mut connection)
            .await
            .expect("counts");
        assert_eq!(tables, 0);
    }
}
