//! All that is SQLite's own: how a connection is opened, how a write begins, how a placeholder looks, which errors
//! mean that the database as a whole is in trouble. The rest of the crate keeps to SQL that PostgreSQL has too.
//!
//! The connection is WAL with synchronous FULL (a commit that was answered survives a power cut) and secure_delete (no
//! trace of a deleted row stays in a free page).

use std::path::Path;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

/// The database's driver.
pub(crate) type Db = sqlx::Sqlite;
/// One connection.
pub(crate) type Connection = sqlx::SqliteConnection;
/// A row that a statement answered with.
pub(crate) type Row = sqlx::sqlite::SqliteRow;
/// Values bound to a statement.
pub(crate) type Arguments = sqlx::sqlite::SqliteArguments;

/// Begins a transaction that writes. A deferred one that reads first fails at once when another writes, whatever the
/// busy timeout says.
pub(crate) const BEGIN: &str = "BEGIN IMMEDIATE";

/// How long a write waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Every multi-row statement exists in several widths; all of them stay prepared.
const STATEMENTS: usize = 256;
/// Pages of log after which a commit copies them into the database file; larger than SQLite's 1000 since groups are.
const CHECKPOINT_PAGES: &str = "4000";
/// How much of the database the writer keeps in memory; a negative number is KiB. SQLite's 2 MiB hold less than a group
/// of writes touches in a database of some months.
const CACHE_KIB: &str = "-16384";

/// Ends the transaction, unless the database has done so itself, as SQLite does when the disk is full.
pub(crate) async fn roll_back(connection: &mut Connection) {
    if let Err(error) = sqlx::query("ROLLBACK").execute(&mut *connection).await {
        tracing::debug!(%error, "the database had rolled back already");
    }
}

/// How the one writer connects.
pub(crate) fn writer_options(path: &Path) -> SqliteConnectOptions {
    reader_options(path)
        .create_if_missing(true)
        .read_only(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("secure_delete", "ON")
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .pragma("cache_size", CACHE_KIB)
}

/// How readers connect.
pub(crate) fn reader_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(STATEMENTS)
        .disable_statement_logging()
}

/// The placeholder of the `n`th value, from 1, in a multi-row statement. SQLite finds a numbered one by walking a
/// list, which for a thousand values costs more than the insert; an unnumbered one is free.
pub(crate) fn placeholder(text: &mut String, _n: usize) {
    text.push('?');
}

/// Whether the error is about the database as a whole (full, read-only, unreadable, busy), so that trying the rows one
/// by one is of no use. Primary result codes of SQLite: BUSY 5, LOCKED 6, NOMEM 7, READONLY 8, IOERR 10, CORRUPT 11,
/// FULL 13, CANTOPEN 14, NOTADB 26.
pub(crate) fn concerns_all(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(database) = error else { return true };
    let code: Option<u32> = database.code().and_then(|code| code.parse().ok());
    code.is_none_or(|code| matches!(code & 0xff, 5 | 6 | 7 | 8 | 10 | 11 | 13 | 14 | 26))
}
