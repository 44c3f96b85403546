//! Databases by their cells: a text that a page boundary cuts in two on the disk is whole here, and a number that was
//! stored as an integer is read as one.
//!
//! A copy of the database and its write-ahead log is read, so that the service that owns them notices nothing.

use std::path::{Path, PathBuf};

use single_node::Fault;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection, Row};

use crate::hunt::{Finds, Hunt};

/// Searches every cell of the database at `path`; a place is called `NAME: TABLE`. Returns how many there were.
///
/// # Errors
/// [`Fault`] when it is no database or cannot be read.
pub async fn search(hunt: &Hunt, path: &Path, finds: &mut Finds) -> Result<usize, Fault> {
    let folder = tempfile::tempdir().map_err(Fault::of("a temporary folder"))?;
    let copy = copy(path, folder.path())?;
    let name = file_name(path);
    let broken = |why: sqlx::Error| Fault::new(format!("the database {name}: {why}"));
    let mut db = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&copy)).await.map_err(broken)?;
    let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table'")
        .fetch_all(&mut db)
        .await
        .map_err(broken)?;
    let mut count = 0;
    for table in tables {
        let cells = cells(&mut db, &table).await.map_err(broken)?;
        count += cells.len();
        hunt.search(&format!("{name}: {table}"), 0, &cells.join(&b'\n'), finds);
    }
    db.close().await.map_err(broken)?;
    Ok(count)
}

/// Copies a database with its write-ahead log.
fn copy(path: &Path, folder: &Path) -> Result<PathBuf, Fault> {
    let copy = folder.join("copy.sqlite");
    std::fs::copy(path, &copy).map_err(Fault::io("copy", path))?;
    let log = path.with_file_name(format!("{}-wal", file_name(path)));
    if log.exists() {
        std::fs::copy(&log, folder.join("copy.sqlite-wal")).map_err(Fault::io("copy", &log))?;
    }
    Ok(copy)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The cells of a table, each as its bytes: text and blobs as they are, numbers as digits.
async fn cells(db: &mut SqliteConnection, table: &str) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    let columns: Vec<String> =
        sqlx::query_scalar("SELECT name FROM pragma_table_info($1)").bind(table).fetch_all(&mut *db).await?;
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let asked: Vec<String> = columns.iter().map(|column| format!("CAST({} AS BLOB)", quoted(column))).collect();
    let sql = AssertSqlSafe(format!("SELECT {} FROM {}", asked.join(", "), quoted(table)));
    let mut cells = Vec::new();
    for row in sqlx::query(sql).fetch_all(db).await? {
        for column in 0..row.len() {
            cells.extend(row.try_get::<Option<Vec<u8>>, _>(column)?);
        }
    }
    Ok(cells)
}
