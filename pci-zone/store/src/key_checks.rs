//! What the HSM's keys are known by, kept beside the tokens they made: a database and its keys belong together.
//!
//! It knows labels and values as text; what they mean is the vault's.

use sqlx::SqlitePool;

use crate::dialect::{BEGIN, Connection, roll_back};
use crate::error::{CommitError, Fault, StoreError};

/// All of them, as label and value.
pub(crate) async fn all(readers: &SqlitePool) -> Result<Vec<(String, String)>, StoreError> {
    sqlx::query_as("SELECT label, value FROM key_checks ORDER BY label")
        .fetch_all(readers)
        .await
        .map_err(|error| Fault::new("read the keys' check values", error).into())
}

/// Keeps those of labels that have none; what is kept is never changed.
pub(crate) async fn keep(connection: &mut Connection, checks: &[(String, String)]) -> Result<(), CommitError> {
    match insert(connection, checks).await {
        Ok(()) => Ok(()),
        Err(error) => {
            roll_back(connection).await;
            Err(Fault::new("kept the keys' check values", error).into())
        }
    }
}

async fn insert(connection: &mut Connection, checks: &[(String, String)]) -> Result<(), sqlx::Error> {
    sqlx::query(BEGIN).execute(&mut *connection).await?;
    for (label, value) in checks {
        sqlx::query("INSERT INTO key_checks (label, value) VALUES ($1, $2) ON CONFLICT (label) DO NOTHING")
            .bind(label)
            .bind(value)
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query("COMMIT").execute(&mut *connection).await?;
    Ok(())
}
